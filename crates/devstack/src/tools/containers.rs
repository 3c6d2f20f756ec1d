//! podman and debootstrap, for the image: what builds and runs it, and what makes a Debian where no registry is.

use std::path::PathBuf;

use super::install::{self, Debian};
use super::{Report, on_path};
use crate::Error;

/// podman with runc, from Debian's packages where they are missing and we are root.
pub fn ensure_podman(report: Report) -> Result<PathBuf, Error> {
    // First: podman would otherwise bring another runtime.
    ensure("runc", "runc, which runs containers", report)?;
    ensure("podman", "podman", report)
}

/// debootstrap, from Debian's package where it is missing and we are root.
pub fn ensure_debootstrap(report: Report) -> Result<PathBuf, Error> {
    ensure("debootstrap", "debootstrap", report)
}

/// A program from the package of its name.
fn ensure(program: &str, what: &str, report: Report) -> Result<PathBuf, Error> {
    let find = || on_path(program);
    let install = || install::debian(&Debian { what, package: program }, report);
    install::ensure(find, install, || {
        Error::failed(format!("find {program}"), "its package holds no such program")
    })
}
