//! Prometheus: only the program is wanted, so Debian's package is unpacked into this workspace and
//! not installed: no service, no user, no port taken at the next start of the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Report, install, on_path, tools_dir};
use crate::Error;

/// Prometheus: the search path's, or the one unpacked for this workspace.
pub fn find_prometheus() -> Option<PathBuf> {
    let unpacked = unpacked();
    on_path("prometheus").or_else(|| unpacked.is_file().then_some(unpacked))
}

/// The program that checks Prometheus's configuration and rules; there where Prometheus is.
pub fn find_promtool() -> Option<PathBuf> {
    let unpacked = tools_dir().join("promtool");
    on_path("promtool").or_else(|| unpacked.is_file().then_some(unpacked))
}

/// As [`find_prometheus`], and unpacks Debian's package into this workspace where there is none.
pub fn ensure_prometheus(report: Report) -> Result<PathBuf, Error> {
    if let Some(file) = find_prometheus() {
        return Ok(file);
    }
    let _lock = install::lock()?;
    if let Some(file) = find_prometheus() {
        return Ok(file);
    }
    let target = unpacked();
    let what = format!("Prometheus (Debian's package `prometheus`) to {}", target.display());
    install::timed(&what, report, |_| unpack(&target))?;
    find_prometheus().ok_or_else(|| Error::failed("unpack Prometheus", "its package holds no program"))
}

fn unpacked() -> PathBuf {
    tools_dir().join("prometheus")
}

fn unpack(target: &Path) -> Result<(), Error> {
    let work = tools_dir().join("unpacking");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(Error::path("make", &work))?;
    let result = download(&work).and_then(|package| {
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.arg("-x").arg(package).arg(&work);
        install::run("unpack Prometheus", dpkg)?;
        // promtool, which checks rules, first: the program's own place says that all is there.
        fs::rename(work.join("usr/bin/promtool"), tools_dir().join("promtool"))
            .and_then(|()| fs::rename(work.join("usr/bin/prometheus"), target))
            .map_err(Error::path("install", target))
    });
    let _ = fs::remove_dir_all(&work);
    result
}

fn download(work: &Path) -> Result<PathBuf, Error> {
    install::with_lists(|| {
        let mut apt = Command::new("apt-get");
        // apt warns that its own user can't write there; it then downloads as root all the same.
        apt.args(["download", "-qq", "prometheus"]).current_dir(work);
        install::run("fetch Prometheus", apt)
    })?;
    let entries = fs::read_dir(work).map_err(Error::path("read", work))?;
    let found =
        entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "deb"));
    found.ok_or_else(|| Error::failed("fetch Prometheus", "apt-get brought no package"))
}
