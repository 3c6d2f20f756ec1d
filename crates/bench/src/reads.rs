//! `/order/{id}` with wrk on one core, the server on another, against nginx with the same response.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::environment::Environment;
use crate::nginx::Nginx;
use crate::report::{Figure, Goal};
use crate::service::{Service, Setup};
use crate::wrk::SERVER_CORE;
use crate::{REPETITIONS, http, orders, procfs, repetition, wrk};

/// Number of orders to search for one of average size.
const LOOKED_AT: u64 = 1000;

/// The requests of wrk.
enum WrkTarget {
    One(u64),
    Random(PathBuf),
}

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    ensure!(std::thread::available_parallelism()?.get() >= 2, "wrk and the server need a core each");
    let rows = env.rows;
    let table = env.table(rows)?;
    let service = Service::start(env, &Setup { core: Some(SERVER_CORE), ..Setup::serving(&table) })?;
    service.wait_len(rows)?;
    let typical = typical();
    let nginx = Nginx::start(env, SERVER_CORE, &String::from_utf8(orders::json(typical))?)?;
    let (_, answer) = http::get(service.addr, &format!("/order/{}", orders::id(typical)))?;
    ensure!(answer == orders::json(typical), "the service answers with other bytes than were sent");
    let few = rows.min(10_000);
    let cases = [
        ("one id".to_owned(), WrkTarget::One(typical), 0.95),
        (format!("{few} ids at random"), WrkTarget::Random(ids(env, few)?), 0.95),
        (format!("{rows} ids at random"), WrkTarget::Random(ids(env, rows)?), 0.8),
    ];
    let figures = cases.iter().map(|case| measure(env, &service, &nginx, case)).collect::<Result<_>>()?;
    service.stop()?;
    Ok(figures)
}

fn measure(
    env: &Environment,
    service: &Service,
    nginx: &Nginx,
    (name, asked, goal): &(String, WrkTarget, f64),
) -> Result<Figure> {
    let (mut ours, mut limit, mut costs) = (Vec::new(), Vec::new(), [Duration::ZERO; 2]);
    for number in 0..REPETITIONS {
        repetition(&format!("reads of {name}"), number);
        let (rate, cost) = requests(service.addr, service.pid(), asked, env.temp_dir.path())?;
        ours.push(rate);
        costs[0] = cost;
        let (rate, cost) = requests(nginx.addr, nginx.pid(), asked, env.temp_dir.path())?;
        limit.push(rate);
        costs[1] = cost;
    }
    let micros = costs.map(|cost| cost.as_secs_f64() * 1e6);
    Ok(Figure {
        bench: "reads",
        what: format!("/order/{{id}}, {name}"),
        unit: "req/s",
        ours,
        limit: Some(("nginx return 200".to_owned(), limit)),
        goal: Goal::OfLimit(*goal),
        note: format!("CPU a request: {:.1} µs, nginx {:.1} µs", micros[0], micros[1]),
    })
}

/// Requests a second, and the server's CPU for each.
fn requests(addr: std::net::SocketAddr, pid: u32, asked: &WrkTarget, dir: &Path) -> Result<(f64, Duration)> {
    let before = procfs::cpu(pid);
    let rate = match asked {
        WrkTarget::One(number) => wrk::rate_of_path(addr, &format!("/order/{}", orders::id(*number)))?,
        WrkTarget::Random(ids) => wrk::random(addr, ids, dir)?,
    };
    let used = procfs::cpu(pid).saturating_sub(before);
    Ok((rate, used.div_f64((rate * wrk::SECONDS as f64).max(1.0))))
}

/// Requests per second for random ids of all orders.
pub(crate) fn random_rate(env: &mut Environment, rows: u64) -> Result<f64> {
    let table = env.table(rows)?;
    let service = Service::start(env, &Setup { core: Some(SERVER_CORE), ..Setup::serving(&table) })?;
    service.wait_len(rows)?;
    let ids = ids(env, rows)?;
    let rate = wrk::random(service.addr, &ids, env.temp_dir.path())?;
    service.stop()?;
    Ok(rate)
}

pub(crate) fn ids(env: &Environment, count: u64) -> Result<PathBuf> {
    let file = env.temp_dir.path().join(format!("ids-{count}"));
    let text: String = (0..count).map(|number| format!("/order/{}\n", orders::id(number))).collect();
    fs::write(&file, text)?;
    Ok(file)
}

/// An order whose JSON is as long as the average.
fn typical() -> u64 {
    let lengths: Vec<_> = (0..LOOKED_AT).map(|number| orders::json(number).len()).collect();
    let mean = lengths.iter().sum::<usize>() / lengths.len();
    (0..LOOKED_AT).min_by_key(|number| lengths[*number as usize].abs_diff(mean)).unwrap_or_default()
}
