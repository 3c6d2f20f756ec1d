//! Fault rounds: a publisher with a ledger runs against the service while the service, PostgreSQL and NATS
//! are killed, stopped and cut off from each other; then the ledger is held against table, dead letters,
//! memory and pages.
//!
//! ```text
//! publisher ──────────── NATS ── breaker ── orderd ── breaker ── PostgreSQL
//!     └─ ledger ─┐                            │ HTTP                 │
//!                └──────── checker ── prober ─┴──────────────────────┘
//! ```
//!
//! `cargo xtask chaos` runs as many rounds as asked; the service's own tests run a few.

pub mod checker;
mod evidence;
mod http;
pub mod ledger;
pub mod observer;
pub mod plan;
mod prober;
mod publisher;
pub mod report;
pub mod round;
mod world;

use std::path::Path;

use anyhow::{Context, Result};

pub use plan::Plan;
pub use report::Report;

/// Runs the plans of so many seeds, from `seed` on, against this program of the service.
///
/// # Errors
/// What could not be done to the servers. What the service did wrong is in the report.
pub fn run(program: &Path, seed: u64, rounds: u32, say: &mut dyn FnMut(&str)) -> Result<Report> {
    let plans = (0..u64::from(rounds)).map(|number| Plan::new(seed.wrapping_add(number)));
    run_plans(program, plans, say)
}

/// Runs these plans.
///
/// # Errors
/// Those of [`run`].
pub fn run_plans(
    program: &Path,
    plans: impl IntoIterator<Item = Plan>,
    say: &mut dyn FnMut(&str),
) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // Clients start tasks of their own wherever they are made.
    let _entered = runtime.enter();
    let mut report = Report::default();
    for plan in plans {
        let outcome = round::run(&plan, program, &runtime);
        let outcome = outcome.with_context(|| format!("cannot finish the round of seed {}", plan.seed))?;
        say(&report::line(&outcome));
        outcome.violations.iter().for_each(|what| say(&format!("  violation: {what}")));
        report.rounds.push(outcome);
    }
    Ok(report)
}
