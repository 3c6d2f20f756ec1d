//! `orderd verify`: is what the stream delivered in the table, and what is in the table in memory?
//!
//! Each is read once: ids of the table with a walk over each row, pages of the service, and of the stream what
//! it still has. A million rows took eleven seconds on two cores, service and servers beside it.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::RetentionPolicy;
use futures_util::StreamExt;
use hyper::StatusCode;
use order::{Key, Layouts, Parser, RowReader};
use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::Type;

use super::ask;
use super::progress::Progress;
use crate::cli::VerifyArgs;
use crate::config::{Http, Nats, Postgres, Table};
use crate::dead_letters::format::key_of_dead_letter;
use crate::dead_letters::list;
use crate::scan::Scan;
use crate::{nats, postgres, streams};

/// How many ids of each difference are shown.
const SHOWN: usize = 20;

/// What is not the same may be on its way: it is looked at again so often, so long after.
const LOOKS: usize = 5;
const BETWEEN: Duration = Duration::from_secs(1);

/// Keys by where they are.
#[derive(Default)]
struct Places {
    table: HashSet<String>,
    undecodable: HashSet<String>,
    memory: HashSet<String>,
    dead: HashSet<String>,
    /// Of messages that the stream still has and that the consumer has acknowledged.
    settled: HashSet<String>,
    /// Messages that are not acknowledged yet.
    in_flight: u64,
}

/// What is reported.
#[derive(Serialize)]
struct Report {
    in_flight: u64,
    table: usize,
    memory: usize,
    dead_letters: usize,
    undecodable: usize,
    /// Acknowledged, and neither in the table nor a dead letter.
    lost: Difference,
    /// In the table and not in memory.
    not_in_memory: Difference,
    /// In memory and not in the table.
    not_in_table: Difference,
}

#[derive(Serialize)]
struct Difference {
    count: usize,
    /// Some of them.
    ids: Vec<String>,
}

