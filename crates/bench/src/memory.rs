//! Memory per order: the resident set with all orders, minus that of an empty service.

use std::time::Duration;

use anyhow::Result;

use crate::environment::Environment;
use crate::report::{Figure, Goal};
use crate::service::{Service, Setup};
use crate::{orders, procfs};

/// What the service frees, the allocator gives back some time later.
const SETTLED: Duration = Duration::from_secs(4);

/// Number of orders whose JSON is measured, as a sample.
const MEASURED: u64 = 20_000;

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let rows = env.rows;
    let json = (0..MEASURED).map(|number| orders::json(number).len()).sum::<usize>() as f64 / MEASURED as f64;
    Ok(vec![Figure {
        bench: "memory",
        what: format!("memory an order, of {rows}"),
        unit: "B",
        ours: vec![an_order(env, rows)?],
        limit: Some(("its JSON".to_owned(), vec![json])),
        goal: Goal::Below((0.65 * json + 64.0).round()),
        note: "resident set over that of an empty service; the goal is 0.65 of the JSON and 64 B".to_owned(),
    }])
}

/// Bytes.
pub(crate) fn an_order(env: &mut Environment, rows: u64) -> Result<f64> {
    let (empty, full) = (env.empty_table()?, env.table(rows)?);
    let least = resident(env, &empty, 0)?;
    let most = resident(env, &full, rows)?;
    env.settle(Some(&empty))?;
    Ok(most.saturating_sub(least) as f64 / rows as f64)
}

/// Resident bytes of a service with this number of rows.
pub(crate) fn resident(env: &Environment, table: &str, rows: u64) -> Result<u64> {
    resident_with(env, table, rows, &[])
}

/// The same, with more flags.
pub(crate) fn resident_with(env: &Environment, table: &str, rows: u64, flags: &[&str]) -> Result<u64> {
    let service = Service::start_with(env, &Setup::serving(table), flags)?;
    service.wait_ready()?;
    service.wait_len(rows)?;
    std::thread::sleep(SETTLED);
    let resident = procfs::resident(service.pid());
    service.stop()?;
    Ok(resident)
}
