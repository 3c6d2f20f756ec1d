//! Read-through: looks up in PostgreSQL what memory lacks, for many waiting requests in one query, one query at a time.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Stream;
use cache::{Cache, RowSource, StoredRow, Unavailable};
use futures_util::{FutureExt, future};
use order::{Key, RowReader};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Postgres, Settings};
use crate::dead_letters::dropping::OrderTable;
use crate::flow_state::{FlowState, Watermark};
use crate::metrics::Metrics;
use crate::nats::{orders_stream, stored_message};
use crate::postgres::{FoundRows, QueryError, RowLookup};
use crate::subject;

/// Maximum number of waiting readers, and of readers served by one query.
const MAX_WAITING: usize = 4096;
const MAX_BATCH: usize = 512;

/// Maximum number of waiting misses that come from queries.
const MAX_WAITING_OF_QUERIES: usize = 512;

/// Maximum number of concurrent look-ups in the stream.
const STREAM_LOOKUPS_IN_FLIGHT: usize = 64;

/// How long a reader waits before it gets 503.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The sources of the task: the table, and the stream for messages beyond the position.
#[derive(Clone)]
pub(crate) struct MissSources {
    pub(crate) settings: Arc<Settings>,
    pub(crate) client: Client,
    pub(crate) flow_state: Arc<FlowState>,
}

struct Miss {
    id: String,
    /// Whether to put the body back into memory: for a request by id, but not for a query, which would evict others.
    puts_back: bool,
    reply: oneshot::Sender<StoredRow>,
}

/// A handle to look up rows by id.
#[derive(Clone)]
pub(crate) struct ReadThrough {
    misses: mpsc::Sender<Miss>,
    /// Limits the misses of queries.
    of_queries: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl ReadThrough {
    /// Starts the task, which ends when the last handle is dropped. Bodies of evicted orders are put back into memory.
    pub(crate) fn start(sources: MissSources, cache: Arc<Cache>, metrics: Arc<Metrics>) -> Self {
        let (misses, mut asked) = mpsc::channel(MAX_WAITING);
        tokio::spawn(async move {
            // The misses of the batch that panicked get no reply; later ones do.
            while AssertUnwindSafe(serve(&mut asked, &sources, &cache)).catch_unwind().await.is_err() {
                tracing::error!("the read-through panicked; starting it again");
            }
        });
        Self { misses, of_queries: Arc::new(Semaphore::new(MAX_WAITING_OF_QUERIES)), metrics }
    }

    /// Looks up the row of a requested order.
    pub(crate) async fn row(&self, id: &str) -> Result<StoredRow, Unavailable> {
        let row = self.ask(id, true).await;
        let label = match &row {
            Ok(StoredRow::Order(_) | StoredRow::Undecodable) => "found",
            Ok(StoredRow::NotThere) => "not_found",
            Ok(StoredRow::NotRead) | Err(Unavailable) => "unanswered",
        };
        self.metrics.read_through.with_label_values(&[label]).inc();
        row
    }

    async fn ask(&self, id: &str, puts_back: bool) -> Result<StoredRow, Unavailable> {
        // No row can have such an id, and it would make the query fail for the other ids.
        if id.contains('\0') {
            return Ok(StoredRow::NotThere);
        }
        let (reply, replied) = oneshot::channel();
        let asked = self.misses.try_send(Miss { id: id.to_owned(), puts_back, reply });
        asked.map_err(|_| Unavailable)?;
        tokio::time::timeout(READ_TIMEOUT, replied).await.ok().and_then(Result::ok).ok_or(Unavailable)
    }
}

impl OrderTable for ReadThrough {
    async fn has_row(&self, key: &str) -> Option<bool> {
        match self.ask(key, false).await.ok()? {
            StoredRow::Order(_) | StoredRow::Undecodable => Some(true),
            StoredRow::NotThere => Some(false),
            StoredRow::NotRead => None,
        }
    }
}

impl RowSource for ReadThrough {
    /// Small, so that look-ups of single orders are served in between.
    const MAX_ROWS: usize = 128;

