//! Removes orders that any process has erased from this process's memory, and repeats erasures, in case a copy was
//! stored later.
//!
//! A process that had a copy of the message in flight when its order was erased may still store it, as a row or as a
//! dead letter. So each process repeats the erasure for longer than any process keeps a copy.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache::Cache;
use order::Key;
use time::OffsetDateTime;
use tokio_postgres::types::Type;
use tokio_util::sync::CancellationToken;

use super::Eraser;
use crate::aligned_interval;
use crate::postgres::{self, Connection};

/// Interval at which each process reads new erased keys.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Number of sweeps after the first in which the row of an erased order is deleted again.
const REPEATED_SWEEPS: u32 = 60;

/// How often the rows of all erased orders are deleted again.
const DELETION_INTERVAL: Duration = Duration::from_secs(60);

/// When this number of sweeps is left, the dead letter and the messages are erased again too.
const FULL_SWEEPS: [u32; 2] = [REPEATED_SWEEPS - 3, 1];

/// For this number of seconds after an order was erased, another process may still hold a copy.
const RECENT_SECONDS: f64 = 60.0;

/// For this number of seconds after an erasure, a start searches for replays of the order: a killed command may have
/// erased it while no service ran.
const UNFINISHED_SECONDS: f64 = 86_400.0;

/// The sweeper task.
pub(crate) struct Sweeper {
    eraser: Eraser,
    cache: Arc<Cache>,
    /// The erasures that this process knows of, by key.
    seen: HashMap<String, SeenErasure>,
    /// When the latest of them happened, by PostgreSQL's clock; `None` before the first sweep.
    newest: Option<f64>,
    /// Those of the minute before that, with their times. If one is gone, the table of erased keys went back.
    recent: Vec<(String, f64)>,
    /// When the rows of all erased orders are deleted again: the table of orders may have gone back alone.
    next_deletion: Instant,
    /// Whether unfinished erasures of earlier processes are complete.
    has_begun: bool,
    /// The generation for which the erased keys of the table were compared with the notes in NATS: a generation begins
    /// when the table went back. `None` once they may have gone back alone.
    compared: Option<u64>,
    /// Whether the log says that they could not be compared.
    has_warned: bool,
}

struct SeenErasure {
    /// Number of sweeps left in which it is erased again.
    sweeps_left: u32,
    /// When it was seen first.
    at: OffsetDateTime,
    /// It was erased more than [`UNFINISHED_SECONDS`] before it was seen.
    is_old: bool,
}

impl Sweeper {
    pub(crate) fn new(eraser: Eraser, cache: Arc<Cache>) -> Self {
        Self {
            eraser,
            cache,
            seen: HashMap::new(),
            newest: None,
            recent: Vec::new(),
            next_deletion: Instant::now(),
            has_begun: false,
            compared: None,
            has_warned: false,
        }
    }

