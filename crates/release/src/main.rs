//! Builds and checks releases: `cargo xtask dist`, `image`, `chart` and `advisories`.
//!
//! Separate from `xtask`, because its dependencies would delay `cargo xtask up`. Exit codes: 0 done, 1 failed at run
//! time, 2 wrong usage.

mod advisories;
mod chart;
mod dist;
mod image;
mod release;

use std::process::ExitCode;

use clap::Parser;

/// The command's name comes from `xtask`, which shows the list of all commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    Image(image::Options),
    Advisories(advisories::Options),
    Chart(chart::Options),
    Dist(dist::Options),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Image(options) => image::run(&options),
        Command::Advisories(options) => advisories::run(&options),
        Command::Chart(options) => chart::run(&options),
        Command::Dist(options) => dist::run(&options),
    };
    result.unwrap_or_else(|error| {
        say(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

/// A progress line on stderr; stdout is for results.
fn say(line: &str) {
    eprintln!("{line}");
}
