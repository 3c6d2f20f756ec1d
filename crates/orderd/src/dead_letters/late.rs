//! Dead letters whose messages are rows.
//!
//! A writer that was stopped for longer than its lease stores the dead letters that it had begun, when it goes on. If the
//! next writer has another model, it may have accepted those messages. And a message that is read again, after the
//! position was set back, may be accepted now.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use order::{Body, Parser, RowFormat};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::store::DeadLetterStore;
use crate::backoff::Backoff;
use crate::config::Postgres;
use crate::postgres;

/// Maximum number of dead letters that are removed in one turn, and of those that are read or removed at once. They may
/// be large, and travel on the connection of the intake.
const TURN: usize = 64;
const READ_AT_ONCE: usize = 2;
const REMOVED_AT_ONCE: usize = 16;

/// A row whose key has a dead letter.
pub(crate) struct FoundRow {
    pub(crate) body: Body,
    pub(crate) format: RowFormat,
    /// The number of the dead letter, known before the row was looked up. A newer copy was stored by a process that has
    /// refused the message again.
    pub(crate) number: u64,
}

/// Removes them.
pub(crate) struct LateDeadLetters {
    pub(crate) store: Arc<DeadLetterStore>,
    pub(crate) postgres: Postgres,
    pub(crate) parser: Parser,
}

impl LateDeadLetters {
    /// Removes the dead letters of these rows, until the channel closes.
    pub(crate) async fn remove_all(self, mut rows: Receiver<FoundRow>) {
        let mut turn = Vec::new();
        while rows.recv_many(&mut turn, TURN).await > 0 {
            let numbers = stream::iter(turn.drain(..)).map(|row| self.number_if_equal(row));
            let numbers: Vec<_> = numbers.buffer_unordered(READ_AT_ONCE).collect().await;
            let mut removable: Vec<(String, u64)> = numbers.into_iter().flatten().collect();
            let mut backoff = Backoff::default();
            while !removable.is_empty() {
                let Err(error) = self.remove(&mut removable).await else { continue };
                let error = format!("{error:#}");
                if self.store.denies_deletion().await {
                    tracing::error!(error, "can't remove dead letters whose messages are rows; they stay");
                    break;
                }
                tracing::warn!(error, "can't remove dead letters whose messages are rows; retrying");
                backoff.wait().await;
            }
        }
    }

    /// Key and number, if the document of the dead letter gives that row: with another document, by an import for
    /// instance, the dead letter is the only copy of its own.
    async fn number_if_equal(&self, row: FoundRow) -> Option<(String, u64)> {
        let key = row.body.key();
        let payload = self.store.payload_of(key).await?;
        let mut parser = self.parser.clone();
        parser.set_format(row.format);
        let is_equal = parser.parse(&payload, key).is_ok_and(|order| *order.body() == row.body);
        is_equal.then(|| (key.to_owned(), row.number))
    }

    /// Removes those whose rows are still there, from the list too. The table may have gone back since they were found,
    /// while NATS was away or this process was stopped.
    async fn remove(&self, removable: &mut Vec<(String, u64)>) -> anyhow::Result<()> {
        let connection = postgres::connect_in_time(&self.postgres).await?;
        let keys: Vec<&str> = removable.iter().map(|(key, _)| key.as_str()).collect();
        let rows = postgres::existing_ids(&connection.client, &self.postgres.table, &keys);
        let rows =
            timeout(postgres::SHORT_TIMEOUT, rows).await.map_err(|_| postgres::Abandoned::TimedOut)??;
        removable.retain(|(key, _)| rows.contains(key));
        let removing = stream::iter(removable.drain(..)).map(|(key, number)| async move {
            let removed = self.store.withdraw(&key, number).await;
            (key, number, removed)
        });
        let mut failed = None;
        let results: Vec<_> = removing.buffer_unordered(REMOVED_AT_ONCE).collect().await;
        for (key, number, removed) in results {
            match removed {
                Ok(()) => tracing::info!(key, "removed a dead letter: its message is a row"),
                Err(error) => {
                    removable.push((key, number));
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
