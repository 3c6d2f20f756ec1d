//! How the writer commits a batch once its dead letters are stored: rows and position in one transaction, by COPY, or
//! by INSERT if they are few. If PostgreSQL refuses a row, the batch is split.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Instant;

use order::{Key, Reason, Refusal};
use time::OffsetDateTime;

use super::batch::{
    Batch, MAX_ORDERS, RowIndex, count_lost_messages, needs_insert, row_indexes, watermark_behind,
};
use super::connection::{CommitFailure, CommittedBatch, not_answered};
use super::dead_letter_writer::NewDeadLetters;
use super::encode::EncodedRows;
use super::replays::distinct_keys;
use super::writer::{LastPosition, RunningWriter, TermEnd};
use crate::dead_letters::removal::AcceptedLetter;
use crate::flow_state::{TablePosition, Watermark};
use crate::health::Part;
use crate::metrics::Metrics;
use crate::nats::intake_message::Message;
use crate::pipeline_chunks::{RefusedMessage, SkippedMessage};
use crate::postgres::fence::{Fence, FenceValues};
use crate::postgres::position::Position;
use crate::postgres::{self, lease, old_rows};

/// Batches up to this size are written by one INSERT (one round trip), larger ones by COPY (two).
const MAX_INSERT_ROWS: usize = 64;

impl RunningWriter {
    /// Commits a batch, without a time limit.
    pub(super) async fn commit(&mut self, fence: &mut Fence, batch: Batch) -> Result<(), TermEnd> {
        self.answered = self.deps.receipts.answered();
        let Batch { rows: batch, dead_letters, .. } = batch;
        let batch = &batch[..];
        // The position must not pass a dead letter that is not stored.
        let stored = async {
            let mut new = Vec::new();
            for letters in dead_letters {
                new.extend(letters.stored().await);
            }
            new
        };
        let new_letters = self.renewing(fence, self.committed_watermark(), stored).await?;
        self.asks_receipt = batch.iter().any(|rows| rows.orders.asks_receipt());
        self.gaps.extend(batch.iter().flat_map(|rows| rows.orders.gaps.iter().cloned()));
        self.commit_rows(fence, batch).await?;
        for skipped in batch.iter().flat_map(|rows| &rows.orders.skipped) {
            let SkippedMessage { headers, position, key, reason } = skipped;
            self.deps.receipts.skipped(headers.as_ref(), *position, key, *reason, self.answered).await;
        }
        for RefusedMessage { message, refusal } in new_letters.iter().flat_map(NewDeadLetters::iter) {
            self.deps.receipts.refused(message, refusal, self.answered).await;
        }
        self.asks_receipt = false;
        if let Some(traces) = &self.deps.traces {
            let letters = batch
                .iter()
                .flat_map(|rows| rows.orders.refused.iter().map(|letter| (letter, rows.orders.times)));
            traces.refused(letters);
        }
        Ok(())
    }

    /// Commits rows and position, in as many parts as needed.
    async fn commit_rows(&mut self, fence: &mut Fence, batch: &[EncodedRows]) -> Result<(), TermEnd> {
        let deciding = self.rows_decided_otherwise(batch);
        let again = self.renewing(fence, self.committed_watermark(), deciding).await?;
        let all: Vec<_> = row_indexes(batch).into_iter().filter(|row| !again.contains(row)).collect();
        if all.is_empty() {
            return match batch.last() {
                Some(rows) => self.advance(fence, rows.orders.through).await,
                None => Ok(()),
            };
        }
        // Parts still to be written, the next one last.
        let mut open = vec![&all[..]];
        let mut behind = all.len();
        // Computed for each batch: a clock that was ahead may be right again.
        self.expired_before = None;
        while let Some(part) = open.pop() {
            let most = part.len().min(self.max_rows);
            let first = distinct_keys(batch, &part[..most]);
            if first < part.len() {
                let (first, rest) = part.split_at(first);
                open.extend([rest, first]);
                continue;
            }
            let end = behind - part.len();
            let Some(watermark) = watermark_behind(batch, part, &all[all.len() - end..]) else { continue };
            let taken = self.replays_with_taken_keys(batch, part).await?;
            let mut kept = self.without_expired(batch, part);
            if !taken.is_empty() {
                kept.to_mut().retain(|row| !taken.contains(row));
            }
            let accepting = self.accept_dead_letters(batch, &kept);
            let accepted = self.renewing(fence, self.committed_watermark(), accepting).await?;
            let without_notes = self.replays_without_notes(batch, &kept, &accepted);
            if !without_notes.is_empty() {
                kept.to_mut().retain(|row| !without_notes.contains(row));
            }
            if kept.is_empty() {
                self.advance(fence, watermark).await?;
                behind = end;
            } else {
                match self.commit_part(fence, batch, &kept, accepted, watermark).await? {
                    Ok(()) => behind = end,
                    Err(refused) if kept.len() == 1 => {
                        self.refuse(fence, batch, kept[0], refused, watermark).await?;
                        behind = end;
                    }
                    Err(_) => {
                        open.extend(halved_to_isolate_refused_row(part));
                        continue;
                    }
                }
            }
            self.report_taken_keys(batch, &taken).await;
            self.report_without_room(batch, &without_notes).await;
        }
        Ok(())
    }

