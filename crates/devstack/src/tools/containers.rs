//! Tools that check the files of `deploy/`: podman builds and runs the image; debootstrap makes a Debian without a
//! registry; docker-compose and systemd-analyze check the files that are theirs.

use std::path::PathBuf;

use super::install::{self, Debian};
use super::{Report, on_path};
use crate::Error;

/// podman with runc, from Debian's packages if missing and we are root.
pub fn ensure_podman(report: Report) -> Result<PathBuf, Error> {
    // First, because podman would otherwise install another runtime.
    ensure("runc", "runc", "runc, which runs containers", report)?;
    ensure("podman", "podman", "podman", report)
}

/// debootstrap, from Debian's package if missing and we are root.
pub fn ensure_debootstrap(report: Report) -> Result<PathBuf, Error> {
    ensure("debootstrap", "debootstrap", "debootstrap", report)
}

/// docker-compose, which checks a compose file without Docker.
pub fn ensure_compose(report: Report) -> Result<PathBuf, Error> {
    ensure("docker-compose", "docker-compose", "docker-compose", report)
}

/// systemd-analyze, which checks a unit.
pub fn ensure_systemd_analyze(report: Report) -> Result<PathBuf, Error> {
    ensure("systemd-analyze", "systemd", "systemd-analyze", report)
}

/// lintian, which checks Debian packages.
pub fn ensure_lintian(report: Report) -> Result<PathBuf, Error> {
    ensure("lintian", "lintian", "lintian", report)
}

/// QEMU, which runs static programs of another architecture.
pub fn ensure_qemu(arch: &str, report: Report) -> Result<PathBuf, Error> {
    ensure(&format!("qemu-{arch}-static"), "qemu-user-static", "QEMU", report)
}

/// A program from a package of Debian's.
fn ensure(program: &str, package: &str, what: &str, report: Report) -> Result<PathBuf, Error> {
    let find = || on_path(program);
    let install = || install::debian(&Debian { what, package }, report);
    install::ensure(find, install, || {
        Error::failed(format!("find {program}"), "its package holds no such program")
    })
}
