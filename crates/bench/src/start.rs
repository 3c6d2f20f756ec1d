//! The start with a full table: until all of it is in memory, and until the first order is answered.

use std::time::Duration;

use anyhow::{Result, ensure};
use devstack::wait_for;

use crate::service::{PATIENCE, Service, Setup};
use crate::table::{Figure, Goal};
use crate::world::World;
use crate::{REPETITIONS, http, limits, orders, proc, repetition, stats};

pub(crate) fn run(world: &mut World) -> Result<Vec<Figure>> {
    let (rows, table) = (world.rows, world.table(world.rows)?);
    let [mut ours, mut limit, mut first, mut service, mut postgres] = [(); 5].map(|()| Vec::new());
    for number in 0..REPETITIONS {
        repetition("start", number);
        let filled = fill(world, &table, rows)?;
        ours.push(rows as f64 / filled.elapsed.as_secs_f64());
        service.push(filled.service.as_secs_f64() * 1e6 / rows as f64);
        postgres.push(filled.postgres.as_secs_f64() * 1e6 / rows as f64);
        limit.push(rows as f64 / limits::copy_out(world, &table)?);
        first.push(first_answer(world, &table, rows)?.as_secs_f64());
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

/// How long a fill took, and what it cost.
struct Filled {
    elapsed: Duration,
    service: Duration,
    postgres: Duration,
}

fn fill(world: &World, table: &str, rows: u64) -> Result<Filled> {
    let before = proc::cpu_with_children(world.postgres.pid());
    let process = Service::start(world, &Setup::serving(table))?;
    let elapsed = process.wait_len(rows)?;
    let service = proc::cpu(process.pid());
    process.stop()?;
    let postgres = proc::cpu_with_children(world.postgres.pid()).saturating_sub(before);
    Ok(Filled { elapsed, service, postgres })
}

/// Until an order is answered that stands at three quarters of the table.
fn first_answer(world: &World, table: &str, rows: u64) -> Result<Duration> {
    let number = rows * 3 / 4;
    let path = format!("/order/{}", orders::id(number));
    let service = Service::start(world, &Setup::serving(table))?;
    let mut body = Vec::new();
    wait_for(PATIENCE, || match http::get(service.addr, &path) {
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