    /// The rows of a part, without skipped rows that are older than `KEEP`.
    fn without_expired<'p>(&self, batch: &[EncodedRows], part: &'p [RowIndex]) -> Cow<'p, [RowIndex]> {
        let Some(cutoff) = self.expired_before else { return Cow::Borrowed(part) };
        let is_kept = |&&(chunk, row): &&RowIndex| {
            let key = batch[chunk].orders.orders[row].key();
            Key::time_and_sequence(key).is_none_or(|(time, _)| i128::from(time) >= cutoff)
        };
        Cow::Owned(part.iter().filter(is_kept).copied().collect())
    }

    /// Whether an order that PostgreSQL refuses is older than `KEEP`. It would expire at once, so it is skipped, and so
    /// are orders of this batch that are as old.
    async fn is_expired(&mut self, key: &str) -> Result<bool, TermEnd> {
        let (Some(keep), Some((time, _))) = (self.deps.settings.keep, Key::time_and_sequence(key)) else {
            return Ok(false);
        };
        let asked = async {
            let cutoff = old_rows::cutoff(self.client()?, keep);
            self.with_short_timeout(cutoff).await?.map_err(|error| postgres::describe(&error))
        };
        match asked.await {
            Ok(cutoff) if i128::from(time) < cutoff => {
                self.expired_before = Some(cutoff);
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(reason) => Err(self.fail(CommitFailure::Away(reason)).await),
        }
    }

    /// Writes a part of a batch, and removes the dead letters that were accepted.
    async fn commit_part(
        &mut self,
        fence: &mut Fence,
        batch: &[EncodedRows],
        part: &[RowIndex],
        accepted: Vec<AcceptedLetter>,
        watermark: Watermark,
    ) -> Result<Result<(), RefusedPart>, TermEnd> {
        let begun = Instant::now();
        let mut may_copy = part.len() > MAX_INSERT_ROWS && part.len() == row_indexes(batch).len();
        let last_row = self.last_row(batch, part);
        let refused = |detail: String, accepted| Ok(Err(RefusedPart { detail, accepted }));
        loop {
            let copies = may_copy
                && !self.may_be_stored
                && !needs_insert(batch, &self.erased.borrow())
                && self.connection.as_ref().is_some_and(|connection| connection.takes_copy);
            let values = self.fence_values(fence, watermark, last_row);
            let give_up = self.deps.give_up.clone();
            let written = tokio::select! {
                written = self.write(&values, batch, part, copies) => written,
                () = give_up.cancelled() => return Err(TermEnd::Stopped),
            };
            fence.took(begun.elapsed());
            self.lease = fence.lease();
            match written {
                Ok(written) => {
                    let has_last_row = written.position.has_last_row;
                    self.may_be_stored &= written.inserted < part.len() as u64;
                    fence.moved(&values, written.position.ctid);
                    let not_stored = self.keys_not_stored(batch, part, written.inserted).await?;
                    let accepted = self.withdraw(accepted, |key| not_stored.contains(key)).await;
                    let removing = self.remove_dead_letters(accepted);
                    let removed = self.renewing(fence, watermark, removing).await;
                    let rows = (written.inserted, &not_stored);
                    self.committed(fence, batch, part, watermark, rows, begun).await;
                    self.report_not_stored(batch, part, &not_stored).await;
                    removed?;
                    return if has_last_row { Ok(Ok(())) } else { Err(TermEnd::SteppedDown) };
                }
                // INSERT skips existing keys, and refuses the rows that COPY refuses.
                Err(CommitFailure::Stored) if copies => self.may_be_stored = true,
                Err(CommitFailure::Refused(_)) if copies => may_copy = false,
                Err(CommitFailure::NotSupported(_)) if copies => {
                    self.connection.iter_mut().for_each(|connection| connection.takes_copy = false);
                }
                Err(CommitFailure::Stored) if part.len() == 1 => {
                    // A trigger has redirected the row to a table that has its key already.
                    self.advance(fence, watermark).await?;
                    return Ok(Ok(()));
                }
                Err(CommitFailure::Stored) => {
                    return refused("one of the rows is stored already".into(), accepted);
                }
                Err(CommitFailure::Refused(detail)) => return refused(detail, accepted),
                Err(CommitFailure::TimedOut(_)) if part.len() > 1 => {
                    self.max_rows = (part.len() / 2).max(1);
                    tracing::warn!(
                        rows = self.max_rows,
                        "PostgreSQL cancelled a write; writing fewer rows at once"
                    );
                    return refused("cancelled".into(), accepted);
                }
                Err(CommitFailure::Fenced) => self.reread(fence).await?,
                Err(failure) => return Err(self.fail(failure).await),
            }
        }
    }

    /// The id of the last row that is written (erased orders are not). If it is missing later, the table has lost rows.
    fn last_row<'b>(&self, batch: &'b [EncodedRows], part: &[RowIndex]) -> Option<&'b str> {
        let is_watched =
            self.watches_rows && self.connection.as_ref().is_some_and(|connection| connection.keeps_rows);
        let mut ids = part.iter().rev().map(|&(chunk, row)| batch[chunk].orders.orders[row].key());
        let erased = self.erased.borrow();
        ids.find(|id| is_watched && !erased.contains(*id))
    }

    /// The values for the next write, which is on PostgreSQL's disk before a receipt is sent: a crash with
    /// `synchronous_commit=off` would undo it, and the receipt would be sent again.
    fn fence_values(&self, fence: &Fence, watermark: Watermark, last_row: Option<&str>) -> FenceValues {
        fence.values(watermark, last_row, self.messages_lost_up_to(watermark), self.asks_receipt)
    }

    /// The number of lost messages that the position passes when it moves to `watermark`.
    fn messages_lost_up_to(&self, watermark: Watermark) -> u64 {
        let passed = self.gaps.iter().filter(|gap| gap.end <= watermark.seq + 1);
        passed.map(|gap| count_lost_messages(gap, &self.erased.borrow())).sum()
    }

    /// Moves the position over messages that make no row, or only renews the lease.
    pub(super) async fn advance(&mut self, fence: &mut Fence, watermark: Watermark) -> Result<(), TermEnd> {
        loop {
            let begun = Instant::now();
            let values = self.fence_values(fence, watermark, None);
            let give_up = self.deps.give_up.clone();
            let passed = tokio::select! {
                passed = self.advance_once(&values) => passed,
                () = give_up.cancelled() => return Err(TermEnd::Stopped),
            };
            // Not shorter: the next batch may take as long as the last one.
            if lease::duration(begun.elapsed()) > fence.lease() {
                fence.took(begun.elapsed());
                self.lease = fence.lease();
            }
            match passed {
                Ok(written) => {
                    let has_last_row = written.position.has_last_row;
                    fence.moved(&values, written.position.ctid);
                    self.moved(fence, watermark);
                    self.deps.receipts.note_answered(watermark);
                    return if has_last_row { Ok(()) } else { Err(TermEnd::SteppedDown) };
                }
                Err(CommitFailure::Fenced) => self.reread(fence).await?,
                Err(failure) => return Err(self.fail(failure).await),
            }
        }
    }

    async fn write(
        &mut self,
        values: &FenceValues,
        batch: &[EncodedRows],
        part: &[RowIndex],
        copies: bool,
    ) -> Result<CommittedBatch, CommitFailure> {
        let connection = self.connection().map_err(CommitFailure::Away)?;
        if self.run.is_some_and(|run| run.format != connection.format) {
            return Err(CommitFailure::Away("the type of the column data was changed".into()));
        }
        if copies {
            self.finished(connection.copy(values, batch)).await
        } else {
            self.finished(connection.insert(values, batch, part)).await
        }
    }

    async fn advance_once(&mut self, values: &FenceValues) -> Result<CommittedBatch, CommitFailure> {
        let connection = self.connection().map_err(CommitFailure::Away)?;
        self.finished(connection.advance_position(values)).await
    }

    /// Waits for a statement, and reports PostgreSQL down if it is slow.
    async fn finished(
        &self,
        statement: impl Future<Output = Result<CommittedBatch, CommitFailure>>,
    ) -> Result<CommittedBatch, CommitFailure> {
        let Some(connection) = &self.connection else {
            return Err(CommitFailure::Away("not connected".into()));
        };
        let slow = || self.deps.health.down(Part::Postgres, not_answered("a write", &connection.inner));
        let result = postgres::finished_or_cancelled(&connection.inner, statement, slow).await;
        result.map_err(|abandoned| CommitFailure::Away(abandoned.to_string()))?
    }

    /// Handles a failure: reports what is down, and backs off. It is unknown whether the write was committed, so the
    /// process rereads the position's row and begins a new session.
    pub(super) async fn fail(&mut self, failure: CommitFailure) -> TermEnd {
        let reason = match failure {
            CommitFailure::Away(reason)
            | CommitFailure::Refused(reason)
            | CommitFailure::NotSupported(reason)
            | CommitFailure::TimedOut(reason) => reason,
            CommitFailure::Fenced | CommitFailure::Stored => return TermEnd::SteppedDown,
        };
        let connection = self.connection.take();
        // A connection lost by the network is not a refusal.
        self.is_refused = connection.is_none_or(|connection| !connection.inner.was_lost());
        self.deps.health.down(Part::Postgres, reason);
        tokio::select! {
            () = self.backoff.wait() => TermEnd::SteppedDown,
            () = self.deps.stop.cancelled() => TermEnd::Stopped,
        }
    }

    /// The fence did not match. An erasure, or an operator resetting the count of lost messages, changes the row but
    /// neither session nor position: then writing continues, with the new erased keys. If the lease has expired, this
    /// process has to take it again, as any other.
    async fn reread(&mut self, fence: &mut Fence) -> Result<(), TermEnd> {
        let give_up = self.deps.give_up.clone();
        let read = tokio::select! {
            read = self.read_again() => read,
            () = give_up.cancelled() => return Err(TermEnd::Stopped),
        };
        let found = match read {
            Ok(found) => found,
            Err(reason) => return Err(self.fail(CommitFailure::Away(reason)).await),
        };
        let is_as_left = |found: &Position, seen: LastPosition| {
            found.session == fence.session && found.session == seen.session && found.seq == seen.seq
        };
        match (found, self.seen) {
            (Some(found), Some(seen)) if is_as_left(&found, seen) && found.is_free => {
                tracing::info!("the lease has expired; this process takes it again");
                Err(TermEnd::SteppedDown)
            }
            (Some(found), Some(seen)) if is_as_left(&found, seen) => {
                *fence = Fence::of(&found, fence.lease());
                // An operator may have reset the count.
                self.note_messages_lost(found.messages_lost);
                Ok(())
            }
            (found, _) => {
                let writer = found.and_then(|found| found.writer);
                tracing::info!(writer, "the position's row was changed; this process reads it again");
                Err(TermEnd::SteppedDown)
            }
        }
    }

    /// Reads the row, and the keys of erased orders.
    async fn read_again(&mut self) -> Result<Option<Position>, String> {
        let stream = self.stream.clone().ok_or("no stream")?;
        let found = self.read(&self.key(&stream)).await?;
        self.read_erased().await?;
        Ok(found)
    }

    /// Records that the position is at `watermark`.
    fn moved(&mut self, fence: &Fence, watermark: Watermark) {
        self.backoff.reset();
        self.is_refused = false;
        self.deps.health.up(Part::Postgres);
        let lost = self.messages_lost_up_to(watermark);
        if lost > 0 {
            tracing::error!(
                lost,
                "messages left the stream before they were read; the position passes over them"
            );
        }
        self.gaps.retain(|gap| gap.end > watermark.seq + 1);
        self.end_warning_of_rows();
        self.note_messages_lost(self.messages_lost + lost);
        self.seen = Some(LastPosition { session: fence.session, seq: watermark.seq, is_own_form: true });
        self.deps.cache.note_committed(watermark.seq);
        self.deps.metrics.position.set(watermark.seq.cast_signed());
        let writer = Some(self.name.clone());
        let table = TablePosition { watermark, session: fence.session, writer, is_self: true };
        self.deps.flow_state.table.send_replace(Some(table));
    }

    /// Records that rows and position are committed: the number of new rows, and the keys that the table lacks.
    async fn committed(
        &mut self,
        fence: &Fence,
        batch: &[EncodedRows],
        part: &[RowIndex],
        watermark: Watermark,
        (inserted, not_stored): (u64, &HashSet<String>),
        begun: Instant,
    ) {
        let metrics = self.deps.metrics.clone();
        metrics.commit.observe(begun.elapsed().as_secs_f64());
        metrics.written.inc_by(inserted);
        metrics.batch.observe(part.len() as f64);
        if let Some(traces) = &self.deps.traces {
            let rows = part.iter().map(|&(chunk, row)| {
                let orders = &batch[chunk].orders;
                (&orders.messages[row], orders.times)
            });
            traces.committed(rows, begun.elapsed());
        }
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
        let messages = part.iter().map(|&(chunk, row)| &batch[chunk].orders.messages[row]);
        observe_ages(
            &metrics,
            messages.clone().map(|message| now - i128::from(message.position.timestamp_ns)),
        );
        self.moved(fence, watermark);
        // An erased order was not written.
        let erased = self.erased.subscribe();
        let written = messages.filter(|message| {
            let key = message.key.as_str();
            !not_stored.contains(key) && !erased.borrow().contains(key)
        });
        // Not the present state: the lease may have been renewed, at this position, since the commit.
        self.deps.receipts.committed(written, self.answered).await;
        self.deps.receipts.note_answered(watermark);
        if part.len() == self.max_rows {
            // A batch has only slightly more than `MAX_ORDERS`, so it is written whole again.
            self.max_rows = if self.max_rows < MAX_ORDERS { self.max_rows * 2 } else { usize::MAX };
        }
    }

    /// Removes the order from memory and turns its message into a dead letter, unless it is older than `KEEP`.
    async fn refuse(
        &mut self,
        fence: &mut Fence,
        batch: &[EncodedRows],
        (chunk, row): RowIndex,
        RefusedPart { detail, accepted }: RefusedPart,
        watermark: Watermark,
    ) -> Result<(), TermEnd> {
        let message = batch[chunk].orders.messages[row].clone();
        if self.is_expired(message.key.as_str()).await? {
            return self.advance(fence, watermark).await;
        }
        // Once the position has passed it, followers find no row in the table, and remove it from memory.
        self.deps.in_doubt.add(message.key.as_str(), message.position.sequence);
        let refusal = Refusal { reason: Reason::RefusedByDatabase, detail, path: None, offset: None };
        let letter = RefusedMessage { message, refusal };
        let dead_letters = self.dead_letters.clone();
        let is_new = self.renewing(fence, self.committed_watermark(), dead_letters.store(&letter)).await?;
        self.withdraw(accepted, |_| true).await;
        self.advance(fence, watermark).await?;
        if is_new {
            self.deps.receipts.refused(&letter.message, &letter.refusal, self.answered).await;
        }
        if let Some(traces) = &self.deps.traces {
            traces.refused(std::iter::once((&letter, batch[chunk].orders.times)));
        }
        Ok(())
    }
}

