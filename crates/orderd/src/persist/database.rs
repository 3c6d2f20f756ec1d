//! gobchan -> PostgreSQL, then tell and ack: the only place that writes orders into the table.
//!
//! A batch is whatever waits when the one before is committed: one order alone is committed at once, and under
//! load batches grow. `COPY` is several times faster than `INSERT` but can't pass over a key that is there, so
//! it is taken for messages that were never delivered before, and `INSERT … ON CONFLICT` for all others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::SinkExt;
use order::{Reason, Refusal};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_util::sync::CancellationToken;

use super::batch::{Batch, Place, is_fresh, places};
use super::encode::Rows;
use super::tell::Teller;
use crate::config::Postgres;
use crate::dead_letters::store::Store;
use crate::health::{Health, Part};
use crate::ingest::dead_letters::DeadLetter;
use crate::metrics::Metrics;
use crate::pace;
use crate::postgres::schema::Traits;
use crate::postgres::{self, Connection, PrepareError, SLOW, STUCK, Unanswered, describe};
use crate::receipts::Receipts;
use crate::retry::Backoff;
use crate::serve::cache::{Cache, Gone};

/// An idle connection is tried so often, so that `/readyz` knows within seconds that PostgreSQL is away.
const PING_EVERY: Duration = Duration::from_secs(2);

/// The head and tail of `COPY … (FORMAT binary)`.
const COPY_HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_TAIL: &[u8] = b"\xff\xff";

/// What the stage needs.
pub(crate) struct Database {
    pub(crate) settings: Postgres,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) dead_letters: Arc<Store>,
    pub(crate) receipts: Arc<Receipts>,
    pub(crate) deadchan: mpsc::Sender<DeadLetter>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) teller: Arc<Teller>,
    /// Told to stop: what can't be committed at once is given back.
    pub(crate) stop: CancellationToken,
    /// Out of time: what is not committed is given back.
    pub(crate) give_up: CancellationToken,
}

/// A connection with what is prepared on it.
struct Writer {
    connection: Connection,
    copy: Statement,
    insert: Statement,
    /// How the table has to be written.
    traits: Traits,
}

/// Why a batch is not in the table.
enum Failure {
    /// PostgreSQL can't be reached, or can't write anything now: the same again later.
    Away(String),
    /// PostgreSQL refuses one of the rows.
    Refused(String),
    /// One of the rows is stored already, where the statement does not see it.
    Stored,
}

impl Database {
    /// Runs until `gobchan` closes.
    pub(crate) async fn run(self, mut gobchan: mpsc::Receiver<Rows>) -> anyhow::Result<()> {
        let mut writer = None;
        // At once, so that it is ready as soon as it can be.
        self.ping(&mut writer).await;
        let mut waiting = Batch::default();
        loop {
            if waiting.is_empty() {
                let first = tokio::select! {
                    first = gobchan.recv() => first,
                    () = pace::next(PING_EVERY) => {
                        self.ping(&mut writer).await;
                        continue;
                    }
                };
                let Some(first) = first else { return Ok(()) };
                waiting.push(first);
            }
            while let Some(rows) = waiting.has_room().then(|| gobchan.try_recv().ok()).flatten() {
                waiting.push(rows);
            }
            let batch = waiting.take();
            let mut committed = std::pin::pin!(self.commit(&mut writer, &batch));
            // The next batch comes together while this one is written.
            let committed = loop {
                tokio::select! {
                    committed = &mut committed => break committed,
                    Some(rows) = gobchan.recv(), if waiting.has_room() => waiting.push(rows),
                }
            };
            if !committed {
                return Ok(());
            }
        }
    }

    /// Writes and acknowledges a batch, however long that takes. `false`: told to stop before it was written.
    async fn commit(&self, writer: &mut Option<Writer>, batch: &[Rows]) -> bool {
        let mut backoff = Backoff::default();
        // After a failure nobody knows whether the batch was committed.
        let mut fresh = is_fresh(batch);
        let begun = Instant::now();
        loop {
            let written = tokio::select! {
                written = self.write(writer, batch, fresh) => written,
                () = self.give_up.cancelled() => return false,
            };
            match written {
                Ok(inserted) => {
                    self.committed(batch, &places(batch), inserted, begun).await;
                    return true;
                }
                Err(Failure::Refused(_) | Failure::Stored) => {
                    return self.commit_one_by_one(writer, batch).await;
                }
                Err(Failure::Away(reason)) => {
                    *writer = None;
                    self.health.down(Part::Postgres, reason);
                }
            }
            fresh = false;
            tokio::select! {
                () = backoff.wait() => {}
                () = self.stop.cancelled() => return false,
            }
        }
    }

