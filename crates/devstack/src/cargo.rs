//! Builds the service with cargo, and finds the program.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::Error;
use crate::tools::workspace;

const BUILD: &str = "build orderd";

/// The cargo that runs us, in the workspace's directory.
#[must_use]
pub fn command() -> Command {
    let mut cargo = command_here();
    cargo.current_dir(workspace());
    cargo
}

/// The cargo that runs us, in the current directory.
#[must_use]
pub fn command_here() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Cargo sets variables about this package; passed on, they would cause rebuilds.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Builds the service with the given profile flags, and returns the program's path. Cargo's messages go to the
/// terminal.
///
/// # Errors
/// If cargo can't be started, or the build fails.
pub fn build_orderd(profile: &[&str]) -> Result<PathBuf, Error> {
    let mut build = command()
        .args(["build", "--package", "orderd", "--bin", "orderd"])
        .args(profile)
        .args(["--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Error::io(format!("{BUILD}: cannot start cargo")))?;
    let program = build.stdout.take().and_then(program_in);
    finish(build)?;
    program.ok_or_else(|| Error::failed(BUILD, "cargo named no executable"))
}

fn finish(mut build: Child) -> Result<(), Error> {
    let status = build.wait().map_err(Error::io(format!("{BUILD}: cannot wait for cargo")))?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::failed(BUILD, format!("cargo ended with {status}; its messages are above"))),
    }
}

/// One JSON document per line; that of the program names its file.
fn program_in(messages: ChildStdout) -> Option<PathBuf> {
    let lines = BufReader::new(messages).lines().map_while(Result::ok);
    let documents = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok());
    let files = documents.filter_map(|document| document["executable"].as_str().map(PathBuf::from));
    files.last()
}
