//! Prometheus and Alertmanager: Debian's packages are unpacked into this workspace instead of installed, so that the
//! machine gets no service and no user.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Report, install, on_path, tools_dir};
use crate::Error;

/// Prometheus: the search path's, or the one unpacked for this workspace.
pub fn find_prometheus() -> Option<PathBuf> {
    find("prometheus")
}

/// The program that checks Prometheus's configuration and rules, from the same folder.
pub fn find_promtool() -> Option<PathBuf> {
    find("promtool")
}

/// As [`find_prometheus`], and unpacks Debian's package into this workspace if it is missing.
pub fn ensure_prometheus(report: Report) -> Result<PathBuf, Error> {
    // promtool first: the presence of prometheus means that both are there.
    ensure("prometheus", &["promtool", "prometheus"], report)
}

/// The program that checks Alertmanager's configuration, as [`ensure_prometheus`].
pub fn ensure_amtool(report: Report) -> Result<PathBuf, Error> {
    ensure("prometheus-alertmanager", &["amtool"], report)
}

fn find(program: &str) -> Option<PathBuf> {
    let unpacked = tools_dir().join(program);
    on_path(program).or_else(|| unpacked.is_file().then_some(unpacked))
}

/// The last of a package's programs; its presence means that all are there.
fn ensure(package: &str, programs: &[&str], report: Report) -> Result<PathBuf, Error> {
    let found = || programs.last().and_then(|program| find(program));
    let what = format!("{} (Debian's package `{package}`) to {}", programs.join(", "), tools_dir().display());
    let install = || install::timed(&what, report, |_| unpack(package, programs));
    install::ensure(found, install, || Error::failed(format!("unpack {package}"), "it holds no program"))
}

fn unpack(package: &str, programs: &[&str]) -> Result<(), Error> {
    let work = tools_dir().join("unpacking");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(Error::path("make", &work))?;
    let result = download(package, &work).and_then(|file| {
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.arg("-x").arg(file).arg(&work);
        install::run(&format!("unpack {package}"), dpkg)?;
        programs.iter().try_for_each(|program| {
            let target = tools_dir().join(program);
            fs::rename(work.join("usr/bin").join(program), &target).map_err(Error::path("install", &target))
        })
    });
    let _ = fs::remove_dir_all(&work);
    result
}

fn download(package: &str, work: &Path) -> Result<PathBuf, Error> {
    let what = format!("fetch {package}");
    install::with_lists(|| {
        let mut apt = Command::new("apt-get");
        // apt warns that its sandbox user can't write there, and downloads as root.
        apt.args(["download", "-qq", package]).current_dir(work);
        install::run(&what, apt)
    })?;
    let entries = fs::read_dir(work).map_err(Error::path("read", work))?;
    let found =
        entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "deb"));
    found.ok_or_else(|| Error::failed(what, "apt-get brought no package"))
}
