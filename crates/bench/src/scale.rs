//! The cost of ingesting an order as the table grows, as it is partitioned, and as processes join.
//!
//! Measures CPU time instead of wall time, to exclude other programs. Orders are published while the processes, which
//! have read the table, are stopped, so that startup is not counted. Cases are measured in turn, several times, because
//! the speed of a shared machine varies by half within minutes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use devstack::{Signal, wait_for};

use crate::backlog::servers;
use crate::environment::Environment;
use crate::procfs;
use crate::report::{Figure, Goal, number};
use crate::say;
use crate::service::{Service, Setup, WAIT_TIMEOUT};
use crate::stats::median;

/// Existing rows per ingested order.
const ROWS: [f64; 4] = [0.1, 1.0, 10.0, 50.0];

/// Of these, the table that several processes share, and those that are also measured with partitions.
const SHARED: f64 = 1.0;
const PARTITIONED: [f64; 2] = [1.0, 10.0];

const MOST_REPLICAS: usize = 4;

const ROUNDS: usize = 3;

/// More than a run allocates, in bytes: pages for WAL, table and memory.
const TOUCHED: usize = 2 << 30;

/// Maximum factor to the first cost that counts as flat, because of CPU caches.
const FLAT: f64 = 1.25;

/// The parameters of one run.
#[derive(Clone, Copy)]
struct Case {
    rows: u64,
    partitions: u32,
    replicas: usize,
}

/// The cost per order.
struct Cost {
    /// CPU in µs: of all services together, of PostgreSQL and of NATS.
    cpu: [f64; 3],
    /// Orders per second until all were committed.
    rate: f64,
}

impl Cost {
    fn total(&self) -> f64 {
        self.cpu.iter().sum()
    }
}

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let rows = |times: f64| (env.orders as f64 * times) as u64;
    let case = |times| Case { rows: rows(times), partitions: 0, replicas: 1 };
    let plain = ROWS.map(case).to_vec();
    let split = PARTITIONED.map(|times| Case { partitions: 4, ..case(times) }).to_vec();
    let shared: Vec<_> = (1..=MOST_REPLICAS).map(|replicas| Case { replicas, ..case(SHARED) }).collect();
    let mut figures = Vec::new();
    for (what, cases) in [("as the table grows", plain), ("partitioned by hash", split)] {
        figures.extend(figure(what, &in_turn(env, cases)?, |_, cost| cost.total()));
    }
    let costs = in_turn(env, shared)?;
    figures.extend(figure("of the services, for each process", &costs, |case, cost| {
        cost.cpu[0] / case.replicas as f64
    }));
    figures.extend(figure("replicas", &costs, |_, cost| cost.total()));
    Ok(figures)
}

/// The costs of all cases, in all rounds.
fn in_turn(env: &mut Environment, cases: Vec<Case>) -> Result<Vec<(Case, Vec<Cost>)>> {
    let mut tables = HashMap::new();
    let mut costs: Vec<_> = cases.into_iter().map(|case| (case, Vec::new())).collect();
    for _ in 0..ROUNDS {
        for (case, costs) in &mut costs {
            let table = match tables.entry((case.rows, case.partitions)) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(vacant) => vacant.insert(env.new_table(case.rows, case.partitions)?),
            };
            costs.push(cost(env, *case, table)?);
        }
    }
    for table in tables.values() {
        env.settle(Some(table))?;
    }
    Ok(costs)
}

