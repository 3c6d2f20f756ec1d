//! One order at a time, 1,000 a second: from its publish to its commit, seen from outside.
//!
//! Rows and the table's position are committed together: the figure is the time until a reader of PostgreSQL, which
//! queries some thousand times a second, sees the position at each order's message. The bench's own consumers
//! acknowledge what they have committed, and the bench subscribes to the acknowledgements.
//!
//! The slowest hundredth are orders that arrive while disk or NATS stall for a moment. So the service and its
//! comparisons take turns of two seconds, and meet the same number of stalls.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, Statement};

use crate::environment::Environment;
use crate::lower_bounds::{Floor, Work};
use crate::report::{Figure, Goal};
use crate::service::{Service, Setup};
use crate::stats::{median, percentile};
use crate::{REPETITIONS, go_rows, orders, repetition};

const RATE: u64 = 1000;
/// Orders in one turn, and turns of each in a repetition.
const TURN: u64 = 2 * RATE;
const TURNS: usize = 4;
/// Orders of each in all.
const ORDERS: u64 = (REPETITIONS * TURNS) as u64 * TURN;
const EVERY: Duration = Duration::from_millis(1);

/// Pause of the position's reader.
const LOOK: Duration = Duration::from_micros(150);

/// Time limit for the last order.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Milliseconds of each order, by repetition.
#[derive(Default)]
struct Latencies(Vec<Vec<f64>>);

impl Latencies {
    fn add(&mut self, repetition: usize, turn: Vec<f64>) {
        self.0.resize_with(repetition + 1, Vec::new);
        self.0[repetition].extend(turn);
    }

    fn percentiles(&self, percent: f64) -> Vec<f64> {
        self.0.iter().map(|repetition| percentile(repetition, percent)).collect()
    }

    /// The median of all repetitions, in words.
    fn text(&self) -> String {
        let of = |percent| median(&self.percentiles(percent));
        format!("p50 {:.2} ms, p99 {:.2} ms", of(50.0), of(99.0))
    }
}

/// Latencies through the service, and without it.
#[derive(Default)]
struct LatencyRuns {
    ours: Latencies,
    /// NATS alone.
    alone: Latencies,
    /// The minimal consumer between NATS and PostgreSQL.
    least: Latencies,
    /// PostgreSQL alone: of each statement, and from the arrival of its row.
    inserts: Latencies,
    from_arrival: Latencies,
}

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    Ok(figures(&measure(env)?))
}

fn measure(env: &mut Environment) -> Result<LatencyRuns> {
    let (service, setup) = quiet_service(env)?;
    let alone = Floor::start(env, Work::Nothing, ORDERS)?;
    let least = Floor::start(env, Work::Insert, ORDERS)?;
    let mut inserting = InsertClient::start(env)?;
    let mut measured = LatencyRuns::default();
    for turn in 0..REPETITIONS * TURNS {
        let number = turn / TURNS;
        if turn % TURNS == 0 {
            repetition("latency", number);
        }
        let first = turn as u64 * TURN;
        measured.ours.add(number, until_committed(env, &setup, first)?);
        measured.alone.add(number, until_acknowledged(env, &alone.subject, first)?);
        measured.least.add(number, until_acknowledged(env, &least.subject, first)?);
        let inserted = inserting.turn(env, first)?;
        measured.inserts.add(number, inserted.took);
        measured.from_arrival.add(number, inserted.from_arrival);
    }
    service.stop()?;
    env.settle(Some(&setup.table))?;
    alone.stop(env)?;
    least.stop(env)?;
    env.settle(Some(&inserting.table))?;
    Ok(measured)
}

fn figures(measured: &LatencyRuns) -> Vec<Figure> {
    let figure = |percent: f64, than: &str, limit: &Latencies, goal: f64, note: String| Figure {
        bench: "latency",
        what: format!("publish to committed at {RATE}/s, p{percent}"),
        unit: "ms",
        ours: measured.ours.percentiles(percent),
        limit: Some((than.to_owned(), limit.percentiles(percent))),
        goal: Goal::TimesLimit(goal),
        note,
    };
    let insert = |percent, goal, note| figure(percent, "one client's INSERT", &measured.inserts, goal, note);
    let least = |percent, goal, note: &str| {
        let figure =
            figure(percent, "the least between NATS and PostgreSQL", &measured.least, goal, note.to_owned());
        Figure { what: figure.what + ", against the least", ..figure }
    };
    let note = format!(
        "until a reader of PostgreSQL sees the position there; a consumer that keeps nothing and acknowledges at once: \
         {}; the inserting client sends one statement after another: from when a \
         row came to when it was in, as orders are measured, it took {}",
        measured.alone.text(),
        measured.from_arrival.text()
    );
    vec![
        insert(50.0, 1.5, note),
        insert(99.0, 3.0, String::new()),
        least(50.0, 1.25, "a consumer that inserts ready rows, all that wait at once, and acknowledges them"),
        least(99.0, 1.5, ""),
    ]
}

