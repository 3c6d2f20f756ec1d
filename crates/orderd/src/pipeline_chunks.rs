//! The chunks that the channels of the flow carry. A chunk holds messages of one run, in the order of the stream.

use std::time::SystemTime;

use async_nats::HeaderMap;
use order::{Order, Refusal};

use crate::dead_letters::dead_letter_format::NewDeadLetter;
use crate::flow_state::{Gap, StreamRun, Watermark};
use crate::nats::intake_message::{Message, StreamPosition};
use crate::receipts::{self, SkipReason};
use crate::traceparent::TraceParent;

/// When each stage handled a chunk, for its spans.
#[derive(Clone, Copy)]
pub(crate) struct ChunkTimes {
    pub(crate) received: SystemTime,
    pub(crate) decoding: SystemTime,
    pub(crate) decoded: SystemTime,
}

impl ChunkTimes {
    /// Of a chunk that is received now.
    pub(crate) fn now() -> Self {
        let now = SystemTime::now();
        Self { received: now, decoding: now, decoded: now }
    }
}

/// A chunk of `natschan` and `msgdatachan`: messages of a run in stream order.
pub(crate) struct Messages {
    pub(crate) run: StreamRun,
    /// The last message of the chunk, even if it was removed from the chunk.
    pub(crate) through: Watermark,
    pub(crate) messages: Vec<Message>,
    pub(crate) skipped: Vec<SkippedMessage>,
    pub(crate) gaps: Vec<Gap>,
    /// `None` where nothing is traced.
    pub(crate) times: Option<ChunkTimes>,
}

/// A chunk of `orderschan`, `memchan` and `encodechan`: orders, and refused messages.
pub(crate) struct Orders {
    pub(crate) run: StreamRun,
    pub(crate) through: Watermark,
    pub(crate) orders: Vec<Order>,
    /// Beside each order, its message.
    pub(crate) messages: Vec<Message>,
    pub(crate) refused: Vec<RefusedMessage>,
    pub(crate) skipped: Vec<SkippedMessage>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) times: Option<ChunkTimes>,
}

impl Orders {
    /// Whether one of the publishers waits for the position to pass its message.
    pub(crate) fn asks_receipt(&self) -> bool {
        let refused = self.refused.iter().map(|letter| &letter.message);
        let mut headers = self.messages.iter().chain(refused).map(|message| message.headers.as_ref());
        !self.skipped.is_empty() || headers.any(|headers| receipts::asked_for(headers).is_some())
    }
}

/// A message that makes neither an order nor a dead letter, and whose publisher asks for a receipt, which it gets when
/// the position has passed it.
pub(crate) struct SkippedMessage {
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) position: StreamPosition,
    /// The key in its header, or its own.
    pub(crate) key: String,
    pub(crate) reason: SkipReason,
}

impl SkippedMessage {
    /// `None`: nobody asks for a receipt.
    pub(crate) fn asked_for(message: Message, key: String, reason: SkipReason) -> Option<Self> {
        receipts::asked_for(message.headers.as_ref())?;
        Some(Self { headers: message.headers, position: message.position, key, reason })
    }
}

/// A message and why it is refused.
pub(crate) struct RefusedMessage {
    pub(crate) message: Message,
    pub(crate) refusal: Refusal,
}

impl RefusedMessage {
    /// The dead letter that it becomes.
    pub(crate) fn as_dead_letter(&self) -> NewDeadLetter<'_> {
        let Message { subject, key, position, payload, headers, .. } = &self.message;
        let StreamPosition { sequence, timestamp_ns } = *position;
        let traceparent = TraceParent::of_message(headers.as_ref());
        let (key, refusal) = (key.as_str(), &self.refusal);
        NewDeadLetter { subject, key, sequence, timestamp_ns, payload, refusal, traceparent }
    }
}
