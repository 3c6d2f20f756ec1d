//! Queries NATS and PostgreSQL directly, not through the breakers.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::jetstream::{self, Context};
use model::Model;
use order::{Layouts, RowFormat, RowReader};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

/// Time limit for retries. Both servers run by then, but may still elect a leader.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Time limit of each attempt, and the pause between two.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(500);
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Maximum number of attempts at a restore that PostgreSQL aborts because of a deadlock.
const RESTORE_ATTEMPTS: u32 = 5;

/// The default names of the streams of orders and of dead letters.
const STREAM: &str = "ORDERS";
const DEAD_STREAM: &str = "ORDERS_DEAD";

/// Copies rows and position.
const KEEP: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ;
    SET LOCAL synchronous_commit = on;
    CREATE SCHEMA chaos;
    CREATE TABLE chaos.orders AS SELECT * FROM public.orders2;
    CREATE TABLE chaos.position AS SELECT * FROM public.orderd_position;
    COMMIT";

/// Restores the copy of [`KEEP`], as a restore from a backup does.
const RESTORE: &str = "BEGIN;
    SET LOCAL synchronous_commit = on;
    TRUNCATE public.orders2, public.orderd_position;
    INSERT INTO public.orders2 SELECT * FROM chaos.orders;
    INSERT INTO public.orderd_position SELECT * FROM chaos.position;
    COMMIT";

/// A row of the table: its id, and its order as JSON, or why it can't be read.
pub type Row = (String, Result<String, String>);

/// A dead letter: its subject and its payload.
pub type DeadLetter = (String, Vec<u8>);

/// Whether PostgreSQL ended a transaction so that another one could continue.
fn is_deadlock(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<tokio_postgres::Error>();
    error.and_then(tokio_postgres::Error::code) == Some(&SqlState::T_R_DEADLOCK_DETECTED)
}

pub(crate) struct Observer {
    context: Context,
    postgres_url: String,
    postgres: Option<tokio_postgres::Client>,
    layouts: Arc<Layouts>,
    format: RowFormat,
}

impl Observer {
    pub(crate) fn new(client: async_nats::Client, postgres_url: String, format: RowFormat) -> Result<Self> {
        let mut context = jetstream::new(client);
        context.set_timeout(REQUEST_TIMEOUT);
        Ok(Self {
            context,
            postgres_url,
            postgres: None,
            layouts: Arc::new(Layouts::new(Model::order()?.shape())?),
            format,
        })
    }

    /// Distance between the table's position and the stream's end. If the stream has lost messages, the position may be
    /// beyond the end.
    pub(crate) async fn behind(&mut self) -> Result<u64> {
        let last = answered("the stream", async || self.ask_for_last().await).await?;
        Ok(last.abs_diff(self.position().await?))
    }

