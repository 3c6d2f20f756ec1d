//! Prometheus and Alertmanager: Debian's packages are unpacked into this workspace instead of installed, so that the
//! machine gets no service and no user.

use std::path::PathBuf;

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
    let install = || install::timed(&what, report, |_| install::unpack(package, "usr/bin", programs));
    install::ensure(found, install, || Error::failed(format!("unpack {package}"), "it holds no program"))
}
