//! Which version of which commit it is, and of what time.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use devstack::tools;
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

pub(crate) struct Release {
    pub(crate) version: String,
    pub(crate) revision: String,
    /// Seconds of Unix time; the time of everything in the files.
    pub(crate) epoch: u64,
}

impl Release {
    pub(crate) fn read() -> Result<Self> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        // An unpacked source archive has neither: set both manually.
        let revision = match std::env::var("ORDERD_REVISION") {
            Ok(revision) => revision,
            Err(_) => revision()?,
        };
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => text.parse().context("SOURCE_DATE_EPOCH takes seconds of Unix time")?,
            Err(_) => {
                git(&["log", "-1", "--format=%ct"])?.parse().context("git says no time of the commit")?
            }
        };
        Ok(Self { version, revision, epoch })
    }

    fn time(&self) -> Result<OffsetDateTime> {
        Ok(OffsetDateTime::from_unix_timestamp(i64::try_from(self.epoch)?)?)
    }

    /// As JSON documents have it.
    pub(crate) fn rfc3339(&self) -> Result<String> {
        Ok(self.time()?.format(&Rfc3339)?)
    }

    /// As Debian's changelogs have it.
    pub(crate) fn rfc2822(&self) -> Result<String> {
        Ok(self.time()?.format(&Rfc2822)?)
    }
}

/// The commit, and whether files have changed since.
fn revision() -> Result<String> {
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Ok(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn git(args: &[&str]) -> Result<String> {
    let mut git = Command::new("git");
    git.args(args).current_dir(tools::workspace()).stdin(Stdio::null());
    let output = git.output().context("cannot start git")?;
    ensure!(
        output.status.success(),
        "git {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