    /// The table's position.
    pub(crate) async fn position(&mut self) -> Result<u64> {
        let rows = self.query("SELECT coalesce(max(seq), 0) FROM public.orderd_position").await?;
        let position = rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))?;
        Ok(position.cast_unsigned())
    }

    /// The table's position, if it is valid in the current stream; otherwise 0. After a stream has gone back, the
    /// position may be that of a lost message, whose sequence another message may have now.
    pub(crate) async fn position_in_stream(&mut self) -> Result<u64> {
        let (_, last) = self.bounds().await?;
        let statement = "SELECT seq, (extract(epoch FROM seq_time) * 1000000)::int8 FROM public.orderd_position \
                         ORDER BY seq DESC LIMIT 1";
        let rows = self.query(statement).await?;
        let Some(row) = rows.first() else { return Ok(0) };
        let (position, time) = (row.try_get::<_, i64>(0)?.cast_unsigned(), row.try_get::<_, Option<i64>>(1)?);
        if position == 0 || position > last {
            return Ok(0);
        }
        let message =
            answered("a message", async || message_at(&self.stream(STREAM).await?, position).await).await?;
        let stored = message.map(|message| (message.time.unix_timestamp_nanos().div_euclid(1000)) as i64);
        // A purged message shows nothing.
        let is_another = stored.is_some_and(|stored| time.is_some_and(|time| time != stored));
        Ok(if is_another { 0 } else { position })
    }

    /// Copies the table, for [`Observer::restore`].
    pub(crate) async fn keep(&mut self) -> Result<()> {
        self.execute(KEEP).await.context("cannot keep a copy of the table")
    }

    /// Restores the copy of the table. The service's transaction locks the same two tables in another order, so
    /// PostgreSQL may abort this one because of a deadlock; it is then repeated.
    pub(crate) async fn restore(&mut self) -> Result<()> {
        for _ in 1..RESTORE_ATTEMPTS {
            match self.execute(RESTORE).await {
                Err(error) if is_deadlock(&error) => {}
                ended => return ended.context("cannot restore the table"),
            }
        }
        self.execute(RESTORE)
            .await
            .context("cannot restore the table: each attempt before was ended for a deadlock")
    }

    async fn execute(&self, statements: &str) -> Result<()> {
        let client = self.connect().await?;
        Ok(tokio::time::timeout(RETRY_TIMEOUT, client.batch_execute(statements)).await??)
    }

    /// The stream's first and last sequence.
    pub(crate) async fn bounds(&self) -> Result<(u64, u64)> {
        answered("the stream", async || {
            let state = self.stream(STREAM).await?.get_info().await?.state;
            Ok((state.first_sequence, state.last_sequence))
        })
        .await
    }

    /// The payload at a sequence; `None` if there is no message, or if it can't be read.
    pub(crate) async fn payload_at(&self, sequence: u64) -> Result<Option<Vec<u8>>> {
        answered("a message", async || {
            let stream = self.stream(STREAM).await?;
            Ok(message_at(&stream, sequence).await?.map(|message| message.payload.to_vec()))
        })
        .await
    }

    /// The stream's leader; `None` without a cluster.
    pub(crate) async fn leader(&self) -> Option<String> {
        let info = self.stream(STREAM).await.ok()?.get_info().await.ok()?;
        info.cluster?.leader
    }

    /// Waits until the NATS cluster has elected its leaders; until then it answers nothing.
    pub(crate) async fn wait_for_leaders(&self) -> Result<()> {
        answered("its leaders", async || {
            let asked = async {
                self.context.query_account().await?;
                for name in [STREAM, DEAD_STREAM] {
                    let info = self.stream(name).await?.get_info().await?;
                    let is_led = info.cluster.is_none_or(|cluster| cluster.leader.is_some());
                    anyhow::ensure!(is_led, "{name} has no leader");
                }
                Ok(())
            };
            tokio::time::timeout(ATTEMPT_TIMEOUT, asked).await?
        })
        .await
    }

    async fn ask_for_last(&self) -> Result<u64> {
        Ok(self.stream(STREAM).await?.get_info().await?.state.last_sequence)
    }

    /// The stream sequences of the table's rows.
    pub(crate) async fn sequences(&mut self) -> Result<HashSet<u64>> {
        let rows = self.query("SELECT split_part(id, '-', 2)::int8 FROM public.orders2").await?;
        rows.iter().map(|row| Ok(u64::try_from(row.try_get::<_, i64>(0)?)?)).collect()
    }

    /// The number of rows in the table.
    pub(crate) async fn count(&mut self) -> Result<usize> {
        let rows = self.query("SELECT count(*) FROM public.orders2").await?;
        let count = rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))?;
        Ok(usize::try_from(count)?)
    }

    /// Some rows, including the newest.
    pub(crate) async fn some_rows(&mut self) -> Result<Vec<Row>> {
        let newest = "SELECT id FROM public.orders2 ORDER BY id DESC LIMIT 40";
        let any = "SELECT id FROM public.orders2 ORDER BY md5(id) LIMIT 60";
        self.rows(&format!("WHERE id IN (({newest}) UNION ({any}))")).await
    }

    /// The whole table.
    pub(crate) async fn all_rows(&mut self) -> Result<Vec<Row>> {
        self.rows("").await
    }

    /// The rows for which `condition` holds, a `WHERE` clause.
    async fn rows(&mut self, condition: &str) -> Result<Vec<Row>> {
        // As PostgreSQL sends them in binary.
        let data = match self.format {
            RowFormat::Gob => "data",
            RowFormat::Jsonb => r"'\x01'::bytea || convert_to(data::text, 'UTF8')",
            RowFormat::Json => "convert_to(data::text, 'UTF8')",
        };
        let rows = self.query(&format!("SELECT id, {data} FROM public.orders2 {condition}")).await?;
        let mut reader = RowReader::new(self.layouts.clone());
        reader.set_format(self.format);
        let read = |row: &tokio_postgres::Row| {
            let (id, data): (String, Option<Vec<u8>>) = (row.try_get(0)?, row.try_get(1)?);
            Ok((id, self.json(&mut reader, data.as_deref().unwrap_or_default())))
        };
        rows.iter().map(read).collect()
    }

    fn json(&self, reader: &mut RowReader, data: &[u8]) -> Result<String, String> {
        let mut text = Vec::new();
        let body = reader.read("", data).map_err(|error| error.to_string())?;
        self.layouts.write_json(&body, &mut text).map_err(|error| error.to_string())?;
        String::from_utf8(text).map_err(|error| error.to_string())
    }

    /// All dead letters; the second part of a large one has a separate subject.
    pub(crate) async fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
        answered("the dead letters", async || self.ask_for_dead_letters().await).await
    }

    async fn ask_for_dead_letters(&self) -> Result<Vec<DeadLetter>> {
        let stream = self.stream(DEAD_STREAM).await?;
        let last = stream.get_info().await?.state.last_sequence;
        let mut found = Vec::new();
        for sequence in 1..=last {
            let message = message_at(&stream, sequence).await.context("cannot read a dead letter")?;
            found.extend(message.map(|it| (it.subject.to_string(), it.payload.to_vec())));
        }
        Ok(found)
    }

    async fn stream(&self, name: &str) -> Result<Stream<()>> {
        Ok(self.context.get_stream_no_info(name).await?)
    }

    /// Retries for a while: a kill ends connections, and after a power failure the table may be missing until the
    /// service recreates it.
    async fn query(&mut self, query: &str) -> Result<Vec<tokio_postgres::Row>> {
        let begun = Instant::now();
        loop {
            let client = match self.postgres.take().filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => self.connect().await?,
            };
            if let Ok(rows) = tokio::time::timeout(RETRY_TIMEOUT, client.query(query, &[])).await? {
                self.postgres = Some(client);
                return Ok(rows);
            }
            anyhow::ensure!(begun.elapsed() < RETRY_TIMEOUT, "cannot read the table");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn connect(&self) -> Result<tokio_postgres::Client> {
        let connected = tokio_postgres::connect(&self.postgres_url, NoTls);
        let (client, connection) = tokio::time::timeout(RETRY_TIMEOUT, connected).await??;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// Treats a message that the server can't find or read as missing.
async fn message_at(stream: &Stream<()>, sequence: u64) -> Result<Option<StreamMessage>> {
    match stream.get_raw_message(sequence).await {
        Ok(message) => Ok(Some(message)),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => Ok(None),
            _ => Err(error.into()),
        },
    }
}

/// Retries while a NATS server that has just restarted is not ready.
async fn answered<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let asking = async {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(_) => tokio::time::sleep(RETRY_INTERVAL).await,
            }
        }
    };
    tokio::time::timeout(RETRY_TIMEOUT, asking).await.with_context(|| format!("cannot ask NATS for {what}"))
}

