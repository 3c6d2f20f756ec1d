//! `cargo xtask chaos`: runs rounds of faults against the built service, and reports them.
#![allow(clippy::print_stdout, reason = "the report is this command's result")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use chaos::{Plan, Report};
use clap::Parser;
use devstack::{cargo, tools};

/// Inject random faults and check that nothing is lost or duplicated
///
/// Each round starts a private PostgreSQL, a private NATS and the service, with breakers between them, publishes
/// orders, and kills, stops and disconnects parts. The round's plan follows from its seed. In the end, everything that
/// the stream acknowledged must be in the table once. Exit code 1 after a violation, with the seed to repeat, and if no
/// fault hit a busy moment.
///
/// Examples: cargo xtask chaos
///           cargo xtask chaos --rounds 1 --seed 17
#[derive(Parser)]
#[command(name = "cargo xtask chaos", bin_name = "cargo xtask chaos", verbatim_doc_comment)]
struct Options {
    /// Number of rounds, with consecutive seeds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The first round's seed [default: a random one, which is printed]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Number of services on the same stream and table
    #[arg(long, value_name = "N", default_value_t = 1)]
    replicas: usize,
    /// Use three NATS servers that all keep each stream, and a synchronous standby of PostgreSQL: faults hit the
    /// leader, and the standby is promoted after an outage of a second
    #[arg(long)]
    clusters: bool,
    /// Inject power failures and damaged files instead: NATS and PostgreSQL have separate disks, whose power fails
    /// together or alone, and files of NATS are damaged. Needs root
    #[arg(long, conflicts_with_all = ["replicas", "clusters"])]
    power: bool,
    /// Instead of rounds, kill the writer `--rounds` times under load, and measure the time until everything
    /// acknowledged is committed, by the restarted process or another of `--replicas`
    #[arg(long, conflicts_with_all = ["clusters", "power", "report"])]
    recovery: bool,
    /// Number of rounds to run at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Also write the report as Markdown
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Directory for the services' logs of rounds with violations, as SEED.log
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Print the plans without running them
    #[arg(long)]
    plan: bool,
    /// Run an optimized build, for realistic times
    #[arg(long, conflicts_with = "program")]
    release: bool,
    /// Run this program instead of building orderd
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

fn main() -> ExitCode {
    run(&Options::parse()).unwrap_or_else(|error| {
        say(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

/// A progress line on stderr; stdout is for results.
fn say(line: &str) {
    eprintln!("{line}");
}

fn run(options: &Options) -> Result<ExitCode> {
    let seed = options.seed.unwrap_or_else(new_seed);
    let plans: Vec<_> =
        (0..options.rounds).map(|number| plan(seed.wrapping_add(number.into()), options)).collect();
    if options.plan {
        return Ok(print_plans(&plans));
    }
    tools::ensure_postgres(&mut say)?;
    tools::ensure_nats_server(&mut say)?;
    let program = match &options.program {
        Some(file) => file.canonicalize().with_context(|| format!("cannot find {}", file.display()))?,
        None => cargo::build_orderd(if options.release { &["--release"] } else { &[] })?,
    };
    if options.recovery {
        return measure_recovery(&program, seed, options);
    }
    say(&format!("{} rounds from seed {seed} on", options.rounds));
    let report = chaos::run(&program, &plans, options.jobs, &mut say)?;
    println!("{}", report.text());
    if let Some(file) = &options.report {
        let text = markdown(&report, seed, options);
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(dir) = &options.logs {
        keep_logs(&report, dir).with_context(|| format!("cannot keep logs in {}", dir.display()))?;
    }
    let failures = report.failures();
    failures.iter().for_each(|failure| say(&format!("violation: {failure}")));
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure_recovery(program: &Path, seed: u64, options: &Options) -> Result<ExitCode> {
    let mut all = chaos::recovery::measure(program, options.replicas, options.rounds, seed)?;
    all.sort_unstable_by_key(|one| one.committed);
    let at = |share: usize| {
        all.get((all.len() * share / 100).min(all.len() - 1)).map_or(0.0, |it| it.committed.as_secs_f64())
    };
    let behind = all.iter().map(|one| one.behind).max().unwrap_or(0);
    println!(
        "{} kills, {} services, at most {behind} messages in flight: committed after p50 {:.2} s, p95 {:.2} s, at most {:.2} s",
        all.len(),
        options.replicas,
        at(50),
        at(95),
        at(100)
    );
    let is_late = all.iter().any(|one| one.committed > chaos::recovery::LIMIT);
    Ok(if is_late { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn keep_logs(report: &Report, dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut failed = report.rounds.iter().filter(|round| !round.violations.is_empty());
    failed.try_for_each(|round| fs::write(dir.join(format!("{}.log", round.seed)), &round.log))
}

/// Short enough to retype.
fn new_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| u64::from(now.subsec_nanos()) / 1_000)
}

fn plan(seed: u64, options: &Options) -> Plan {
    match options {
        Options { power: true, .. } => Plan::with_power_failures(seed),
        Options { clusters: true, .. } => Plan::with_replicas(seed, options.replicas).with_clusters(),
        Options { .. } => Plan::with_replicas(seed, options.replicas),
    }
}

fn print_plans(plans: &[Plan]) -> ExitCode {
    for plan in plans {
        let rate = [format!("{} orders/s", plan.rate)];
        let traits = plan.traits().into_iter().map(str::to_owned);
        let faults = plan.faults.iter().map(ToString::to_string);
        let all: Vec<_> = rate.into_iter().chain(traits).chain(faults).collect();
        println!("{}: {}", plan.seed, all.join("; "));
    }
    ExitCode::SUCCESS
}

fn markdown(report: &Report, seed: u64, options: &Options) -> String {
    let Options { rounds, jobs, replicas, clusters, power, .. } = options;
    let replicas = if *replicas > 1 { format!(" --replicas {replicas}") } else { String::new() };
    let clusters = if *clusters { " --clusters" } else { "" };
    let power = if *power { " --power" } else { "" };
    format!(
        "# Fault rounds\n\n\
         Written by `cargo xtask chaos --rounds {rounds} --seed {seed}{replicas}{clusters}{power} --jobs {jobs} --report FILE`; run it again to see it \
         for yourself. A seed gives the same plan and the same load again, not the same interleaving.\n\n\
         {}",
        report.text()
    )
}
