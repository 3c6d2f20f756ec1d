//! The cost of a configured trace collector while nothing is sampled (the sampler's default): a backlog, and
//! `/order/{id}`, against the same without a collector.

use anyhow::Result;

use crate::environment::Environment;
use crate::report::{Figure, Goal};
use crate::service::{Service, Setup};
use crate::wrk::SERVER_CORE;
use crate::{REPETITIONS, orders, repetition, wrk};

/// Nothing is sent there.
const COLLECTOR: &str = "--otel-exporter-otlp-endpoint=http://127.0.0.1:4318";

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let (count, rows) = (env.orders, env.rows);
    let table = env.table(rows)?;
    let (mut ingested, mut read) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for number in 0..REPETITIONS {
        repetition("traces", number);
        for (index, flags) in [&[COLLECTOR][..], &[]].into_iter().enumerate() {
            ingested[index].push(ingest_rate(env, count, flags)?);
            read[index].push(requests(env, &table, rows, flags)?);
        }
    }
    let figure = |what: String, unit, [ours, limit]: [Vec<f64>; 2], note: &str| Figure {
        bench: "traces",
        what,
        unit,
        ours,
        limit: Some(("without a collector".to_owned(), limit)),
        goal: Goal::OfLimit(0.95),
        note: note.to_owned(),
    };
    Ok(vec![
        figure(
            format!("backlog of {count}, a collector set"),
            "orders/s",
            ingested,
            "nothing is sampled, as by default",
        ),
        figure(
            "/order/{id}, a collector set".to_owned(),
            "req/s",
            read,
            "one id, the service on one core; nothing is sampled",
        ),
    ])
}

/// Orders a second, until they are committed.
fn ingest_rate(env: &mut Environment, count: u64, flags: &[&str]) -> Result<f64> {
    let (stream, subject) = env.stream(count)?;
    let table = env.empty_table()?;
    env.settle(None)?;
    let setup = Setup { table: table.clone(), subject, stream, core: None, bound: None };
    let service = Service::start_with(env, &setup, flags)?;
    let seconds = service.wait_position(count)?.as_secs_f64();
    service.stop()?;
    env.settle(Some(&table))?;
    Ok(count as f64 / seconds)
}

/// Requests a second.
fn requests(env: &Environment, table: &str, rows: u64, flags: &[&str]) -> Result<f64> {
    let setup = Setup { core: Some(SERVER_CORE), ..Setup::serving(table) };
    let service = Service::start_with(env, &setup, flags)?;
    service.wait_len(rows)?;
    let rate = wrk::rate_of_path(service.addr, &format!("/order/{}", orders::id(rows / 2)))?;
    service.stop()?;
    Ok(rate)
}
