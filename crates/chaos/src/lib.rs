//! Rounds of faults: a publisher records each message in a ledger while the service, PostgreSQL and NATS are killed,
//! stopped and disconnected from each other. Then the ledger is compared with table, dead letters, memory and pages.
//!
//! ```text
//! publisher ──────────── NATS ── breaker ── orderd ── breaker ── PostgreSQL
//!     └─ ledger ─┐                            │ HTTP                 │
//!                └──────── checker ── prober ─┴──────────────────────┘
//! ```
//!
//! The program of this crate, `cargo xtask chaos`, runs as many rounds as asked; the service's own tests run a few.

pub mod checker;
pub mod nats_file_damage;
mod snapshot;
mod http;
pub mod ledger;
mod known_losses;
pub mod observer;
pub mod plan;
mod prober;
mod publisher;
pub mod recovery;
pub mod report;
pub mod round;
mod wording;
mod servers;
mod environment;
mod injector;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::ScopedJoinHandle;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

pub use plan::Plan;
pub use report::Report;
use round::Outcome;

/// Called after each round with its line of the report.
pub type Reporter<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Runs the plans against this program, `jobs` rounds at once.
///
/// # Errors
/// A failure of the environment. Violations by the service are in the report.
pub fn run(program: &Path, plans: &[Plan], jobs: usize, say: Reporter<'_>) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (next, say) = (AtomicUsize::new(0), Mutex::new(say));
    let work = || {
        // Clients spawn tasks when they are created.
        let _entered = runtime.enter();
        let taken = std::iter::from_fn(|| plans.get(next.fetch_add(1, Ordering::Relaxed)));
        taken.map(|plan| run_and_report(plan, program, &runtime, &say)).collect::<Result<Vec<_>>>()
    };
    let worked: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(ScopedJoinHandle::join).collect()
    });
    let mut rounds = Vec::new();
    for outcomes in worked {
        rounds.extend(outcomes.map_err(|_| anyhow::anyhow!("a round panicked"))??);
    }
    rounds.sort_by_key(|round| round.seed);
    Ok(Report { rounds })
}

fn run_and_report(
    plan: &Plan,
    program: &Path,
    runtime: &Runtime,
    say: &Mutex<Reporter<'_>>,
) -> Result<Outcome> {
    let outcome = round::run(plan, program, runtime);
    let outcome = outcome.with_context(|| format!("cannot finish the round of seed {}", plan.seed))?;
    let mut say = say.lock().unwrap_or_else(PoisonError::into_inner);
    say(&report::line(&outcome));
    outcome.violations.iter().for_each(|what| say(&format!("  violation: {what}")));
    Ok(outcome)
}
