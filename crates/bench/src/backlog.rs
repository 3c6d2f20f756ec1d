//! A backlog in the stream: the time from the start of the process until it is in memory, committed and acknowledged.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::environment::Environment;
use crate::report::{Figure, Goal};
use crate::service::{Service, Setup};
use crate::upper_bounds::{self, Fetch};
use crate::{REPETITIONS, bare_copy, procfs, repetition, stats};

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let count = env.orders;
    let (fetch, file) = (Fetch::find(), env.temp_dir.path().join("backlog.copy"));
    let (mut ours, mut copied, mut fetched, mut bridged, mut cpu) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..REPETITIONS {
        repetition("backlog", number);
        let taken = take_in(env, count)?;
        ours.push(count as f64 / taken.seconds);
        cpu.push(taken.cpu);
        if number == 0 {
            upper_bounds::save(env, &taken.table, &file)?;
        }
        env.settle(Some(&taken.table))?;
        copied.push(count as f64 / upper_bounds::copy_in(env, &file, count)?);
        let (stream, _) = env.stream(count)?;
        fetched.push(fetch.rate(env, &stream, count)?);
        bridged.push(bare_copy::rate(env, &stream, count)?);
    }
    std::fs::remove_file(&file)?;
    let figure = |than: &str, ours: &[f64], limit: Vec<f64>, goal| Figure {
        bench: "backlog",
        what: format!("backlog of {count} against {than}"),
        unit: "orders/s",
        ours: ours.to_vec(),
        limit: Some((than.to_owned(), limit)),
        goal: Goal::OfLimit(goal),
        note: String::new(),
    };
    let note = "in memory, committed and acknowledged, from process start; NATS without sync_always, \
                PostgreSQL with fsync; the rows that psql copies are those that the service has written";
    Ok(vec![
        Figure { note: note.to_owned(), ..figure("psql \\copy in", &ours, copied, 0.55) },
        Figure { note: cpu_an_order(&cpu, count), ..figure(fetch.name(), &ours, fetched, 0.75) },
        figure("a bare bridge", &ours, bridged, 0.9),
    ])
}

/// The result of ingesting a backlog.
pub(crate) struct BacklogResult {
    /// From process start until everything was done.
    pub(crate) seconds: f64,
    /// Of the service, of PostgreSQL and of NATS.
    cpu: [Duration; 3],
    /// The table, for the caller to drop.
    pub(crate) table: String,
}

pub(crate) fn take_in(env: &mut Environment, count: u64) -> Result<BacklogResult> {
    let table = env.empty_table()?;
    take_into(env, count, table)
}

/// Ingests orders 0 to `count` into the empty `table`.
pub(crate) fn take_into(env: &mut Environment, count: u64, table: String) -> Result<BacklogResult> {
    let (stream, subject) = env.stream(count)?;
    env.settle(None)?;
    let before = servers(env);
    let service =
        Service::start(env, &Setup { table: table.clone(), subject, stream, core: None, bound: None })?;
    let seconds = finish(&service, 0, count)?;
    let after = servers(env);
    let cpu =
        [procfs::cpu(service.pid()), after[0].saturating_sub(before[0]), after[1].saturating_sub(before[1])];
    service.stop()?;
    ensure!(env.rows_in(&table)? == count, "not all of {count} orders are in the table");
    Ok(BacklogResult { seconds, cpu, table })
}

/// CPU time of PostgreSQL and NATS so far; of PostgreSQL's connections only the open ones.
pub(crate) fn servers(env: &Environment) -> [Duration; 2] {
    [procfs::cpu_of_process_tree(env.postgres.pid()), procfs::cpu(env.nats.pid())]
}

/// The median of all repetitions for each of the three, in words.
fn cpu_an_order(runs: &[[Duration; 3]], count: u64) -> String {
    let micros = |of: usize| {
        let runs: Vec<_> = runs.iter().map(|cpu| cpu[of].as_secs_f64() * 1e6 / count as f64).collect();
        stats::median(&runs)
    };
    format!(
        "CPU an order: service {:.1} µs, PostgreSQL {:.1} µs, NATS {:.1} µs",
        micros(0),
        micros(1),
        micros(2)
    )
}

/// Waits until this number of further orders is ingested.
pub(crate) fn finish(service: &Service, before: u64, count: u64) -> Result<f64> {
    service.wait_len(before + count)?;
    // The position is committed with the rows.
    service.wait_written(count)?;
    Ok(service.started.elapsed().as_secs_f64())
}
