//! A message of the stream, with its position.

use async_nats::Subject;
use bytes::Bytes;
use order::Key;

use super::micros;
use crate::flow_state::Watermark;

/// A message's position in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamPosition {
    pub(crate) sequence: u64,
    pub(crate) timestamp_ns: i64,
}

impl StreamPosition {
    /// The message's sequence and time, as a watermark.
    pub(crate) fn watermark(self) -> Watermark {
        Watermark { seq: self.sequence, time: Some(micros(self.timestamp_ns.into())) }
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
    /// Whether it is a replay, which has the key of its dead letter.
    pub(crate) replayed: bool,
    /// Whether the client can't receive it; it becomes a dead letter.
    pub(crate) is_unreadable: bool,
}