    /// Runs until it is stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let swept = tokio::select! {
                swept = self.sweep() => swept,
                () = stop.cancelled() => return Ok(()),
            };
            if let Err(error) = swept {
                tracing::debug!(error = format!("{error:#}"), "can't look for erased keys");
            }
            tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Sweeps every [`POLL_INTERVAL`], on one connection, until that fails.
    async fn sweep(&mut self) -> anyhow::Result<()> {
        let settings = self.eraser.postgres.clone();
        let connection = postgres::connect_in_time(&settings).await?.spare();
        let mut is_there = false;
        // The last connection may have failed because the table of erased keys was dropped.
        self.compared = None;
        loop {
            // A query of a table that does not exist would leave an error in PostgreSQL's log each time.
            is_there = is_there || finished(&connection, self.is_there(&connection)).await?;
            let generation = self.cache.generation();
            if self.compared != Some(generation) {
                match self.repeat(is_there).await {
                    Ok(()) => (self.compared, self.has_warned) = (Some(generation), false),
                    Err(error) => self.warn_of_uncompared(&error),
                }
            }
            if is_there {
                finished(&connection, self.read_erased(&connection)).await?;
                if !self.has_begun {
                    self.erase_at_start(&connection).await?;
                    self.has_begun = true;
                }
                if Instant::now() >= self.next_deletion {
                    self.delete_all_again(&connection).await?;
                }
                finished(&connection, self.erase_rows(&connection)).await?;
                self.erase_leftovers().await?;
                self.seen.values_mut().for_each(|seen| seen.sweeps_left = seen.sweeps_left.saturating_sub(1));
            }
            aligned_interval::next(POLL_INTERVAL).await;
        }
    }

    /// Once, until they are compared: this repeats every second while NATS or PostgreSQL is away.
    fn warn_of_uncompared(&mut self, error: &anyhow::Error) {
        let error = format!("{error:#}");
        if std::mem::replace(&mut self.has_warned, true) {
            tracing::debug!(error, "can't compare erased keys");
        } else {
            tracing::warn!(
                error,
                "can't compare the erased keys in NATS with the table; retrying: if the table was restored from a backup, documents \
                 that were erased since are served until this succeeds"
            );
        }
    }

    /// Erases again the orders that a restored table has again.
    async fn repeat(&mut self, is_there: bool) -> anyhow::Result<()> {
        let repeated = self.eraser.connect().await?.repeat(is_there).await?;
        if repeated > 0 {
            tracing::warn!(orders = repeated, "the table lacked erased keys; erasing their rows again");
        }
        // The restored table may have other erasures: read all of them.
        self.newest = None;
        Ok(())
    }

    /// Whether anything was ever erased.
    async fn is_there(&self, connection: &Connection) -> Result<bool, tokio_postgres::Error> {
        let erased = postgres::erased_table(&self.eraser.postgres.table);
        let there = format!("SELECT to_regclass('{}') IS NOT NULL", erased.replace('\'', "''"));
        let rows = connection.client.query_typed(&there, &[]).await?;
        rows.first().map_or(Ok(false), |row| row.try_get(0))
    }

    /// Reads the keys erased since the last sweep, which may be long ago if this process was suspended.
    async fn read_erased(&mut self, connection: &Connection) -> Result<(), tokio_postgres::Error> {
        let erased = postgres::erased_table(&self.eraser.postgres.table);
        // With an overlap: a row becomes visible at the commit, and has the time at which its transaction began.
        let query = format!(
            "SELECT id, extract(epoch FROM erased_at)::float8, extract(epoch FROM now() - erased_at)::float8
             FROM {erased}
             WHERE table_name = {} AND erased_at > to_timestamp($1) - interval '1 minute'",
            self.eraser.postgres.table.literal()
        );
        let since = self.newest.unwrap_or_default();
        let mut newest = since;
        let rows = connection.client.query_typed(&query, &[(&since, Type::FLOAT8)]).await?;
        let rows = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
        let rows: Vec<(String, f64, f64)> = rows.collect::<Result<_, tokio_postgres::Error>>()?;
        let is_still_due = |&&(_, at): &&(String, f64)| at > since - 59.0;
        let is_found = |(id, _): &(String, f64)| rows.iter().any(|(found, ..)| found == id);
        if !self.recent.iter().filter(is_still_due).all(is_found) {
            self.compared = None;
        }
        self.recent = rows.iter().map(|(id, at, _)| (id.clone(), *at)).collect();
        for (id, at, age) in rows {
            newest = newest.max(at);
            if !self.seen.contains_key(&id) {
                self.cache.erase(&Key::from(id.as_str()));
                // This process had no copies of orders erased before its start.
                let sweeps_left =
                    if age < RECENT_SECONDS || self.newest.is_some() { REPEATED_SWEEPS } else { 0 };
                self.seen.insert(
                    id,
                    SeenErasure {
                        sweeps_left,
                        at: OffsetDateTime::now_utc(),
                        is_old: age > UNFINISHED_SECONDS,
                    },
                );
            }
        }
        self.newest = Some(newest);
        Ok(())
    }

    /// Deletes the rows of all erased orders, at most 1 % of the time.
    async fn delete_all_again(&mut self, connection: &Connection) -> anyhow::Result<()> {
        let begun = Instant::now();
        if !self.seen.is_empty() {
            let settings = &self.eraser.postgres;
            let erase = format!(
                "DELETE FROM {} WHERE id IN (SELECT id FROM {} WHERE table_name = {})",
                settings.table.quoted(),
                postgres::erased_table(&settings.table),
                settings.table.literal()
            );
            finished(connection, connection.client.query_typed(&erase, &[])).await?;
        }
        self.next_deletion = Instant::now() + DELETION_INTERVAL.max(100 * begun.elapsed());
        Ok(())
    }

    /// Finishes the erasures of a process that was killed before it could repeat them.
    async fn erase_at_start(&mut self, connection: &Connection) -> anyhow::Result<()> {
        if self.seen.is_empty() {
            return Ok(());
        }
        self.delete_all_again(connection).await?;
        let keys: HashSet<&str> = self.seen.keys().map(String::as_str).collect();
        let recent = self.seen.iter().filter(|(_, seen)| !seen.is_old).map(|(key, _)| key.clone());
        self.eraser.connect().await?.finish(&keys, &recent.collect::<Vec<_>>()).await
    }

    /// Deletes rows again. Counted in sweeps: time may have passed while this process was suspended.
    async fn erase_rows(&self, connection: &Connection) -> Result<(), tokio_postgres::Error> {
        let again: Vec<&str> =
            self.seen.iter().filter(|(_, seen)| seen.sweeps_left > 0).map(|(id, _)| id.as_str()).collect();
        if again.is_empty() {
            return Ok(());
        }
        let erase = format!("DELETE FROM {} WHERE id = ANY($1)", self.eraser.postgres.table.quoted());
        connection.client.query_typed(&erase, &[(&again, Type::TEXT_ARRAY)]).await.map(drop)
    }

    /// Erases dead letters and messages again.
    async fn erase_leftovers(&self) -> anyhow::Result<()> {
        let due = || self.seen.iter().filter(|(_, seen)| FULL_SWEEPS.contains(&seen.sweeps_left));
        let Some(since) = due().map(|(_, seen)| seen.at).min() else { return Ok(()) };
        let keys: Vec<String> = due().map(|(key, _)| key.clone()).collect();
        // Messages that were replayed earlier are erased already.
        self.eraser.connect().await?.erase_leftovers(&keys, since - time::Duration::MINUTE).await
    }
}

/// Waits for a query without a time limit, because many orders may have been erased, unless a standby is promoted.
async fn finished<T>(
    connection: &Connection,
    query: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> anyhow::Result<T> {
    postgres::unless_moved(connection, query).await?.map_err(postgres::explain)
}
