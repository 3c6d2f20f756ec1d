//! From NATS to orders: `natschan -> msgdatachan -> orderschan`, and the fan-out to memory and table.

pub(crate) mod subscribe;
mod receipt;
mod taken;
pub(crate) mod payload;
pub(crate) mod decode;
pub(crate) mod fan_out;
pub(crate) mod dead_letters;
pub(crate) mod housekeeping;

pub(crate) use receipt::{Holds, Receipt};
pub(crate) use taken::Taken;

use async_nats::Subject;
use bytes::Bytes;
use order::{Key, Order};

/// Where a message stands in its stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) sequence: u64,
    pub(crate) timestamp_ns: i64,
    /// How often it was delivered, this time included.
    pub(crate) deliveries: u64,
    /// The how many-th delivery of its consumer this is.
    pub(crate) delivery: u64,
}

/// `natschan` and `msgdatachan` carry chunks of these.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) subject: Subject,
    pub(crate) payload: Bytes,
    pub(crate) headers: Option<async_nats::HeaderMap>,
    pub(crate) origin: Origin,
    pub(crate) key: Key,
    /// Whether it is a dead letter sent again, which goes when its order is in the table.
    pub(crate) replayed: bool,
    pub(crate) receipt: Receipt,
}

/// What `orderschan`, `memchan` and `encodechan` carry: the orders of a chunk, each with its message.
pub(crate) struct Orders {
    pub(crate) orders: Vec<Order>,
    /// Beside each order, what is left of its message.
    pub(crate) messages: Vec<Message>,
}
