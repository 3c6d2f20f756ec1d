//! Measures the time from kill -9 of the writer until all acknowledged messages are in the table: written by the same
//! process, restarted at once, or by another one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;
use order::RowFormat;
use tokio::runtime::Runtime;

use crate::environment::Environment;
use crate::ledger::Ledger;
use crate::observer::Observer;
use crate::plan::Plan;
use crate::publisher::Publisher;
use crate::round::connect;

/// The load: orders per second, and orders published at once before each kill.
const RATE: u32 = 1000;
const BURST: usize = 500;

/// The pause between two kills, and between the burst and the kill.
const PAUSE_MS: std::ops::Range<u64> = 1_000..2_000;
const LEAD_MS: std::ops::Range<u64> = 0..60;

const READY: Duration = Duration::from_secs(60);

/// Time limit for a commit.
const GIVE_UP: Duration = Duration::from_secs(60);

/// The required limit for committing orders in flight.
pub const LIMIT: Duration = Duration::from_secs(5);

/// One kill.
#[derive(Clone, Copy, Debug)]
pub struct Recovered {
    /// Messages after the table's position at the kill.
    pub behind: u64,
    /// Time from the kill until the position had passed everything acknowledged by then.
    pub committed: Duration,
}

/// Kills the writer once per round.
///
/// # Errors
/// A failure of the environment, or a service that does not recover.
pub fn measure(program: &Path, replicas: usize, kills: u32, seed: u64) -> Result<Vec<Recovered>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let _entered = runtime.enter();
    let plan = Plan {
        seed,
        replicas,
        rate: RATE,
        synchronous_commit: true,
        format: RowFormat::Gob,
        faults: Vec::new(),
        ..Plan::new(seed)
    };
    let mut environment = Environment::start(program, &plan)?;
    let urls = environment.servers.nats_urls();
    let (publishing, observing) =
        runtime.block_on(async { anyhow::Ok((connect(&urls).await?, connect(&urls).await?)) })?;
    let ledger = Arc::new(Ledger::new(seed));
    let publisher = Publisher::start(publishing, ledger.clone(), &plan);
    let mut observer = Observer::new(observing, environment.servers.postgres_url(), plan.format)?;
    let mut rng = Rng::with_seed(seed);
    let mut times = Vec::new();
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(rng.u64(PAUSE_MS)));
        publisher.burst(BURST);
        std::thread::sleep(Duration::from_millis(rng.u64(LEAD_MS)));
        times.push(kill_writer(&mut environment, &mut observer, &ledger, &runtime)?);
    }
    runtime.block_on(publisher.finish())?;
    Ok(times)
}

fn kill_writer(
    environment: &mut Environment,
    observer: &mut Observer,
    ledger: &Ledger,
    runtime: &Runtime,
) -> Result<Recovered> {
    let writer = environment.writer().context("no process writes")?;
    let behind = runtime.block_on(observer.behind())?;
    let killed = Instant::now();
    environment.kill_service(writer);
    let due = ledger.acknowledged_orders().into_iter().max().unwrap_or(0);
    let is_alone = environment.addrs().len() == 1;
    if is_alone {
        environment.start_service(writer)?;
    }
    while runtime.block_on(observer.position())? < due {
        anyhow::ensure!(killed.elapsed() < GIVE_UP, "what was in flight was not committed in {GIVE_UP:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let committed = killed.elapsed();
    if !is_alone {
        environment.start_service(writer)?;
    }
    anyhow::ensure!(environment.wait_ready(READY), "a service was not ready {READY:?} after a kill");
    Ok(Recovered { behind, committed })
}
