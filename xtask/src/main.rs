//! The workspace's own commands, run as `cargo xtask COMMAND`.
//!
//! `up` and `orderd` are for using the service, `test`, `chaos`, `fuzz`, `bench`, `image`,
//! `advisories`, `chart` and `dist` for working on it. Exit codes: 0 done, 1 failed at run time, 2 wrong usage.

mod advisories;
mod bench;
mod cargo;
mod chaos;
mod chart;
mod dist;
mod fuzz;
mod image;
mod orderd;
mod scaling;
mod test;
mod up;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The workspace's own commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(up::Options),
    /// Run any `orderd` command against what `up` runs
    ///
    /// Settings come from what `cargo xtask up` has started; variables that are already set in the
    /// environment win. ORDERD_DATA_DIR names the data folder of an `up --data-dir`.
    ///
    /// Example: cargo xtask orderd publish --count 1000
    #[command(disable_help_flag = true)]
    Orderd {
        /// The command of orderd's and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run the whole test suite, installing what it needs first
    ///
    /// Each test starts private servers on free ports in temporary folders and never uses a server
    /// of the machine.
    ///
    /// Examples: cargo xtask test
    ///           cargo xtask test -p orderd outage -- --nocapture
    #[command(verbatim_doc_comment)]
    Test {
        /// Arguments of `cargo test`; packages named by -p are tested instead of all
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    Chaos(chaos::Options),
    Fuzz(fuzz::Options),
    Bench(bench::Options),
    Scaling(scaling::Options),
    Image(image::Options),
    Advisories(advisories::Options),
    Chart(chart::Options),
    Dist(dist::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(options) => up::run(options),
        Command::Orderd { .. } => orderd::run(&arguments()),
        Command::Test { .. } => test::run(&arguments()),
        Command::Chaos(options) => chaos::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Scaling(options) => scaling::run(&options),
        Command::Image(options) => image::run(&options),
        Command::Advisories(options) => advisories::run(&options),
        Command::Chart(options) => chart::run(&options),
        Command::Dist(options) => dist::run(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// What stands after the command, untouched: clap would take a `--` for itself.
fn arguments() -> Vec<OsString> {
    std::env::args_os().skip(2).collect()
}

/// A number with commas between its thousands.
fn grouped(value: u64) -> String {
    if value < 1000 {
        return value.to_string();
    }
    format!("{},{:03}", grouped(value / 1000), value % 1000)
}

/// A line about what is being done, on stderr: stdout is for results.
fn say(line: &str) {
    eprintln!("{line}");
}

/// Ends as the program that was run for the caller has ended: with its code, or with 1 where a
/// signal has ended it.
fn passed_on(status: std::process::ExitStatus) -> Result<ExitCode> {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
