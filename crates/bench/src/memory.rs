//! What an order takes in memory: the resident set with all of them, less that of an empty service.

use std::time::Duration;

use anyhow::Result;

use crate::service::{Service, Setup};
use crate::table::{Figure, Goal};
use crate::world::World;
use crate::{orders, proc};

/// What the service frees, the allocator gives back some time later.
const SETTLED: Duration = Duration::from_secs(4);

/// So many orders stand for all when their JSON is measured.
const MEASURED: u64 = 20_000;

pub(crate) fn run(world: &mut World) -> Result<Vec<Figure>> {
    let rows = world.rows;
    let json = (0..MEASURED).map(|number| orders::json(number).len()).sum::<usize>() as f64 / MEASURED as f64;
    Ok(vec![Figure {
        bench: "memory",
        what: format!("memory an order, of {rows}"),
        unit: "B",
        ours: vec![an_order(world, rows)?],
        limit: Some(("its JSON".to_owned(), vec![json])),
        goal: Goal::Below((0.65 * json + 64.0).round()),
        note: "resident set over that of an empty service; the goal is 0.65 of the JSON and 64 B".to_owned(),
    }])
}

/// Bytes.
pub(crate) fn an_order(world: &mut World, rows: u64) -> Result<f64> {
    let (empty, full) = (world.empty_table()?, world.table(rows)?);
    let least = resident(world, &empty, 0)?;
    let most = resident(world, &full, rows)?;
    world.settle(Some(&empty))?;
    Ok(most.saturating_sub(least) as f64 / rows as f64)
}

/// Bytes of a service that serves a table of so many rows.
pub(crate) fn resident(world: &World, table: &str, rows: u64) -> Result<u64> {
    resident_with(world, table, rows, &[])
}

/// The same, of one with more flags.
pub(crate) fn resident_with(world: &World, table: &str, rows: u64, flags: &[&str]) -> Result<u64> {
    let service = Service::start_with(world, &Setup::serving(table), flags)?;
    service.wait_ready()?;
    service.wait_len(rows)?;
    std::thread::sleep(SETTLED);
    let resident = proc::resident(service.pid());
    service.stop()?;
    Ok(resident)
}
