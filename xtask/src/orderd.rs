//! `cargo xtask orderd ARGS…`: the built service's commands with the settings of the running `up`.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::passed_on;
use crate::up::{DATA_DIR, DataDir, PROGRAM};

pub(crate) fn run(args: &[OsString]) -> Result<ExitCode> {
    let dir = DataDir::at(std::env::var_os(DATA_DIR).map(Into::into))?;
    let settings = dir.settings_in_use().with_context(|| {
        let folder = dir.path().display();
        format!(
            "cannot run orderd: no `cargo xtask up` is ready on {folder}; start it in another terminal and wait for \
             `ready`, or set {DATA_DIR} to the folder that it was given by --data-dir"
        )
    })?;
    let program = settings.iter().find(|(name, _)| name == PROGRAM).map(|(_, value)| value);
    let program =
        program.context("cannot run orderd: its program is not known; start `cargo xtask up` again")?;
    let free = |name: &str| name != PROGRAM && std::env::var_os(name).is_none();
    let status = Command::new(program)
        .args(args)
        .envs(settings.iter().filter(|(name, _)| free(name)).cloned())
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    passed_on(status)
}
