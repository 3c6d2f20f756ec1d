//! From NATS to orders: `natschan -> msgdatachan -> orderschan`, and the fan-out to memory and table.

pub(crate) mod fetch;
pub(crate) mod client;
mod consumer;
mod unreadable;
mod vanished;
pub(crate) mod filter;
pub(crate) mod decode;
pub(crate) mod fan_out;
pub(crate) mod retention;

use std::ops::Range;

use async_nats::Subject;
use bytes::Bytes;
use order::{Key, Order, Refusal};

use crate::dead_letters::format::Refused;
use crate::position::{Mark, Run};

/// Where a message stands in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamPosition {
    pub(crate) sequence: u64,
    pub(crate) timestamp_ns: i64,
}

impl StreamPosition {
    pub(crate) fn mark(self) -> Mark {
        Mark { seq: self.sequence, time: Some(self.timestamp_ns.div_euclid(1000)) }
    }
}

/// A message of the stream.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) subject: Subject,
    pub(crate) payload: Bytes,
    pub(crate) headers: Option<async_nats::HeaderMap>,
    pub(crate) position: StreamPosition,
    pub(crate) key: Key,
    /// Whether it is a dead letter sent again, which has its dead letter's key.
    pub(crate) replayed: bool,
    /// Whether no client can take it; it becomes a dead letter.
    pub(crate) is_unreadable: bool,
}

/// What `natschan` and `msgdatachan` carry: messages of a run in the stream's order.
pub(crate) struct Messages {
    pub(crate) run: Run,
    /// The last message of the chunk, also where it has been taken out of it.
    pub(crate) through: Mark,
    pub(crate) messages: Vec<Message>,
    pub(crate) gaps: Vec<Gap>,
}

/// Sequences that the stream no longer had when they were to be read.
pub(crate) type Gap = Range<u64>;

/// What `orderschan`, `memchan` and `encodechan` carry: the orders of a chunk, and what is no order.
pub(crate) struct Orders {
    pub(crate) run: Run,
    pub(crate) through: Mark,
    pub(crate) orders: Vec<Order>,
    /// Beside each order, its message.
    pub(crate) messages: Vec<Message>,
    pub(crate) refused: Vec<Rejected>,
    pub(crate) gaps: Vec<Gap>,
}

/// A message and why it is refused.
pub(crate) struct Rejected {
    pub(crate) message: Message,
    pub(crate) refusal: Refusal,
}

impl Rejected {
    /// As the dead letter that it becomes.
    pub(crate) fn as_refused(&self) -> Refused<'_> {
        let Message { subject, key, position, payload, .. } = &self.message;
        let StreamPosition { sequence, timestamp_ns } = *position;
        Refused { subject, key: key.as_str(), sequence, timestamp_ns, payload, refusal: &self.refusal }
    }
}
