//! axe-core, which checks the accessibility of a page: a fixed version from npm, for this workspace.

use std::path::PathBuf;
use std::process::Command;

use super::install::{self, Debian};
use super::{Report, on_path, tools_dir};
use crate::Error;

const WANTED: &str = "axe-core@4.14.1";

/// The workspace's copy of its script: other versions find other problems.
pub fn find_axe() -> Option<PathBuf> {
    Some(tools_dir().join("axe/node_modules/axe-core/axe.min.js")).filter(|script| script.is_file())
}

/// As [`find_axe`], and installs it if missing.
pub fn ensure_axe(report: Report) -> Result<PathBuf, Error> {
    let dir = tools_dir().join("axe");
    let what = format!("{WANTED} to {}", dir.display());
    let install = || {
        if on_path("npm").is_none() {
            install::debian(&Debian { what: "npm, which axe-core comes by", package: "npm" }, report)?;
        }
        install::timed(&what, report, |_| {
            let mut npm = Command::new("npm");
            npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
            npm.arg(&dir).arg(WANTED);
            install::run("install axe-core", npm)
        })
    };
    install::ensure(find_axe, install, || Error::failed("use the installed axe-core", "it is not there"))
}
