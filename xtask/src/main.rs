//! The workspace's own commands, run as `cargo xtask COMMAND`.
//!
//! `up` and `orderd` are for using the service, the others for working on it. This program is built before it can say a
//! word, so it is small: what needs clients of the servers or an async runtime is a separate program, which it starts.
//! Exit codes: 0 done, 1 failed at run time, 2 wrong usage.

mod fuzz;
mod orderd;
mod scaling;
mod test;
mod tool;
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
    /// Inject random faults and check that nothing is lost or duplicated
    #[command(disable_help_flag = true)]
    Chaos(Tool),
    Fuzz(fuzz::Options),
    /// Measure the service, each figure against its limit in the same run
    #[command(disable_help_flag = true)]
    Bench(Tool),
    Scaling(scaling::Options),
    /// Build deploy/Dockerfile's image and try it as compose.yaml would run it
    #[command(disable_help_flag = true)]
    Image(Tool),
    /// Ask RustSec for every crate in Cargo.lock, fuzz/Cargo.lock and vendor/
    #[command(disable_help_flag = true)]
    Advisories(Tool),
    /// Check the Helm chart and the plain manifests that are made from it
    #[command(disable_help_flag = true)]
    Chart(Tool),
    /// Make what a release consists of
    #[command(disable_help_flag = true)]
    Dist(Tool),
}

/// What another program takes, which knows its own options: `--help` shows them.
#[derive(clap::Args)]
struct Tool {
    /// Its arguments; --help lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(options) => up::run(options),
        Command::Orderd { .. } => orderd::run(&arguments()),
        Command::Test { .. } => test::run(&arguments()),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Scaling(options) => scaling::run(&options),
        Command::Chaos(_) => tool::run("chaos", arguments()),
        Command::Bench(_) => tool::run("bench", arguments()),
        // With the command's name: one program has these.
        Command::Image(_) | Command::Advisories(_) | Command::Chart(_) | Command::Dist(_) => {
            tool::run("release", std::env::args_os().skip(1))
        }
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