/// Prints what is where. 1: something differs that is not just in flight.
///
/// # Errors
/// Whatever can't be reached.
pub async fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let (nats, pg, http) = (Nats::new(&args.nats)?, Postgres::new(&args.pg)?, Http::new(&args.http)?);
    let required: Vec<String> = args
        .orders
        .require
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(Into::into)
        .collect();
    let mut parser =
        Parser::new(&required).map_err(|error| crate::config::ConfigError::new("REQUIRE", error))?;
    let client = nats::connect_once(&nats).await?;
    let mut looks = 0;
    let report = loop {
        let progress = Progress::new(None, "ids");
        let mut places = Places::default();
        places
            .read_stream(&jetstream::new(client.clone()), &nats, &args.nats_durable, &mut parser, &progress)
            .await?;
        // The table before memory, so that a row that is missing there is missing, and not just newer.
        let connection = postgres::connect_once(&pg).await?;
        places.read_table(&connection.client, &pg.table, &progress).await?;
        places.read_memory(&http, &progress).await?;
        places.read_newer_rows(&connection.client, &pg.table).await?;
        super::complain(&progress.finish("ids"));
        let report = places.report();
        looks += 1;
        if report.is_good() || looks == LOOKS {
            break report;
        }
        tokio::time::sleep(BETWEEN).await;
    };
    super::print(&if args.json { serde_json::to_string(&report)? + "\n" } else { report.text() })?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Places {
    async fn read_stream(
        &mut self,
        context: &jetstream::Context,
        settings: &Nats,
        durable: &str,
        parser: &mut Parser,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let stream = streams::stream(context, settings).await?;
        let consumer =
            stream.consumer_info(durable).await.with_context(|| format!("there is no consumer {durable}"))?;
        self.in_flight = consumer.num_pending + consumer.num_ack_pending as u64;
        self.dead.extend(list::all(context).await?.into_iter().map(|letter| letter.key));
        // A work queue has nothing of what is acknowledged, and lets nobody else read it.
        if stream.cached_info().config.retention == RetentionPolicy::WorkQueue {
            return Ok(());
        }
        let floor = consumer.ack_floor.stream_sequence;
        let wanted = pull::Config { filter_subject: settings.topic.clone(), ..Default::default() };
        let scan = Scan::new(&stream, wanted).await?;
        scan.show(|place, message| {
            if place > floor {
                return Ok(ControlFlow::Break(()));
            }
            progress.add(1);
            let key = key_of(place, message)?;
            // Empty ones are nothing, and a dead letter sent again has another key.
            let is_plain =
                !message.payload.is_empty() && key_of_dead_letter(message.headers.as_ref()).is_none();
            if is_plain && parser.parse(&message.payload, key.as_str()).is_ok() {
                self.settled.insert(key.to_string());
            }
            Ok(ControlFlow::Continue(()))
        })
        .await
    }

    async fn read_memory(&mut self, http: &Http, progress: &Progress) -> anyhow::Result<()> {
        for page in 1.. {
            let (status, body) = ask::get(http, &format!("/order_pages/{page}")).await?;
            match status {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => break,
                status => anyhow::bail!("the service answered {status}; is HTTP_TOKEN right?"),
            }
            let ids: Vec<String> = serde_json::from_slice(&body).context("the service's page is none")?;
            progress.add(ids.len() as u64);
            self.memory.extend(ids);
        }
        Ok(())
    }

    async fn read_table(
        &mut self,
        client: &Client,
        table: &Table,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let copy = format!("COPY (SELECT id, data FROM {}) TO STDOUT (FORMAT binary)", table.quoted());
        let rows = client.copy_out(&copy).await.map_err(postgres::explain)?;
        let mut rows = std::pin::pin!(BinaryCopyOutStream::new(rows, &[Type::TEXT, Type::BYTEA]));
        let mut reader = RowReader::new(Arc::new(Layouts::new()?));
        while let Some(row) = rows.next().await {
            let row = row.map_err(postgres::explain)?;
            let (id, data): (String, Option<&[u8]>) = (row.try_get(0)?, row.try_get(1)?);
            progress.add(1);
            match data.map(|data| reader.read("", data)) {
                Some(Ok(_)) => self.table.insert(id),
                _ => self.undecodable.insert(id),
            };
        }
        Ok(())
    }

    /// What is in memory may have been committed since the table was read.
    async fn read_newer_rows(&mut self, client: &Client, table: &Table) -> anyhow::Result<()> {
        let missing: Vec<&String> = self.memory.difference(&self.table).collect();
        let query = format!("SELECT id FROM {} WHERE id = ANY($1)", table.quoted());
        let rows =
            client.query_typed(&query, &[(&missing, Type::TEXT_ARRAY)]).await.map_err(postgres::explain)?;
        for row in rows {
            self.table.insert(row.try_get(0)?);
        }
        Ok(())
    }

    fn report(&self) -> Report {
        let kept = |key: &&String| self.table.contains(*key) || self.dead.contains(*key);
        Report {
            in_flight: self.in_flight,
            table: self.table.len(),
            memory: self.memory.len(),
            dead_letters: self.dead.len(),
            undecodable: self.undecodable.len(),
            lost: Difference::new(self.settled.iter().filter(|key| !kept(key))),
            not_in_memory: Difference::new(self.table.difference(&self.memory)),
            not_in_table: Difference::new(self.memory.difference(&self.table)),
        }
    }
}

impl Difference {
    fn new<'k>(keys: impl Iterator<Item = &'k String>) -> Self {
        let mut ids: Vec<_> = keys.cloned().collect();
        ids.sort_unstable();
        let count = ids.len();
        ids.truncate(SHOWN);
        Self { count, ids }
    }
}

impl Report {
    fn is_good(&self) -> bool {
        // What is in memory and not yet in the table is in flight, if anything is.
        let uncommitted = (self.not_in_table.count as u64).saturating_sub(self.in_flight);
        self.lost.count == 0 && self.not_in_memory.count == 0 && uncommitted == 0
    }

    fn text(&self) -> String {
        let mut text = format!(
            "in flight     {}\nin the table  {}\nin memory     {}\ndead letters  {}\nundecodable   {}\n",
            self.in_flight, self.table, self.memory, self.dead_letters, self.undecodable
        );
        for (what, difference) in [
            ("acknowledged, and neither in the table nor a dead letter", &self.lost),
            ("in the table and not in memory", &self.not_in_memory),
            ("in memory and not in the table", &self.not_in_table),
        ] {
            if difference.count > 0 {
                text.push_str(&format!("{} {what}: {}\n", difference.count, difference.ids.join(" ")));
            }
        }
        text.push_str(if self.is_good() { "all there\n" } else { "something differs\n" });
        text
    }
}

/// The key of the order that a message is.
fn key_of(place: u64, message: &jetstream::Message) -> anyhow::Result<Key> {
    let published = message.info().map_err(anyhow::Error::from_boxed)?.published;
    Ok(Key::from_stream(i64::try_from(published.unix_timestamp_nanos())?, place))
}
