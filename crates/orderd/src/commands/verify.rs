//! `orderd verify`: checks that stream, table and memory agree.
//!
//! Reads each once: the table's ids, with a check of each row; the service's pages; and the messages still in the
//! stream.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures_util::StreamExt;
use hyper::StatusCode;
use order::{Key, Layouts, Parser, RowReader};
use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::Type;

use super::http_client;
use super::progress::Progress;
use crate::cli::VerifyArgs;
use crate::config::{self, Http, Nats, Postgres, Table};
use crate::dead_letters::dead_letter_format::key_of_dead_letter;
use crate::dead_letters::list;
use crate::dead_letters::store::DeadLetterStore;
use crate::health::readyz_warning::Warning;
use crate::nats::stream_scan::Scan;
use crate::nats::{self, orders_stream};
use crate::postgres;
use crate::postgres::encoding::Encoding;
use crate::postgres::old_rows;
use crate::postgres::position::{self, PositionKey};
use crate::warning_rules;
use crate::wording::counted;

/// Maximum number of ids to show per difference.
const MAX_SHOWN: usize = 20;

/// Differences may be in flight: the comparison is repeated for this time, with pauses, and at least twice.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);

/// Keys by where they are.
#[derive(Default)]
struct KeysByStore {
    table: HashSet<String>,
    undecodable: HashSet<String>,
    memory: HashSet<String>,
    dead: HashSet<String>,
    /// Keys of dead letters that were dropped: their messages stay in the stream, and become no orders.
    dropped: HashSet<String>,
    /// Keys of messages that the stream still has and the position has passed.
    settled: HashSet<String>,
    /// Keys of erased orders.
    erased: HashSet<String>,
    /// Keys older than `KEEP` that only one of table and memory has.
    expiring: HashSet<String>,
    /// Messages that are not acknowledged yet.
    in_flight: u64,
    /// Up to this sequence, all messages are acknowledged.
    floor: u64,
    /// Number of messages that were read from the stream.
    read: u64,
    messages_lost: MessagesLost,
}

/// Messages that left the stream before they were read, as counted beside the position until an operator clears the count.
#[derive(Serialize, Clone, Default)]
struct MessagesLost {
    count: u64,
    /// In words, and what to do; `None` if there are none.
    problem: Option<String>,
    fix: Option<String>,
}

