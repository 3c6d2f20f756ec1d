//! The state of the model: the stream, the dead letters, the database, and the processes.

use crate::database::{Copies, Database, Phase, Position, Transaction};
use crate::keys::{Keys, Order};
use crate::process::{Process, Role, Stage, View, Writer};
use crate::stream::{MESSAGES, Message, ORDERS, Sender, Stream, StreamCopy, StreamPosition};
use crate::world::{Budget, Kind, World};

/// What the dead-letter stream has of one key: the dead letter, and notes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct DeadLetter {
    /// The number of the copy that is there. 0: none. A copy stored later has a larger number.
    pub copy: u8,
    /// The note of the message that becomes the order: its sequence. 0: none.
    pub taken_in_by: u8,
    /// The note that the dead letter was dropped.
    pub dropped: bool,
    /// The note that the order is erased.
    pub erased: bool,
}

impl DeadLetter {
    /// Whether the dead letter is there, so that lists show it and a replay is accepted.
    pub(crate) fn is_stored(self) -> bool {
        self.copy > 0
    }
}

/// The progress of dropping a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Drop {
    /// Nobody drops it.
    #[default]
    No,
    /// The table has no row with its key.
    NoRow,
    /// The note that it was dropped is stored.
    NoRowHalfway,
    /// The number of the copy is read after that.
    NoRowNoted,
    /// The table has a row with its key.
    Row,
    /// The note that the table has the row is stored.
    RowHalfway,
    /// The number of the copy is read after that.
    RowNoted,
    /// The copy that was read, and older ones, are to be deleted.
    Decided,
}

/// The progress of an erasure. The eraser may stop after any step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Erasure {
    /// Nobody has asked for it.
    #[default]
    No,
    /// The first of the two stores, NATS and table, has the key.
    KeyInFirst,
    /// Both have it.
    KeyInBoth,
    /// The order's messages are deleted.
    Done,
}

/// The history, for the invariants. No process knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Record {
    /// Orders with more than one row.
    pub doubled: Keys,
    /// Orders that ever were a dead letter.
    pub refused: Keys,
    /// Orders that an operator has dropped, and that no replay made rows afterwards.
    pub dropped: Keys,
    /// Orders whose dead letter may stay beside a row: a writer stored it that another one had replaced, or there was a
    /// row already, or a replay found its key taken.
    pub beside_row: Keys,
    /// Orders of which a process was killed after it had stored a copy, before it looked up whether it was dropped.
    pub left_by_kill: Keys,
    /// Orders that the stream lost before the table had them, or together with it.
    pub lost_with_stream: Keys,
    /// `orders2` alone was restored, and the position was not set back since.
    pub rows_restored: bool,
}

/// A moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct State {
    /// The messages ever published.
    pub messages: [Message; MESSAGES],
    /// The number of published orders.
    pub orders: Order,
    /// The number of replays and forgeries.
    pub extras: u8,
    /// The stream.
    pub stream: Stream,
    /// A copy of it.
    pub copy: StreamCopy,
    /// The dead-letter stream, by key.
    pub dead_letters: [DeadLetter; ORDERS],
    /// The number of its losses, which its creation time and sequences show.
    pub dead_letter_losses: u8,
    /// The progress of dropping each dead letter.
    pub drops: [Drop; ORDERS],
    /// The copy that each drop has read.
    pub drop_copies: Copies,
    /// The progress of each erasure.
    pub erasures: [Erasure; ORDERS],
    /// PostgreSQL.
    pub database: Database,
    /// The state that PostgreSQL goes back to: flushed data, the standby, or the copy.
    pub durable: Database,
    /// One transaction of each process, and one whose connection is gone.
    pub transactions: [Transaction; 3],
    /// The processes.
    pub processes: [Process; 2],
    /// For the invariants.
    pub record: Record,
    /// The remaining budget.
    pub budget: Budget,
}

/// The slot of a transaction whose connection is gone.
pub(crate) const ORPHAN: usize = 2;

