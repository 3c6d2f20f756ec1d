//! Latency of 5,000 reads per second while a backlog is ingested, and while memory fills.

use std::time::Duration;

use anyhow::Result;

use crate::backlog;
use crate::environment::Environment;
use crate::open_loop::{Load, LoadResult};
use crate::report::{Figure, Goal};
use crate::service::{Service, Setup};
use crate::stats::percentile;
use crate::{REPETITIONS, repetition};

const RATE: u32 = 5000;

/// Orders in the table before the backlog arrives, which are read.
const INITIAL_ORDERS: u64 = 10_000;

/// Duration of the measurement of an idle service, for comparison.
const IDLE: Duration = Duration::from_secs(4);

/// Goal for the p99, in milliseconds.
const LIMIT: f64 = 10.0;

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let [mut idle, mut busy, mut filling] = [(); 3].map(|()| Vec::new());
    for number in 0..REPETITIONS {
        repetition("reads of a busy service", number);
        idle.push(of_idle(env)?);
        busy.push(during_backlog(env)?);
        filling.push(during_fill(env)?);
    }
    Ok(vec![
        figure(&format!("reads at {RATE}/s during a backlog of {}, p99", env.orders), &busy, &idle),
        figure(&format!("reads at {RATE}/s while {} rows fill memory, p99", env.rows), &filling, &idle),
    ])
}

fn figure(what: &str, busy: &[LoadResult], idle: &[LoadResult]) -> Figure {
    let p99 = |runs: &[LoadResult]| runs.iter().map(|seen| percentile(&seen.latencies, 99.0)).collect();
    let p50: Vec<_> = busy.iter().map(|seen| percentile(&seen.latencies, 50.0)).collect();
    let (asked, failed) = busy
        .iter()
        .fold((0, 0), |(asked, failed), seen| (asked + seen.latencies.len(), failed + seen.failed));
    Figure {
        bench: "busy-reads",
        what: what.to_owned(),
        unit: "ms",
        ours: p99(busy),
        limit: Some(("the same, idle".to_owned(), p99(idle))),
        goal: Goal::Below(LIMIT),
        note: format!(
            "own client: 32 connections, each with a thread and a fixed share of the rate, timed from when a \
             request was due; p50 {:.2} ms; {failed} of {asked} not answered with 200",
            percentile(&p50, 50.0)
        ),
    }
}

fn of_idle(env: &mut Environment) -> Result<LoadResult> {
    let table = env.table(INITIAL_ORDERS)?;
    let service = Service::start(env, &Setup::serving(&table))?;
    service.wait_ready()?;
    let load = Load::start(service.addr, INITIAL_ORDERS, RATE);
    std::thread::sleep(IDLE);
    let seen = load.finish();
    service.stop()?;
    Ok(seen)
}

fn during_backlog(env: &mut Environment) -> Result<LoadResult> {
    let (count, table) = (env.orders, env.own_table(INITIAL_ORDERS)?);
    let (stream, subject) = env.stream(count)?;
    env.settle(None)?;
    let setup = Setup { table: table.clone(), subject, stream, core: None, bound: None };
    let service = Service::start(env, &setup)?;
    drop(service.connection()?);
    let load = Load::start(service.addr, INITIAL_ORDERS, RATE);
    let finished = backlog::finish(&service, INITIAL_ORDERS, count);
    let seen = load.finish();
    finished?;
    service.stop()?;
    env.settle(Some(&table))?;
    Ok(seen)
}

/// Sends requests as soon as the service listens.
fn during_fill(env: &mut Environment) -> Result<LoadResult> {
    let (rows, table) = (env.rows, env.table(env.rows)?);
    let service = Service::start(env, &Setup::serving(&table))?;
    drop(service.connection()?);
    let load = Load::start(service.addr, rows, RATE);
    let filled = service.wait_len(rows);
    let seen = load.finish();
    filled?;
    service.stop()?;
    Ok(seen)
}
