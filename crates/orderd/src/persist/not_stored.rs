//! Rows that PostgreSQL has accepted and that the table does not have: a trigger returned NULL, changed their ids, or
//! stored them in a table that does not inherit from this one. Where they are, only the trigger knows, so their orders are
//! neither dead letters nor taken from memory; but after a restart they are unknown. Receipts and a warning say so.

use std::collections::HashSet;
use std::time::Duration;

use order::Key;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::batch::RowIndex;
use super::commit::message_of;
use super::connection::CommitFailure;
use super::encode::EncodedRows;
use super::writer::{RunningWriter, TermEnd};
use crate::finding::Finding;
use crate::health::readyz_warning::{Warning, WarningKind};
use crate::nats::intake_message::Message;
use crate::postgres::fence;
use crate::postgres::kept_rows::{self, Before, RowTriggers};
use crate::receipts::SkipReason;

/// Names this task where it warns.
const WATCHER: &str = "rows";

/// How long the warning stays after the last such row.
const WARNING_TIME: Duration = Duration::from_mins(10);

impl RunningWriter {
    /// The keys of a part that the table lacks once the part is written. Asks only if fewer rows were inserted, or if a
    /// trigger may have changed ids.
    pub(super) async fn keys_not_stored(
        &mut self,
        batch: &[EncodedRows],
        part: &[RowIndex],
        inserted: u64,
    ) -> Result<HashSet<String>, TermEnd> {
        let has_trigger = self.connection.as_ref().is_some_and(|connection| connection.has_trigger);
        if inserted == part.len() as u64 && !has_trigger {
            return Ok(HashSet::new());
        }
        let keys: Vec<&str> = part.iter().map(|&row| message_of(batch, row).key.as_str()).collect();
        let lacking = async {
            let stored = self.rows_of(&keys).await?;
            let lacking = keys.iter().filter(|key| !stored.contains(**key) && self.is_to_be_stored(key));
            Ok(lacking.map(|&key| key.to_owned()).collect::<HashSet<_>>())
        };
        let mut lacking = match lacking.await {
            Ok(lacking) => lacking,
            Err(reason) => return Err(self.fail(CommitFailure::Away(reason)).await),
        };
        if !lacking.is_empty() {
            // Some may have been erased in this moment.
            if let Err(reason) = self.read_erased().await {
                return Err(self.fail(CommitFailure::Away(reason)).await);
            }
            lacking.retain(|key| self.is_to_be_stored(key));
        }
        Ok(lacking)
    }

    /// Whether it is neither erased nor older than `KEEP`.
    fn is_to_be_stored(&self, key: &str) -> bool {
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
        let kept_since = self.deps.settings.keep.map(|keep| now - keep.as_nanos() as i128);
        let is_expired = kept_since.is_some_and(|since| {
            Key::time_and_sequence(key).is_some_and(|(time, _)| i128::from(time) <= since)
        });
        !is_expired && !self.erased.borrow().contains(key)
    }

    /// Counts them, tells their publishers, and warns.
    pub(super) async fn report_not_stored(
        &mut self,
        batch: &[EncodedRows],
        part: &[RowIndex],
        not_stored: &HashSet<String>,
    ) {
        if not_stored.is_empty() {
            return;
        }
        self.deps.metrics.rows_not_stored.inc_by(not_stored.len() as u64);
        let messages = part.iter().map(|&row| message_of(batch, row));
        for message in messages.filter(|message| not_stored.contains(message.key.as_str())) {
            let Message { headers, key, position, .. } = message;
            let receipts = &self.deps.receipts;
            let reason = SkipReason::NotStored;
            receipts.skipped(headers.as_ref(), *position, key.as_str(), reason, self.answered).await;
        }
        if self.rows_not_stored_at.replace(Instant::now()).is_none() {
            let first = not_stored.iter().min().map_or("", String::as_str);
            let warning = self.warning_of_rows(first).await;
            self.deps.health.warn(WATCHER, vec![warning]);
        }
        // A trigger that was made meanwhile. The row that the position calls the last one may be missing too. From now on
        // the table is asked after each batch: where ids are changed, the number of inserted rows is right.
        if self.connection.as_ref().is_some_and(|connection| connection.keeps_rows) {
            let forget = fence::break_fences(&self.deps.settings.postgres.table, "NULL");
            if let Ok(client) = self.client()
                && let Err(error) = client.batch_execute(&forget).await
            {
                tracing::debug!(error = %error, "can't forget which row was written last");
            }
            self.connection.iter_mut().for_each(|connection| {
                (connection.keeps_rows, connection.has_trigger) = (false, true);
            });
        }
    }

    async fn warning_of_rows(&self, key: &str) -> Warning {
        let table = &self.deps.settings.postgres.table;
        let asked = async {
            let asked = kept_rows::row_triggers(self.client()?, table, Before::Insert);
            self.with_short_timeout(asked).await?.map_err(|error| error.to_string())
        };
        let (why, fix) = match asked.await {
            Ok(Some(RowTriggers { names, drops })) => (
                format!("the trigger {names} BEFORE INSERT"),
                format!(
                    "let its function return NEW with the same id, or store rows in tables that inherit from {table}, or \
                     drop it: {drops}"
                ),
            ),
            _ => (
                "something".to_owned(),
                format!("look for what removes rows of {table} or stores them elsewhere"),
            ),
        };
        let finding = Finding::warning(
            format!("{why} keeps rows out of {table}, which is without {key}"),
            format!("{fix}; then publish again what the publishers still have"),
        );
        Warning::new(WarningKind::RowsNotStored, &table.to_string(), finding)
    }

    /// Ends the warning once all rows have been stored for some time.
    pub(super) fn end_warning_of_rows(&mut self) {
        if self.rows_not_stored_at.is_some_and(|at| at.elapsed() > WARNING_TIME) {
            self.rows_not_stored_at = None;
            self.deps.health.warn(WATCHER, Vec::new());
        }
    }
}
