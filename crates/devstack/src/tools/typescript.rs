//! The compiler of TypeScript, which checks the types that `orderd model typescript` prints: a fixed version from npm,
//! in this workspace.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::install::{self, Debian};
use super::{Report, tools_dir};
use crate::Error;

const WANTED: &str = "typescript@5.9.3";

/// The workspace's copy.
pub fn find_typescript() -> Option<PathBuf> {
    Some(folder().join("node_modules/.bin/tsc")).filter(|program| program.is_file())
}

/// As [`find_typescript`], and installs it if missing.
pub fn ensure_typescript(report: Report) -> Result<PathBuf, Error> {
    let what = format!("{WANTED} to {}", folder().display());
    let install = || {
        install::timed(&what, report, |report| {
            let probe = Command::new("npm").arg("--version").stdin(Stdio::null()).output();
            if !probe.is_ok_and(|output| output.status.success()) {
                install::debian(&Debian { what: "npm, which installs typescript", package: "npm" }, report)?;
            }
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--no-save", "--prefix"])
                .arg(folder())
                .arg(WANTED);
            install::run("install typescript", npm)
        })
    };
    install::ensure(find_typescript, install, || {
        Error::failed("use the installed typescript", "it is not there")
    })
}

fn folder() -> PathBuf {
    tools_dir().join("typescript")
}
