//! From orders to rows: `encodechan -> gobchan -> PostgreSQL`, together with the position.

pub(crate) mod encode;
pub(crate) mod writer;
mod lease;
mod commit;
mod not_stored;
mod replays;
mod dead_letter_writer;
mod batch;
mod connection;
