//! The release's version, commit, time and maintainer.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use devstack::tools;
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

use crate::say;

pub(crate) struct Release {
    pub(crate) version: String,
    pub(crate) revision: String,
    /// Unix seconds; the time of all files.
    pub(crate) epoch: u64,
    /// Maintainer of the .deb, as `NAME <ADDRESS>`.
    pub(crate) maintainer: String,
    /// The output of `rustc --version`; another compiler produces other bytes.
    pub(crate) compiler: String,
}

/// Sets [`Release::maintainer`].
const MAINTAINER: &str = "ORDERD_MAINTAINER";

/// The address is fake: only a real release needs one.
const PLACEHOLDER: &str = "The orderd maintainers <orderd@example.com>";

impl Release {
    pub(crate) fn read() -> Result<Self> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        // An unpacked source archive has neither: set both manually.
        let revision = match std::env::var("ORDERD_REVISION") {
            Ok(revision) if !revision.is_empty() => revision,
            _ => revision()?,
        };
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => text.parse().context("SOURCE_DATE_EPOCH takes seconds of Unix time")?,
            Err(_) => {
                git(&["log", "-1", "--format=%ct"])?.parse().context("git says no time of the commit")?
            }
        };
        let maintainer = maintainer(std::env::var(MAINTAINER).ok())?;
        let compiler = output_of(Command::new("rustc").arg("--version"))?;
        Ok(Self { version, revision, epoch, maintainer, compiler })
    }

    /// The output of `orderd --version`.
    pub(crate) fn says(&self) -> String {
        format!("orderd {} ({})", self.version, self.revision)
    }

    pub(crate) fn warn_of_placeholder(&self) {
        if self.maintainer == PLACEHOLDER {
            say(&format!(
                "the .deb names {PLACEHOLDER}, a placeholder: for a release, set {MAINTAINER}='NAME <ADDRESS>'"
            ));
        }
    }

    fn time(&self) -> Result<OffsetDateTime> {
        Ok(OffsetDateTime::from_unix_timestamp(i64::try_from(self.epoch)?)?)
    }

    /// For JSON documents.
    pub(crate) fn rfc3339(&self) -> Result<String> {
        Ok(self.time()?.format(&Rfc3339)?)
    }

    /// For Debian changelogs.
    pub(crate) fn rfc2822(&self) -> Result<String> {
        Ok(self.time()?.format(&Rfc2822)?)
    }
}

/// In Debian's form; it is written into one line.
fn maintainer(given: Option<String>) -> Result<String> {
    let Some(given) = given.filter(|given| !given.trim().is_empty()) else {
        return Ok(PLACEHOLDER.to_owned());
    };
    let address = given.split_once(" <").and_then(|(_, address)| address.strip_suffix('>'));
    let is_address = |text: &str| text.contains('@') && !text.contains(['<', '>', ' ']);
    ensure!(
        address.is_some_and(is_address) && !given.contains(char::is_control),
        "{MAINTAINER} takes 'NAME <ADDRESS>', not {given:?}"
    );
    Ok(given)
}

/// The commit, and whether files have changed since.
fn revision() -> Result<String> {
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Ok(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn git(args: &[&str]) -> Result<String> {
    output_of(Command::new("git").args(args))
}

fn output_of(command: &mut Command) -> Result<String> {
    let output = command.current_dir(tools::workspace()).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maintainer_without_an_address_is_refused() {
        let taken = |text: &str| maintainer(Some(text.to_owned()));
        assert_eq!(taken("Ann Bee <ann@bee.example>").unwrap(), "Ann Bee <ann@bee.example>");
        assert_eq!(taken(" ").unwrap(), PLACEHOLDER);
        for wrong in ["Ann", "<ann@bee.example>", "Ann <ann>", "Ann <a@b> <c@d>", "Ann\nDepends: x <a@b>"] {
            let error = taken(wrong).unwrap_err().to_string();
            assert!(error.starts_with("ORDERD_MAINTAINER takes 'NAME <ADDRESS>'"), "{error}");
        }
    }
}
