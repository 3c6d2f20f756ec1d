//! A minimal bridge: copies a backlog from NATS to PostgreSQL and does nothing else.
//!
//! An ordered consumer counts messages; the same number of prepared rows is copied together with a position in one
//! transaction, while the next messages arrive. Nothing is decoded or cached.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::watch;
use tokio_postgres::NoTls;
use tokio_postgres::types::ToSql;

use crate::environment::Environment;
use crate::{go_rows, orders};

/// Same as the service's consumer.
const PULL_MESSAGES: usize = 2048;
const PULL_BYTES: usize = 8 << 20;

/// Same as the service's batches.
const MAX_ROWS: usize = 8192;

/// Time without a delivery after which messages count as lost.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// Messages a second from the first request to the last commit.
pub(crate) fn rate(env: &mut Environment, stream: &str, count: u64) -> Result<f64> {
    let (table, position) = (env.empty_table()?, env.name("position"));
    env.postgres
        .psql(&format!("create table {position} (seq bigint not null); insert into {position} values (0)"))?;
    let mut rows: Vec<Bytes> =
        orders::chunks(0..count, go_rows::copy_row).into_iter().flatten().map(Bytes::from).collect();
    // Keys are ascending, like the service's.
    rows.sort();
    let (nats, postgres) = (env.nats.url(), env.postgres.url());
    let seconds = env.runtime.block_on(async {
        let begun = Instant::now();
        let (counter, counted) = watch::channel(0);
        let reading = tokio::spawn(read(nats, stream.to_owned(), count, counter));
        copy(&postgres, &table, &position, &rows, counted).await?;
        reading.await??;
        anyhow::Ok(begun.elapsed().as_secs_f64())
    })?;
    ensure!(env.rows_in(&table)? == count, "the bridge has not copied {count} rows");
    env.postgres.psql(&format!("drop table {position}"))?;
    env.settle(Some(&table))?;
    Ok(count as f64 / seconds)
}

/// Counts the messages of a stream as they arrive.
async fn read(url: String, stream: String, count: u64, counter: watch::Sender<usize>) -> Result<()> {
    let stream = jetstream::new(async_nats::connect(url).await?).get_stream(stream).await?;
    let config = pull::Config {
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let messages = consumer.stream().max_messages_per_batch(PULL_MESSAGES).max_bytes_per_batch(PULL_BYTES);
    let mut messages = messages.messages().await?;
    for read in 1..=count {
        let next = tokio::time::timeout(DELIVERY_TIMEOUT, messages.next()).await?;
        next.context("the bridge's consumer ended")??;
        counter.send_replace(read as usize);
    }
    Ok(())
}

/// Copies as many rows as messages have arrived, after each commit.
async fn copy(
    url: &str,
    table: &str,
    position: &str,
    rows: &[Bytes],
    mut counted: watch::Receiver<usize>,
) -> Result<()> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    let move_position = client.prepare(&format!("update {position} set seq = $1")).await?;
    let copy = client.prepare(&format!("copy {table} from stdin (format binary)")).await?;
    let mut done = 0;
    while done < rows.len() {
        let come = *tokio::time::timeout(DELIVERY_TIMEOUT, counted.wait_for(|come| *come > done)).await??;
        let end = come.min(done + MAX_ROWS);
        let sequence = end as i64;
        let moved_to: [&(dyn ToSql + Sync); 1] = [&sequence];
        let (begun, moved, sink) = tokio::join!(
            client.batch_execute("begin"),
            client.execute(&move_position, &moved_to),
            client.copy_in::<_, Bytes>(&copy),
        );
        begun?;
        moved?;
        let mut sink = std::pin::pin!(sink?);
        let mut data = go_rows::COPY_HEAD.to_vec();
        rows[done..end].iter().for_each(|row| data.extend_from_slice(row));
        data.extend_from_slice(go_rows::COPY_TAIL);
        sink.send(data.into()).await?;
        let (copied, committed) = tokio::join!(sink.finish(), client.batch_execute("commit"));
        copied?;
        committed?;
        done = end;
    }
    Ok(())
}
