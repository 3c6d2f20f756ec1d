//! Schemathesis, which holds a service against its OpenAPI description: a fixed version from PyPI, in a virtual
//! environment of this workspace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::install::{self, Debian};
use super::{Report, tools_dir};
use crate::Error;

const WANTED: &str = "schemathesis==4.32.5";

/// The one of this workspace: others find other things.
pub fn find_schemathesis() -> Option<PathBuf> {
    Some(environment().join("bin/schemathesis")).filter(|program| program.is_file())
}

/// As [`find_schemathesis`], and installs it where it is missing.
pub fn ensure_schemathesis(report: Report) -> Result<PathBuf, Error> {
    let environment = environment();
    let what = format!("{WANTED} to {}", environment.display());
    let install = || {
        install::timed(&what, report, |report| {
            make(&environment, report)?;
            let mut pip = Command::new(environment.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", WANTED]);
            install::run("install schemathesis", pip)
        })
    };
    install::ensure(find_schemathesis, install, || {
        Error::failed("use the installed schemathesis", "it is not there")
    })
}

fn environment() -> PathBuf {
    tools_dir().join("schemathesis")
}

fn make(environment: &Path, report: Report) -> Result<(), Error> {
    // What is there without the program was not finished.
    let _ = fs::remove_dir_all(environment);
    // The module with what it needs is packed apart from Python by Debian.
    let probe = Command::new("python3").args(["-c", "import venv, ensurepip"]).stdin(Stdio::null()).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        install::debian(
            &Debian { what: "Python with venv, which schemathesis needs", package: "python3-venv" },
            report,
        )?;
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(environment);
    install::run("make an environment of Python's", venv)
}
