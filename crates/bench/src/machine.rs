//! Describes the machine of the measurement.

use std::fs;
use std::path::Path;
use std::process::Command;

use devstack::tools as servers;

use crate::{say, tools};

/// Names and values, in order of output.
pub(crate) fn describe() -> Vec<(String, String)> {
    let found = [
        ("service", commit()),
        ("machine", format!("{} cores of {}, {} GiB", cores(), processor(), memory())),
        ("kernel", line_of("/proc/sys/kernel/osrelease")),
        ("load before", line_of("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")),
        ("rustc", tools::version(Path::new("rustc"), "--version")),
        (
            "PostgreSQL",
            servers::find_postgres()
                .map_or_else(none, |dir| tools::version(&dir.join("postgres"), "--version")),
        ),
        (
            "NATS",
            servers::find_nats_server().map_or_else(none, |program| tools::version(&program, "--version")),
        ),
        (
            "nginx",
            servers::ensure_nginx(&mut say).map_or_else(|_| none(), |program| tools::version(&program, "-v")),
        ),
        ("wrk", tools::wrk().map_or_else(|_| none(), |program| tools::version(&program, "-v"))),
        ("nats", tools::nats().map_or_else(none, |program| tools::version(&program, "--version"))),
    ];
    found.map(|(name, value)| (name.to_owned(), value)).into()
}

/// A list for people.
pub(crate) fn text(machine: &[(String, String)]) -> String {
    machine.iter().map(|(name, value)| format!("- {name}: {value}\n")).collect()
}

fn none() -> String {
    "none".to_owned()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    line.map_or_else(|| "unknown".to_owned(), |line| line.trim_start_matches([' ', '\t', ':']).to_owned())
}

fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<u64> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.unwrap_or(0) >> 20
}

fn line_of(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(servers::workspace());
    let output = git.output().map(|output| output.stdout).unwrap_or_default();
    format!("commit {}", String::from_utf8_lossy(&output).trim())
}
