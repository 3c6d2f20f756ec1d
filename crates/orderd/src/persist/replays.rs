//! How the writer treats replays, and messages that were refused before: which of them become orders, and when their
//! dead letters go.

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::timeout;

use super::batch::{RowIndex, row_indexes};
use super::connection::CommitFailure;
use super::encode::EncodedRows;
use super::writer::{LIST_TIMEOUT, RunningWriter, TermEnd};
use crate::dead_letters::refused_before::RefusedBefore;
use crate::dead_letters::removal::{AcceptedLetter, StoredCopy};
use crate::flow_state::Watermark;
use crate::nats::intake_message::Message;
use crate::pipeline_chunks::SkipReason;
use crate::postgres::{self, describe};

/// Maximum number of requests in flight to NATS.
const REQUESTS_IN_FLIGHT: usize = 64;

/// Why a replay is skipped, in one word and in words.
const KEY_TAKEN: SkipReason = (
    "key_taken",
    "the table already has a row with the key of this dead letter, so the document is not stored: drop the dead letter, \
     and publish the document without the header Orderd-Key if it is another one",
);

impl RunningWriter {
    /// Looks for the dead letters of messages that this term reads again, and for what became of them. Does not wait for
    /// long, because the lease ends.
    pub(super) async fn find_refused_before(&mut self, after: Watermark) {
        self.refused_before = RefusedBefore::default();
        let (store, refused_before) = (self.deps.dead_letters.clone(), &mut self.refused_before);
        let adding = timeout(LIST_TIMEOUT, refused_before.add_notes(&store, after)).await;
        if let Err(error) = adding.map_err(anyhow::Error::from).flatten() {
            tracing::warn!(
                error = format!("{error:#}"),
                "can't list what became of all dead letters: messages of dropped or corrected ones may become orders"
            );
        }
        let adding = timeout(LIST_TIMEOUT, refused_before.add_letters(&store, after)).await;
        if let Err(error) = adding.map_err(anyhow::Error::from).flatten() {
            tracing::warn!(
                error = format!("{error:#}"),
                "can't list all dead letters: those of messages that are accepted now may stay; orderd verify names them"
            );
        }
        if let Err(error) = self.finish_replays().await {
            tracing::warn!(error, "can't remove dead letters of accepted replays; orderd verify names them");
        }
    }

    /// Removes what a killed process has left of replays that it had committed.
    async fn finish_replays(&mut self) -> Result<(), String> {
        let passed = std::mem::take(&mut self.refused_before.passed);
        let store = &self.deps.dead_letters;
        let copies = stream::iter(passed)
            .map(async |key| anyhow::Ok(store.copy(&key).await?.map(|copy| (key, copy))))
            .buffer_unordered(REQUESTS_IN_FLIGHT)
            .try_filter_map(async |copy| Ok(copy))
            .try_collect();
        let copies: Vec<(String, StoredCopy)> = timeout(LIST_TIMEOUT, copies)
            .await
            .map_err(anyhow::Error::from)
            .flatten()
            .map_err(|error| format!("{error:#}"))?;
        if copies.is_empty() {
            return Ok(());
        }
        // The copies first: one that is stored after this look at the table stays.
        let keys: Vec<&str> = copies.iter().map(|(key, _)| key.as_str()).collect();
        let rows = postgres::existing_ids(self.client()?, &self.deps.settings.postgres.table, &keys);
        let rows = self.with_short_timeout(rows).await?.map_err(|error| describe(&error))?;
        for (key, copy) in copies.iter().filter(|(key, _)| rows.contains(key.as_str())) {
            store.remove(key, *copy).await;
        }
        Ok(())
    }

    /// Reports replays whose keys the table has already. Their dead letters stay until somebody drops them; a note says
    /// that the row came from elsewhere, so that the drop is none of the order.
    pub(super) async fn report_taken_keys(&self, batch: &[EncodedRows], taken: &[RowIndex]) {
        for &(chunk, row) in taken {
            let Message { headers, key, position, .. } = &batch[chunk].orders.messages[row];
            let (key, sequence) = (key.as_str(), position.sequence);
            tracing::warn!(key, sequence, "skipped a replay: the table already has a row with its key");
            if let Err(error) = self.deps.dead_letters.note_own_row(key).await {
                let error = format!("{error:#}");
                tracing::warn!(key, error, "can't note that the table has the order of a dead letter");
            }
            self.deps.receipts.skipped(headers.as_ref(), key, Some(KEY_TAKEN)).await;
        }
    }

    /// Messages that were refused once, are read again, and don't become the orders of their keys, though this process
    /// accepts them: replays with other documents did, or their dead letters were dropped.
    pub(super) fn rows_decided_otherwise(&self, batch: &[EncodedRows]) -> HashSet<RowIndex> {
        if self.refused_before.decided.is_empty() {
            return HashSet::new();
        }
        let is_decided = |&(chunk, row): &RowIndex| {
            let message = &batch[chunk].orders.messages[row];
            let sequence = message.position.sequence;
            !message.replayed && self.refused_before.is_decided_otherwise(message.key.as_str(), sequence)
        };
        row_indexes(batch).into_iter().filter(is_decided).collect()
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
        let asked = async {
            let existing = postgres::existing_ids(self.client()?, &self.deps.settings.postgres.table, &keys);
            self.with_short_timeout(existing).await?.map_err(|error| postgres::describe(&error))
        };
        let existing = match asked.await {
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
        message.replayed || self.refused_before.letters.contains(message.key.as_str())
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
