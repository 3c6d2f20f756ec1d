//! `/orders?order_uid=…` and `/order?order_uid=…` with wrk on one core, alternating with `/order/{id}`; and the memory
//! of their index.

use std::fs;

use anyhow::Result;

use crate::environment::Environment;
use crate::report::{Figure, Goal};
use crate::service::{Service, Setup};
use crate::wrk::SERVER_CORE;
use crate::{REPETITIONS, memory, orders, reads, repetition, wrk};

const ASKED: u64 = 10_000;

/// Number of members in the default `SEARCH`.
const MEMBERS: f64 = 2.0;

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let table = env.table(env.rows)?;
    let mut figures = rates(env, &table)?;
    figures.push(index(env, &table)?);
    Ok(figures)
}

fn rates(env: &Environment, table: &str) -> Result<Vec<Figure>> {
    let service = Service::start(env, &Setup { core: Some(SERVER_CORE), ..Setup::serving(table) })?;
    service.wait_len(env.rows)?;
    let count = env.rows.min(ASKED);
    let ids = reads::ids(env, count)?;
    let asked = [("orders", 0.85), ("order", 0.9)];
    let files = asked.map(|(route, _)| env.temp_dir.path().join(format!("{route}-by-number")));
    for ((route, _), file) in asked.iter().zip(&files) {
        let path = |number| format!("/{route}?order_uid={}\n", orders::order(number).order_uid);
        fs::write(file, (0..count).map(path).collect::<String>())?;
    }
    let (mut found, mut read) = ([Vec::new(), Vec::new()], Vec::new());
    for number in 0..REPETITIONS {
        repetition("search", number);
        for (file, found) in files.iter().zip(&mut found) {
            found.push(wrk::random(service.addr, file, env.temp_dir.path())?);
        }
        read.push(wrk::random(service.addr, &ids, env.temp_dir.path())?);
    }
    service.stop()?;
    let figure = |((route, goal), found)| Figure {
        bench: "search",
        what: format!("/{route}?order_uid=…, {count} numbers at random"),
        unit: "req/s",
        ours: found,
        limit: Some(("/order/{id}".to_owned(), read.clone())),
        goal: Goal::OfLimit(goal),
        note: format!("{} orders in memory, the service on one core", env.rows),
    };
    Ok(asked.into_iter().zip(found).map(figure).collect())
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