    async fn rows(&self, ids: &[&str]) -> Result<Vec<StoredRow>, Unavailable> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let room = self.of_queries.acquire_many(ids.len().min(MAX_WAITING_OF_QUERIES) as u32);
        let _room =
            tokio::time::timeout(READ_TIMEOUT, room).await.ok().and_then(Result::ok).ok_or(Unavailable)?;
        future::try_join_all(ids.iter().map(|id| self.ask(id, false))).await
    }
}

/// Answers misses, many by one query, until all handles are dropped.
async fn serve(asked: &mut mpsc::Receiver<Miss>, sources: &MissSources, cache: &Cache) {
    let settings = &sources.settings.postgres;
    // Connect before the first miss: while memory fills, many readers ask.
    let mut connection = LookupConnection::Opening(open(settings));
    let mut misses = Vec::new();
    let mut reader = RowReader::new(cache.layouts().clone());
    while asked.recv_many(&mut misses, MAX_BATCH).await > 0 {
        misses.retain(|miss: &Miss| !miss.reply.is_closed());
        cache.set_readers_wait(true);
        let ids: Vec<&str> = misses.iter().map(|miss| miss.id.as_str()).collect();
        let stream = sources.flow_state.stream_name();
        let of = (stream.as_str(), sources.settings.nats.topic.as_str());
        let looked = async {
            let lookup = connection.opened(settings).await?;
            lookup.rows(&settings.table, of, &ids).await
        };
        let rows = tokio::time::timeout(READ_TIMEOUT, looked).await;
        match rows {
            Ok(Ok(FoundRows { rows, format, position, .. })) => {
                reader.set_format(format);
                let is_beyond =
                    |id: &&str| stream_position(id).is_some_and(|of_id| !has_passed(position, of_id));
                let missing = ids.iter().copied().filter(|id| !rows.contains_key(*id));
                let beyond = sources.beyond(missing.filter(is_beyond)).await;
                let mut read = |(id, data): (String, Option<Vec<u8>>)| {
                    let row = decoded(&mut reader, &id, data.as_deref());
                    (id, row)
                };
                let rows: HashMap<String, StoredRow> = rows.into_iter().map(&mut read).collect();
                let asked_for = misses.iter().filter(|miss| miss.puts_back);
                let orders =
                    asked_for.filter_map(|miss| rows.get(&miss.id).and_then(StoredRow::order).cloned());
                cache.put_back(&orders.collect::<Vec<_>>());
                for miss in misses.drain(..) {
                    let row = match (rows.get(&miss.id), beyond.get(&miss.id)) {
                        (Some(row), _) => row.clone(),
                        (None, Some(Some(is_in_stream))) if *is_in_stream => StoredRow::NotRead,
                        // NATS can't be reached: the reader gets 503.
                        (None, Some(None)) => continue,
                        _ => StoredRow::NotThere,
                    };
                    // A dropped request no longer needs it.
                    drop(miss.reply.send(row));
                }
            }
            failed => {
                connection.drop_opened();
                misses.clear();
                if let Ok(Err(error)) = failed {
                    tracing::debug!(%error, "can't read rows for misses");
                }
            }
        }
        cache.set_readers_wait(!asked.is_empty());
    }
}

/// The connection for look-ups.
enum LookupConnection {
    None,
    /// In a task, so that the attempt continues when a reader gives up, and the next reader waits less.
    Opening(AbortOnDropHandle<Result<RowLookup, QueryError>>),
    Opened(Box<RowLookup>),
}

fn open(settings: &Postgres) -> AbortOnDropHandle<Result<RowLookup, QueryError>> {
    let settings = settings.clone();
    AbortOnDropHandle::new(tokio::spawn(async move { RowLookup::open_in_time(&settings).await }))
}