/// Ingests the backlog into a table, and deletes it again.
fn cost(env: &mut Environment, case: Case, table: &str) -> Result<Cost> {
    say(&format!("scale, {} rows, {} partitions, {} replicas", case.rows, case.partitions, case.replicas));
    let count = env.orders;
    let stream = env.name("SCALE");
    let subject = format!("bench.{stream}");
    env.make_stream(&stream, &subject)?;
    let last = env.postgres.psql(&format!("select max(id) from {table}"))?;
    env.settle(None)?;
    let setup = Setup {
        table: table.to_owned(),
        subject: subject.clone(),
        stream: stream.clone(),
        core: None,
        bound: None,
    };
    let services = (0..case.replicas).map(|_| Service::start(env, &setup)).collect::<Result<Vec<_>>>()?;
    for service in &services {
        service.wait_ready()?;
        service.wait_len(case.rows)?;
    }
    // Flushes pages that the startup has dirtied.
    env.settle(None)?;
    touch_memory();
    services.iter().for_each(|service| service.signal(Signal::STOP));
    env.publish(&subject, count)?;
    let before = so_far(env, &services);
    let begun = Instant::now();
    services.iter().for_each(|service| service.signal(Signal::CONT));
    let committed = wait_for(WAIT_TIMEOUT, || {
        let written = services.iter().filter_map(|service| service.metric("myapp_orders_write_db").ok());
        written.sum::<f64>() >= count as f64
    });
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(committed, "not all of {count} orders are committed");
    for service in &services {
        service.wait_len(case.rows + count)?;
    }
    let after = so_far(env, &services);
    for service in services {
        service.stop()?;
    }
    // The Go service's keys are years older.
    env.postgres.psql(&format!("delete from {table} where id > '{}'", last.trim()))?;
    env.postgres.psql(&format!("vacuum {table}"))?;
    env.remove_stream(&stream)?;
    let an_order = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count as f64;
    Ok(Cost {
        cpu: [0, 1, 2].map(|of| an_order(after[of].saturating_sub(before[of]))),
        rate: count as f64 / seconds,
    })
}

/// Touches all free memory. The host of a virtual machine provides a page when it is first touched, at the expense of
/// the touching process: after a large table was written, that would be the service and PostgreSQL.
fn touch_memory() {
    drop(std::hint::black_box(vec![1_u8; TOUCHED]));
}

/// CPU time of the services, PostgreSQL and NATS so far.
fn so_far(env: &Environment, services: &[Service]) -> [Duration; 3] {
    let [postgres, nats] = servers(env);
    [services.iter().map(|service| procfs::cpu(service.pid())).sum(), postgres, nats]
}

/// Compares the last case with the first; the note lists all.
fn figure(what: &str, costs: &[(Case, Vec<Cost>)], cpu: fn(Case, &Cost) -> f64) -> Option<Figure> {
    let ((first, firsts), (last, lasts)) = (costs.first()?, costs.last()?);
    let of = |case: &Case, costs: &[Cost]| costs.iter().map(|cost| cpu(*case, cost)).collect();
    Some(Figure {
        bench: "scale",
        what: format!("CPU an order, {what}: {}", name(*last)),
        unit: "µs",
        ours: of(last, lasts),
        limit: Some((name(*first), of(first, firsts))),
        goal: Goal::TimesLimit(FLAT),
        note: costs.iter().map(|(case, costs)| line(*case, costs)).collect::<Vec<_>>().join("; "),
    })
}

fn name(case: Case) -> String {
    let partitions =
        if case.partitions > 0 { format!(" in {} partitions", case.partitions) } else { String::new() };
    let processes = if case.replicas == 1 { "process" } else { "processes" };
    format!("{} rows{partitions}, {} {processes}", number(case.rows as f64), case.replicas)
}

/// The medians of a case, and the costs of each round.
fn line(case: Case, costs: &[Cost]) -> String {
    let middle = |of: fn(&Cost) -> f64| median(&costs.iter().map(of).collect::<Vec<_>>());
    let rounds = costs.iter().map(|cost| format!("{:.1}", cost.total())).collect::<Vec<_>>().join(", ");
    format!(
        "{}: service {:.1} µs, PostgreSQL {:.1} µs, NATS {:.1} µs, {} orders/s (in all {rounds} µs)",
        name(case),
        middle(|cost| cost.cpu[0]),
        middle(|cost| cost.cpu[1]),
        middle(|cost| cost.cpu[2]),
        number(middle(|cost| cost.rate))
    )
}