/// A service with an empty table and an empty stream.
pub(crate) fn quiet_service(env: &mut Environment) -> Result<(Service, Setup)> {
    let table = env.empty_table()?;
    let stream = env.name("LATENCY");
    let subject = format!("bench.{stream}");
    env.make_stream(&stream, &subject)?;
    env.settle(None)?;
    let setup = Setup { table, subject, stream, core: None, bound: None };
    let service = Service::start(env, &setup)?;
    service.wait_ready()?;
    Ok((service, setup))
}

/// Publishes a turn's orders to the service: milliseconds until the table's position is at each.
fn until_committed(env: &Environment, setup: &Setup, first: u64) -> Result<Vec<f64>> {
    let (nats, postgres) = (env.nats.url(), env.postgres.url());
    let query = format!("select seq from public.orderd_position where stream = '{}'", setup.stream);
    let (ready, is_ready) = std::sync::mpsc::channel();
    let watch = std::thread::spawn(move || committed(&postgres, &query, first, &ready));
    // The other side returns its error.
    is_ready.recv().ok();
    let sent = env.runtime.block_on(async {
        let context = jetstream::new(async_nats::connect(&nats).await?);
        Ok::<_, anyhow::Error>(publish(&context, &setup.subject, first..first + TURN).await?.0)
    })?;
    let committed = watch.join().map_err(|_| anyhow::anyhow!("the reader of the position panicked"))??;
    let took = sent.iter().zip(&committed);
    Ok(took.map(|(sent, committed)| committed.saturating_duration_since(*sent).as_secs_f64() * 1e3).collect())
}

/// When the position reached each of a turn's messages.
fn committed(
    url: &str,
    query: &str,
    first: u64,
    ready: &std::sync::mpsc::Sender<()>,
) -> Result<Vec<Instant>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (client, statement) = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        let statement = client.prepare(query).await?;
        anyhow::Ok((client, statement))
    })?;
    let mut seen = Vec::new();
    let begun = Instant::now();
    ready.send(())?;
    while (seen.len() as u64) < TURN {
        let row = runtime.block_on(client.query_one(&statement, &[]))?;
        let position = row.get::<_, i64>(0).cast_unsigned().saturating_sub(first).min(TURN);
        seen.resize(position as usize, Instant::now());
        ensure!(begun.elapsed() < COMMIT_TIMEOUT, "only {} of {TURN} orders were committed", seen.len());
        std::thread::sleep(LOOK);
    }
    Ok(seen)
}

/// Publishes a turn's orders to a subject whose subscriber acknowledges each message: milliseconds until each
/// acknowledgement.
fn until_acknowledged(env: &Environment, subject: &str, first: u64) -> Result<Vec<f64>> {
    let url = env.nats.url();
    let (sent, acknowledged) = env.runtime.block_on(async {
        let watch = acknowledgements(async_nats::connect(&url).await?).await?;
        let (sent, _) =
            publish(&jetstream::new(async_nats::connect(&url).await?), subject, first..first + TURN).await?;
        let acknowledged = watch.await??;
        anyhow::Ok((sent, acknowledged))
    })?;
    let took = sent.iter().zip(first + 1..).filter_map(|(sent, sequence)| {
        Some(acknowledged.get(&sequence)?.saturating_duration_since(*sent).as_secs_f64() * 1e3)
    });
    let took: Vec<_> = took.collect();
    ensure!(took.len() as u64 == TURN, "only {} of {TURN} orders were acknowledged", took.len());
    Ok(took)
}

