//! The stream: messages with their positions. A position is a sequence and the time of its message.

use crate::keys::Order;

/// Maximum number of orders. Message n of the first ones is the client's message of order n.
pub(crate) const ORDERS: usize = 3;
/// Maximum number of messages: the clients', then replays and forgeries.
pub(crate) const MESSAGES: usize = 5;

/// The publisher of a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Sender {
    /// A client: the message is the order.
    #[default]
    Client,
    /// `dead-letters replay` of a corrected document, with its key in the header. No process refuses it.
    Replay,
    /// `dead-letters replay` of the document as it was.
    Unchanged,
    /// A client that puts the key of another client's order into the header.
    Forger,
}

/// A message that was published.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Message {
    /// Its order, or the order whose key its header has.
    pub order: Order,
    /// The publisher.
    pub sender: Sender,
    /// Its position in the stream. Its key contains sequence and time.
    pub watermark: StreamPosition,
    /// The stream still has it.
    pub stored: bool,
}

/// A position in the stream. After a restore the same sequence can have another message, with another time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct StreamPosition {
    /// The sequence; 0 is before the first message.
    pub sequence: u8,
    /// The time of the message. 0: unknown, because the position was not reached by reading a message.
    pub time: u8,
}

/// The stream's state besides its messages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Stream {
    /// The creation time.
    pub created: u8,
    /// The first sequence.
    pub first: u8,
    /// The last sequence.
    pub last: u8,
    /// The server's clock: the time of the last message published. It survives a restore.
    pub clock: u8,
}

/// A copy of the stream, taken before a restore.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct StreamCopy {
    /// There is a copy.
    pub taken: bool,
    /// The stream as it was.
    pub stream: Stream,
    /// Which messages it had.
    pub stored: [bool; MESSAGES],
}

impl Message {
    /// Its document is that of the client's message.
    pub(crate) fn has_original(&self) -> bool {
        matches!(self.sender, Sender::Client | Sender::Unchanged)
    }
}

impl Stream {
    /// The position before the first message that the stream still has.
    pub(crate) fn beginning(&self) -> StreamPosition {
        StreamPosition { sequence: self.first - 1, time: 0 }
    }
}