/// The message of a row.
pub(super) fn message_of(batch: &[EncodedRows], (chunk, row): RowIndex) -> &Message {
    &batch[chunk].orders.messages[row]
}

/// A part that was not written: PostgreSQL refuses one of its rows.
struct RefusedPart {
    detail: String,
    accepted: Vec<AcceptedLetter>,
}

/// Halves a part with a refused row until that row is isolated. The half to write first is last.
fn halved_to_isolate_refused_row(part: &[RowIndex]) -> [&[RowIndex]; 2] {
    let (first, rest) = part.split_at(part.len() / 2);
    [rest, first]
}

/// Observes how long ago messages were stored, in nanoseconds. If the clock of NATS is ahead, some were stored in the
/// future: a negative observation would decrease the sum, and break rates.
fn observe_ages(metrics: &Metrics, ages: impl Iterator<Item = i128>) {
    // Added to the shared histogram on drop, not for each order.
    let latency = metrics.latency.local();
    let mut least = 0;
    for age in ages {
        least = age.min(least);
        latency.observe(age.max(0) as f64 / 1e9);
    }
    metrics.clock_skew.set(least.unsigned_abs() as f64 / 1e9);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_of_nats_that_is_ahead_makes_no_negative_observation_but_a_skew() {
        let metrics = Metrics::new().unwrap();
        let second = 1_000_000_000;
        observe_ages(&metrics, [second, -2 * second, -second, 0].into_iter());
        let (sum, count) = (metrics.latency.get_sample_sum(), metrics.latency.get_sample_count());
        assert_eq!((sum, count, metrics.clock_skew.get()), (1.0, 4, 2.0));
        observe_ages(&metrics, [second].into_iter());
        assert_eq!((metrics.latency.get_sample_sum(), metrics.clock_skew.get()), (2.0, 0.0));
    }
}