#[cfg(test)]
mod tests {
    use devstack::{Nats, NatsOptions, Postgres, PostgresOptions};

    use super::*;

    const TABLES: &str =
        "CREATE TABLE public.orders2 (id text); CREATE TABLE public.orderd_position (seq bigint);";

    #[tokio::test(flavor = "multi_thread")]
    async fn a_restore_that_is_ended_for_a_deadlock_is_repeated() {
        let nats = Nats::temporary(NatsOptions::default()).unwrap();
        let postgres = Postgres::temporary(PostgresOptions::quick()).unwrap();
        let client = async_nats::connect(nats.url()).await.unwrap();
        let mut observer = Observer::new(client, postgres.url(), RowFormat::Gob).unwrap();
        let service = observer.connect().await.unwrap();
        let filled =
            "INSERT INTO public.orders2 VALUES ('kept'); INSERT INTO public.orderd_position VALUES (1)";
        service.batch_execute(&format!("{TABLES} {filled}")).await.unwrap();
        observer.keep().await.unwrap();

        // As the service writes: the position first. The long timeout keeps this transaction from detecting the
        // deadlock.
        let position = "BEGIN; SET LOCAL deadlock_timeout = '1h'; UPDATE public.orderd_position SET seq = 2";
        service.batch_execute(position).await.unwrap();
        let restored = tokio::spawn(async move { observer.restore().await.map(|()| observer) });
        let watcher = tokio_postgres::connect(&postgres.url(), NoTls).await.unwrap();
        let (watcher, _connection) = (watcher.0, tokio::spawn(watcher.1));
        let waits =
            "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'public.orderd_position'::regclass";
        while watcher.query(waits, &[]).await.unwrap().is_empty() {
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        service.batch_execute("INSERT INTO public.orders2 VALUES ('new'); COMMIT").await.unwrap();

        let mut observer = restored.await.unwrap().unwrap();
        assert_eq!(observer.position().await.unwrap(), 1);
        assert_eq!(observer.count().await.unwrap(), 1);
        // PostgreSQL updates the counter a little later. Without a deadlock, this test shows nothing.
        let deadlocks = "SELECT 1 FROM pg_stat_database WHERE datname = current_database() AND deadlocks > 0";
        while watcher.query(deadlocks, &[]).await.unwrap().is_empty() {
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }
}
