//! One order at a time, 1,000 a second: from its publish to its commit, seen from outside.
//!
//! The service acknowledges an order when its row is committed, and acknowledgements are messages that others
//! can see too: what is taken is the time until the acknowledgement of each order has passed NATS.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_postgres::NoTls;
use tokio_postgres::types::Type;

use super::service::{Service, Setup};
use super::stats::percentile;
use super::table::{Figure, Goal};
use super::world::World;
use super::{REPETITIONS, go_rows, orders, repetition};

const RATE: u64 = 1000;
const ORDERS: u64 = 8 * RATE;
const EVERY: Duration = Duration::from_millis(1);

/// How long the last order may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(world: &mut World) -> Result<Vec<Figure>> {
    let (mut ours, mut alone, mut inserts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut from_arrival, mut rates) = (Vec::new(), Vec::new());
    for number in 0..REPETITIONS {
        repetition("latency", number);
        ours.push(commits(world)?);
        alone.push(nats_alone(world)?);
        let inserted = insert(world)?;
        inserts.push(inserted.took);
        from_arrival.push(inserted.from_arrival);
        rates.push(inserted.rate);
    }
    let reached = super::stats::median(&rates);
    let figure = |percent: f64, goal: f64, note: String| {
        let of = |runs: &[Vec<f64>]| runs.iter().map(|run| percentile(run, percent)).collect::<Vec<_>>();
        Figure {
            bench: "latency",
            what: format!("publish to committed at {RATE}/s, p{percent}"),
            unit: "ms",
            ours: of(&ours),
            limit: Some(("one client's INSERT".to_owned(), of(&inserts))),
            goal: Goal::TimesLimit(goal),
            note,
        }
    };
    let median_of = |runs: &[Vec<f64>], percent| {
        super::stats::median(&runs.iter().map(|run| percentile(run, percent)).collect::<Vec<_>>())
    };
    let note = format!(
        "until the acknowledgement, which follows the commit, has passed NATS; that of a consumer that keeps \
         nothing and acknowledges at once: p50 {:.2} ms, p99 {:.2} ms; the inserting client, one statement after \
         another, reached {reached:.0}/s, and from when a row came to when it was in, as orders are measured, \
         took p50 {:.2} ms, p99 {:.2} ms",
        median_of(&alone, 50.0),
        median_of(&alone, 99.0),
        median_of(&from_arrival, 50.0),
        median_of(&from_arrival, 99.0)
    );
    let mut figures = vec![figure(50.0, 1.5, note), figure(99.0, 3.0, String::new())];
    figures.extend(super::visible::run(world)?);
    Ok(figures)
}

/// A service at an empty table and an empty stream.
pub(super) fn quiet_service(world: &mut World) -> Result<(Service, Setup)> {
    let table = world.empty_table()?;
    let stream = world.name("LATENCY");
    let subject = format!("bench.{stream}");
    world.make_stream(&stream, &subject)?;
    world.settle(None)?;
    let setup = Setup { table, subject, stream, durable: "latency".to_owned(), core: None, bound: None };
    let service = Service::start(world, &setup)?;
    service.wait_ready()?;
    Ok((service, setup))
}

/// Milliseconds from publish to acknowledgement, of each order.
fn commits(world: &mut World) -> Result<Vec<f64>> {
    let (service, setup) = quiet_service(world)?;
    let took = until_acknowledged(world, &setup.subject)?;
    service.stop()?;
    world.settle(Some(&setup.table))?;
    Ok(took)
}

/// The same of a consumer that does nothing else: what NATS takes of it.
fn nats_alone(world: &mut World) -> Result<Vec<f64>> {
    let stream = world.name("ALONE");
    let subject = format!("bench.{stream}");
    world.make_stream(&stream, &subject)?;
    let url = world.nats.url();
    // As a process of its own has it.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut messages = runtime.block_on(async {
        let stream = jetstream::new(async_nats::connect(&url).await?).get_stream(&stream).await?;
        let config = jetstream::consumer::pull::Config {
            durable_name: Some("alone".to_owned()),
            max_ack_pending: ORDERS as i64,
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await?;
        anyhow::Ok(consumer.stream().max_messages_per_batch(1024).messages().await?)
    })?;
    let acknowledging = runtime.spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            if message.ack().await.is_err() {
                break;
            }
        }
    });
    let took = until_acknowledged(world, &subject)?;
    acknowledging.abort();
    runtime.shutdown_background();
    world.remove_stream(&stream)?;
    Ok(took)
}