    /// The rows are in the table: their messages are acknowledged.
    async fn committed(&self, batch: &[Rows], part: &[Place], inserted: u64, begun: Instant) {
        self.health.up(Part::Postgres);
        self.metrics.commit.observe(begun.elapsed().as_secs_f64());
        self.metrics.written.inc_by(inserted);
        self.metrics.batch.observe(part.len() as f64);
        // What was passed over is there already, or is erased. Before they are acknowledged, so that whoever sees
        // that they are has been told.
        if inserted == part.len() as u64 {
            self.teller.committed(batch, part);
        }
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
        // Added to what all have seen when it is dropped, and not for each order.
        let latency = self.metrics.latency.local();
        let mut least = i128::MAX;
        for &(chunk, row) in part {
            let message = &batch[chunk].orders.messages[row];
            let age = now - i128::from(message.origin.timestamp_ns);
            least = least.min(age);
            // A clock of NATS that is ahead would make it negative, by which sums would fall.
            latency.observe(age.max(0) as f64 / 1e9);
            if message.replayed {
                self.dead_letters.remove(message.key.as_str()).await;
            }
            self.receipts.committed(message.headers.as_ref(), message.key.as_str()).await;
            message.receipt.acknowledge().await;
        }
        self.metrics.clock_skew.set(least.min(0).unsigned_abs() as f64 / 1e9);
    }

    /// Finds the rows that PostgreSQL refuses by halving, so that one of them costs the others nothing.
    async fn commit_one_by_one(&self, writer: &mut Option<Writer>, batch: &[Rows]) -> bool {
        let mut open = vec![places(batch)];
        let mut backoff = Backoff::default();
        while let Some(part) = open.pop() {
            let begun = Instant::now();
            let written = tokio::select! {
                written = self.insert(writer, batch, &part) => written,
                () = self.give_up.cancelled() => return false,
            };
            match written {
                Ok(inserted) => self.committed(batch, &part, inserted, begun).await,
                Err(Failure::Refused(detail)) if part.len() == 1 => self.refuse(batch, part[0], detail).await,
                Err(Failure::Stored) if part.len() == 1 => self.committed(batch, &part, 0, begun).await,
                Err(Failure::Refused(_) | Failure::Stored) => {
                    let (left, right) = part.split_at(part.len() / 2);
                    open.push(right.to_vec());
                    open.push(left.to_vec());
                }
                Err(Failure::Away(reason)) => {
                    *writer = None;
                    self.health.down(Part::Postgres, reason);
                    open.push(part);
                    tokio::select! {
                        () = backoff.wait() => {}
                        () = self.stop.cancelled() => return false,
                    }
                }
            }
        }
        true
    }

    /// The order leaves memory again, and its message becomes a dead letter.
    async fn refuse(&self, batch: &[Rows], (chunk, row): Place, detail: String) {
        let message = batch[chunk].orders.messages[row].clone();
        self.cache.retract(&message.key, Gone::Refused);
        let refusal = Refusal { reason: Reason::RefusedByDatabase, detail, path: None, offset: None };
        // Closed only when the service ends with an error; the message is then delivered again.
        drop(self.deadchan.send(DeadLetter { message, refusal }).await);
    }

    async fn write(&self, writer: &mut Option<Writer>, batch: &[Rows], fresh: bool) -> Result<u64, Failure> {
        let opened = self.open(writer).await?;
        if fresh && !opened.traits.refuses_copy {
            match self.answered(opened, copy(opened, batch)).await {
                // A key that is there already, which INSERT passes over; anything else it refuses too.
                Err(Failure::Refused(_) | Failure::Stored) => {}
                copied => return copied,
            }
        }
        self.insert(writer, batch, &places(batch)).await
    }