impl LookupConnection {
    /// The connection, opened if necessary. If the caller stops waiting, the attempt to open it continues.
    ///
    /// If an attempt that began before this call fails, it is repeated: at the first start, for example, it began before
    /// the table was created.
    async fn opened(&mut self, settings: &Postgres) -> Result<&RowLookup, QueryError> {
        if matches!(self, Self::Opened(lookup) if lookup.is_closed()) {
            *self = Self::None;
        }
        let mut began_here = false;
        loop {
            match self {
                Self::None => (*self, began_here) = (Self::Opening(open(settings)), true),
                Self::Opening(opening) => {
                    // If the task panics, the log shows it.
                    let opened = opening.await.unwrap_or(Err(QueryError::TimedOut));
                    *self = Self::None;
                    match opened {
                        Ok(lookup) => *self = Self::Opened(Box::new(lookup)),
                        Err(error) if began_here => return Err(error),
                        Err(_) => {}
                    }
                }
                Self::Opened(_) => break,
            }
        }
        match self {
            Self::Opened(lookup) => Ok(lookup),
            _ => Err(QueryError::TimedOut),
        }
    }

    /// After a failure. A connection that is still being opened stays.
    fn drop_opened(&mut self) {
        if let Self::Opened(_) = self {
            *self = Self::None;
        }
    }
}

impl MissSources {
    /// For ids beyond the table's position: whether the stream has their messages; `None` if NATS can't be reached. An
    /// id beyond the end of the stream does not exist.
    async fn beyond<'i>(&self, ids: impl Iterator<Item = &'i str>) -> HashMap<String, Option<bool>> {
        let ids: Vec<&str> = ids.collect();
        if ids.is_empty() {
            return HashMap::new();
        }
        let mut context = self.settings.nats.jetstream(self.client.clone());
        context.set_timeout(READ_TIMEOUT / 2);
        let found = tokio::time::timeout(
            READ_TIMEOUT / 2,
            orders_stream::find_or_create(&context, &self.settings.nats),
        )
        .await;
        let Ok(Ok(orders)) = found else { return ids.iter().map(|id| ((*id).to_owned(), None)).collect() };
        let topic = &self.settings.nats.topic;
        let mut beyond = HashMap::with_capacity(ids.len());
        for some in ids.chunks(STREAM_LOOKUPS_IN_FLIGHT) {
            let looks = some.iter().map(|id| is_in(&context, &orders, topic, id));
            let looked = future::join_all(looks).await;
            beyond.extend(some.iter().map(|id| (*id).to_owned()).zip(looked));
        }
        beyond
    }
}

/// Whether the stream has the message of an id; `None` if NATS can't be reached.
async fn is_in(context: &Context, orders: &Stream, topic: &str, id: &str) -> Option<bool> {
    let info = orders.cached_info();
    let last = info.state.last_sequence;
    let Some((time, seq)) = stream_position(id).filter(|(_, seq)| *seq <= last) else { return Some(false) };
    let found = stored_message::at(context, &info.config.name, seq).await.ok()?;
    Some(found.is_some_and(|found| found.time_ns == time && subject::covers(topic, &found.subject)))
}

/// Whether the table is complete up to a message, so that an id without a row does not exist.
fn has_passed(position: Watermark, (time, seq): (i128, u64)) -> bool {
    let is_later = |passed: i64| i128::from(passed) >= time.div_euclid(1000);
    seq <= position.seq && position.time.is_some_and(is_later)
}

/// The time and the sequence that a key of ours names.
fn stream_position(id: &str) -> Option<(i128, u64)> {
    let (time, seq) = Some(id).filter(|id| Key::is_from_stream(id))?.split_once('-')?;
    Some((time.parse().ok()?, seq.parse().ok()?))
}

fn decoded(reader: &mut RowReader, id: &str, data: Option<&[u8]>) -> StoredRow {
    match data.map(|data| reader.read(id, data)) {
        Some(Ok(body)) => StoredRow::Order(body),
        Some(Err(error)) => {
            tracing::debug!(id, %error, "row can't be decoded");
            StoredRow::Undecodable
        }
        None => StoredRow::Undecodable,
    }
}