/// Publishes at the rate to a subject of which somebody acknowledges each message.
fn until_acknowledged(world: &World, subject: &str) -> Result<Vec<f64>> {
    let url = world.nats.url();
    let (sent, acknowledged) = world.runtime.block_on(async {
        let watch = acknowledgements(async_nats::connect(&url).await?).await?;
        let (sent, _) = publish(&jetstream::new(async_nats::connect(&url).await?), subject).await?;
        let acknowledged = watch.await??;
        anyhow::Ok((sent, acknowledged))
    })?;
    let took = sent.iter().zip(1_u64..).filter_map(|(sent, sequence)| {
        Some(acknowledged.get(&sequence)?.saturating_duration_since(*sent).as_secs_f64() * 1e3)
    });
    let took: Vec<_> = took.collect();
    ensure!(took.len() as u64 == ORDERS, "only {} of {ORDERS} orders were acknowledged", took.len());
    Ok(took)
}

/// When each sequence was acknowledged. The task is given back when the server knows of its subscription.
async fn acknowledgements(
    client: async_nats::Client,
) -> Result<tokio::task::JoinHandle<Result<HashMap<u64, Instant>>>> {
    let mut messages = client.subscribe("$JS.ACK.>").await?;
    client.flush().await?;
    Ok(tokio::spawn(async move {
        let _connected = client;
        let mut seen = HashMap::new();
        while (seen.len() as u64) < ORDERS {
            let message = timeout(PATIENCE, messages.next()).await.context("an order is not acknowledged")?;
            let message = message.context("the connection to NATS ended")?;
            // Others say that it is being worked on.
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

/// Publishes at the rate; says when each order was sent, and the milliseconds until its publish was answered.
pub(super) async fn publish(context: &jetstream::Context, subject: &str) -> Result<(Vec<Instant>, Vec<f64>)> {
    let payloads: Vec<Vec<u8>> = (0..ORDERS).map(orders::json).collect();
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

/// What one client's INSERTs took.
struct Inserted {
    /// Milliseconds of each statement.
    took: Vec<f64>,
    /// Milliseconds from when each row came, which waits for the statements before.
    from_arrival: Vec<f64>,
    /// Rows a second.
    rate: f64,
}

/// Inserts rows that come at the rate.
fn insert(world: &mut World) -> Result<Inserted> {
    let (table, url) = (world.empty_table()?, world.postgres.url());
    world.settle(None)?;
    let rows: Vec<_> = (0..ORDERS)
        .map(|number| (orders::id(number), go_rows::gob(&orders::order(number), &orders::id(number))))
        .collect();
    let inserted = world.runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
        let driver = tokio::spawn(connection);
        let statement = format!("insert into {table} (id, data) values ($1, $2)");
        let statement = client.prepare_typed(&statement, &[Type::TEXT, Type::BYTEA]).await?;
        let mut arrivals = arrivals();
        let (mut took, mut from_arrival, start) = (Vec::new(), Vec::new(), Instant::now());
        for (id, row) in &rows {
            let arrived = arrivals.recv().await.context("no more rows come")?;
            let begun = Instant::now();
            client.execute(&statement, &[id, row]).await?;
            took.push(begun.elapsed().as_secs_f64() * 1e3);
            from_arrival.push(arrived.elapsed().as_secs_f64() * 1e3);
        }
        driver.abort();
        let rate = ORDERS as f64 / start.elapsed().as_secs_f64();
        anyhow::Ok(Inserted { took, from_arrival, rate })
    })?;
    world.settle(Some(&table))?;
    Ok(inserted)
}

/// When rows come, at the rate, whether or not anybody is ready for them.
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
