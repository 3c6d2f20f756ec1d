//! Taking out of memory what was erased, by whomever, and erasing what was left of it.
//!
//! A process that held a copy of the message when its order was erased may still store it: as a row that was being
//! written, or as a dead letter. So each process looks again, more often than any copy is held.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cache::Cache;
use order::Key;
use time::OffsetDateTime;
use tokio_postgres::types::Type;
use tokio_util::sync::CancellationToken;

use super::Eraser;
use crate::aligned_interval;
use crate::postgres::{self, Connection};

/// How often each process looks for what was erased, here or elsewhere.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Number of looks after the first in which a row is erased again.
const FULL_READ_ROUNDS: u32 = 60;

/// When this number of looks is left, the dead letter and the messages are erased again too.
const EXTRA_READ_ROUNDS: [u32; 2] = [FULL_READ_ROUNDS - 3, 1];

/// For this number of seconds after an order was erased, another process may still hold a copy.
const RECENT_SECONDS: f64 = 60.0;

/// For this number of seconds a start still looks for messages by which an order was sent again, of one that was erased while
/// no service ran by a command that was killed.
const UNFINISHED_SECONDS: f64 = 86_400.0;

/// Looks again and again.
pub(crate) struct Follower {
    eraser: Eraser,
    cache: Arc<Cache>,
    /// What was erased.
    seen: HashMap<String, SeenErasure>,
    /// When the latest of it was erased, by PostgreSQL's clock; none: nothing was looked at yet.
    newest: Option<f64>,
    /// What was left at the start is erased.
    has_begun: bool,
    /// For which memory the table was compared with what NATS has noted: a new one begins where the table went back.
    compared: Option<u64>,
}

struct SeenErasure {
    /// Number of looks left in which it is erased again.
    again: u32,
    /// When it was seen first.
    at: OffsetDateTime,
    /// It was erased more than [`UNFINISHED_SECONDS`] before it was seen.
    is_old: bool,
}

impl Follower {
    pub(crate) fn new(eraser: Eraser, cache: Arc<Cache>) -> Self {
        Self { eraser, cache, seen: HashMap::new(), newest: None, has_begun: false, compared: None }
    }

