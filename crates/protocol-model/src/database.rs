//! PostgreSQL: the rows, the position row beside them, and the keys of erased orders.

use crate::keys::Keys;
use crate::stream::{ORDERS, StreamPosition};

/// An order in a row or in a process's memory: the message that it came from, and its form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Document(u8);

impl Document {
    pub(crate) const NONE: Self = Self(0);
    const OLD_FORM: u8 = 8;

    pub(crate) fn new(message: usize, old_form: bool) -> Self {
        let number = u8::try_from(message).unwrap_or(u8::MAX) + 1;
        Self(if old_form { number | Self::OLD_FORM } else { number })
    }

    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// The message that it came from. Only valid for an existing document.
    pub(crate) fn message(self) -> usize {
        usize::from(self.0 & !Self::OLD_FORM) - 1
    }
}

/// One document for each order, or none.
pub(crate) type Documents = [Document; ORDERS];

/// For each order the number of a copy of its dead letter. 0: none.
pub(crate) type Copies = [u8; ORDERS];

/// The database.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Database {
    /// `orders2`.
    pub rows: Documents,
    /// The row in `orderd_position`.
    pub position: Position,
    /// `orderd_erased`.
    pub erased: Keys,
    /// What made PostgreSQL refuse rows is fixed. It is a part of the table, so it goes back with it.
    pub fixed: bool,
}

/// The row in `orderd_position`: how far the table is, and which process writes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Position {
    /// The last message passed.
    pub watermark: StreamPosition,
    /// The creation time of the stream of the watermark.
    pub created: u8,
    /// A random number, replaced by each write of this row.
    pub nonce: u8,
    /// The writer, counted from 1.
    pub writer: u8,
    /// The lease has not expired.
    pub leased: bool,
    /// The writer's session. A process that becomes the writer begins a new one, and so does a writer that finds the
    /// row changed.
    pub session: u8,
    /// The previous session. 0: none that a process may continue from.
    pub previous_session: u8,
    /// The sequence at which the session began.
    pub session_began: u8,
    /// The writer has the old model of the document.
    pub old_model: bool,
    /// The order whose row was written last, counted from 1; a table restored without the position lacks it.
    pub last_row: u8,
    /// The last sequence passed because the stream did not have it; a restore can bring it back.
    pub gap_end: u8,
    /// The number of losses of the dead-letter stream when the position was last set back.
    pub dead_letter_losses: u8,
}

/// The purpose of a transaction that moves the position.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Purpose {
    /// It writes rows.
    #[default]
    Batch,
    /// It sets the position back to the stream's beginning, because the position is not of this stream.
    SetBack,
    /// It moves the position over messages that the stream no longer has.
    PassGap,
}

/// The phase of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Phase {
    /// There is no transaction.
    #[default]
    None,
    /// It was sent, and is not executed yet.
    Sent,
    /// It has updated the position row and holds its lock, and is not committed.
    Executed,
    /// With a mutation that uses two transactions: the first is committed.
    HalfCommitted,
    /// It is committed; the writer does not know yet.
    Committed,
    /// It missed the fence; the writer does not know yet.
    Fenced,
    /// PostgreSQL refused a row; the writer does not know yet.
    Refused,
}

/// What the position row must contain for a transaction to pass.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Fence {
    /// The sequence.
    pub sequence: u8,
    /// The stream's creation time.
    pub created: u8,
    /// The writer, counted from 1.
    pub writer: u8,
    /// The nonce.
    pub nonce: u8,
}

/// A writer's transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Transaction {
    /// How far it is.
    pub phase: Phase,
    /// Its purpose.
    pub purpose: Purpose,
    /// Its fence.
    pub fence: Fence,
    /// The new position.
    pub to: StreamPosition,
    /// The creation time of the stream as the writer knows it.
    pub created: u8,
    /// The rows to insert.
    pub rows: Documents,
    /// The copy of each order's dead letter that was there before it was sent. 0: none.
    pub copies: Copies,
    /// The number of messages that it passes.
    pub messages: u8,
    /// Once committed: the row's nonce.
    pub nonce: u8,
    /// Once committed: the row's session.
    pub session: u8,
}

impl Transaction {
    /// PostgreSQL can still execute or commit it.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Sent | Phase::Executed | Phase::HalfCommitted)
    }

    /// The outcome has not reached the writer.
    pub(crate) fn is_decided(&self) -> bool {
        matches!(self.phase, Phase::Committed | Phase::Fenced | Phase::Refused)
    }
}
