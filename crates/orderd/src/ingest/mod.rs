//! From NATS to orders: `natschan -> msgdatachan -> orderschan`, and the fan-out to memory and table.

pub(crate) mod fetch;
pub(crate) mod client;
mod consumer;
mod unreadable;
mod lost_messages;
pub(crate) mod filter;
pub(crate) mod decode;
pub(crate) mod fan_out;
pub(crate) mod stream_purge;