impl State {
    /// Nothing is published; process 1 writes, and both are filled.
    pub(crate) fn first(world: &World) -> Self {
        let position = Position {
            created: 1,
            nonce: 1,
            writer: 1,
            leased: true,
            session: 1,
            old_model: world.old_model[0],
            ..Position::default()
        };
        let view = View {
            stage: Stage::Filled,
            created: 1,
            session: 1,
            writer_has_old_model: world.old_model[0],
            ..View::default()
        };
        let mut processes = [Process::default(); 2];
        for process in &mut processes[..world.processes] {
            *process = Process { view, ..Process::started() };
        }
        processes[0].writer =
            Writer { role: Role::Writer, nonce: 1, session: 1, created: 1, ..Writer::default() };
        let database = Database { position, ..Database::default() };
        Self {
            messages: Default::default(),
            orders: 0,
            extras: 0,
            stream: Stream { created: 1, first: 1, ..Stream::default() },
            copy: StreamCopy::default(),
            dead_letters: Default::default(),
            dead_letter_losses: 0,
            drops: Default::default(),
            drop_copies: Default::default(),
            erasures: Default::default(),
            database,
            durable: database,
            transactions: Default::default(),
            processes,
            record: Record::default(),
            budget: world.budget,
        }
    }

    /// The client's message of an order, once it is published.
    pub(crate) fn client_message(&self, order: Order) -> &Message {
        &self.messages[usize::from(order)]
    }

    /// The message that the stream has at a sequence.
    pub(crate) fn message_at(&self, sequence: u8) -> Option<usize> {
        (0..MESSAGES).find(|&n| self.messages[n].stored && self.messages[n].watermark.sequence == sequence)
    }

    /// The next message that the stream has after a sequence.
    pub(crate) fn message_after(&self, sequence: u8) -> Option<usize> {
        let behind = (0..MESSAGES)
            .filter(|&n| self.messages[n].stored && self.messages[n].watermark.sequence > sequence);
        behind.min_by_key(|&n| self.messages[n].watermark.sequence)
    }

    /// Whether a position is in the stream: the same creation time, and the message there has the same time.
    pub(crate) fn is_in_stream(&self, watermark: StreamPosition, created: u8) -> bool {
        if created != self.stream.created {
            return false;
        }
        match watermark {
            StreamPosition { sequence: 0, .. } => true,
            StreamPosition { sequence, time: 0 } => sequence < self.stream.first,
            StreamPosition { sequence, time } => {
                self.message_at(sequence).is_some_and(|message| self.messages[message].watermark.time == time)
            }
        }
    }

    /// The stream once had a message at a sequence, and it is gone.
    pub(crate) fn is_missing(&self, sequence: u8) -> bool {
        sequence <= self.stream.last && self.message_at(sequence).is_none()
    }

    /// Publishes a message.
    pub(crate) fn append(&mut self, number: usize, order: Order, sender: Sender) {
        self.stream.last += 1;
        self.stream.clock += 1;
        let watermark = StreamPosition { sequence: self.stream.last, time: self.stream.clock };
        self.messages[number] = Message { order, sender, watermark, stored: true };
    }

    /// Publishes a replay or a forgery, if the model has a number left.
    pub(crate) fn append_extra(&mut self, order: Order, sender: Sender) -> bool {
        let number = ORDERS + usize::from(self.extras);
        if number >= MESSAGES {
            return false;
        }
        self.extras += 1;
        self.append(number, order, sender);
        true
    }

    /// Stores a dead letter, or replaces the copy that is there.
    pub(crate) fn put_dead_letter(&mut self, process: usize, key: Order) {
        let knows_row = self.processes[process].writer.nonce == self.database.position.nonce;
        self.record.beside_row.remove(key);
        if !knows_row || !self.database.rows[usize::from(key)].is_none() {
            self.record.beside_row.add(key);
        }
        self.dead_letters[usize::from(key)].copy = self.fresh_copy(usize::from(key));
        self.record.refused.add(key);
        self.announce(key);
    }

    /// Views have not seen the latest of what is stored of a key.
    pub(crate) fn announce(&mut self, key: Order) {
        self.processes.iter_mut().for_each(|process| process.view.latest_seen.remove(key));
    }

    fn fresh_copy(&self, key: usize) -> u8 {
        let stored = self.processes.iter().map(|process| process.stored[key]);
        1 + self.read_copies(key).chain(stored).chain([self.dead_letters[key].copy]).max().unwrap_or(0)
    }

    /// Some transaction holds the lock of the position row.
    pub(crate) fn is_locked(&self) -> bool {
        self.transactions.iter().any(|transaction| transaction.phase == Phase::Executed)
    }