    async fn insert(
        &self,
        writer: &mut Option<Writer>,
        batch: &[Rows],
        part: &[Place],
    ) -> Result<u64, Failure> {
        let opened = self.open(writer).await?;
        let ids: Vec<&str> = part.iter().map(|&(chunk, row)| batch[chunk].orders.orders[row].key()).collect();
        let gobs: Vec<&[u8]> =
            part.iter().map(|&(chunk, row)| &batch[chunk].copy[batch[chunk].gobs[row].clone()]).collect();
        self.answered(opened, opened.connection.client.execute(&opened.insert, &[&ids, &gobs])).await
    }

    /// Waits for an answer, and says so where it is slow.
    async fn answered<T>(
        &self,
        writer: &Writer,
        statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        let slow = || {
            let reason = "a write is not answered: is the table locked, or the server stuck?";
            self.health.down(Part::Postgres, reason);
        };
        let answer = postgres::answered(&self.settings, &writer.connection, statement, slow).await;
        answer.map_err(|unanswered| Failure::Away(unanswered.to_string()))?.map_err(failure)
    }

    async fn open<'w>(&self, writer: &'w mut Option<Writer>) -> Result<&'w Writer, Failure> {
        if writer.as_ref().is_some_and(|writer| writer.connection.client.is_closed()) {
            *writer = None;
        }
        let opened = match writer.take() {
            Some(opened) => opened,
            None => {
                let opened = tokio::time::timeout(STUCK, Writer::open(&self.settings)).await;
                let opened = opened.map_err(|_| Failure::Away(Unanswered::Silent.to_string()))?;
                opened.map_err(|error| Failure::Away(error.to_string()))?
            }
        };
        self.health.up(Part::Postgres);
        Ok(writer.insert(opened))
    }

    async fn ping(&self, writer: &mut Option<Writer>) {
        let pinged = async {
            let opened = self.open(writer).await?;
            opened.connection.client.batch_execute("").await.map_err(failure)
        };
        let reason = match tokio::time::timeout(SLOW, pinged).await {
            Ok(Ok(())) => return self.health.up(Part::Postgres),
            Ok(Err(Failure::Away(reason) | Failure::Refused(reason))) => reason,
            Ok(Err(Failure::Stored)) => return,
            Err(_) => Unanswered::Silent.to_string(),
        };
        *writer = None;
        self.health.down(Part::Postgres, reason);
    }
}

impl Writer {
    async fn open(settings: &Postgres) -> Result<Self, PrepareError> {
        let connection = postgres::connect(settings).await?;
        let traits = postgres::prepare(&connection.client, settings).await?;
        // Set otherwise for the database or the role, an answer would come before the row is safe.
        let waits = "SELECT set_config('synchronous_commit', 'on', false)
                     WHERE current_setting('synchronous_commit') = 'off'";
        connection.client.batch_execute(waits).await?;
        let table = settings.table.quoted();
        let copy = format!("COPY {table} (id, data) FROM STDIN (FORMAT binary)");
        let copy = connection.client.prepare(&copy).await?;
        let insert = postgres::insert(&connection.client, &settings.table, traits).await?;
        let insert = connection.client.prepare(&insert).await?;
        Ok(Self { connection, copy, insert, traits })
    }
}

async fn copy(writer: &Writer, batch: &[Rows]) -> Result<u64, tokio_postgres::Error> {
    let sink = writer.connection.client.copy_in::<_, Bytes>(&writer.copy).await?;
    let mut sink = std::pin::pin!(sink);
    sink.feed(Bytes::from_static(COPY_HEAD)).await?;
    for rows in batch {
        sink.feed(rows.copy.clone()).await?;
    }
    sink.feed(Bytes::from_static(COPY_TAIL)).await?;
    sink.finish().await
}

/// Whether PostgreSQL refuses a row for what it is, or can't write anything now.
fn failure(error: tokio_postgres::Error) -> Failure {
    if postgres::is_stored_already(&error) {
        return Failure::Stored;
    }
    let detail = describe(&error);
    let Some(code) = error.code().map(SqlState::code) else { return Failure::Away(detail) };
    // Data exceptions, violated constraints, limits such as a row's size, exceptions that a trigger raises.
    let of_a_row = ["22", "23", "44", "54", "P0"].iter().any(|class| code.starts_with(class));
    if of_a_row { Failure::Refused(detail) } else { Failure::Away(detail) }
}
