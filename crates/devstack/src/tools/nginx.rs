//! nginx, the limit of reads in benchmarks and a load balancer in tests.

use std::path::PathBuf;

use super::{Report, install, on_path, tools_dir};
use crate::Error;

/// The machine's nginx, or the one unpacked for this workspace.
pub fn find_nginx() -> Option<PathBuf> {
    // Debian's folder is not on the search path of every user.
    let places = [PathBuf::from("/usr/sbin/nginx"), tools_dir().join("nginx")];
    on_path("nginx").or_else(|| places.into_iter().find(|place| place.is_file()))
}

/// As [`find_nginx`], and unpacks Debian's package into this workspace if it is missing: an installation would start a
/// system service.
pub fn ensure_nginx(report: Report) -> Result<PathBuf, Error> {
    let what = format!("nginx (Debian's package `nginx`) to {}", tools_dir().display());
    let unpack = |_: Report| install::unpack("nginx", "usr/sbin", &["nginx"]);
    let missing = || Error::failed("unpack nginx", "it holds no program");
    install::ensure(find_nginx, || install::timed(&what, report, unpack), missing)
}
