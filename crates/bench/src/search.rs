//! `/orders?order_uid=…` by wrk on one core, by turns with `/order/{id}`; and what its index takes in memory.

use std::fs;

use anyhow::Result;

use crate::environment::Environment;
use crate::report::{Figure, Goal};
use crate::service::{Service, Setup};
use crate::wrk::SERVER_CORE;
use crate::{REPETITIONS, memory, orders, reads, repetition, wrk};

const ASKED: u64 = 10_000;

/// The members that orders are found by unless it is set otherwise.
const MEMBERS: f64 = 2.0;

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let table = env.table(env.rows)?;
    Ok(vec![rate(env, &table)?, index(env, &table)?])
}

fn rate(env: &Environment, table: &str) -> Result<Figure> {
    let service = Service::start(env, &Setup { core: Some(SERVER_CORE), ..Setup::serving(table) })?;
    service.wait_len(env.rows)?;
    let count = env.rows.min(ASKED);
    let (ids, numbers) = (reads::ids(env, count)?, env.scratch.path().join("numbers"));
    let paths = (0..count).map(|number| format!("/orders?order_uid={}\n", orders::order(number).order_uid));
    fs::write(&numbers, paths.collect::<String>())?;
    let (mut found, mut read) = (Vec::new(), Vec::new());
    for number in 0..REPETITIONS {
        repetition("search", number);
        found.push(wrk::random(service.addr, &numbers, env.scratch.path())?);
        read.push(wrk::random(service.addr, &ids, env.scratch.path())?);
    }
    service.stop()?;
    Ok(Figure {
        bench: "search",
        what: format!("/orders?order_uid=…, {count} numbers at random"),
        unit: "req/s",
        ours: found,
        limit: Some(("/order/{id}".to_owned(), read)),
        goal: Goal::OfLimit(0.85),
        note: format!("{} orders in memory, the service on one core", env.rows),
    })
}

fn index(env: &Environment, table: &str) -> Result<Figure> {
    let with = memory::resident_with(env, table, env.rows, &[])?;
    let without = memory::resident_with(env, table, env.rows, &["--search=none"])?;
    Ok(Figure {
        bench: "search",
        what: format!("index of an order for /orders, a member, of {}", env.rows),
        unit: "B",
        ours: vec![(with as f64 - without as f64) / env.rows as f64 / MEMBERS],
        limit: None,
        goal: Goal::Below(32.0),
        note: "resident set with SEARCH at its default, of two members, less that without any".to_owned(),
    })
}