    /// Runs until told to stop.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let followed = tokio::select! {
                followed = self.follow() => followed,
                () = stop.cancelled() => return Ok(()),
            };
            if let Err(error) = followed {
                tracing::debug!(error = format!("{error:#}"), "can't look for erased orders");
            }
            tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// On one connection.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let settings = self.eraser.postgres.clone();
        let connection = postgres::connect_in_time(&settings).await?;
        let mut is_there = false;
        loop {
            // Asked for until it is there: to look into a table that isn't would be an error in PostgreSQL's log
            // each time.
            is_there = is_there || answered(&connection, self.is_there(&connection)).await?;
            let generation = self.cache.generation();
            if self.compared != Some(generation) {
                match self.repeat(is_there).await {
                    Ok(()) => self.compared = Some(generation),
                    Err(error) => {
                        tracing::debug!(error = format!("{error:#}"), "can't compare erased orders")
                    }
                }
            }
            if is_there {
                answered(&connection, self.look(&connection)).await?;
                if !self.has_begun {
                    self.erase_at_start(&connection).await?;
                    self.has_begun = true;
                }
                answered(&connection, self.erase_rows(&connection)).await?;
                self.erase_late().await?;
                self.seen.values_mut().for_each(|seen| seen.again = seen.again.saturating_sub(1));
            }
            aligned_interval::next(POLL_INTERVAL).await;
        }
    }

    /// Where the table was restored from before an order was erased, that is erased again.
    async fn repeat(&mut self, is_there: bool) -> anyhow::Result<()> {
        let repeated = self.eraser.begin().await?.repeat(is_there).await?;
        if repeated > 0 {
            tracing::warn!(
                orders = repeated,
                "the table did not know of erased orders; they are erased again"
            );
        }
        // What the table has now is looked at from the beginning.
        self.newest = None;
        Ok(())
    }

    /// Whether anything was ever erased.
    async fn is_there(&self, connection: &Connection) -> Result<bool, tokio_postgres::Error> {
        let erased = postgres::erased(&self.eraser.postgres.table);
        let there = format!("SELECT to_regclass('{}') IS NOT NULL", erased.replace('\'', "''"));
        let rows = connection.client.query_typed(&there, &[]).await?;
        rows.first().map_or(Ok(false), |row| row.try_get(0))
    }

    /// What was erased since the last look, however long ago that was: this process may have been stopped.
    async fn look(&mut self, connection: &Connection) -> Result<(), tokio_postgres::Error> {
        let erased = postgres::erased(&self.eraser.postgres.table);
        // Some seconds twice: a row is seen when it is committed, and has the time at which that began.
        let query = format!(
            "SELECT id, extract(epoch FROM erased_at)::float8, extract(epoch FROM now() - erased_at)::float8
             FROM {erased}
             WHERE table_name = {} AND erased_at > to_timestamp($1) - interval '1 minute'",
            self.eraser.postgres.table.literal()
        );
        let since = self.newest.unwrap_or_default();
        let mut newest = since;
        for row in connection.client.query_typed(&query, &[(&since, Type::FLOAT8)]).await? {
            let (id, at, age): (String, f64, f64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            newest = newest.max(at);
            if !self.seen.contains_key(&id) {
                self.cache.erase(&Key::from(id.as_str()));
                // What was erased before the start was in nobody's hands here.
                let again = if age < RECENT_SECONDS || self.newest.is_some() { FULL_READ_ROUNDS } else { 0 };
                self.seen.insert(
                    id,
                    SeenErasure { again, at: OffsetDateTime::now_utc(), is_old: age > UNFINISHED_SECONDS },
                );
            }
        }
        self.newest = Some(newest);
        Ok(())
    }

    /// Finishes what a process was killed over before it could look again.
    async fn erase_at_start(&self, connection: &Connection) -> anyhow::Result<()> {
        if self.seen.is_empty() {
            return Ok(());
        }
        let settings = &self.eraser.postgres;
        let erase = format!(
            "DELETE FROM {} WHERE id IN (SELECT id FROM {} WHERE table_name = {})",
            settings.table.quoted(),
            postgres::erased(&settings.table),
            settings.table.literal()
        );
        answered(connection, connection.client.query_typed(&erase, &[])).await?;
        let keys: HashSet<&str> = self.seen.keys().map(String::as_str).collect();
        let recent = self.seen.iter().filter(|(_, seen)| !seen.is_old).map(|(key, _)| key.clone());
        self.eraser.begin().await?.finish(&keys, &recent.collect::<Vec<_>>()).await
    }

    /// Counted in looks: the time may have passed while this process was stopped.
    async fn erase_rows(&self, connection: &Connection) -> Result<(), tokio_postgres::Error> {
        let again: Vec<&str> =
            self.seen.iter().filter(|(_, seen)| seen.again > 0).map(|(id, _)| id.as_str()).collect();
        if again.is_empty() {
            return Ok(());
        }
        let erase = format!("DELETE FROM {} WHERE id = ANY($1)", self.eraser.postgres.table.quoted());
        connection.client.query_typed(&erase, &[(&again, Type::TEXT_ARRAY)]).await.map(drop)
    }

    async fn erase_late(&self) -> anyhow::Result<()> {
        let due = || self.seen.iter().filter(|(_, seen)| EXTRA_READ_ROUNDS.contains(&seen.again));
        let Some(since) = due().map(|(_, seen)| seen.at).min() else { return Ok(()) };
        let keys: Vec<String> = due().map(|(key, _)| key.clone()).collect();
        // A message that was sent again before is erased already.
        self.eraser.begin().await?.erase_leftovers(&keys, since - time::Duration::MINUTE).await
    }
}

/// As long as it takes, for many may have been erased, but not from a server whose place a standby has taken.
async fn answered<T>(
    connection: &Connection,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> anyhow::Result<T> {
    postgres::unless_moved(connection, answer).await?.map_err(postgres::explain)
}
