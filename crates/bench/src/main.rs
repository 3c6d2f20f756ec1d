//! `cargo xtask bench`: measures each figure, and its upper bound in the same run on the same machine.
//!
//! Each bench alternates with its limit three times; the medians count.
#![allow(clippy::print_stdout, reason = "the table is this command's result")]

mod stats;
mod report;
#[rustfmt::skip] // as `orderd model rust` prints it
#[allow(unreachable_pub, missing_docs, reason = "for programs it is")]
mod order_types;
mod orders;
mod go_rows;
mod http;
mod procfs;
mod tools;
mod traces;
mod machine;
mod environment;
mod service;
mod upper_bounds;
mod wrk;
mod nginx;
mod open_loop;
mod backlog;
mod bare_copy;
mod refused;
mod lower_bounds;
mod latency;
mod publish_to_read;
mod reads;
mod search;
mod full_orders;
mod row_formats;
mod busy_reads;
mod event_readers;
mod start;
mod memory;
mod stalled_db;
mod memory_limit;
mod footprint;
mod growth;
mod scale;
mod parallel_copy;
mod chart;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use devstack::cargo;

use environment::Environment;
use report::Figure;

/// Number of turns of each measurement and its limit.
const REPETITIONS: usize = 3;

/// Rows of the largest table for each order of the backlog.
const ROWS_PER_ORDER: u64 = 5;

/// Measure the service, each figure against its limit in the same run
///
/// Starts a private PostgreSQL with default settings and a private NATS, builds the service with --release, and
/// measures each figure and its limit three times in turn. Needs wrk and nginx, which it installs or unpacks from
/// Debian's packages, and uses NATS's command line if Go can build it. Prints a table of the medians at the end. Other
/// running programs distort the figures.
///
/// growth, scale (cost of an order as the table grows and as processes join; up to fifty rows per order) and
/// parallel-copy (several connections to PostgreSQL) run only if named.
///
/// Examples: cargo xtask bench
///           cargo xtask bench backlog --json
///           cargo xtask bench scale --orders 100000
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", verbatim_doc_comment)]
struct Options {
    /// Run only this bench
    #[arg(value_enum, value_name = "NAME")]
    name: Option<Name>,
    /// Orders in the backlog; the largest table has five times as many rows
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1000..))]
    orders: u64,
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// Also measure with a hundredth, a tenth and all of the rows, and draw docs/images/bench.svg
    #[arg(long)]
    growth: bool,
    /// Measure this program instead of building orderd
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    Backlog,
    Refused,
    Latency,
    Reads,
    Search,
    FullOrders,
    BusyReads,
    Readers,
    Start,
    RowFormats,
    Traces,
    Memory,
    StalledDb,
    MemoryLimit,
    Footprint,
    Growth,
    Scale,
    ParallelCopy,
}

/// Benches that take long or have no goal, and run only if named.
const APART: [Name; 3] = [Name::Growth, Name::Scale, Name::ParallelCopy];

fn main() -> ExitCode {
    run(&Options::parse()).unwrap_or_else(|error| {
        say(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

fn run(options: &Options) -> Result<ExitCode> {
    devstack::tools::ensure_postgres(&mut say)?;
    devstack::tools::ensure_nats_server(&mut say)?;
    let program = match &options.program {
        Some(file) => file.canonicalize().with_context(|| format!("cannot find {}", file.display()))?,
        None => cargo::build_orderd(&["--release"])?,
    };
    let machine = machine::describe();
    let mut env = Environment::start(program, options.orders, options.orders * ROWS_PER_ORDER)?;
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for name in names(options) {
        // A bench that fails does not stop the others.
        match measure(name, &mut env) {
            Ok(measured) => figures.extend(measured),
            Err(error) => failed.push(format!("error: {error:#}")),
        }
    }
    let text = match options.json {
        true => serde_json::to_string_pretty(&report::to_json(&machine, &figures))?,
        false => format!("{}\n{}", machine::text(&machine), report::text(&figures)),
    };
    println!("{text}");
    failed.iter().for_each(|failure| say(failure));
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn names(options: &Options) -> Vec<Name> {
    use clap::ValueEnum;
    let wanted = |name: &Name| match options.name {
        Some(one) => *name == one || (*name == Name::Growth && options.growth),
        None => !APART.contains(name) || (*name == Name::Growth && options.growth),
    };
    Name::value_variants().iter().copied().filter(wanted).collect()
}

type Bench = fn(&mut Environment) -> Result<Vec<Figure>>;

fn measure(name: Name, env: &mut Environment) -> Result<Vec<Figure>> {
    let (bench, what): (Bench, _) = match name {
        Name::Backlog => (backlog::run, "the backlog"),
        Name::Refused => (refused::run, "a backlog with refused messages"),
        Name::Latency => (latencies, "latency"),
        Name::Reads => (reads::run, "reads"),
        Name::Search => (search::run, "search"),
        Name::FullOrders => (full_orders::run, "lists of documents"),
        Name::BusyReads => (busy_reads::run, "reads of a busy service"),
        Name::Readers => (event_readers::run, "intake while many read along"),
        Name::Start => (start::run, "the start"),
        Name::RowFormats => (row_formats::run, "row formats"),
        Name::Traces => (traces::run, "traces"),
        Name::Memory => (memory::run, "memory"),
        Name::StalledDb => (stalled_db::run, "memory while orders wait"),
        Name::MemoryLimit => (memory_limit::run, "more orders than memory"),
        Name::Footprint => (footprint::run, "the idle service"),
        Name::Growth => (growth::run, "growth"),
        Name::Scale => (scale::run, "what an order costs"),
        Name::ParallelCopy => (parallel_copy::run, "several connections"),
    };
    bench(env).with_context(|| format!("cannot measure {what}"))
}

/// The times until an order is committed, and until it is served.
fn latencies(env: &mut Environment) -> Result<Vec<Figure>> {
    Ok([latency::run(env)?, publish_to_read::run(env)?].concat())
}

/// A progress line on stderr; stdout is for results.
fn say(line: &str) {
    eprintln!("{line}");
}

fn repetition(bench: &str, number: usize) {
    say(&format!("{bench}, {} of {REPETITIONS}", number + 1));
}
