//! What the channels of the flow carry. A chunk holds messages of one run in the stream's order.

use order::{Order, Refusal};

use crate::dead_letters::format::Refused;
use crate::nats::message::{Message, StreamPosition};
use crate::position::{Gap, Watermark, StreamRun};

/// What `natschan` and `msgdatachan` carry: messages of a run in the stream's order.
pub(crate) struct Messages {
    pub(crate) run: StreamRun,
    /// The last message of the chunk, also where it has been taken out of it.
    pub(crate) through: Watermark,
    pub(crate) messages: Vec<Message>,
    pub(crate) gaps: Vec<Gap>,
}

/// What `orderschan`, `memchan` and `encodechan` carry: the orders of a chunk, and the messages that were refused.
pub(crate) struct Orders {
    pub(crate) run: StreamRun,
    pub(crate) through: Watermark,
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
