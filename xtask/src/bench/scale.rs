//! What an order costs to take in as the table grows, as it is partitioned, and as processes join.
//!
//! CPU counts, not time: other programs take turns with ours, but don't run on our account. Orders wait in a
//! stream whose consumer is paused until each process has read the table, so that the start is not counted.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};
use async_nats::jetstream::consumer::{AckPolicy, pull};
use devstack::wait_for;

use super::backlog::servers;
use super::proc;
use super::service::{PATIENCE, Service, Setup};
use super::table::{Figure, Goal, number};
use super::world::World;
use crate::say;

/// Rows that are there already, for each order that is taken in.
const ROWS: [f64; 4] = [0.1, 1.0, 10.0, 50.0];

/// Of these, the table that several processes share, and those that are partitioned too.
const SHARED: f64 = 1.0;
const PARTITIONED: [f64; 2] = [1.0, 10.0];

const MOST_REPLICAS: usize = 4;

/// So many times the cost of the first is still flat: caches of the processor count too.
const FLAT: f64 = 1.25;

/// What one run is made with.
#[derive(Clone, Copy)]
struct Case {
    rows: u64,
    partitions: u32,
    replicas: usize,
}

/// What it took, for each order.
struct Cost {
    case: Case,
    /// CPU in µs: of all services together, of PostgreSQL and of NATS.
    cpu: [f64; 3],
    /// Orders a second, until all were acknowledged.
    rate: f64,
}

pub(super) fn run(world: &mut World) -> Result<Vec<Figure>> {
    let rows = |times: f64| (world.orders as f64 * times) as u64;
    let case = |times| Case { rows: rows(times), partitions: 0, replicas: 1 };
    let plain = ROWS.map(case).to_vec();
    let split = PARTITIONED.map(|times| Case { partitions: 4, ..case(times) }).to_vec();
    let shared = (1..=MOST_REPLICAS).map(|replicas| Case { replicas, ..case(SHARED) }).collect();
    let mut figures = Vec::new();
    for (what, cases) in [("as the table grows", plain), ("partitioned by hash", split), ("replicas", shared)]
    {
        let costs = cases.into_iter().map(|case| cost(world, case)).collect::<Result<Vec<_>>>()?;
        if what == "replicas" {
            figures.extend(figure("of the services, for each process", &costs, |cost| {
                cost.cpu[0] / cost.case.replicas as f64
            }));
        }
        figures.extend(figure(what, &costs, |cost| cost.cpu.iter().sum()));
    }
    Ok(figures)
}

fn cost(world: &mut World, case: Case) -> Result<Cost> {
    say(&format!("scale, {} rows, {} partitions, {} replicas", case.rows, case.partitions, case.replicas));
    let count = world.orders;
    let (stream, subject) = world.stream(count)?;
    let (table, durable) = (world.new_table(case.rows, case.partitions)?, world.name("durable"));
    pause(world, &stream, &subject, &durable)?;
    world.settle(None)?;
    let setup = Setup {
        table: table.clone(),
        subject,
        stream: stream.clone(),
        durable: durable.clone(),
        core: None,
        bound: None,
    };
    let services = (0..case.replicas).map(|_| Service::start(world, &setup)).collect::<Result<Vec<_>>>()?;
    for service in &services {
        service.wait_ready()?;
        service.wait_len(case.rows)?;
    }
    // What the start has dirtied.
    world.settle(None)?;
    let before = so_far(world, &services);
    let begun = Instant::now();
    world.runtime.block_on(async {
        world.context.get_stream_no_info(&stream).await?.resume_consumer(&durable).await?;
        anyhow::Ok(())
    })?;
    let acknowledged = wait_for(PATIENCE, || world.open_messages(&stream, &durable) == Some(0));
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(acknowledged, "not all of {count} orders are acknowledged");
    for service in &services {
        service.wait_len(case.rows + count)?;
    }
    let after = so_far(world, &services);
    for service in services {
        service.stop()?;
    }
    world.settle(Some(&table))?;
    let an_order = |of: usize| after[of].saturating_sub(before[of]).as_secs_f64() * 1e6 / count as f64;
    Ok(Cost { case, cpu: [0, 1, 2].map(an_order), rate: count as f64 / seconds })
}

/// The CPU that the services, PostgreSQL and NATS have had until now.
fn so_far(world: &World, services: &[Service]) -> [Duration; 3] {
    let [postgres, nats] = servers(world);
    [services.iter().map(|service| proc::cpu(service.pid())).sum(), postgres, nats]
}

/// A durable as the service makes it, that gives nothing yet.
fn pause(world: &World, stream: &str, subject: &str, durable: &str) -> Result<()> {
    let config = pull::Config {
        durable_name: Some(durable.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(5),
        max_ack_pending: 50_000,
        filter_subject: subject.to_owned(),
        ..pull::Config::default()
    };
    world.runtime.block_on(async {
        let stream = world.context.get_stream_no_info(stream).await?;
        stream.create_consumer(config).await?;
        stream.pause_consumer(durable, (SystemTime::now() + PATIENCE * 2).into()).await?;
        Ok(())
    })
}

/// The last of them against the first; each of them in the note.
fn figure(what: &str, costs: &[Cost], cpu: fn(&Cost) -> f64) -> Option<Figure> {
    let (first, last) = (costs.first()?, costs.last()?);
    Some(Figure {
        bench: "scale",
        what: format!("CPU an order, {what}: {}", name(last.case)),
        unit: "µs",
        ours: vec![cpu(last)],
        limit: Some((name(first.case), vec![cpu(first)])),
        goal: Goal::TimesLimit(FLAT),
        note: costs.iter().map(line).collect::<Vec<_>>().join("; "),
    })
}

fn name(case: Case) -> String {
    let partitions =
        if case.partitions > 0 { format!(" in {} partitions", case.partitions) } else { String::new() };
    let processes = if case.replicas == 1 { "process" } else { "processes" };
    format!("{} rows{partitions}, {} {processes}", number(case.rows as f64), case.replicas)
}

fn line(cost: &Cost) -> String {
    let [service, postgres, nats] = cost.cpu;
    format!(
        "{}: service {service:.1} µs, PostgreSQL {postgres:.1} µs, NATS {nats:.1} µs, {} orders/s",
        name(cost.case),
        number(cost.rate)
    )
}
