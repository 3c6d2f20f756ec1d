//! The programs for measuring limits: wrk, and NATS's command line.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::say;

/// A release of NATS's command line with `bench js fetch`.
const NATS: &str = "github.com/nats-io/natscli/nats@v0.5.1";

/// Debian's wrk, installed if missing and we are root.
pub(crate) fn wrk() -> Result<PathBuf> {
    if let Some(found) = on_path("wrk") {
        return Ok(found);
    }
    say("installing wrk (Debian's package `wrk`)");
    apt(&["install", "-y", "-qq", "--no-install-recommends", "wrk"])?;
    on_path("wrk").context("cannot find wrk: install it by `apt-get install wrk`")
}

/// `nats`, built with Go if missing; `None` without Go.
pub(crate) fn nats() -> Option<PathBuf> {
    let built = tools_dir().join("nats");
    if let Some(found) = on_path("nats").or_else(|| built.is_file().then(|| built.clone())) {
        return Some(found);
    }
    let go = on_path("go")?;
    say(&format!("building {NATS}"));
    let mut install = Command::new(go);
    install.args(["install", NATS]).env("GOBIN", tools_dir()).current_dir("/");
    match quiet(&mut install, "build nats") {
        Ok(()) => Some(built),
        Err(error) => {
            say(&format!("{error:#}; its limit is taken with a loop of our own"));
            None
        }
    }
}

/// The first line of a program's version, from stdout or stderr.
pub(crate) fn version(program: &Path, flag: &str) -> String {
    let output = Command::new(program).arg(flag).stdin(Stdio::null()).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}

pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn tools_dir() -> PathBuf {
    devstack::tools::workspace().join(".orderd").join("tools")
}

/// Runs apt, and retries after an update of the package lists.
fn apt(args: &[&str]) -> Result<()> {
    let run = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        quiet(&mut apt, "run apt-get")
    };
    if on_path("apt-get").is_none() {
        bail!("cannot find wrk, nor apt-get to install it: install it by your system's means");
    }
    run(args).or_else(|_| run(&["update", "-qq"]).and_then(|()| run(args)))
}

/// Runs a command; the error contains its output.
fn quiet(command: &mut Command, action: &str) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot {action}"))?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "cannot {action}: {}", words.trim());
    Ok(())
}
