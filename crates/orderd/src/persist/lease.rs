//! How a process becomes the writer: it reads the position's row until the lease is free, and takes the lease.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::batch::count_lost_messages;
use super::connection::{WriterConnection, not_answered};
use super::encode::EncodedRows;
use super::writer::{LIST_TIMEOUT, LastPosition, RunningWriter};
use crate::aligned_interval;
use crate::fill_progress::ModelFit;
use crate::flow_state::{ProblemReport, RunProblem, StreamIdentity, StreamRun, TablePosition};
use crate::health::Part;
use crate::postgres::fence::Fence;
use crate::postgres::lease::{self, SessionStart, TakenLease};
use crate::postgres::position::{self, Position, PositionKey};
use crate::postgres::{self, Abandoned, Connection, LONG_TIMEOUT, SHORT_TIMEOUT, describe};

/// Interval at which a follower reads the position, and so the delay until it sees that the lease is free.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);

/// If the last row is missing twice within this time, something deletes new rows.
pub(super) const ROW_LOSS_WINDOW: Duration = Duration::from_secs(600);

impl RunningWriter {
    /// Follows another writer's position until this process has the lease; `None` when the service stops.
    pub(super) async fn follow_until_leased(
        &mut self,
        gobchan: &mut mpsc::Receiver<EncodedRows>,
    ) -> Option<Fence> {
        let mut problems = self.deps.flow_state.problem.subscribe();
        let mut streams = self.deps.flow_state.stream.subscribe();
        let mut model_fits = self.deps.progress.model_fit.subscribe();
        loop {
            let give_up = self.deps.give_up.clone();
            let looked = tokio::select! {
                looked = self.take_if_free() => looked,
                () = give_up.cancelled() => return None,
            };
            let pause = match looked {
                Ok(Some(fence)) => return Some(fence),
                Ok(None) => aligned_interval::moment(FOLLOW_INTERVAL) - tokio::time::Instant::now(),
                Err(reason) => {
                    self.connection = None;
                    self.deps.health.down(Part::Postgres, reason);
                    self.backoff.next()
                }
            };
            let pause = tokio::time::sleep(pause);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    // Rows of an earlier run, in which this process was the writer.
                    rows = gobchan.recv() => drop(rows?),
                    () = &mut pause => break,
                    _ = streams.changed() => break,
                    _ = problems.changed() => break,
                    _ = model_fits.changed() => break,
                }
            }
        }
    }

    /// Reads the position, and takes the lease if it is free.
    async fn take_if_free(&mut self) -> Result<Option<Fence>, String> {
        self.open().await?;
        let Some(stream) = self.deps.flow_state.stream.borrow().clone() else {
            // Without a stream there is no position to read; check only that PostgreSQL responds.
            let asked = self.client()?.batch_execute("");
            self.with_short_timeout(asked).await?.map_err(|error| describe(&error))?;
            self.deps.health.up(Part::Postgres);
            return Ok(None);
        };
        let key = self.key(&stream);
        self.stream = Some(stream.clone());
        let found = self.read_or_add(&key, &stream).await?;
        let report = self.problem_report(&found);
        if let Some(why) = self.stale_memory_reason(&found, report) {
            self.begin_generation(why);
        }
        let is_ours = found.writer.as_deref() == Some(&self.name);
        let model_fit = self.model_fit(&found);
        if (found.is_free || is_ours) && model_fit == ModelFit::Fits && self.may_write() {
            if self.rereads_erased || !found.has_last_row {
                self.read_erased_in_nats().await;
            }
            let taken = self.take_lease(&key, &stream, &found, report).await;
            return match taken {
                Ok(TakenLease::Taken(begun)) => {
                    let (fence, begun) = *begun;
                    self.begin_term(&begun);
                    Ok(Some(fence))
                }
                Ok(TakenLease::ByAnother) => Ok(None),
                // Meanwhile orders are read into memory.
                Ok(TakenLease::Locked(holders)) => {
                    self.follow(&found);
                    self.deps.health.down(
                        Part::Postgres,
                        format!(
                            "no process can write: another session holds a lock on {} (pid {holders})",
                            position::NAME
                        ),
                    );
                    Ok(None)
                }
                Err(reason) => {
                    self.follow(&found);
                    Err(reason)
                }
            };
        }
        if !is_ours {
            if !found.is_free {
                // The writer counts what the stream has lost.
                self.deps.flow_state.vanished.send_replace(None);
            }
            // The writer must write what this process could not.
            self.is_refused = false;
        }
        let waits_for_fill = found.is_free && model_fit == ModelFit::Unknown;
        if !self.is_refused && !waits_for_fill {
            self.deps.health.up(Part::Postgres);
        }
        self.follow(&found);
        Ok(None)
    }

    /// Whether the model fits the table. Until enough rows were read, the model of the last writer is assumed to fit.
    fn model_fit(&self, found: &Position) -> ModelFit {
        match *self.deps.progress.model_fit.borrow() {
            ModelFit::Unknown if found.model.as_ref() == Some(&self.model) => ModelFit::Fits,
            known => known,
        }
    }

    /// Reads the stream from the position on, which another process moves.
    fn follow(&mut self, found: &Position) {
        // A lease that has ended names who had it.
        self.publish(found, found.writer.clone().filter(|_| !found.is_free));
        // If the position is not in the stream, the writer moves it; until then there is nothing to read.
        let goes_on = |run: StreamRun| {
            !run.writes
                && run.generation == self.generation
                && self.connection.as_ref().is_some_and(|it| it.format == run.format)
                && run.own_form_after == self.own_form_after(found)
        };
        if !self.run.is_some_and(goes_on) {
            self.begin_run(found, false);
        }
    }

    async fn read_or_add(&self, key: &PositionKey, stream: &StreamIdentity) -> Result<Position, String> {
        if let Some(found) = self.read(key).await? {
            return Ok(found);
        }
        // Messages that left the stream before the first position are not lost.
        let seq = stream.acknowledged.max(stream.beginning());
        let add = position::add(self.client()?, key, stream.created, seq);
        self.with_short_timeout(add).await?.map_err(|error| describe(&error))?;
        self.read(key).await?.ok_or_else(|| "the row of orderd_position is gone".into())
    }

    /// Takes the lease. The session begins at the position, unless stream or table show that the position is wrong.
    async fn take_lease(
        &mut self,
        key: &PositionKey,
        stream: &StreamIdentity,
        found: &Position,
        report: Option<ProblemReport>,
    ) -> Result<TakenLease, String> {
        self.read_erased().await?;
        let dead_created = *self.deps.dead_letters.created.borrow();
        let start = self.session_start(stream, found, report, dead_created);
        let noted = *self.deps.flow_state.vanished.borrow();
        let vanished = noted
            .map_or(0, |vanished| count_lost_messages(&vanished.behind(found.seq), &self.erased.borrow()));
        let writer = (self.name.as_str(), self.model.as_str(), self.lease);
        let begun = Instant::now();
        let taken = lease::take_lease(self.client()?, key, found, writer, start, dead_created, vanished);
        let taken = timeout(LONG_TIMEOUT, self.inner()?.watched(taken)).await;
        let taken = taken.map_err(|_| Abandoned::TimedOut.to_string())?;
        let taken = taken.map_err(|error| describe(&error))?;
        // A lease that has expired once it is taken could never be used.
        self.lease = lease::duration(begun.elapsed());
        if !matches!(taken, TakenLease::Taken(_)) {
            return Ok(taken);
        }
        // Losses that `fetch` has recorded since then are counted when the lease is taken next.
        self.deps.flow_state.vanished.send_if_modified(|now| {
            let is_counted = now.is_some() && *now == noted;
            if is_counted {
                *now = None;
            }
            is_counted
        });
        if vanished > 0 {
            tracing::error!(
                lost = vanished,
                "messages left the stream before they were read: it went back to an earlier state"
            );
        }
        if !found.has_last_row {
            self.rows_lost_at = Some(Instant::now());
        }
        if start.is_some() {
            self.begin_generation("the position was moved");
        }
        Ok(taken)
    }

    /// Begins the term as the writer.
    fn begin_term(&mut self, begun: &Position) {
        if !self.is_refused {
            self.deps.health.up(Part::Postgres);
        }
        self.publish(begun, Some(self.name.clone()));
        self.begin_run(begun, true);
    }

    /// Where the new session begins, if not at the position.
    fn session_start(
        &mut self,
        stream: &StreamIdentity,
        found: &Position,
        report: Option<ProblemReport>,
        dead_created: Option<i64>,
    ) -> Option<SessionStart> {
        let beginning = SessionStart {
            seq: stream.beginning(),
            stream_created: stream.created,
            gap_end: 0,
            messages_lost: 0,
        };
        let problem = report.filter(|report| report.at_position).map(|report| report.problem);
        let has_lost_rows = !found.has_last_row && self.watches_rows();
        let lacks_noted_rows = std::mem::take(&mut self.lacks_noted_rows);
        let has_lost_letters =
            found.dead_created.is_some_and(|known| dead_created.is_some_and(|now| now != known));
        let why = match problem {
            Some(RunProblem::Purged) => {
                // On a stream with other subjects, some of these were not orders.
                let lost = count_lost_messages(&(found.seq + 1..beginning.seq + 1), &self.erased.borrow());
                tracing::error!(
                    lost,
                    after = found.seq,
                    "messages left the stream before they were read; the position passes over them"
                );
                return Some(SessionStart { gap_end: beginning.seq, messages_lost: lost, ..beginning });
            }
            Some(RunProblem::Replaced) => "the stream was recreated or restored",
            None if has_lost_rows => "the table lacks the row that was written last",
            None if lacks_noted_rows => "the table lacks documents that were accepted",
            None if has_lost_letters => "the stream of dead letters was recreated",
            None if found.gap_end > 0 && found.gap_end >= stream.first => {
                "the stream has messages again that it did not have"
            }
            None => return None,
        };
        tracing::warn!(stream = stream.name, why, "reading the stream again from its beginning");
        // Keys contain a message's time, so nothing is stored twice.
        self.may_be_stored = true;
        Some(beginning)
    }

    /// Whether a missing last row means that the table lost rows. If rows keep disappearing, something else deletes
    /// them, and reading the stream again each time would never end.
    fn watches_rows(&mut self) -> bool {
        let is_again = self.rows_lost_at.is_some_and(|at| at.elapsed() < ROW_LOSS_WINDOW);
        if is_again && self.watches_rows {
            let table = self.deps.settings.postgres.table.to_string();
            tracing::warn!(
                table,
                "the row that was written last is gone again: something deletes new rows, so this process \
                 can't detect lost rows"
            );
            self.watches_rows = false;
        }
        self.watches_rows
    }

    /// A process that can't read the stream does not take the lease.
    fn may_write(&self) -> bool {
        self.deps.health.is_up(Part::Nats) && !self.deps.stop.is_cancelled()
    }

    /// Reads the keys of erased orders.
    pub(super) async fn read_erased(&mut self) -> Result<(), String> {
        let keys = postgres::erased_keys(self.client()?, &self.deps.settings.postgres.table);
        let keys = self.with_short_timeout(keys).await?;
        let mut keys = keys.map_err(|error| describe(&error))?;
        keys.extend(self.erased_in_nats.iter().cloned());
        self.erased.send_replace(keys);
        Ok(())
    }

    /// Reads the erased keys that are recorded in NATS: a table that was restored lacks some, and their messages, which
    /// are gone from the stream, are not lost.
    async fn read_erased_in_nats(&mut self) {
        let asked = timeout(LIST_TIMEOUT, self.deps.dead_letters.erased()).await;
        match asked.map_err(anyhow::Error::from).flatten() {
            Ok(keys) => (self.erased_in_nats, self.rereads_erased) = (keys, false),
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "can't list the erased keys in NATS: after a restore, erased messages may count as lost"
                );
            }
        }
    }

    /// Why memory may have orders that table and stream no longer have; `None` if it has none.
    fn stale_memory_reason(&self, found: &Position, report: Option<ProblemReport>) -> Option<&'static str> {
        if report.is_some_and(|report| !report.at_position) {
            return Some("the stream lacks messages that were read from it");
        }
        let seen = self.seen?;
        // Orders beyond the position are in memory as this process reads them, if the writer had the same model.
        if seen.is_own_form && !self.is_own_form(found) {
            return Some("the writer has another model");
        }
        let read_up_to = seen.seq.max(self.deps.flow_state.looked_up_at());
        let goes_on = if found.session == seen.session {
            found.seq >= read_up_to
        } else {
            found.previous_session == Some(seen.session) && found.session_began >= read_up_to
        };
        (!goes_on).then_some("the table's position went back")
    }

    /// Whether the writer accepts the same documents as this process, and writes the same rows of them.
    fn is_own_form(&self, found: &Position) -> bool {
        found.model.as_ref().is_none_or(|model| *model == self.model)
    }

    /// The message after which that is true.
    fn own_form_after(&self, found: &Position) -> Option<u64> {
        self.is_own_form(found).then_some(self.own_form_after)
    }

    /// Why `fetch` can't continue the current run.
    fn problem_report(&self, found: &Position) -> Option<ProblemReport> {
        let run = self.run?;
        let report = self.deps.flow_state.problem.borrow().filter(|report| report.run == run.id)?;
        Some(ProblemReport { at_position: report.at_position && run.after == found.watermark(), ..report })
    }

    /// Whether `fetch` can't continue the current run.
    pub(super) fn has_problem(&self) -> bool {
        let problem = *self.deps.flow_state.problem.borrow();
        problem.is_some_and(|report| self.run.is_some_and(|run| run.id == report.run))
    }

    /// Discards memory, which may have orders that the table lost. The table is read again once a run has begun.
    fn begin_generation(&mut self, why: &'static str) {
        tracing::warn!(why, "filling memory again from the table");
        self.deps.metrics.restarts.inc();
        self.generation += 1;
        self.rereads_erased = true;
        self.may_be_stored |= self.seen.take().is_some();
        self.own_form_after = 0;
        self.deps.flow_state.take_looked_up_at();
        self.deps.health.down(Part::Fill, why);
        self.deps.cache.begin_generation(self.generation);
        self.deps.progress.invalidate();
    }

    fn begin_run(&mut self, found: &Position, writes: bool) {
        let before = self.run.filter(|run| run.generation == self.generation);
        let after = found.watermark();
        let run = StreamRun {
            id: self.run.map_or(1, |run| run.id + 1),
            generation: self.generation,
            memory_after: before.map_or(after, |run| run.memory_after),
            after,
            stream_created: found.stream_created,
            writes,
            format: self.connection.as_ref().map(|connection| connection.format).unwrap_or_default(),
            own_form_after: self.own_form_after(found),
        };
        self.gaps.clear();
        let is_first = self.run.replace(run).is_none();
        self.deps.cache.begin_run(found.seq);
        self.deps.flow_state.run.send_replace(Some(run));
        if is_first {
            self.deps.progress.placed();
        }
        let begins_again = before.is_none() && self.generation > 0;
        if begins_again {
            self.deps.progress.request_refill();
        }
    }

    /// Publishes the position to all stages.
    fn publish(&mut self, found: &Position, writer: Option<String>) {
        if self.seen.is_some_and(|seen| seen.session != found.session) {
            self.deps.flow_state.take_looked_up_at();
        }
        let is_own_form = self.is_own_form(found);
        if is_own_form && self.seen.is_some_and(|seen| !seen.is_own_form) {
            // This process may not have read all messages that the other writer has passed.
            self.own_form_after = found.session_began;
        }
        self.seen = Some(LastPosition { session: found.session, seq: found.seq, is_own_form });
        self.note_messages_lost(found.messages_lost);
        self.end_warning_of_rows();
        self.deps.cache.note_committed(found.seq);
        self.deps.receipts.reads_stream(found.stream_created);
        self.deps.receipts.note_answered_by_others(found.watermark());
        let is_self = writer.as_deref() == Some(&self.name);
        self.deps.metrics.position.set(found.seq.cast_signed());
        self.deps.metrics.writes.set(is_self.into());
        let table = TablePosition { watermark: found.watermark(), session: found.session, writer, is_self };
        self.deps.flow_state.table.send_replace(Some(table));
    }

    /// Records the number of messages lost since the position's row was created.
    pub(super) fn note_messages_lost(&mut self, lost: u64) {
        self.messages_lost = lost;
        self.deps.metrics.set_messages_lost(lost);
    }

    pub(super) fn key(&self, stream: &StreamIdentity) -> PositionKey {
        PositionKey {
            table: self.deps.settings.postgres.table.clone(),
            stream: stream.name.clone(),
            topic: self.deps.settings.nats.topic.clone(),
        }
    }

    pub(super) async fn read(&self, key: &PositionKey) -> Result<Option<Position>, String> {
        let read = position::read(self.client()?, key);
        let found = self.with_short_timeout(read).await?.map_err(|error| describe(&error))?;
        if let Some(found) = &found {
            self.deps.settings.postgres.identity.note(key, found.stream_created);
        }
        Ok(found)
    }

    pub(super) fn client(&self) -> Result<&tokio_postgres::Client, String> {
        Ok(&self.inner()?.client)
    }

    fn inner(&self) -> Result<&Connection, String> {
        Ok(&self.connection()?.inner)
    }

    /// A term ends with its connection: meanwhile PostgreSQL may have failed over to a server that lacks the latest
    /// writes, in which the position looks as this process has left it.
    pub(super) fn connection(&self) -> Result<&WriterConnection, String> {
        let connection = self.connection.as_ref().ok_or("not connected")?;
        if connection.inner.client.is_closed() {
            Err("the connection was lost".into())
        } else {
            Ok(connection)
        }
    }

    /// Runs a query that is normally fast, with a short time limit.
    pub(super) async fn with_short_timeout<T>(&self, query: impl Future<Output = T>) -> Result<T, String> {
        let answered = tokio::time::timeout(SHORT_TIMEOUT, self.inner()?.watched(query)).await;
        answered.map_err(|_| match self.inner() {
            Ok(connection) => not_answered("a query", connection),
            Err(reason) => reason,
        })
    }

    async fn open(&mut self) -> Result<(), String> {
        if self.connection.as_ref().is_some_and(|connection| connection.inner.client.is_closed()) {
            self.connection = None;
        }
        if self.connection.is_none() {
            let health = self.deps.health.clone();
            let slow = |reason| health.down(Part::Postgres, reason);
            let opened = WriterConnection::open(&self.deps.settings.postgres, slow).await;
            self.connection = Some(opened.map_err(|error| error.to_string())?);
        }
        Ok(())
    }
}
