//! Commands that are separate programs: cargo builds and runs them, so no other command waits for their dependencies.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Context, Result};
use devstack::{cargo, tools};

/// Replaces this process by cargo, which runs the program of that package with its arguments. `profile` is a flag of
/// cargo.
pub(crate) fn run(
    package: &str,
    profile: Option<&str>,
    args: impl IntoIterator<Item = OsString>,
) -> Result<ExitCode> {
    let mut run = cargo::command_here();
    run.arg("run").arg("--manifest-path").arg(tools::workspace().join("Cargo.toml"));
    run.args(["--package", package, "--bin", package]).args(profile).arg("--").args(args);
    Err(run.exec()).with_context(|| format!("cannot run {package}: cannot start cargo"))
}
