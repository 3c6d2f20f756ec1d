//! Startup with a full table: the time until memory is filled, and until the first order is served.

use std::time::Duration;

use anyhow::{Result, ensure};
use devstack::wait_for;

use crate::environment::Environment;
use crate::report::{Figure, Goal};
use crate::service::{Service, Setup, WAIT_TIMEOUT};
use crate::{REPETITIONS, http, orders, procfs, repetition, stats, upper_bounds};

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let (rows, table) = (env.rows, env.table(env.rows)?);
    let [mut ours, mut limit, mut first, mut service, mut postgres] = [(); 5].map(|()| Vec::new());
    for number in 0..REPETITIONS {
        repetition("start", number);
        let filled = fill(env, &table, rows)?;
        ours.push(rows as f64 / filled.elapsed.as_secs_f64());
        service.push(filled.service.as_secs_f64() * 1e6 / rows as f64);
        postgres.push(filled.postgres.as_secs_f64() * 1e6 / rows as f64);
        limit.push(rows as f64 / upper_bounds::copy_out(env, &table)?);
        first.push(first_answer(env, &table, rows)?.as_secs_f64());
    }
    let fill = Figure {
        bench: "start",
        what: format!("start with {rows} rows, to all in memory"),
        unit: "rows/s",
        ours,
        limit: Some(("psql copy out".to_owned(), limit)),
        goal: Goal::OfLimit(0.8),
        note: format!(
            "from process start, /orders' index included; rows in the descriptors and the order of fields that Go \
             wrote; CPU a row: service {:.2} µs, PostgreSQL {:.2} µs",
            stats::median(&service),
            stats::median(&postgres)
        ),
    };
    let first = Figure {
        bench: "start",
        what: format!("start with {rows} rows, to the first order answered"),
        unit: "s",
        ours: first,
        limit: None,
        goal: Goal::Below(0.3),
        note: String::new(),
    };
    Ok(vec![fill, first])
}

/// Duration and CPU time of a fill.
pub(crate) struct FillCost {
    pub(crate) elapsed: Duration,
    service: Duration,
    postgres: Duration,
}

/// Starts the service and waits until all rows are in memory.
pub(crate) fn fill(env: &Environment, table: &str, rows: u64) -> Result<FillCost> {
    let before = procfs::cpu_with_children(env.postgres.pid());
    let process = Service::start(env, &Setup::serving(table))?;
    let elapsed = process.wait_len(rows)?;
    let service = procfs::cpu(process.pid());
    process.stop()?;
    let postgres = procfs::cpu_with_children(env.postgres.pid()).saturating_sub(before);
    Ok(FillCost { elapsed, service, postgres })
}

/// Time until an order at three quarters of the table is served.
fn first_answer(env: &Environment, table: &str, rows: u64) -> Result<Duration> {
    let number = rows * 3 / 4;
    let path = format!("/order/{}", orders::id(number));
    let service = Service::start(env, &Setup::serving(table))?;
    let mut body = Vec::new();
    wait_for(WAIT_TIMEOUT, || match http::get(service.addr, &path) {
        Ok((200, answer)) => {
            body = answer;
            true
        }
        _ => false,
    });
    let elapsed = service.started.elapsed();
    ensure!(body == orders::json(number), "the first answer is not the order that was asked for");
    service.wait_len(rows)?;
    service.stop()?;
    Ok(elapsed)
}
