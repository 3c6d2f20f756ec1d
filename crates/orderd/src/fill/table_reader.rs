//! PostgreSQL -> initmemchan: reads the whole table into memory while everything else runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cache::{Cache, Entries, Entry, EntryBuilder};
use futures_util::{FutureExt, StreamExt, TryFutureExt, future};
use order::{RowError, RowFormat};
use tokio::sync::mpsc;
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::{ToSql, Type};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::config::Postgres;
use crate::fill_progress::{FillProgress, ModelFit};
use crate::health::readyz_warning::{Warning, WarningKind};
use crate::health::{Health, Part};
use crate::metrics::Metrics;
use crate::postgres::encoding::Encoding;
use crate::postgres::schema::TableTraits;
use crate::postgres::{self, Abandoned, ConnectError, Connection, PrepareError, describe};

/// Entries in a chunk.
const CHUNK_ROWS: usize = 512;

/// A plain table larger than this many blocks is read in two ranges at once.
const MIN_BLOCKS_FOR_TWO_RANGES: i64 = 1024;

/// Time limit for the position from which to follow other processes.
const POSITION_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum pause while requests wait; each pause is as long as the work before it.
const MAX_YIELD: Duration = Duration::from_millis(20);

/// Maximum number of undecodable rows to log; the others are counted.
const MAX_LOGGED_ROWS: u64 = 100;

/// What the stage needs.
#[derive(Clone)]
pub(crate) struct TableReader {
    pub(crate) settings: Postgres,
    pub(crate) cache: Arc<Cache>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) progress: Arc<FillProgress>,
    /// How often the table is read again; `None` for never.
    pub(crate) every: Option<Duration>,
    pub(crate) stop: CancellationToken,
}

/// The opened table.
struct OpenTable {
    /// The connection on which it was inspected.
    connection: Connection,
    /// The format of its rows.
    format: RowFormat,
    /// Conditions that split it into ranges.
    ranges: Vec<String>,
    /// Ids that the server can't send as text.
    unreadable: Vec<Vec<u8>>,
}

