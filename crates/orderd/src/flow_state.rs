//! State that the stages of the flow share: the stream, the table's position, and the run.
//!
//! `fetch` publishes which stream it reads, and reports why it can't continue. `writer` reads `orderd_position`, takes
//! the lease when it is free, and starts runs: passes over the stream from the position on.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use order::RowFormat;
use tokio::sync::watch;

/// A sequence up to which everything in the stream is committed (the position), or read (a chunk).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Watermark {
    pub(crate) seq: u64,
    /// Microseconds since 1970 of the message at `seq`.
    pub(crate) time: Option<i64>,
}

/// Sequences that the stream no longer had when they were to be read.
pub(crate) type Gap = Range<u64>;

/// The stream that orders are read from, as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamIdentity {
    pub(crate) name: String,
    /// Microseconds since 1970.
    pub(crate) created: i64,
    /// The first sequence that it has, or will have.
    pub(crate) first: u64,
    /// Up to where the durable consumer of an earlier version has acknowledged everything; 0 without such a consumer.
    pub(crate) acknowledged: u64,
}

impl StreamIdentity {
    /// The watermark before its first message.
    pub(crate) fn beginning(&self) -> u64 {
        self.first.saturating_sub(1)
    }
}

/// A pass over the stream, starting just after `after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamRun {
    /// Unique within this process.
    pub(crate) id: u64,
    /// The memory that it fills. A new generation begins with an empty memory.
    pub(crate) generation: u64,
    /// The position at which that generation began. The table is read into memory only after this position is known, so
    /// that table and stream leave no gap between them.
    pub(crate) memory_after: Watermark,
    /// The table's position at the beginning of the run. The writer writes the messages after it.
    pub(crate) after: Watermark,
    /// The creation time of the stream that the position is of, in microseconds since 1970.
    pub(crate) stream_created: i64,
    /// Whether this process is the writer.
    pub(crate) writes: bool,
    /// The form of the table's rows, and so of the orders in memory.
    pub(crate) format: RowFormat,
    /// After this message, the writer's model is this process's model. `None`: the writer has another model.
    pub(crate) own_form_after: Option<u64>,
}

impl StreamRun {
    /// Whether the row of this message equals what this process would write. Otherwise memory gets the order from the
    /// table, once the position has passed it.
    pub(crate) fn is_own_form(&self, sequence: u64) -> bool {
        self.own_form_after.is_some_and(|after| sequence > after)
    }
}

/// The table's position and its writer, as this process last read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TablePosition {
    pub(crate) watermark: Watermark,
    /// The writer's session.
    pub(crate) session: i64,
    pub(crate) writer: Option<String>,
    /// Whether this process is the writer.
    pub(crate) is_self: bool,
}

/// How far this process has read the stream, and the number of messages after that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadProgress {
    pub(crate) seq: u64,
    /// Messages of the topic that lie after it.
    pub(crate) pending: u64,
}

/// Why a run can't continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunProblem {
    /// The stream is not the one of the position, or lacks the message that was read last: it was recreated or
    /// restored.
    Replaced,
    /// Messages left the stream before they were read.
    Purged,
}

/// Messages that this process has read and that a stream that went back to an earlier state lacks: those after `kept`,
/// up to `read`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VanishedRange {
    pub(crate) kept: u64,
    pub(crate) read: u64,
}

impl VanishedRange {
    /// The messages of these that a table with position `seq` does not have either.
    pub(crate) fn behind(self, seq: u64) -> Gap {
        self.kept.max(seq).min(self.read) + 1..self.read + 1
    }
}

/// A problem of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProblemReport {
    /// The run's number.
    pub(crate) run: u64,
    pub(crate) problem: RunProblem,
    /// Whether it refers to the position, and not only to messages read beyond it.
    pub(crate) at_position: bool,
}

/// State that `fetch`, `writer` and `doubt_resolver` share.
pub(crate) struct FlowState {
    pub(crate) stream: watch::Sender<Option<StreamIdentity>>,
    pub(crate) table: watch::Sender<Option<TablePosition>>,
    pub(crate) run: watch::Sender<Option<StreamRun>>,
    pub(crate) problem: watch::Sender<Option<ProblemReport>>,
    pub(crate) read_progress: watch::Sender<ReadProgress>,
    /// Read messages that the stream has lost, until they are counted.
    pub(crate) vanished: watch::Sender<Option<VanishedRange>>,
    /// The highest position at which `doubt_resolver` has looked up rows in the session that this process follows.
    looked_up_at: AtomicU64,
}

impl Default for FlowState {
    fn default() -> Self {
        Self {
            stream: watch::Sender::new(None),
            table: watch::Sender::new(None),
            run: watch::Sender::new(None),
            problem: watch::Sender::new(None),
            read_progress: watch::Sender::new(ReadProgress::default()),
            vanished: watch::Sender::new(None),
            looked_up_at: AtomicU64::new(0),
        }
    }
}

impl FlowState {
    /// The sequence up to which the table is complete; 0 while unknown.
    pub(crate) fn position(&self) -> u64 {
        self.table.borrow().as_ref().map_or(0, |table| table.watermark.seq)
    }

    /// The sequence up to which the table is complete; `None` while it is not known for the stream that is there now.
    pub(crate) fn position_in_stream(&self) -> Option<u64> {
        let created = self.stream.borrow().as_ref()?.created;
        self.run.borrow().filter(|run| run.stream_created == created)?;
        Some(self.table.borrow().as_ref()?.watermark.seq)
    }

    /// Number of the topic's messages after the table's position; `None` while unknown.
    pub(crate) fn lag(&self) -> Option<u64> {
        let seq = self.table.borrow().as_ref()?.watermark.seq;
        let read = *self.read_progress.borrow();
        Some(read.pending + read.seq.saturating_sub(seq))
    }

    /// The name of the stream; empty while it is not known.
    pub(crate) fn stream_name(&self) -> String {
        self.stream.borrow().as_ref().map_or_else(String::new, |stream| stream.name.clone())
    }

    /// Notes that rows were looked up in this session, when the position was at `seq`. `false`: this process follows
    /// another session.
    pub(crate) fn note_lookup(&self, session: i64, seq: u64) -> bool {
        let is_followed = self.table.borrow().as_ref().is_some_and(|table| table.session == session);
        if is_followed {
            self.looked_up_at.fetch_max(seq, Ordering::AcqRel);
        }
        is_followed
    }

    /// Returns and resets the highest position at which rows were looked up, when a new session begins.
    pub(crate) fn take_looked_up_at(&self) -> u64 {
        self.looked_up_at.swap(0, Ordering::AcqRel)
    }

    /// The highest position at which rows were looked up in the session that this process follows.
    pub(crate) fn looked_up_at(&self) -> u64 {
        self.looked_up_at.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vanished_messages_are_those_behind_what_table_and_stream_have() {
        let vanished = VanishedRange { kept: 10, read: 30 };
        assert_eq!(vanished.behind(5), 11..31);
        assert_eq!(vanished.behind(25), 26..31);
        assert!(vanished.behind(31).is_empty());
    }
}
