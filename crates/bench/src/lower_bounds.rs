//! Lower bounds for the way from NATS to PostgreSQL: consumers that do only what is unavoidable with each message.
//!
//! Their cost is that of NATS, PostgreSQL and the kernel; everything above it is the service's.

use anyhow::{Context as _, Result};
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{self, Message};
use futures_util::{FutureExt, StreamExt};
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;
use tokio_postgres::types::Type;

use crate::environment::Environment;
use crate::go_rows;
use crate::say;

/// The work on messages before they are acknowledged.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    Nothing,
    /// Inserts prepared rows, one for each message: all waiting ones at once.
    Insert,
}

/// A running consumer on separate threads, as a separate process would have them.
pub(crate) struct Floor {
    pub(crate) subject: String,
    stream: String,
    table: String,
    runtime: Runtime,
}

impl Floor {
    /// Starts it for this number of messages: orders from 0 on.
    pub(crate) fn start(env: &mut Environment, work: Work, count: u64) -> Result<Self> {
        let (stream, table) = (env.name("FLOOR"), env.empty_table()?);
        let subject = format!("bench.{stream}");
        env.make_stream(&stream, &subject)?;
        let (nats, postgres) = (env.nats.url(), env.postgres.url());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let messages = runtime.block_on(messages(&nats, &stream, count))?;
        let into = table.clone();
        runtime.spawn(async move {
            let worked = match work {
                Work::Nothing => acknowledge(messages).await,
                Work::Insert => {
                    insert(messages, postgres, into, (0..count).map(go_rows::row).collect()).await
                }
            };
            // The publisher's wait for acknowledgements then fails.
            if let Err(error) = worked {
                say(&format!("a consumer of the bench's own failed: {error:#}"));
            }
        });
        Ok(Self { subject, stream, table, runtime })
    }

    pub(crate) fn stop(self, env: &Environment) -> Result<()> {
        self.runtime.shutdown_background();
        env.remove_stream(&self.stream)?;
        env.settle(Some(&self.table))
    }
}

async fn messages(url: &str, stream: &str, count: u64) -> Result<pull::Stream> {
    let stream = jetstream::new(async_nats::connect(url).await?).get_stream(stream).await?;
    let config = pull::Config {
        durable_name: Some("floor".to_owned()),
        max_ack_pending: count as i64,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    Ok(consumer.stream().max_messages_per_batch(1024).messages().await?)
}

async fn acknowledge(mut messages: pull::Stream) -> Result<()> {
    while let Some(message) = messages.next().await {
        message?.ack().await.map_err(anyhow::Error::from_boxed)?;
    }
    Ok(())
}

async fn insert(
    mut messages: pull::Stream,
    url: String,
    table: String,
    rows: Vec<(String, Vec<u8>)>,
) -> Result<()> {
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    let one = format!("insert into {table} (id, data) values ($1, $2)");
    let one = client.prepare_typed(&one, &[Type::TEXT, Type::BYTEA]).await?;
    let many = format!("insert into {table} (id, data) select * from unnest($1, $2)");
    let many = client.prepare_typed(&many, &[Type::TEXT_ARRAY, Type::BYTEA_ARRAY]).await?;
    while let Some(first) = messages.next().await {
        let mut batch = vec![first?];
        while let Some(Some(next)) = messages.next().now_or_never() {
            batch.push(next?);
        }
        let waiting: Vec<_> = batch.iter().map(|message| row_of(message, &rows)).collect::<Result<_>>()?;
        match waiting[..] {
            [(id, row)] => client.execute(&one, &[id, row]).await?,
            _ => {
                let (ids, rows): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
                client.execute(&many, &[&ids, &rows]).await?
            }
        };
        for message in batch {
            message.ack().await.map_err(anyhow::Error::from_boxed)?;
        }
    }
    Ok(())
}

/// The row of a message, by its stream sequence.
fn row_of<'r>(message: &Message, rows: &'r [(String, Vec<u8>)]) -> Result<(&'r String, &'r Vec<u8>)> {
    let sequence = message.info().map_err(anyhow::Error::from_boxed)?.stream_sequence;
    let (id, row) = rows.get(sequence as usize - 1).context("more orders came than were announced")?;
    Ok((id, row))
}
