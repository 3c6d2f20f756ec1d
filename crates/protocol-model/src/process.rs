//! One process: its view of the orders, and its state as the writer.

use crate::database::Documents;
use crate::keys::Keys;
use crate::stream::{ORDERS, StreamPosition};

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
    /// The version of each dead letter that it has seen.
    pub dead_letters_seen: [u8; ORDERS],
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
    /// Stored dead letters of the next messages.
    pub stored: Keys,
    /// Orders whose row PostgreSQL has refused.
    pub refused: Keys,
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
        *self = Self { dead_letters_seen: self.dead_letters_seen, ..Self::default() };
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
