//! More orders than `CACHE_MAX_BYTES` holds, against memory without a limit.

use std::time::Duration;

use anyhow::Result;

use crate::environment::Environment;
use crate::report::{Figure, Goal};
use crate::say;
use crate::service::{Service, Setup};
use crate::wrk::WrkResult;
use crate::{procfs, wrk};

/// 1 GiB for five million orders, and in proportion for fewer.
const CACHE_MAX_BYTES: u64 = 1 << 30;
const ORDERS: u64 = 5_000_000;

/// Memory of a process besides the cache, in MiB.
const PROCESS_MIB: f64 = 128.0;

/// What the service frees, the allocator gives back some time later.
const SETTLED: Duration = Duration::from_secs(4);

/// Reads fill the cache with frequently read orders; the hit rate is steady when it grows by less than this.
const STEADY: f64 = 0.005;
const ROUNDS: usize = 15;

/// Requests for orders, and those that queried PostgreSQL.
const ASKED: &str = r#"orderd_http_requests_total{route="/order/{id}",status="200"}"#;
const FROM_TABLE: &str = r#"orderd_read_through_total{answer="found"}"#;

const MIB: f64 = (1 << 20) as f64;

/// Name, share of requests for a tenth of the orders, and goal relative to the rate without a limit.
const READS: [(&str, f64, f64); 2] =
    [("9 of 10 for a tenth of the orders", 0.9, 0.5), ("all orders alike", 0.0, 0.1)];

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let (rows, table) = (env.rows, env.table(env.rows)?);
    let bound = CACHE_MAX_BYTES * rows / ORDERS;
    let without = measure(env, &Setup::serving(&table))?;
    let within = measure(env, &Setup { bound: Some(bound), ..Setup::serving(&table) })?;
    let side_by_side = |what: String, unit, value: fn(&LimitFigures) -> f64, goal, note| Figure {
        bench: "memory-limit",
        what,
        unit,
        ours: vec![value(&within)],
        limit: Some(("no bound".to_owned(), vec![value(&without)])),
        goal,
        note,
    };
    let most = (bound as f64 / MIB * 1.1 + PROCESS_MIB).round();
    let counted = format!(
        "bound {:.0} MiB, {:.0} counted; after the reads {:.0}",
        bound as f64 / MIB,
        within.held,
        within.after
    );
    let mut figures = vec![
        side_by_side(format!("memory with {rows} orders"), "MiB", |m| m.resident, Goal::Below(most), counted),
        side_by_side(
            format!("{rows} orders known, from process start"),
            "s",
            |m| m.fill,
            Goal::TimesLimit(1.5),
            String::new(),
        ),
    ];
    for (index, (what, _, goal)) in READS.into_iter().enumerate() {
        let (within, without) = (&within.reads[index], &without.reads[index]);
        figures.push(Figure {
            bench: "memory-limit",
            what: format!("/order/{{id}}, {what}"),
            unit: "req/s",
            ours: vec![within.loaded.rate],
            limit: Some(("no bound".to_owned(), vec![without.loaded.rate])),
            goal: Goal::OfLimit(goal),
            note: format!(
                "{:.1} % from memory; 99 % within {:.1} ms, without a bound {:.1} ms",
                within.hits * 100.0,
                within.loaded.p99,
                without.loaded.p99
            ),
        });
    }
    Ok(figures)
}

struct LimitFigures {
    /// Seconds.
    fill: f64,
    /// MiB: resident after the fill and after the reads, and as counted by the service.
    resident: f64,
    after: f64,
    held: f64,
    reads: Vec<ReadFigures>,
}

struct ReadFigures {
    loaded: WrkResult,
    /// The share of requests that memory answered.
    hits: f64,
}

fn measure(env: &Environment, setup: &Setup) -> Result<LimitFigures> {
    say(&format!(
        "{} rows, {}",
        env.rows,
        setup.bound.map_or("no bound".into(), |bound| format!("{bound} bytes"))
    ));
    let service = Service::start(env, setup)?;
    service.wait_ready()?;
    let fill = service.wait_len(env.rows)?.as_secs_f64();
    let resident = resident(&service);
    let reads = READS.iter().map(|(_, share, _)| read(env, &service, *share)).collect::<Result<_>>()?;
    let held = service.metric("orderd_cache_bytes")? / MIB;
    let measured = LimitFigures { fill, resident, after: self::resident(&service), held, reads };
    service.stop()?;
    Ok(measured)
}

fn resident(service: &Service) -> f64 {
    std::thread::sleep(SETTLED);
    procfs::resident(service.pid()) as f64 / MIB
}

/// Reads until the hit rate is steady, and once more.
fn read(env: &Environment, service: &Service, share: f64) -> Result<ReadFigures> {
    let mut reads = read_once(env, service, share)?;
    for _ in 0..ROUNDS {
        let before = reads.hits;
        reads = read_once(env, service, share)?;
        if reads.hits - before < STEADY {
            break;
        }
    }
    Ok(reads)
}

fn read_once(env: &Environment, service: &Service, share: f64) -> Result<ReadFigures> {
    let counts = || anyhow::Ok((service.metric(ASKED)?, service.metric(FROM_TABLE)?));
    let before = counts()?;
    let loaded = wrk::share(service.addr, env.rows, share, env.temp_dir.path())?;
    let after = counts()?;
    let (asked, from_table) = (after.0 - before.0, after.1 - before.1);
    Ok(ReadFigures { loaded, hits: 1.0 - from_table / asked.max(1.0) })
}
