//! The workspace's own commands, run as `cargo xtask COMMAND`.
//!
//! `up` and `orderd` are for using the service, the others for working on it. This program must be built before it can
//! print anything, so it is small: commands that need clients of the servers or an async runtime are separate programs,
//! which it starts. Exit codes: 0 done, 1 failed at run time, 2 wrong usage.

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
    /// Run any `orderd` command against the servers of `up`
    ///
    /// Settings come from the running `cargo xtask up`; variables that are set in the environment take precedence.
    /// ORDERD_DATA_DIR names the data folder of an `up --data-dir`. Commands that need no servers, such as `model infer`,
    /// run without `up` too.
    ///
    /// Example: cargo xtask orderd publish --count 1000
    #[command(disable_help_flag = true)]
    Orderd {
        /// A command of orderd, with its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Install the tools of the tests, and run the whole test suite
    ///
    /// Each test starts private servers on free ports in temporary folders, and never uses the machine's servers.
    ///
    /// Examples: cargo xtask test
    ///           cargo xtask test -p orderd outage -- --nocapture
    #[command(verbatim_doc_comment)]
    Test {
        /// Arguments of `cargo test`; packages named by -p are tested instead of all
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Only install the tools of the tests, as `cargo xtask test` does before it runs them
    Tools,
    /// Inject random faults and check that nothing is lost or duplicated
    #[command(disable_help_flag = true)]
    Chaos(Tool),
    Fuzz(fuzz::Options),
    /// Measure the service, each figure against its limit in the same run
    #[command(disable_help_flag = true)]
    Bench(Tool),
    Scaling(scaling::Options),
    /// Build the image of deploy/Dockerfile and test it as compose.yaml would run it
    #[command(disable_help_flag = true)]
    Image(Tool),
    /// Check every crate in Cargo.lock, fuzz/Cargo.lock and vendor/ for RustSec advisories
    #[command(disable_help_flag = true)]
    Advisories(Tool),
    /// Check the Helm chart and the plain manifests generated from it
    #[command(disable_help_flag = true)]
    Chart(Tool),
    /// Build the files of a release
    #[command(disable_help_flag = true)]
    Dist(Tool),
}

/// Arguments for another program, which parses them itself: `--help` shows them.
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
        Command::Tools => test::install().map(|()| ExitCode::SUCCESS),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Scaling(options) => scaling::run(&options),
        Command::Chaos(_) => tool::run("chaos", None, arguments()),
        // It makes load; a slow one would measure itself.
        Command::Bench(_) => tool::run("bench", Some("--release"), arguments()),
        // One program has these commands, so it also gets the command's name.
        Command::Image(_) | Command::Advisories(_) | Command::Chart(_) | Command::Dist(_) => {
            tool::run("release", None, std::env::args_os().skip(1))
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// The arguments after the command, unchanged: clap would consume a `--`.
fn arguments() -> Vec<OsString> {
    std::env::args_os().skip(2).collect()
}

/// A progress line on stderr; stdout is for results.
fn say(line: &str) {
    eprintln!("{line}");
}

/// Exits with the code of the program that was run, or with 1 if a signal has ended it.
fn passed_on(status: std::process::ExitStatus) -> Result<ExitCode> {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
