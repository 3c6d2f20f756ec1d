//! How the writer treats replays, and messages that were refused before: which of them become orders, and when their
//! dead letters go.

use std::collections::HashSet;

use tokio::time::timeout;

use super::batch::{RowIndex, row_indexes};
use super::connection::CommitFailure;
use super::encode::EncodedRows;
use super::writer::{LIST_TIMEOUT, RunningWriter, TermEnd};
use crate::dead_letters::list;
use crate::dead_letters::refused_before::RefusedBefore;
use crate::flow_state::Watermark;
use crate::nats::intake_message::Message;
use crate::pipeline_chunks::SkipReason;
use crate::postgres::{self, describe};

/// Why a replay is skipped, in one word and in words.
const KEY_TAKEN: SkipReason = (
    "key_taken",
    "the table already has a row with the key of this dead letter, so the document is not stored: drop the dead letter, \
     and publish the document without the header Orderd-Key if it is another one",
);

impl RunningWriter {
    /// Looks for what became of dead letters whose messages this term reads again. Does not wait for long, because the
    /// lease ends.
    pub(super) async fn find_refused_before(&mut self, after: Watermark) {
        self.refused_before = RefusedBefore::default();
        let adding = self.refused_before.add_behind(&self.deps.dead_letters, after);
        if let Err(error) = timeout(LIST_TIMEOUT, adding).await.map_err(anyhow::Error::from).flatten() {
            tracing::warn!(
                error = format!("{error:#}"),
                "can't list what became of all dead letters: messages of dropped or corrected ones may become orders"
            );
        }
        if let Err(error) = self.finish_replays().await {
            tracing::warn!(error, "can't remove dead letters of accepted replays; orderd verify names them");
        }
    }

    /// Removes what a killed process has left of replays that it had committed.
    async fn finish_replays(&mut self) -> Result<(), String> {
        let passed = std::mem::take(&mut self.refused_before.passed);
        let left = timeout(LIST_TIMEOUT, list::of_keys(&self.deps.dead_letters, &passed)).await;
        let left = left.map_err(anyhow::Error::from).flatten().map_err(|error| format!("{error:#}"))?;
        if left.is_empty() {
            return Ok(());
        }
        let keys: Vec<&str> = left.iter().map(|letter| letter.key.as_str()).collect();
        let rows = postgres::existing_ids(self.client()?, &self.deps.settings.postgres.table, &keys);
        let rows = self.with_short_timeout(rows).await?.map_err(|error| describe(&error))?;
        for key in rows {
            self.deps.dead_letters.withdraw(&key).await;
        }
        Ok(())
    }

    pub(super) async fn report_taken_keys(&self, batch: &[EncodedRows], taken: &[RowIndex]) {
        for &(chunk, row) in taken {
            let Message { headers, key, position, .. } = &batch[chunk].orders.messages[row];
            let (key, sequence) = (key.as_str(), position.sequence);
            tracing::warn!(key, sequence, "skipped a replay: the table already has a row with its key");
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
            self.open().await?;
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

    /// Records which messages become the orders of dead letters.
    pub(super) async fn note_taken_in(
        &self,
        batch: &[EncodedRows],
        part: &[RowIndex],
    ) -> Result<(), TermEnd> {
        let messages = part.iter().map(|&(chunk, row)| &batch[chunk].orders.messages[row]);
        for message in messages.filter(|message| message.replayed) {
            let (key, sequence) = (message.key.as_str(), message.position.sequence);
            tokio::select! {
                () = self.deps.dead_letters.note_taken_in(key, sequence) => {}
                () = self.deps.give_up.cancelled() => return Err(TermEnd::Stopped),
            }
        }
        Ok(())
    }

    /// Removes the dead letters of replays that are rows now. Only once they are: a process that refuses them may have
    /// taken the lease meanwhile. They are gone before the receipts are sent.
    ///
    /// The dead letter of a message that was refused before, and is accepted when it is read again, stays: if the table
    /// goes back, a process that refuses it may rely on it. `orderd verify` names it, and a replay removes it.
    pub(super) async fn remove_dead_letters(&self, messages: impl Iterator<Item = &Message>) {
        for message in messages.filter(|message| message.replayed) {
            self.deps.dead_letters.take_in(message.key.as_str(), message.position.sequence).await;
        }
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
