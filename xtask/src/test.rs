//! `cargo xtask test`: installs the tests' servers, then runs `cargo test`. `cargo xtask tools` only installs them.

use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::process::ExitCode;

use anyhow::{Context, Result};
use devstack::{cargo, tools};

use crate::{passed_on, say};

/// The number of tests that run at once, which Rust's test harness reads.
const TEST_THREADS: &str = "RUST_TEST_THREADS";

/// Tests wait for servers most of the time.
const TESTS_PER_CORE: usize = 3;

pub(crate) fn run(args: &[OsString]) -> Result<ExitCode> {
    install()?;
    let mut test = cargo::command();
    test.arg("test");
    if std::env::var_os(TEST_THREADS).is_none() {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        test.env(TEST_THREADS, (TESTS_PER_CORE * cores).to_string());
    }
    if !names_packages(args) {
        test.arg("--workspace");
    }
    let status = test.args(args).status().context("cannot run the tests: cannot start cargo")?;
    passed_on(status)
}

/// Installs what is missing of the tests' servers and other programs.
pub(crate) fn install() -> Result<()> {
    tools::ensure_postgres(&mut say)?;
    tools::ensure_nats_server(&mut say)?;
    tools::ensure_chromedriver(&mut say)?;
    tools::ensure_axe(&mut say)?;
    tools::ensure_nginx(&mut say)?;
    if tools::find_go().is_some() {
        tools::ensure_stan_server(&mut say)?;
    }
    tools::ensure_nats_py(&mut say)?;
    tools::ensure_schemathesis(&mut say)?;
    tools::ensure_typescript(&mut say)?;
    tools::ensure_compose(&mut say)?;
    tools::ensure_systemd_analyze(&mut say)?;
    Ok(())
}

/// Whether the caller names packages; arguments after `--` are for the tests.
fn names_packages(args: &[OsString]) -> bool {
    let own = args.iter().take_while(|arg| *arg != OsStr::new("--"));
    own.filter_map(|arg| arg.to_str())
        .any(|arg| arg.starts_with("-p") || arg.starts_with("--package") || arg == "--workspace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_before_the_tests_own_arguments() {
        let named = |line: &str| names_packages(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(named("-p orderd outage"));
        assert!(named("--package=orderd"));
        assert!(!named("outage -- -p"));
    }
}