impl TableReader {
    /// Fills memory, and refills it on each request, until it is stopped.
    pub(crate) async fn run(self, initmemchan: mpsc::Sender<Entries>) -> anyhow::Result<()> {
        let mut first = true;
        loop {
            let filled = tokio::select! {
                filled = self.fill(&initmemchan, first) => filled,
                () = self.stop.cancelled() => return Ok(()),
            };
            if filled.is_err() {
                // The receiver is closed: the service stops.
                return Ok(());
            }
            first = false;
            tokio::select! {
                () = self.due() => {}
                () = self.progress.refill_requested.notified() => {}
                () = self.stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn due(&self) {
        match self.every {
            Some(every) => tokio::time::sleep(every).await,
            None => future::pending().await,
        }
    }

    /// Retries until a whole fill succeeds.
    async fn fill(&self, initmemchan: &mpsc::Sender<Entries>, first: bool) -> Result<(), ChannelClosed> {
        let mut backoff = Backoff::default();
        let mut asked;
        // Usually there are none, and searching for them reads the whole table again.
        let mut has_unreadable = false;
        loop {
            // Read before the table: a later request needs another fill.
            asked = self.progress.asked.load(Ordering::Acquire);
            self.progress.reset_counts();
            match self.read_table(initmemchan, first, has_unreadable).await {
                Ok(()) => break,
                Err(ReadFailure::Unreadable(_)) if !has_unreadable => {
                    has_unreadable = true;
                    continue;
                }
                Err(ReadFailure::ChannelClosed) => return Err(ChannelClosed),
                Err(ReadFailure::Database(reason) | ReadFailure::Unreadable(reason)) if first => {
                    self.health.down(Part::Fill, reason);
                }
                Err(ReadFailure::Database(reason) | ReadFailure::Unreadable(reason)) => {
                    tracing::warn!(reason, "can't read the table again")
                }
            }
            backoff.wait().await;
        }
        self.cache.wait_filled(self.progress.sent.load(Ordering::Acquire)).await;
        self.progress.answered.store(asked, Ordering::Release);
        if !self.progress.is_whole() {
            // The table went back meanwhile, or its position was unknown: read it again.
            return Ok(());
        }
        let undecodable = self.progress.undecodable.load(Ordering::Relaxed);
        let rows = self.progress.rows.load(Ordering::Relaxed);
        self.metrics.undecodable.set(undecodable as i64);
        tracing::info!(rows, undecodable, "table read");
        match self.progress.decide_model_fit() {
            ModelFit::Misfit => {
                let misfit = self.progress.misfit_in_words(&self.settings.table);
                let reason = format!(
                    "{misfit}, so this process writes nothing to it; set MODEL or PG_TABLE, and see `orderd model check`"
                );
                self.health.down(Part::Fill, reason);
            }
            ModelFit::Fits | ModelFit::Unknown => self.health.up(Part::Fill),
        }
        if self.progress.has_decoded_all() {
            let table = &self.settings.table;
            let warning = self
                .progress
                .little_in_common(table)
                .map(|finding| Warning::new(WarningKind::LittleInCommon, &table.to_string(), finding));
            self.health.warn("model", warning.into_iter().collect());
        }
        Ok(())
    }

    async fn read_table(
        &self,
        initmemchan: &mpsc::Sender<Entries>,
        first: bool,
        has_unreadable: bool,
    ) -> Result<(), ReadFailure> {
        let OpenTable { connection, format, ranges, unreadable } = self.table(has_unreadable).await?;
        if first && format != self.settings.format {
            let (type_of_data, type_of_format) = (format.column_type(), self.settings.format.column_type());
            tracing::warn!(
                type_of_data,
                type_of_format,
                "PG_FORMAT has no effect: the table exists, and the type of its column data decides"
            );
        }
        if !self.progress.begun.load(Ordering::Acquire) {
            // Does not wait longer for a server that is down; the table is read again later.
            drop(tokio::time::timeout(POSITION_TIMEOUT, self.progress.placed.notified()).await);
            self.progress.begun.store(true, Ordering::Release);
        }
        for id in &unreadable {
            self.unreadable(id);
        }
        let parts = self.share(connection, ranges).await;
        let reads = parts.into_iter().map(|(connection, ranges)| {
            let read = self.clone().read_ranges(connection, format, ranges, initmemchan.clone(), first);
            // On a separate task, so that the ranges are decoded on several cores.
            tokio::spawn(read).unwrap_or_else(|_| Err(ReadFailure::ChannelClosed))
        });
        future::try_join_all(reads).await?;
        Ok(())
    }

    /// Opens a connection for each range. If the role or the server allows no more, one connection reads all ranges.
    async fn share(&self, first: Connection, mut ranges: Vec<String>) -> Vec<(Connection, Vec<String>)> {
        if ranges.len() < 2 {
            return vec![(first, ranges)];
        }
        match postgres::connect_in_time(&self.settings).await {
            Ok(second) => {
                let others = ranges.split_off(1);
                vec![(first, ranges), (second, others)]
            }
            Err(error) => {
                tracing::info!(reason = %error, "the table is read by one connection, more slowly");
                vec![(first, ranges)]
            }
        }
    }

    /// Queries the format of the rows, and how to split the table into ranges to read in parallel.
    async fn table(&self, has_unreadable: bool) -> Result<OpenTable, ReadFailure> {
        let connection = postgres::connect_in_time(&self.settings).await?;
        let prepared = postgres::prepare(&connection, &self.settings);
        let TableTraits { format, .. } = self.finished(&connection, prepared).await??;
        let unreadable = match has_unreadable {
            // Without a time limit, because it reads the whole table.
            true => postgres::unless_moved(&connection, self.unreadable_ids(&connection)).await??,
            false => Vec::new(),
        };
        let readable = Encoding::except(&unreadable);
        let whole = vec![readable.clone()];
        let query = "SELECT relkind = 'r' AND current_setting('server_version_num')::int >= 140000,
                            pg_relation_size(oid) / current_setting('block_size')::int,
                            greatest(reltuples, 0)::float8
                     FROM pg_class WHERE oid = $1::text::regclass";
        let table = self.settings.table.quoted();
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&table, Type::TEXT)];
        let rows = self.finished(&connection, connection.client.query_typed(query, &parameters)).await??;
        let Some(row) = rows.first() else {
            return Ok(OpenTable { connection, format, ranges: whole, unreadable });
        };
        let (by_ctid, blocks): (bool, i64) = (row.try_get(0)?, row.try_get(1)?);
        self.progress.estimate.store(row.try_get::<_, f64>(2)? as u64, Ordering::Relaxed);
        if !by_ctid || blocks < MIN_BLOCKS_FOR_TWO_RANGES {
            return Ok(OpenTable { connection, format, ranges: whole, unreadable });
        }
        let middle = blocks / 2;
        let halves = ["<", ">="].map(|half| format!("ctid {half} '({middle},0)' AND {readable}"));
        Ok(OpenTable { connection, format, ranges: halves.into(), unreadable })
    }

    async fn unreadable_ids(&self, connection: &Connection) -> Result<Vec<Vec<u8>>, tokio_postgres::Error> {
        let encoding = Encoding::of(&connection.client).await?;
        encoding.unreadable_ids(&connection.client, &self.settings.table).await
    }

    async fn read_ranges(
        self,
        connection: Connection,
        format: RowFormat,
        ranges: Vec<String>,
        initmemchan: mpsc::Sender<Entries>,
        first: bool,
    ) -> Result<(), ReadFailure> {
        let encoding = self.finished(&connection, Encoding::of(&connection.client)).await??;
        for range in ranges {
            self.read_range(&connection, (&encoding, format), &range, &initmemchan, first).await?;
        }
        Ok(())
    }

    async fn read_range(
        &self,
        connection: &Connection,
        (encoding, format): (&Encoding, RowFormat),
        range: &str,
        initmemchan: &mpsc::Sender<Entries>,
        first: bool,
    ) -> Result<(), ReadFailure> {
        let (id, table) = (encoding.raw_id(), self.settings.table.quoted());
        let copy = format!("COPY (SELECT {id}, data FROM {table} WHERE {range}) TO STDOUT (FORMAT binary)");
        let copied = self.finished(connection, connection.client.copy_out(&copy)).await??;
        let mut rows = std::pin::pin!(BinaryCopyOutStream::new(copied, &[Type::BYTEA, Type::BYTEA]));
        let mut entry_builder = self.cache.entry_builder();
        entry_builder.set_format(format);
        // Rows read after a table went back belong to the new generation.
        let generation = self.cache.generation();
        let mut entries = Vec::with_capacity(CHUNK_ROWS);
        let mut begun = Instant::now();
        // Decodes each row as it arrives, while it is in the CPU cache, and sends whole chunks.
        loop {
            // Usually a row is ready, and no timer is needed.
            let next = match rows.next().now_or_never() {
                Some(next) => next,
                None => self.finished(connection, rows.next()).await?,
            };
            let Some(row) = next.transpose()? else { break };
            let (id, data): (&[u8], Option<&[u8]>) = (row.try_get(0)?, row.try_get(1)?);
            match encoding.decode(id) {
                Some(id) => entries.extend(self.entry(&mut entry_builder, &id, data, first)),
                None => self.unreadable(id),
            }
            if entries.len() == CHUNK_ROWS {
                let whole = std::mem::replace(&mut entries, Vec::with_capacity(CHUNK_ROWS));
                self.send(initmemchan, generation, whole).await?;
                self.cache.yield_to_readers(begun.elapsed().min(MAX_YIELD)).await;
                begun = Instant::now();
            }
        }
        self.progress.add_members(&entry_builder.root_members());
        self.send(initmemchan, generation, entries).await
    }

    /// Waits for a query, and logs if it is slow.
    async fn finished<T>(
        &self,
        connection: &Connection,
        query: impl Future<Output = T>,
    ) -> Result<T, Abandoned> {
        let slow = || {
            let why = connection.watch().explain(
                "is it locked, the server stuck, or a pooler without a free connection (default_pool_size)?",
            );
            let reason = format!("a read of the table is not answered: {why}");
            tracing::warn!("{reason}");
            self.health.explain(Part::Fill, reason);
        };
        postgres::finished_or_cancelled(connection, query, slow).await
    }

    async fn send(
        &self,
        initmemchan: &mpsc::Sender<Entries>,
        generation: u64,
        entries: Vec<Entry>,
    ) -> Result<(), ReadFailure> {
        self.progress.sent.fetch_add(entries.len() as u64, Ordering::AcqRel);
        initmemchan
            .send(Entries { generation, through: None, entries })
            .await
            .map_err(|_| ReadFailure::ChannelClosed)
    }

    fn entry(
        &self,
        entry_builder: &mut EntryBuilder,
        id: &str,
        data: Option<&[u8]>,
        first: bool,
    ) -> Option<Entry> {
        self.progress.count_row();
        let is_known = !first && self.cache.contains(id);
        if is_known && !self.progress.is_in_doubt() {
            self.progress.count_skipped();
            return None;
        }
        match data.map(|data| entry_builder.entry_of_row(id, data)).transpose() {
            Ok(Some(entry)) => {
                self.progress.count_readable(entry_builder.shares_member());
                if is_known {
                    return None;
                }
                self.metrics.filled.inc();
                return Some(entry);
            }
            Err(error) => self.undecodable(id, Some(&error), &error.to_string()),
            Ok(None) => self.undecodable(id, None, "it is null"),
        }
        None
    }

    /// Logs a row whose id no client can name.
    fn unreadable(&self, id: &[u8]) {
        self.progress.count_row();
        self.undecodable(&id.escape_ascii().to_string(), None, "its id can't be converted to UTF-8");
    }

    fn undecodable(&self, id: &str, error: Option<&RowError>, problem: &str) {
        if self.progress.count_undecodable(error) < MAX_LOGGED_ROWS {
            tracing::warn!(id, problem, "row can't be decoded, skipped");
        }
    }
}

struct ChannelClosed;

enum ReadFailure {
    ChannelClosed,
    /// Why PostgreSQL can't be read.
    Database(String),
    /// The same, because of ids that can't be sent as text.
    Unreadable(String),
}

impl From<tokio_postgres::Error> for ReadFailure {
    fn from(error: tokio_postgres::Error) -> Self {
        let reason = describe(&error);
        if postgres::is_no_text(&error) { Self::Unreadable(reason) } else { Self::Database(reason) }
    }
}

impl From<PrepareError> for ReadFailure {
    fn from(error: PrepareError) -> Self {
        Self::Database(error.to_string())
    }
}

impl From<ConnectError> for ReadFailure {
    fn from(error: ConnectError) -> Self {
        Self::Database(error.to_string())
    }
}

impl From<Abandoned> for ReadFailure {
    fn from(abandoned: Abandoned) -> Self {
        Self::Database(abandoned.to_string())
    }
}
