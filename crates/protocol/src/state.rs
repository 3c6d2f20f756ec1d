//! All that matters of a moment: the stream, the durable consumer, the table, the dead letters, and two replicas.

use std::fmt;

use crate::protocol::{Kind, Protocol};

/// So many orders at most, and so many messages, of which each order and each replay is one.
pub(crate) const ORDERS: usize = 4;
/// See [`ORDERS`].
pub(crate) const MESSAGES: usize = 4;
/// How many equal processes there are.
pub(crate) const REPLICAS: usize = 2;

/// The number of an order; a replica's or a message's number is a plain one too.
pub(crate) type Number = u8;

/// Keys of rows. An order's key is its number; one made from a clock is another for each delivery.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Keys(u16);

impl Keys {
    pub(crate) fn has(self, key: Number) -> bool {
        self.0 & (1 << key) != 0
    }

    pub(crate) fn add(&mut self, key: Number) {
        self.0 |= 1 << key;
    }

    pub(crate) fn remove(&mut self, key: Number) {
        self.0 &= !(1 << key);
    }

    pub(crate) fn add_all(&mut self, others: Self) {
        self.0 |= others.0;
    }

    pub(crate) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Number> {
        (0..16).filter(move |&key| self.has(key))
    }

    /// How many rows an order has.
    pub(crate) fn of_order(self, order: Number) -> usize {
        self.iter().filter(|key| usize::from(*key) % ORDERS == usize::from(order)).count()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.iter()).finish()
    }
}

/// A message of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Message {
    /// Of which order.
    pub order: Number,
    /// Who sent it.
    pub sender: Sender,
    /// Neither purged nor deleted.
    pub there: bool,
    /// What the durable consumer knows of it.
    pub delivery: Delivery,
    /// How often it was delivered: counted up to 3.
    pub deliveries: u8,
}

/// Who sent a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Sender {
    /// A client: the message is the order.
    #[default]
    Client,
    /// `dead-letters replay`: a dead letter, with its key in the header.
    Replay,
    /// Somebody who puts the key of that order into the header of something else.
    Forger,
}

/// What the durable consumer knows of a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Delivery {
    /// Never delivered.
    #[default]
    Waiting,
    /// Delivered, and not acknowledged: `ack_wait` may be over at any time, and it is delivered again.
    Pending,
    /// Acknowledged, or gone from the stream.
    Over,
}

/// How far a replica is with its copy of a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub enum Hand {
    /// It has none.
    #[default]
    Empty,
    /// Delivered.
    Taken,
    /// It is an order: on its way to memory, and to the table.
    Decoded,
    /// Sent again, and its row is committed, or passed over because it is there or was forgotten.
    Written,
    /// It will be a dead letter.
    Refused,
    /// To be acknowledged.
    Done,
}

/// What a replica was told of a message, and has not heard yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub enum Telling {
    /// Nothing is on its way: nothing was told, or it was lost.
    #[default]
    None,
    /// Its row.
    Row,
    /// That it is settled and no order.
    NoOrder,
}

/// How far a replica is with what other replicas take.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct Feed {
    /// It has asked how far the durable consumer is.
    pub placed: bool,
    /// It has all that was settled before this message.
    pub mark: Number,
    /// The table was read since it was placed, or since messages left the stream unseen.
    pub filled: bool,
}

/// One process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Replica {
    /// It runs.
    pub up: bool,
    /// Its copy of each message.
    pub hands: [Hand; MESSAGES],
    /// The how-manieth delivery each copy came by.
    pub deliveries: [u8; MESSAGES],
    /// The orders that it serves.
    pub memory: Keys,
    /// The orders that are on their way into memory.
    pub coming: Keys,
    /// Orders that PostgreSQL has refused: they don't come in, unless they are sent again.
    pub gone: Keys,
    /// Orders that it knows as forgotten: they never come in.
    pub barred: Keys,
    /// The messages from the mark on that it was given itself, or has heard of.
    pub taken: [bool; MESSAGES],
    /// What it is about to hear from others.
    pub told: [Telling; MESSAGES],
    /// What it knows of the others.
    pub feed: Feed,
}

/// How far the erasing of an order is. It may stop anywhere and be run again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub enum Erasing {
    /// Nobody has asked for it.
    #[default]
    No,
    /// Its key is kept as forgotten.
    Key,
    /// Its row is deleted.
    Row,
    /// Its dead letter is deleted.
    DeadLetter,
    /// Its messages are deleted, the replayed ones too.
    Done,
}

/// How much may still happen that does not come of itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Budget {
    /// Kills of a replica.
    pub crashes: u8,
    /// Acknowledgements that don't arrive.
    pub lost_acks: u8,
    /// Dead letters sent again.
    pub replays: u8,
    /// Orders erased.
    pub erasures: u8,
    /// Purges of the stream.
    pub purges: u8,
    /// Messages with the key of an order that is not theirs.
    pub forgeries: u8,
    /// Tellings that are not lost.
    pub tellings: u8,
}

/// A moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// The messages that were ever published.
    pub messages: [Message; MESSAGES],
    /// How many these are.
    pub published: Number,
    /// How many of them were orders; the others are replays.
    pub orders: Number,
    /// So many of the first messages were purged.
    pub purged: Number,
    /// The rows.
    pub table: Keys,
    /// How many dead letters each order has.
    pub dead: [u8; ORDERS],
    /// Keys of forgotten orders.
    pub forgotten: Keys,
    /// How far each erasing is.
    pub erasing: [Erasing; ORDERS],
    /// What made orders refused is mended.
    pub mended: bool,
    /// The processes.
    pub replicas: [Replica; REPLICAS],
    /// What may still happen.
    pub left: Budget,
}

impl Replica {
    /// As it is when it has run for a while.
    pub(crate) fn running() -> Self {
        Self { feed: Feed { placed: true, mark: 0, filled: true }, ..Self::started() }
    }

    /// As it is after a start.
    pub(crate) fn started() -> Self {
        Self {
            up: true,
            hands: Default::default(),
            deliveries: Default::default(),
            memory: Keys::default(),
            coming: Keys::default(),
            gone: Keys::default(),
            barred: Keys::default(),
            taken: Default::default(),
            told: Default::default(),
            feed: Feed::default(),
        }
    }

    pub(crate) fn hand(&self, message: Number) -> Hand {
        self.hands[usize::from(message)]
    }
}

impl State {
    pub(crate) fn message(&self, message: Number) -> Message {
        self.messages[usize::from(message)]
    }

    pub(crate) fn replica(&self, replica: Number) -> &Replica {
        &self.replicas[usize::from(replica)]
    }

    /// Nobody will refuse an order, nor forget it.
    pub(crate) fn is_safe(&self, world: &Protocol, order: Number) -> bool {
        world.kind(order) == Kind::Good && self.left.erasures == 0 && !self.forgotten.has(order)
    }

    /// All messages before this one are acknowledged.
    pub(crate) fn ack_floor(&self) -> Number {
        let open = (0..self.published).find(|&message| self.message(message).delivery != Delivery::Over);
        open.unwrap_or(self.published)
    }
}
