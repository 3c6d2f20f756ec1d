//! How the writer treats replays, and messages that were refused before: which of them become orders, and when their
//! dead letters go.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use order::Key;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use super::batch::{RowIndex, row_indexes};
use super::connection::CommitFailure;
use super::encode::EncodedRows;
use super::lease::ROW_LOSS_WINDOW;
use super::writer::{RunningWriter, TermEnd};
use crate::dead_letters::notes::{NoteState, until_answered};
use crate::dead_letters::refused_before::RefusedBefore;
use crate::dead_letters::removal::{AcceptedLetter, StoredCopy};
use crate::dead_letters::store::DeadLetterStore;
use crate::flow_state::Watermark;
use crate::nats::intake_message::Message;
use crate::postgres::fence::Fence;
use crate::postgres::{self, describe};
use crate::receipts::SkipReason;

/// Maximum number of requests in flight to NATS.
const REQUESTS_IN_FLIGHT: usize = 64;

/// Time limit for looking up which dead letters a killed process has left.
const COPIES_TIMEOUT: Duration = Duration::from_secs(30);

impl RunningWriter {
    /// Looks for the dead letters of messages that this term reads again, and for what became of them; and compares the
    /// table with the notes.
    pub(super) async fn find_refused_before(
        &mut self,
        fence: &mut Fence,
        after: Watermark,
    ) -> Result<(), TermEnd> {
        let store = self.deps.dead_letters.clone();
        let finding = async { RefusedBefore::find(&store, after).await };
        self.refused_before = self.renewing(fence, after, finding).await?;
        self.forget_drops_of_rows(fence, after).await?;
        let noted = std::mem::take(&mut self.refused_before.rows);
        if noted.is_empty() {
            return Ok(());
        }
        let keys: Vec<&str> = noted.keys().map(String::as_str).collect();
        // The copies first: one that is stored after the look at the table stays.
        let copies = self.renewing(fence, after, timeout(COPIES_TIMEOUT, copies(&store, &keys))).await?;
        let found = match copies {
            Ok(copies) => self.rows_of(&keys).await.map(|rows| (copies, rows)),
            Err(elapsed) => Err(elapsed.to_string()),
        };
        let (copies, rows) = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(error, "can't compare the table with the notes about dead letters");
                return Ok(());
            }
        };
        self.look_for_lost_rows(
            keys.iter().copied().filter(|key| !rows.contains(*key) && !copies.contains_key(*key)),
        )?;
        let is_left = |key: &String| rows.contains(key) && noted.get(key) == Some(&NoteState::Accepted);
        let left = copies.into_iter().filter(|(key, _)| is_left(key));
        let removing =
            stream::iter(left.collect::<Vec<_>>()).for_each_concurrent(REQUESTS_IN_FLIGHT, |(key, copy)| {
                let store = store.clone();
                async move { store.remove(&key, copy).await }
            });
        self.renewing(fence, after, removing).await
    }

    /// Removes the notes of drops whose dead letters became rows nevertheless, because a process was killed meanwhile.
    async fn forget_drops_of_rows(&mut self, fence: &mut Fence, after: Watermark) -> Result<(), TermEnd> {
        let dropped = std::mem::take(&mut self.refused_before.dropped_rows);
        if dropped.is_empty() {
            return Ok(());
        }
        let keys: Vec<&str> = dropped.iter().map(String::as_str).collect();
        let rows = match self.rows_of(&keys).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(error, "can't compare the table with the notes about dropped dead letters");
                return Ok(());
            }
        };
        let store = self.deps.dead_letters.clone();
        let forgetting = stream::iter(rows).for_each_concurrent(REQUESTS_IN_FLIGHT, |key| {
            let store = store.clone();
            async move { store.forget_drop_of_row(&key).await }
        });
        self.renewing(fence, after, forgetting).await
    }

    /// Those of these keys that the table has.
    pub(super) async fn rows_of(&self, keys: &[&str]) -> Result<HashSet<String>, String> {
        let rows = postgres::existing_ids(self.client()?, &self.deps.settings.postgres.table, keys);
        self.with_short_timeout(rows).await?.map_err(|error| describe(&error))
    }

    /// `missing`: keys that the notes call rows, and that are neither rows nor dead letters. The table was restored to a
    /// state in which a process that refuses their messages had passed them. The stream is read again, at most once in [`ROW_LOSS_WINDOW`]: rows
    /// may also be missing because somebody deletes them.
    fn look_for_lost_rows<'k>(&mut self, mut missing: impl Iterator<Item = &'k str>) -> Result<(), TermEnd> {
        let keeps_rows = self.connection.as_ref().is_some_and(|connection| connection.keeps_rows);
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
        let kept_since = self.deps.settings.keep.map(|keep| now - keep.as_nanos() as i128);
        let is_kept = |key: &str| {
            kept_since.is_none_or(|since| {
                Key::time_and_sequence(key).is_none_or(|(time, _)| i128::from(time) > since)
            })
        };
        let is_lost = |key: &&str| is_kept(key) && !self.erased.borrow().contains(*key);
        let Some(key) = missing.find(is_lost).filter(|_| keeps_rows) else { return Ok(()) };
        if self.noted_rows_lost_at.is_some_and(|at| at.elapsed() < ROW_LOSS_WINDOW) {
            tracing::warn!(
                key,
                "the table still lacks a document that was accepted: does something delete rows?"
            );
            return Ok(());
        }
        self.noted_rows_lost_at = Some(Instant::now());
        self.lacks_noted_rows = true;
        Err(TermEnd::SteppedDown)
    }

    /// Reports replays whose keys the table has already. Their dead letters stay until somebody drops them; a note says
    /// that the row came from elsewhere, so that dropping the dead letter does not drop the order.
    pub(super) async fn report_taken_keys(&self, batch: &[EncodedRows], taken: &[RowIndex]) {
        for &(chunk, row) in taken {
            let Message { headers, key, position, .. } = &batch[chunk].orders.messages[row];
            let (key, sequence) = (key.as_str(), position.sequence);
            tracing::warn!(key, sequence, "skipped a replay: the table already has a row with its key");
            if let Err(error) = self.deps.dead_letters.note_key_taken(key, Some(sequence)).await {
                let error = format!("{error:#}");
                tracing::warn!(key, error, "can't note that the table has the document of a dead letter");
            }
            let receipts = &self.deps.receipts;
            receipts.skipped(headers.as_ref(), *position, key, SkipReason::KeyTaken, self.answered).await;
        }
    }

    /// The replays of a part about which no note could be stored. They are skipped: if the table went back, nothing would
    /// say that another document was to be the order.
    pub(super) fn replays_without_notes(
        &self,
        batch: &[EncodedRows],
        part: &[RowIndex],
        accepted: &[AcceptedLetter],
    ) -> Vec<RowIndex> {
        let without: HashSet<&str> =
            accepted.iter().filter(|letter| !letter.is_noted()).map(|letter| letter.key.as_str()).collect();
        let message = |&(chunk, row): &RowIndex| &batch[chunk].orders.messages[row];
        let is_without = |row: &&RowIndex| {
            let message = message(row);
            message.replayed && without.contains(message.key.as_str())
        };
        part.iter().filter(is_without).copied().collect()
    }

    /// Reports replays that were skipped because their notes have no room.
    pub(super) async fn report_without_room(&self, batch: &[EncodedRows], skipped: &[RowIndex]) {
        for &(chunk, row) in skipped {
            let Message { headers, key, position, .. } = &batch[chunk].orders.messages[row];
            let (receipts, key) = (&self.deps.receipts, key.as_str());
            receipts.skipped(headers.as_ref(), *position, key, SkipReason::NoRoom, self.answered).await;
        }
    }

    /// Messages that were refused once, are read again, and don't become the orders of their keys, though this process
    /// accepts them: replays with other documents do, or their dead letters were dropped. A replay that the stream does not
    /// have any more, because it was restored too, decides nothing.
    pub(super) fn rows_decided_otherwise(
        &self,
        batch: &[EncodedRows],
    ) -> impl Future<Output = HashSet<RowIndex>> + use<> {
        let decided = row_indexes(batch).into_iter().filter_map(|(chunk, row)| {
            let message = &batch[chunk].orders.messages[row];
            let (key, sequence) = (message.key.as_str(), message.position.sequence);
            let by =
                if message.replayed { None } else { self.refused_before.decided_otherwise(key, sequence) };
            by.map(|by| ((chunk, row), key.to_owned(), by))
        });
        let decided: Vec<_> = decided.collect();
        let store = self.deps.dead_letters.clone();
        stream::iter(decided)
            .map(move |(row, key, by)| {
                let store = store.clone();
                async move {
                    match by {
                        Some(by) => store.is_replay(&key, by).await.then_some(row),
                        None => Some(row),
                    }
                }
            })
            .buffer_unordered(REQUESTS_IN_FLIGHT)
            .filter_map(std::future::ready)
            .collect()
    }

    /// The replays of a part whose key the table has already with another document: by an import for instance, or by
    /// another replay. The row is not replaced, so the dead letter stays until somebody drops it.
    pub(super) async fn replays_with_taken_keys(
        &mut self,
        batch: &[EncodedRows],
        part: &[RowIndex],
    ) -> Result<Vec<RowIndex>, TermEnd> {
        let message = |&(chunk, row): &RowIndex| &batch[chunk].orders.messages[row];
        let replays: Vec<_> = part.iter().copied().filter(|row| message(row).replayed).collect();
        if replays.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<&str> = replays.iter().map(|row| message(row).key.as_str()).collect();
        let existing = match self.rows_of(&keys).await {
            Ok(existing) => existing,
            Err(reason) => return Err(self.fail(CommitFailure::Away(reason)).await),
        };
        let mut taken = Vec::new();
        for row in replays {
            let (key, sequence) = (message(&row).key.as_str(), message(&row).position.sequence);
            if existing.contains(key)
                && !self.deps.dead_letters.is_noted_taken_in(key, sequence).await
                && self.differs(key, &batch[row.0].copy[batch[row.0].data[row.1].clone()]).await?
            {
                taken.push(row);
            }
        }
        Ok(taken)
    }

    /// Whether the row of that key has other data.
    async fn differs(&mut self, key: &str, data: &[u8]) -> Result<bool, TermEnd> {
        let compared = match &self.connection {
            Some(connection) => self.with_short_timeout(connection.has_row(key, data)).await,
            None => Err("not connected".into()),
        };
        match compared {
            Ok(Ok(has_row)) => Ok(!has_row),
            // Data that PostgreSQL refuses: the statement that writes it reports that.
            Ok(Err(CommitFailure::Refused(_))) => Ok(false),
            Ok(Err(failure)) => Err(self.fail(failure).await),
            Err(reason) => Err(self.fail(CommitFailure::Away(reason)).await),
        }
    }

    /// Whether its key had a dead letter: it is a replay, or was refused before and is read again.
    fn had_dead_letter(&self, message: &Message) -> bool {
        message.replayed || self.refused_before.has_letter(message.key.as_str())
    }

    /// Notes which messages become the orders of dead letters, before they do.
    pub(super) fn accept_dead_letters(
        &self,
        batch: &[EncodedRows],
        part: &[RowIndex],
    ) -> impl Future<Output = Vec<AcceptedLetter>> + use<> {
        let messages = part.iter().map(|&(chunk, row)| &batch[chunk].orders.messages[row]);
        let accepting = messages.filter(|message| self.had_dead_letter(message)).map(|message| {
            let (key, sequence) = (message.key.as_str().to_owned(), message.position.sequence);
            let store = self.deps.dead_letters.clone();
            async move { store.accept(&key, sequence).await }
        });
        stream::iter(accepting.collect::<Vec<_>>()).buffer_unordered(REQUESTS_IN_FLIGHT).collect()
    }

    /// Withdraws the notes of those that are not rows, and returns the others.
    pub(super) async fn withdraw(
        &self,
        accepted: Vec<AcceptedLetter>,
        is_refused: impl Fn(&str) -> bool,
    ) -> Vec<AcceptedLetter> {
        let (refused, accepted): (Vec<_>, Vec<_>) =
            accepted.into_iter().partition(|letter| is_refused(&letter.key));
        for letter in &refused {
            if let Err(error) = self.deps.dead_letters.withdraw(letter).await {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "can't withdraw a note of a dead letter that is refused again"
                );
            }
        }
        accepted
    }

    /// Removes the dead letters of messages that are rows now. Only once they are: a process that refuses them may have
    /// taken the lease meanwhile. They are gone before the receipts are sent.
    pub(super) fn remove_dead_letters(
        &self,
        accepted: Vec<AcceptedLetter>,
    ) -> impl Future<Output = ()> + use<> {
        let store = self.deps.dead_letters.clone();
        let removing = accepted.into_iter().map(move |letter| {
            let store = store.clone();
            async move { store.remove_accepted(letter).await }
        });
        stream::iter(removing).buffer_unordered(REQUESTS_IN_FLIGHT).collect()
    }
}

/// The copies of these dead letters that are there, by key. Waits while the server can't be reached.
async fn copies(store: &Arc<DeadLetterStore>, keys: &[&str]) -> HashMap<String, StoredCopy> {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let asked = stream::iter(keys).map(|key| {
        let store = store.clone();
        async move {
            let copy = until_answered("look up a dead letter beside its row", || store.copy(&key)).await;
            copy.map(|copy| (key, copy))
        }
    });
    asked.buffer_unordered(REQUESTS_IN_FLIGHT).filter_map(std::future::ready).collect().await
}

/// The length of the longest beginning of a part in which no key is repeated: whether a replay gets its key depends on
/// what became of the messages with that key before it.
pub(super) fn distinct_keys(batch: &[EncodedRows], part: &[RowIndex]) -> usize {
    let message = |&(chunk, row): &RowIndex| &batch[chunk].orders.messages[row];
    if !part.iter().any(|row| message(row).replayed) {
        return part.len();
    }
    let mut seen = HashSet::new();
    part.iter().take_while(|row| seen.insert(message(row).key.as_str())).count()
}
