//! One process: its view of the orders, and its state as the writer.

use crate::database::{Copies, Documents};
use crate::keys::Keys;
use crate::stream::{MESSAGES, ORDERS, StreamPosition};

/// Whether a process can do anything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Condition {
    /// This world has only one process.
    #[default]
    Absent,
    /// It runs. A killed process runs again, without its former state.
    Running,
    /// It is stopped (SIGSTOP, a black hole), and may continue at any time.
    Stalled,
    /// It can't reach NATS.
    CutFromNats,
}

/// The stage of a view's fill.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Stage {
    /// Nothing is read.
    #[default]
    Starting,
    /// The position is read; the view will read the stream from there.
    PositionRead,
    /// The rows are read, and are not in memory yet.
    RowsRead,
    /// Memory has the rows.
    Filled,
    /// With a mutation: the rows are read, the position is not.
    RowsReadFirst,
}

/// The orders that a process serves, and how far it has read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct View {
    /// The stage of the fill.
    pub stage: Stage,
    /// The last message that it has read.
    pub watermark: StreamPosition,
    /// The creation time of the stream of that message.
    pub created: u8,
    /// The consumer is new: the view checks that its position is in this stream before it continues.
    pub unchecked: bool,
    /// The orders that it serves.
    pub memory: Documents,
    /// The rows that the fill has read.
    pub snapshot: Documents,
    /// For an order in doubt: the sequence that the position must reach before the look-up. 0: decided.
    pub in_doubt: [u8; ORDERS],
    /// The keys of which it has seen a dead letter or a note.
    pub dead_letters_seen: Keys,
    /// The keys of which it has seen what was stored last.
    pub latest_seen: Keys,
    /// The writer's session that it follows.
    pub session: u8,
    /// The writer of that session has the old model.
    pub writer_has_old_model: bool,
    /// Messages up to this sequence were passed by a writer with another model than this process.
    pub own_form_after: u8,
    /// The highest position at which it has read from the table in that session.
    pub position_seen: u8,
}

/// Whether a process writes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Role {
    /// It follows.
    #[default]
    Follower,
    /// It holds the position row as it last wrote or read it.
    Writer,
    /// It does not know the position row: it lost an answer, or missed the fence.
    Unsure,
}

/// How far the writer is with a message that may become a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Prepared {
    /// Nothing is looked up.
    #[default]
    No,
    /// The first of two look-ups is done: the dead letter of a replay, the notes of a client's message.
    LookedUp,
    /// It does not become a row.
    Skipped,
    /// It is a replay that is honoured.
    Honoured,
    /// The table has no row with its key.
    KeyIsFree,
    /// The note that it becomes the order is stored.
    Noted,
    /// The number of the copy of the dead letter is read.
    Ready,
}

impl Prepared {
    /// The dead letter and the notes are looked up.
    pub(crate) fn is_looked_up(self) -> bool {
        !matches!(self, Self::No | Self::LookedUp)
    }
}

/// How far the writer is with the dead letter of the message after the position.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Storing {
    /// Nothing is done.
    #[default]
    No,
    /// There was no note that it was dropped.
    NotDropped,
    /// There is a copy.
    Found,
    /// There is a copy, and a note that a message becomes the order.
    FoundWithNote,
    /// With a mutation: the dead letter is stored, and the note is to be withdrawn.
    Stored,
    /// The dead letter is stored, or dropped.
    Done,
}

/// The state of a process as the writer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Writer {
    /// Whether it writes.
    pub role: Role,
    /// The position, as it knows it.
    pub watermark: StreamPosition,
    /// The creation time of the stream that the position is in, as the position row says.
    pub created: u8,
    /// The nonce of the position row.
    pub nonce: u8,
    /// The session that it writes in.
    pub session: u8,
    /// The position must be shown to be in this stream before it writes.
    pub unchecked: bool,
    /// How far it is with each message.
    pub prepared: [Prepared; MESSAGES],
    /// The copy of each order's dead letter that was there when its row was prepared.
    pub copies: Copies,
    /// How far it is with the dead letter of the next message.
    pub storing: Storing,
    /// Messages whose row PostgreSQL has refused.
    pub refused: Keys,
    /// The term has begun: the notes of accepted messages are not listed yet.
    pub unlisted: bool,
    /// The last batch was refused: the next batches have one message each, until one is committed.
    pub halved: bool,
    /// Unsure, but without unanswered transactions.
    pub certain: bool,
    /// With a mutation: dead letters to store after the position has passed them.
    pub stored_late: Keys,
}

/// One process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Process {
    /// Whether it can do anything.
    pub condition: Condition,
    /// The process's memory.
    pub view: View,
    /// The process's state as the writer.
    pub writer: Writer,
    /// Erased keys that it knows: it neither serves nor writes them.
    pub erased: Keys,
    /// Copies that it found beside notes when its term began: it looks for their rows.
    pub listed: Copies,
    /// Copies of orders that became rows: it deletes them, at any time.
    pub deletes: Copies,
    /// Copies that it has stored: it looks up whether they were dropped meanwhile.
    pub stored: Copies,
    /// Copies that it has stored beside the note of a drop: it deletes them, at any time.
    pub takes_back: Copies,
    /// Keys that are rows: it deletes the notes that their dead letters were dropped, at any time.
    pub forgets: Keys,
    /// Keys with a note of a drop and a note of the message that becomes the order, which it found when its term began:
    /// it looks for their rows.
    pub listed_drops: Keys,
}

impl Process {
    /// The state after a start.
    pub(crate) fn started() -> Self {
        let view = View { unchecked: true, ..View::default() };
        Self { condition: Condition::Running, view, ..Self::default() }
    }

    /// It can reach PostgreSQL.
    pub(crate) fn reaches_postgres(&self) -> bool {
        matches!(self.condition, Condition::Running | Condition::CutFromNats)
    }

    /// It can reach NATS.
    pub(crate) fn reaches_nats(&self) -> bool {
        self.condition == Condition::Running
    }

    /// It has still to look up whether the copy that it stored was dropped meanwhile, or to delete that copy.
    pub(crate) fn is_storing(&self, key: usize) -> bool {
        self.stored[key] + self.takes_back[key] > 0
    }

    /// Forgets an order permanently.
    pub(crate) fn learn_erased(&mut self, key: u8) {
        self.erased.add(key);
        self.view.memory[usize::from(key)] = Default::default();
        self.view.in_doubt[usize::from(key)] = 0;
    }
}

impl View {
    /// Begins again with an empty memory.
    pub(crate) fn restart(&mut self) {
        let Self { dead_letters_seen, latest_seen, .. } = *self;
        *self = Self { dead_letters_seen, latest_seen, ..Self::default() };
    }

    /// Marks an order for a look-up once the position has reached a sequence.
    pub(crate) fn mark_in_doubt(&mut self, key: u8, sequence: u8) {
        let until = &mut self.in_doubt[usize::from(key)];
        *until = sequence.max(*until);
    }

    /// The fill has begun, and the stream can be read.
    pub(crate) fn has_watermark(&self) -> bool {
        matches!(self.stage, Stage::PositionRead | Stage::RowsRead | Stage::Filled)
    }
}
