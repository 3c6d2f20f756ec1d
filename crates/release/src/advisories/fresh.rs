//! The current advisory database, fetched by git into `target/advisory-db`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use devstack::tools;

use super::copy::Advisories;

/// RustSec's repository.
pub(super) const DATABASE: &str = "https://github.com/RustSec/advisory-db";

/// Time limit; a slow network counts as unreachable.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Checkout {
    pub(super) dir: PathBuf,
    /// The commit's hash, its time in seconds, and its day.
    pub(super) commit: String,
}

impl Checkout {
    pub(super) fn advisories(&self) -> Result<Advisories> {
        Advisories::of(&self.dir, &self.commit, BTreeSet::new())
    }

    /// Crates that have advisories, in order.
    pub(super) fn names(&self) -> Result<BTreeSet<String>> {
        let dir = self.dir.join("crates");
        let entries = fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect::<Result<_>>().with_context(|| format!("cannot read {}", dir.display()))
    }
}

/// The newest commit of that repository.
pub(super) fn checkout(repository: &str) -> Result<Checkout> {
    let dir = tools::workspace().join("target").join("advisory-db");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let git = |args: &[&str]| {
        git(&dir, args).with_context(|| format!("cannot take the advisory database from {repository}"))
    };
    git(&["init", "--quiet"])?;
    git(&["fetch", "--quiet", "--depth", "1", repository, "HEAD"])?;
    git(&["checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"])?;
    git(&["clean", "--quiet", "-ffdx"])?;
    let commit = git(&["log", "-1", "--format=%H %ct %cs"])?;
    Ok(Checkout { dir, commit })
}

/// Runs git without prompts and with a time limit, and returns its stdout.
fn git(dir: &PathBuf, args: &[&str]) -> Result<String> {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(args)
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start git")?;
    let begun = Instant::now();
    while child.try_wait().context("cannot wait for git")?.is_none() {
        if begun.elapsed() > FETCH_TIMEOUT {
            drop(child.kill());
            drop(child.wait());
            bail!("git {} took more than {} s", args[0], FETCH_TIMEOUT.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output().context("cannot read what git said")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("git {}: {}", args[0], said.lines().last().unwrap_or("no word"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
