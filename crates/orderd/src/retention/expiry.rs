//! Beside the flow: removes orders that are older than `KEEP`, by the times in their keys and PostgreSQL's clock.
//!
//! Each process removes them from its own memory. The writer deletes their rows, their dead letters and, from a stream
//! that orderd made, their messages. Each round removes a bounded number, so that neither intake nor readers wait. A
//! partition of the table that holds nothing else is dropped whole. No keys are kept: if a table or a stream goes back,
//! expired orders return until the next round.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Stream;
use cache::Cache;
use order::Key;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::aligned_interval;
use crate::config::Settings;
use crate::dead_letters::list;
use crate::dead_letters::store::DeadLetterStore;
use crate::finding::Finding;
use crate::flow_state::{FlowState, TablePosition};
use crate::health::readyz_warning::{Warning, WarningKind};
use crate::health::{Health, Part};
use crate::metrics::Metrics;
use crate::nats::{orders_stream, stored_message};
use crate::postgres::old_partitions::{self, Hindrance, OldPartition};
use crate::postgres::old_rows::DeletedRows;
use crate::postgres::{self, Connection, LONG_TIMEOUT, kept_rows, old_rows};

/// The interval between rounds, and the shorter one while more orders are left.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
const BATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Maximum number of rows deleted from the table in one round, and of orders removed from memory before other tasks run.
const MAX_BATCH_ORDERS: usize = 1000;

/// Maximum number of orders removed from memory in one round. Each removal takes the lock of the index by itself. More
/// than rows, because a dropped partition removes any number of rows from the table at once.
const MAX_MEMORY_ORDERS: usize = 20_000;

/// Maximum number of dead letters deleted in one round. Each takes several requests.
const MAX_BATCH_DEAD_LETTERS: usize = 100;

/// Time limits for reading and dropping a partition, and for PostgreSQL to answer.
const DROP_TIMEOUT: Duration = Duration::from_secs(90);

/// Partitions that could not be dropped, why, and when that was tried.
type Hindered = HashMap<String, (Hindrance, Instant)>;

/// Names this task where it warns.
const WATCHER: &str = "expiry";

/// How far the old rows were deleted.
#[derive(Default)]
struct RowProgress {
    /// The last id of the previous round; `None` if there were no more.
    after: Option<String>,
    /// Whether rows stayed in this pass over the old rows.
    some_stay: bool,
}

/// What the task needs.
pub(crate) struct Expiry {
    pub(crate) settings: Arc<Settings>,
    pub(crate) client: Client,
    pub(crate) dead_letters: Arc<DeadLetterStore>,
    pub(crate) flow_state: Arc<FlowState>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: CancellationToken,
}

