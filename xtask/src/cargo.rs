//! cargo, run for its products: the service's program.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

/// The cargo that runs us.
pub(crate) fn command() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(devstack::tools::workspace());
    // What cargo has told us of this package is not of those to be built; some would be built anew for it.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Builds the service, with `--release` where the caller says so, and says where the program is.
/// cargo's own words go to the terminal as they come.
pub(crate) fn build_orderd(profile: &[&str]) -> Result<PathBuf> {
    let mut build = command()
        .args(["build", "--package", "orderd", "--bin", "orderd"])
        .args(profile)
        .args(["--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot build orderd: cannot start cargo")?;
    let program = build.stdout.take().and_then(program_in);
    finish(build)?;
    program.context("cannot find the built orderd: cargo named no executable")
}

fn finish(mut build: Child) -> Result<()> {
    let status = build.wait().context("cannot build orderd: cannot wait for cargo")?;
    if !status.success() {
        bail!("cannot build orderd: cargo ended with {status}; its messages are above");
    }
    Ok(())
}

/// One JSON document a line; that of the program itself names its file.
fn program_in(messages: ChildStdout) -> Option<PathBuf> {
    let lines = BufReader::new(messages).lines().map_while(Result::ok);
    let documents = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok());
    let files = documents.filter_map(|document| document["executable"].as_str().map(PathBuf::from));
    files.last()
}