/// The report.
#[derive(Serialize)]
struct VerifyReport {
    in_flight: u64,
    table: usize,
    memory: usize,
    dead_letters: usize,
    undecodable: usize,
    /// Acknowledged, and neither in the table nor a dead letter.
    lost: Difference,
    /// In the table and not in memory.
    not_in_memory: Difference,
    /// In memory and not in the table, though acknowledged, or not committed within [`SETTLE_LIMIT`].
    not_in_table: Difference,
    /// Erased, and still in the table, in memory, in the stream or among the dead letters.
    not_erased: Difference,
    /// Dead letters whose key the table has too.
    both: Difference,
    messages_lost: MessagesLost,
    /// In memory and not in the table yet: their messages are not acknowledged.
    uncommitted: Difference,
    /// Older than `KEEP`, and only in one of table and memory: the other has removed them.
    expiring: Difference,
    verdict: TableVerdict,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
enum TableVerdict {
    AllThere,
    /// Only orders in flight, or older than `KEEP`, differ.
    InFlight,
    Differs,
}

#[derive(Serialize)]
struct Difference {
    count: usize,
    /// Some of them.
    ids: Vec<String>,
}

/// Prints the comparison. Exit code 1 for differences that are not in flight.
///
/// # Errors
/// Whatever can't be reached.
pub async fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let (nats, pg, http) = (Nats::new(&args.nats)?, Postgres::new(&args.pg)?, Http::new(&args.http)?);
    let model = config::model(&args.orders.model)?;
    let mut parser = config::parser(&args.orders, &model)?;
    let keep = config::keep("KEEP", args.keep.keep.as_deref())?;
    let client = nats::connect_usable(&nats).await?;
    let begun = Instant::now();
    let mut first_uncommitted: Option<HashSet<String>> = None;
    let report = loop {
        let (progress, comparing) = (Progress::new(None, "messages, rows and ids"), Instant::now());
        let mut found = KeysByStore::default();
        let connection = postgres::connect_once(&pg).await?;
        let format =
            postgres::format_of_table(&connection.client, &pg.table).await.map_err(postgres::explain)?;
        parser.set_format(format);
        found.read_stream(&client, &nats, &pg, &mut parser, &progress).await?;
        // The table before memory, so that a row that is missing there is missing, and not just newer.
        let mut reader = RowReader::new(Arc::new(Layouts::new(model.shape())?));
        reader.set_format(format);
        found.read_table(&connection.client, &pg.table, &mut reader, &progress).await?;
        found.read_memory(&http, &progress).await?;
        found.read_newer_rows(&connection.client, &pg.table).await?;
        found.erased =
            erased_keys(&connection.client, &pg.table).await.context("can't read the erased keys")?;
        if let Some(keep) = keep {
            let cutoff = old_rows::cutoff(&connection.client, keep).await.map_err(postgres::explain)?;
            found.leave_out_older(&Key::first_of_time(cutoff));
        }
        progress.clear();
        super::complain(&format!("{} in {:.2} s", found.counts(), comparing.elapsed().as_secs_f64()));
        let is_last = first_uncommitted.is_some() && begun.elapsed() >= SETTLE_LIMIT;
        // Orders that were in flight all the time are stuck.
        let stuck = first_uncommitted.as_ref().filter(|_| is_last);
        let report = found.report(stuck.unwrap_or(&HashSet::new()));
        // To wait does not change what is lost.
        if report.judge_keys() == TableVerdict::AllThere || is_last {
            break report;
        }
        first_uncommitted.get_or_insert_with(|| found.uncommitted().cloned().collect());
        tokio::time::sleep(SETTLE_INTERVAL).await;
    };
    super::print(&if args.json { serde_json::to_string(&report)? + "\n" } else { report.text() })?;
    Ok(if report.verdict == TableVerdict::Differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl KeysByStore {
    /// Orders older than `KEEP` leave one store after the other: those that table or memory still has are expiring.
    fn leave_out_older(&mut self, end: &str) {
        let is_old = |id: &&String| Key::has_time(id) && id.as_str() < end;
        self.expiring = self.table.symmetric_difference(&self.memory).filter(is_old).cloned().collect();
        let Self { table, undecodable, memory, dead, settled, erased, .. } = self;
        for store in [table, undecodable, memory, dead, settled, erased] {
            store.retain(|id| !is_old(&id));
        }
    }

    async fn read_stream(
        &mut self,
        client: &async_nats::Client,
        settings: &Nats,
        pg: &Postgres,
        parser: &mut Parser,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let context = settings.jetstream(client.clone());
        let stream = orders_stream::find_or_create(&context, settings).await?;
        let name = &stream.cached_info().config.name;
        let key =
            PositionKey { table: pg.table.clone(), stream: name.clone(), topic: settings.topic.clone() };
        let connection = postgres::connect_once(pg).await?;
        let position = position::read(&connection.client, &key).await.map_err(postgres::explain)?;
        let position = position.with_context(|| {
            format!("the table has no position in the stream {name}: did orderd serve it?")
        })?;
        let floor = position.seq;
        let clear = position::clear_lost_statement(&pg.table, name, &settings.topic);
        let warning = warning_rules::of_messages_lost(name, position.messages_lost, &clear);
        let (problem, fix) = warning.map(|Warning { finding, .. }| (finding.problem, finding.fix)).unzip();
        self.messages_lost = MessagesLost { count: position.messages_lost, problem, fix };
        self.in_flight = 0;
        if stream.cached_info().state.last_sequence > floor {
            // Not all sequences behind the position have messages: some were erased.
            let behind = pull::Config {
                filter_subject: settings.topic.clone(),
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: floor + 1 },
                headers_only: true,
                ..Default::default()
            };
            self.in_flight = Scan::new(&stream, behind).await?.count;
        }
        let dead_letters = DeadLetterStore::new(client.clone(), settings);
        self.dead.extend(list::keys(&dead_letters).await?);
        self.dropped.extend(list::dropped(&dead_letters).await?);
        let wanted = pull::Config { filter_subject: settings.topic.clone(), ..Default::default() };
        let scan = Scan::new(&stream, wanted).await?;
        scan.for_each(|store, message| {
            if store > floor {
                return Ok(ControlFlow::Break(()));
            }
            progress.add(1);
            self.read += 1;
            let key = key_of(store, message)?;
            // Empty messages make no order, and a replay has another key.
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
            let (status, body) = http_client::get(http, &format!("/order_pages/{page}")).await?;
            match status {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => break,
                status => {
                    let why = String::from_utf8_lossy(&body);
                    anyhow::bail!("the service answers {status} to /order_pages/{page}: {}", why.trim_end())
                }
            }
            let ids: Vec<String> = serde_json::from_slice(&body)
                .context("the service's page of ids is not a list; is HTTP_ADDR orderd's address?")?;
            progress.add(ids.len() as u64);
            self.memory.extend(ids);
        }
        Ok(())
    }

    async fn read_table(
        &mut self,
        client: &Client,
        table: &Table,
        reader: &mut RowReader,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let encoding = Encoding::of(client).await.map_err(postgres::explain)?;
        let raw_id = encoding.raw_id();
        let unreadable = encoding.unreadable_ids(client, table).await.map_err(postgres::explain)?;
        let copy = format!(
            "COPY (SELECT {raw_id}, data FROM {} WHERE {}) TO STDOUT (FORMAT binary)",
            table.quoted(),
            Encoding::except(&unreadable)
        );
        self.undecodable.extend(unreadable.iter().map(|id| id.escape_ascii().to_string()));
        let rows = client.copy_out(&copy).await.map_err(postgres::explain)?;
        let mut rows = std::pin::pin!(BinaryCopyOutStream::new(rows, &[Type::BYTEA, Type::BYTEA]));
        while let Some(row) = rows.next().await {
            let row = row.map_err(postgres::explain)?;
            let (raw, data): (&[u8], Option<&[u8]>) = (row.try_get(0)?, row.try_get(1)?);
            progress.add(1);
            let id = encoding.decode(raw).map(Cow::into_owned);
            match (id, data.map(|data| reader.read("", data))) {
                (Some(id), Some(Ok(_))) => self.table.insert(id),
                (Some(id), _) => self.undecodable.insert(id),
                // The id can't be converted to UTF-8, so no client can request the row.
                (None, _) => self.undecodable.insert(raw.escape_ascii().to_string()),
            };
        }
        Ok(())
    }

    /// Orders in memory may have been committed since the table was read.
    async fn read_newer_rows(&mut self, client: &Client, table: &Table) -> anyhow::Result<()> {
        let missing: Vec<&str> = self.memory.difference(&self.table).map(String::as_str).collect();
        let encoding = Encoding::of(client).await.map_err(postgres::explain)?;
        let missing = encoding.holdable(client, &missing).await.map_err(postgres::explain)?;
        self.table.extend(postgres::existing_ids(client, table, &missing).await.map_err(postgres::explain)?);
        Ok(())
    }

    /// What was compared: `6 messages of the stream, 6 rows of the table and 6 documents in memory compared`
    fn counts(&self) -> String {
        format!(
            "{} of the stream, {} of the table and {} in memory compared",
            counted(self.read, "message"),
            counted((self.table.len() + self.undecodable.len()) as u64, "row"),
            counted(self.memory.len() as u64, "document")
        )
    }

    /// In memory and not in the table, while their messages are not acknowledged.
    fn uncommitted(&self) -> impl Iterator<Item = &String> {
        self.memory
            .difference(&self.table)
            .filter(|key| order::Key::sequence_of(key).is_some_and(|at| at > self.floor))
    }

    /// `stuck` orders no longer count as in flight.
    fn report(&self, stuck: &HashSet<String>) -> VerifyReport {
        let kept = |key: &&String| {
            [&self.table, &self.dead, &self.dropped, &self.erased].iter().any(|store| store.contains(*key))
        };
        let uncommitted: HashSet<&String> = self.uncommitted().filter(|key| !stuck.contains(*key)).collect();
        let not_in_table = self
            .memory
            .difference(&self.table)
            .filter(|key| !uncommitted.contains(key) && !self.erased.contains(*key));
        let found = [&self.table, &self.undecodable, &self.memory, &self.dead, &self.settled];
        let left = self.erased.iter().filter(|key| found.iter().any(|store| store.contains(*key)));
        let mut report = VerifyReport {
            in_flight: self.in_flight,
            table: self.table.len(),
            memory: self.memory.len(),
            dead_letters: self.dead.len(),
            undecodable: self.undecodable.len(),
            lost: Difference::new(self.settled.iter().filter(|key| !kept(key))),
            not_in_memory: Difference::new(
                self.table.difference(&self.memory).filter(|key| !self.erased.contains(*key)),
            ),
            not_in_table: Difference::new(not_in_table),
            not_erased: Difference::new(left),
            both: Difference::new(self.dead.intersection(&self.table)),
            messages_lost: self.messages_lost.clone(),
            uncommitted: Difference::new(uncommitted.into_iter()),
            expiring: Difference::new(self.expiring.iter()),
            verdict: TableVerdict::AllThere,
        };
        report.verdict = report.judge();
        report
    }
}

/// The keys of orders that were erased from this table.
async fn erased_keys(client: &Client, table: &Table) -> anyhow::Result<HashSet<String>> {
    let erased = postgres::erased_table(table);
    let there = format!("SELECT to_regclass('{}') IS NOT NULL", erased.replace('\'', "''"));
    let rows = client.query_typed(&there, &[]).await.map_err(postgres::explain)?;
    if !rows.first().is_some_and(|row| row.try_get(0).unwrap_or(false)) {
        return Ok(HashSet::new());
    }
    let query = format!("SELECT id FROM {erased} WHERE table_name = {}", table.literal());
    let rows = client.query_typed(&query, &[]).await.map_err(postgres::explain)?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

impl Difference {
    fn new<'k>(keys: impl Iterator<Item = &'k String>) -> Self {
        let mut ids: Vec<_> = keys.cloned().collect();
        ids.sort_unstable();
        let count = ids.len();
        ids.truncate(MAX_SHOWN);
        Self { count, ids }
    }
}

impl VerifyReport {
    /// The differences with their names.
    fn differences(&self) -> [(&'static str, &Difference); 5] {
        [
            ("acknowledged, and neither in the table nor a dead letter", &self.lost),
            ("in the table and not in memory", &self.not_in_memory),
            ("in memory and not in the table", &self.not_in_table),
            ("erased, and still in stream, table or memory", &self.not_erased),
            ("in the table, and dead letters too (replay these)", &self.both),
        ]
    }

    fn judge(&self) -> TableVerdict {
        if self.messages_lost.count > 0 { TableVerdict::Differs } else { self.judge_keys() }
    }

    /// Whether table, memory and the stream as it is agree.
    fn judge_keys(&self) -> TableVerdict {
        if self.differences().iter().any(|(_, difference)| difference.count > 0) {
            TableVerdict::Differs
        } else if self.uncommitted.count > 0 || self.expiring.count > 0 {
            TableVerdict::InFlight
        } else {
            TableVerdict::AllThere
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "in flight     {}\nin the table  {}\nin memory     {}\ndead letters  {}\nundecodable   {}\n",
            self.in_flight, self.table, self.memory, self.dead_letters, self.undecodable
        );
        let in_flight = [
            ("in memory and not committed yet, in flight", &self.uncommitted),
            ("older than KEEP, and only in table or memory", &self.expiring),
        ];
        for (what, difference) in self.differences().into_iter().chain(in_flight) {
            if difference.count > 0 {
                let more = if difference.count > difference.ids.len() { " …" } else { "" };
                text.push_str(&format!("{} {what}: {}{more}\n", difference.count, difference.ids.join(" ")));
            }
        }
        if let MessagesLost { problem: Some(problem), fix: Some(fix), .. } = &self.messages_lost {
            text.push_str(&format!("{problem}; to fix it: {fix}\n"));
        }
        text.push_str(match self.verdict {
            TableVerdict::AllThere => "all there\n",
            TableVerdict::InFlight => {
                "only documents in flight differ; run this again when they have arrived, or left\n"
            }
            TableVerdict::Differs => "something differs\n",
        });
        text
    }
}

/// The key of the order that a message is.
fn key_of(store: u64, message: &jetstream::Message) -> anyhow::Result<Key> {
    let published = message.info().map_err(anyhow::Error::from_boxed)?.published;
    Ok(Key::from_stream(i64::try_from(published.unix_timestamp_nanos())?, store))
}