/// When each sequence was acknowledged. Returns the task when the server has its subscription.
async fn acknowledgements(
    client: async_nats::Client,
) -> Result<tokio::task::JoinHandle<Result<HashMap<u64, Instant>>>> {
    let mut messages = client.subscribe("$JS.ACK.>").await?;
    client.flush().await?;
    Ok(tokio::spawn(async move {
        let _connected = client;
        let mut seen = HashMap::new();
        while (seen.len() as u64) < TURN {
            let message =
                timeout(COMMIT_TIMEOUT, messages.next()).await.context("an order is not acknowledged")?;
            let message = message.context("the connection to NATS ended")?;
            // Other payloads report progress.
            if matches!(&message.payload[..], b"" | b"+ACK")
                && let Some(sequence) = sequence(&message.subject)
            {
                seen.insert(sequence, Instant::now());
            }
        }
        Ok(seen)
    }))
}

/// `$JS.ACK.{stream}.{consumer}.{deliveries}.{sequence}.…`, or with domain and account before the stream.
fn sequence(subject: &str) -> Option<u64> {
    let tokens: Vec<_> = subject.split('.').collect();
    tokens.get(if tokens.len() >= 11 { 7 } else { 5 })?.parse().ok()
}

/// Publishes orders at the rate; returns when each was sent, and the milliseconds until its publish was acknowledged.
pub(crate) async fn publish(
    context: &jetstream::Context,
    subject: &str,
    numbers: Range<u64>,
) -> Result<(Vec<Instant>, Vec<f64>)> {
    let payloads: Vec<Vec<u8>> = numbers.map(orders::json).collect();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut sent, mut answers) = (Vec::new(), JoinSet::new());
    for payload in payloads {
        ticks.tick().await;
        let begun = Instant::now();
        sent.push(begun);
        let answer = context.publish(subject.to_owned(), payload.into()).await?;
        answers.spawn(async move { answer.await.map(|_| begun.elapsed().as_secs_f64() * 1e3) });
    }
    let mut round_trips = Vec::new();
    while let Some(answer) = answers.join_next().await {
        round_trips.push(answer??);
    }
    Ok((sent, round_trips))
}

/// Latencies of one client's INSERTs.
struct Inserted {
    /// Milliseconds of each statement.
    took: Vec<f64>,
    /// Milliseconds from the arrival of each row, which waits for earlier statements.
    from_arrival: Vec<f64>,
}

/// A client that inserts rows as they arrive.
struct InsertClient {
    client: Client,
    statement: Statement,
    table: String,
}

impl InsertClient {
    fn start(env: &mut Environment) -> Result<Self> {
        let (table, url) = (env.empty_table()?, env.postgres.url());
        env.runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
            tokio::spawn(connection);
            let statement = format!("insert into {table} (id, data) values ($1, $2)");
            let statement = client.prepare_typed(&statement, &[Type::TEXT, Type::BYTEA]).await?;
            Ok(Self { client, statement, table })
        })
    }

    /// Inserts a turn's rows, which arrive at the rate.
    fn turn(&mut self, env: &Environment, first: u64) -> Result<Inserted> {
        let rows: Vec<_> = (first..first + TURN).map(go_rows::row).collect();
        env.runtime.block_on(async {
            let mut arrivals = arrivals();
            let mut inserted = Inserted { took: Vec::new(), from_arrival: Vec::new() };
            for (id, row) in &rows {
                let arrived = arrivals.recv().await.context("no more rows come")?;
                let begun = Instant::now();
                self.client.execute(&self.statement, &[id, row]).await?;
                inserted.took.push(begun.elapsed().as_secs_f64() * 1e3);
                inserted.from_arrival.push(arrived.elapsed().as_secs_f64() * 1e3);
            }
            Ok(inserted)
        })
    }
}

/// Arrival times of rows, at the rate, whether or not the client is ready.
fn arrivals() -> mpsc::UnboundedReceiver<Instant> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            ticks.tick().await;
            if sender.send(Instant::now()).is_err() {
                break;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::sequence;

    #[test]
    fn the_sequence_is_found_in_both_forms_of_the_subject() {
        assert_eq!(sequence("$JS.ACK.LATENCY.latency.1.17.18.1700000000123456789.5"), Some(17));
        assert_eq!(sequence("$JS.ACK._.HASH.LATENCY.latency.1.7.8.1700000000123456789.5.rand"), Some(7));
        assert_eq!(sequence("$JS.ACK"), None);
    }
}
