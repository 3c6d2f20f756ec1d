//! Orders that wait in the stream, taken in: in memory, committed and acknowledged, from process start.

use anyhow::{Result, ensure};
use devstack::wait_for;

use super::limits::{self, Fetch};
use super::service::{PATIENCE, Service, Setup};
use super::table::{Figure, Goal};
use super::world::World;
use super::{REPETITIONS, repetition};

pub(super) fn run(world: &mut World) -> Result<Vec<Figure>> {
    let count = world.orders;
    let (fetch, file) = (Fetch::find(), world.scratch.path().join("backlog.copy"));
    let (mut ours, mut copied, mut fetched) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..REPETITIONS {
        repetition("backlog", number);
        let (seconds, table) = take_in(world, count)?;
        ours.push(count as f64 / seconds);
        if number == 0 {
            limits::save(world, &table, &file)?;
        }
        world.settle(Some(&table))?;
        copied.push(count as f64 / limits::copy_in(world, &file, count)?);
        let (stream, _) = world.stream(count)?;
        fetched.push(fetch.rate(world, &stream, count)?);
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
        figure(fetch.name(), &ours, fetched, 0.75),
    ])
}

/// Seconds from process start until all is done, and the table, which the caller drops.
pub(super) fn take_in(world: &mut World, count: u64) -> Result<(f64, String)> {
    let (stream, subject) = world.stream(count)?;
    let (table, durable) = (world.empty_table()?, world.name("durable"));
    world.settle(None)?;
    let service = Service::start(
        world,
        &Setup { table: table.clone(), subject, stream, durable: durable.clone(), core: None },
    )?;
    let seconds = finish(world, &service, &durable, 0, count)?;
    service.stop()?;
    ensure!(world.rows_in(&table)? == count, "not all of {count} orders are in the table");
    Ok((seconds, table))
}

/// Waits until so many orders beyond those that were there are taken in.
pub(super) fn finish(
    world: &World,
    service: &Service,
    durable: &str,
    before: u64,
    count: u64,
) -> Result<f64> {
    service.wait_len(before + count)?;
    service.wait_written(count)?;
    let stream = format!("BACKLOG_{count}");
    let acknowledged = wait_for(PATIENCE, || world.open_messages(&stream, durable) == Some(0));
    let seconds = service.started.elapsed().as_secs_f64();
    ensure!(acknowledged, "not all of {count} orders are acknowledged");
    Ok(seconds)
}
