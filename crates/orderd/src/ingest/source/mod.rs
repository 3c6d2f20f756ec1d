//! The source of orders: a stream of NATS JetStream, the only one that there is.
//!
//! The pipeline needs three things of a source:
//!
//! - **Chunks of messages** in the order of the stream, each message with its sequence and its time there. The two make
//!   the key of the order, so that a message that is delivered again has the key of its first delivery
//!   (`message_with_key`).
//! - **The identity of the stream**: the position in the table refers to one stream, at which reading continues after a
//!   restart.
//! - **What the stream has lost**: messages that it no longer has though they were read (`lost_messages`), that it
//!   purged before they were read, and that no client can receive (`unreadable`).
//!
//! `fetch` reads chunks and sends them to `natschan`; another source would be a folder beside this one that does the
//! same. NATS Streaming is not a source: `commands/drain_stan` publishes its messages to JetStream, once.

pub(crate) mod connection;
pub(super) mod jetstream;
pub(super) mod unreadable;
pub(super) mod lost_messages;