impl Expiry {
    /// Runs until it is stopped. `keep` is the age at which an order expires.
    pub(crate) async fn run(self, keep: Duration) -> anyhow::Result<()> {
        let (mut pause, mut connection, mut has_failed) = (BATCH_INTERVAL, None, false);
        let (mut hindered, mut progress) = (Hindered::new(), RowProgress::default());
        loop {
            tokio::select! {
                () = aligned_interval::next(pause) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
            if !self.health.is_up(Part::Postgres) {
                connection = None;
                continue;
            }
            pause = match self.run_round(keep, &mut connection, &mut hindered, &mut progress).await {
                Ok(has_more) => {
                    if std::mem::take(&mut has_failed) {
                        tracing::info!("expiry by KEEP works again");
                    }
                    if has_more { BATCH_INTERVAL } else { CHECK_INTERVAL }
                }
                Err(error) => {
                    connection = None;
                    // Log the first failure only: a missing privilege fails in every round.
                    if !std::mem::replace(&mut has_failed, true) {
                        let error = format!("{error:#}");
                        tracing::warn!(error, "can't remove documents older than KEEP; retrying every 10 s");
                    }
                    CHECK_INTERVAL
                }
            };
        }
    }

    /// Runs one round. Returns whether more orders may have expired.
    async fn run_round(
        &self,
        keep: Duration,
        connection: &mut Option<Connection>,
        hindered: &mut Hindered,
        progress: &mut RowProgress,
    ) -> anyhow::Result<bool> {
        let Some(table) = self.flow_state.table.borrow().clone() else { return Ok(false) };
        let opened = match connection.take().filter(|opened| !opened.client.is_closed()) {
            Some(opened) => opened,
            None => postgres::connect_in_time(&self.settings.postgres).await?.spare(),
        };
        let cutoff = opened.watched(old_rows::cutoff(&opened.client, keep));
        let cutoff = timeout(LONG_TIMEOUT, cutoff).await?.map_err(postgres::explain)?;
        let mut has_more = self.remove_from_memory(cutoff, table.watermark.seq).await?;
        if table.is_self {
            tokio::select! {
                dropped = self.drop_partitions(&opened, cutoff, hindered) => {
                    dropped.context("can't drop partitions")?;
                }
                // Closing the connection rolls the transaction back.
                () = self.stop.cancelled() => return Ok(false),
            }
            has_more |= self.delete_rows(&opened, cutoff, progress).await?;
            has_more |= self.delete_dead_letters(cutoff).await?;
            self.purge(&table, cutoff).await?;
        } else {
            // Another process deletes rows, and sees which stay.
            *progress = RowProgress::default();
            self.health.warn(WATCHER, Vec::new());
        }
        // The connection stays open only while there is more to remove: others may need it.
        *connection = has_more.then_some(opened);
        Ok(has_more)
    }

    /// Orders in flight stay until the table has them. An order whose sequence lies beyond what this process has read
    /// from the stream is a row: tables may hold keys of another stream, or of one that was deleted.
    async fn remove_from_memory(&self, cutoff: i128, committed: u64) -> anyhow::Result<bool> {
        let generation = self.cache.generation();
        for _ in 0..MAX_MEMORY_ORDERS / MAX_BATCH_ORDERS {
            let ids = self.cache.older_than(&Key::first_of_time(cutoff), MAX_BATCH_ORDERS).await?;
            let applied = self.cache.applied();
            let in_flight = (committed + 1)..=applied;
            let is_row =
                |id: &&String| Key::sequence_of(id).is_none_or(|sequence| !in_flight.contains(&sequence));
            let mut removed = 0;
            for id in ids.iter().filter(is_row) {
                self.cache.remove(generation, id);
                removed += 1;
            }
            if removed < MAX_BATCH_ORDERS {
                return Ok(false);
            }
            tokio::task::yield_now().await;
        }
        Ok(true)
    }

    /// Drops the partitions that hold nothing but old rows. The rows of one that can't be dropped are deleted as others
    /// are.
    async fn drop_partitions(
        &self,
        opened: &Connection,
        cutoff: i128,
        hindered: &mut Hindered,
    ) -> anyhow::Result<()> {
        let (client, table) = (&opened.client, &self.settings.postgres.table);
        let found = opened.watched(old_partitions::find(client, table, cutoff));
        let found = timeout(LONG_TIMEOUT, found).await?;
        let found = match found {
            Ok(found) => found,
            // The server has no such catalogs: rows are deleted one by one.
            Err(error) if error.as_db_error().is_some() => {
                let error = postgres::describe(&error);
                tracing::debug!(error, "can't list partitions older than KEEP");
                return Ok(());
            }
            Err(error) => return Err(postgres::explain(error)),
        };
        hindered.retain(|name, _| found.iter().any(|partition| partition.name == *name));
        for partition in found {
            let last = hindered.get(&partition.name);
            if last.is_some_and(|(hindrance, tried)| tried.elapsed() < hindrance.retry_after()) {
                continue;
            }
            let hindrance = match partition.hindrance.clone() {
                Some(hindrance) => hindrance,
                None => {
                    let dropping = old_partitions::drop_whole(client, table, &partition, cutoff);
                    match timeout(DROP_TIMEOUT, opened.watched(dropping)).await?.map_err(postgres::explain)? {
                        Ok(rows) => {
                            self.note_dropped(&partition, rows);
                            continue;
                        }
                        Err(hindrance) => hindrance,
                    }
                }
            };
            note_hindered(hindered, partition.name, hindrance);
        }
        Ok(())
    }

    fn note_dropped(&self, partition: &OldPartition, rows: u64) {
        self.metrics.expired.inc_by(rows);
        self.metrics.expired_partitions.inc();
        tracing::info!(partition = partition.name, rows, "dropped a partition: all of it is older than KEEP");
    }

    /// Continues after the rows of the previous round: rows that stay must not hold up those after them.
    async fn delete_rows(
        &self,
        opened: &Connection,
        cutoff: i128,
        progress: &mut RowProgress,
    ) -> anyhow::Result<bool> {
        let (client, table) = (&opened.client, &self.settings.postgres.table);
        let deleting =
            old_rows::delete(client, table, progress.after.as_deref(), cutoff, MAX_BATCH_ORDERS as i64);
        let DeletedRows { found, deleted, others, last } = timeout(LONG_TIMEOUT, opened.watched(deleting))
            .await?
            .map_err(postgres::explain)
            .context("can't delete rows")?;
        self.metrics.expired.inc_by(deleted);
        if deleted > 0 {
            tracing::debug!(rows = deleted, "deleted rows older than KEEP");
        }
        if !others.is_empty() {
            let others: Vec<&str> = others.iter().map(String::as_str).collect();
            let looking = async {
                let kept = !postgres::existing_ids(client, table, &others).await?.is_empty();
                if kept { kept_rows::why_rows_stay(client, table).await.map(Some) } else { Ok(None) }
            };
            let kept = timeout(LONG_TIMEOUT, opened.watched(looking)).await?.map_err(postgres::explain)?;
            if let Some(why) = kept {
                let problem = format!("{}, so that they don't expire by KEEP", why.problem);
                let finding = Finding::warning(problem, why.fix);
                progress.some_stay = true;
                self.health
                    .warn(WATCHER, vec![Warning::new(WarningKind::RowsKept, &table.to_string(), finding)]);
            }
        }
        let is_full = found == MAX_BATCH_ORDERS as u64;
        progress.after = last.filter(|_| is_full);
        if !is_full && !std::mem::take(&mut progress.some_stay) {
            self.health.warn(WATCHER, Vec::new());
        }
        Ok(is_full && deleted > 0)
    }

    async fn delete_dead_letters(&self, cutoff: i128) -> anyhow::Result<bool> {
        let old = list::keys_before(&self.dead_letters, cutoff).await?;
        let has_more = old.len() > MAX_BATCH_DEAD_LETTERS;
        for key in old.iter().take(MAX_BATCH_DEAD_LETTERS) {
            let deleted = self.dead_letters.delete(key).await;
            let was_there = deleted.context("can't delete a dead letter older than KEEP")?;
            self.metrics.expired_dead_letters.inc_by(was_there.into());
        }
        Ok(has_more)
    }

    async fn purge(&self, table: &TablePosition, cutoff: i128) -> anyhow::Result<()> {
        let context = self.settings.nats.jetstream(self.client.clone());
        let stream = orders_stream::find_or_create(&context, &self.settings.nats).await?;
        if let Some(floor) = purge_floor(&context, &stream, table.watermark.seq, cutoff).await? {
            let purged = orders_stream::purge_before(&stream, &self.settings.nats.topic, floor).await?;
            tracing::debug!(purged, "purged messages older than KEEP from the stream");
            self.dead_letters.forget_decided(floor).await?;
        }
        Ok(())
    }
}

/// The sequence before which old messages are purged from a stream that orderd created: those that another durable
/// consumer needs stay, and so does the message at the position, which identifies the stream. `None`: nothing is purged.
///
/// # Errors
/// The server can't be reached.
pub(crate) async fn purge_floor(
    context: &Context,
    stream: &Stream,
    position: u64,
    cutoff: i128,
) -> anyhow::Result<Option<u64>> {
    let info = stream.cached_info();
    let first = info.state.first_sequence;
    let is_old = info.state.messages > 0 && info.state.first_timestamp.unix_timestamp_nanos() < cutoff;
    if !orders_stream::is_made_by_orderd(info) || !is_old || first >= position {
        return Ok(None);
    }
    let needed = orders_stream::needed_by_others(context, &info.config.name).await?;
    let end = position.min(needed.saturating_add(1));
    let floor = first_since(context, &info.config.name, cutoff, first, end).await?;
    Ok(Some(floor).filter(|floor| *floor > first))
}

/// Once for each reason.
fn note_hindered(hindered: &mut Hindered, partition: String, reason: Hindrance) {
    let before = hindered.insert(partition.clone(), (reason.clone(), Instant::now()));
    if before.is_some_and(|(before, _)| before == reason) {
        return;
    }
    let said = "a partition is older than KEEP and is not dropped; it is emptied row by row";
    match &reason {
        // The usual end of a partition that other transactions are reading.
        Hindrance::Busy => tracing::debug!(partition, %reason, "{said}"),
        Hindrance::NotOwner(role) => {
            let fix = format!("ALTER TABLE {partition} OWNER TO {role};");
            tracing::warn!(partition, %reason, fix, "{said}");
        }
        _ => tracing::warn!(partition, %reason, "{said}"),
    }
}

/// The first sequence from `low` on whose message is not older than `cutoff`; `high` if all messages before it are
/// older. Times increase with sequences in a stream.
async fn first_since(
    context: &Context,
    stream: &str,
    cutoff: i128,
    mut low: u64,
    mut high: u64,
) -> anyhow::Result<u64> {
    while low < high {
        let middle = low + (high - low) / 2;
        match stored_message::first_from(context, stream, ">", middle).await? {
            Some(message) if message.time_ns < cutoff => low = message.sequence + 1,
            _ => high = middle,
        }
    }
    Ok(low.min(high))
}