    /// Whether the table can still go back, so that it matters what is flushed.
    pub(crate) fn can_go_back(&self) -> bool {
        self.budget.rollbacks + self.budget.row_restores > 0
    }

    /// Whether the table or the dead letters lack something that the position has passed, detectably from the position
    /// row.
    pub(crate) fn has_noticeable_loss(&self) -> bool {
        let position = &self.database.position;
        let last_row_is_gone = (0..ORDERS)
            .any(|order| usize::from(position.last_row) == order + 1 && self.database.rows[order].is_none());
        last_row_is_gone || position.dead_letter_losses != self.dead_letter_losses
    }

    /// Whether the erasure of an order was requested.
    pub(crate) fn is_erased(&self, order: Order) -> bool {
        self.erasures[usize::from(order)] != Erasure::No
    }

    /// A number that no present or past position row has as its nonce.
    pub(crate) fn fresh_nonce(&self) -> u8 {
        let rows = [self.database.position.nonce, self.durable.position.nonce];
        let sent =
            self.transactions.iter().flat_map(|transaction| [transaction.fence.nonce, transaction.nonce]);
        let known = self.processes.iter().map(|process| process.writer.nonce);
        1 + rows.into_iter().chain(sent).chain(known).max().unwrap_or(0)
    }

    fn fresh_session(&self) -> u8 {
        let rows = [self.database.position, self.durable.position];
        let rows = rows.iter().flat_map(|row| [row.session, row.previous_session]);
        let sent = self.transactions.iter().map(|transaction| transaction.session);
        let known = self.processes.iter().flat_map(|process| [process.view.session, process.writer.session]);
        1 + rows.chain(sent).chain(known).max().unwrap_or(0)
    }

    /// The position row gets a new nonce.
    pub(crate) fn change_nonce(&mut self) {
        self.database.position.nonce = self.fresh_nonce();
    }

    /// The position row gets a new session, which views of the previous one may follow.
    pub(crate) fn begin_session(&mut self) {
        let session = self.fresh_session();
        let row = &mut self.database.position;
        row.previous_session = row.session;
        row.session = session;
        row.session_began = row.watermark.sequence;
    }

    /// Excuses orders that neither the stream nor the table nor a dead letter has: the stream has lost the message that
    /// became the order, and the table its row.
    ///
    /// `is_back_before_reset`: the table goes back to a state before its position was set back. There the position may
    /// have passed the message that became the order after that; its dead letter was deleted.
    pub(crate) fn excuse_lost(&mut self, is_back_before_reset: bool) {
        let position = self.database.position.watermark.sequence;
        for order in 0..self.orders {
            let n = usize::from(order);
            let message = &self.messages[n];
            let is_passed = !message.stored || message.watermark.sequence <= position;
            let by = self.dead_letters[n].taken_in_by;
            let is_there = match by {
                0 => message.stored,
                by => self.message_at(by).is_some_and(|named| self.messages[named].order == order),
            };
            let comes_again = is_there && !(is_back_before_reset && by > 0 && by <= position);
            let no_row = self.database.rows[n].is_none();
            if is_passed && !comes_again && no_row && !self.keeps_dead_letter(n) {
                self.record.lost_with_stream.add(order);
            }
        }
    }

    /// There is a dead letter, and no process has read its number to delete it.
    fn keeps_dead_letter(&self, key: usize) -> bool {
        let copy = self.dead_letters[key].copy;
        copy > 0 && !self.read_copies(key).any(|read| read == copy)
    }

    /// The numbers of copies that processes and drops have read, to delete them.
    fn read_copies(&self, key: usize) -> impl Iterator<Item = u8> {
        let of_process = move |process: &Process| {
            let Process { writer, listed, deletes, takes_back, .. } = process;
            [writer.copies[key], listed[key], deletes[key], takes_back[key]]
        };
        let known = self.processes.iter().flat_map(of_process);
        let sent = self.transactions.iter().map(move |transaction| transaction.copies[key]);
        known.chain(sent).chain([self.drop_copies[key]])
    }
}

impl World {
    /// Whether a process can't decode a message.
    pub(crate) fn refuses(&self, process: usize, message: &Message) -> bool {
        message.has_original()
            && match self.kind(message.order) {
                Kind::Malformed => true,
                Kind::NewModelOnly => self.old_model[process],
                _ => false,
            }
    }
}
