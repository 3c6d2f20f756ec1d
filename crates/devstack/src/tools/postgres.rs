//! PostgreSQL's programs, which must all be in one folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::install::{self, Debian};
use super::{Report, on_path, version_of};
use crate::Error;

const OLDEST: u32 = 14;
const PROGRAMS: [&str; 3] = ["initdb", "postgres", "psql"];

/// The folder with the programs of a PostgreSQL 14 or newer: the search path's, `pg_config`'s, or
/// the newest of Debian's.
pub fn find_postgres() -> Option<PathBuf> {
    let fit = |dir: &PathBuf| major_of(dir).is_some_and(|major| major >= OLDEST);
    let asked = [of_path(), of_pg_config()].into_iter().flatten().find(fit);
    asked.or_else(|| debians().into_iter().filter(fit).max_by_key(|dir| major_of(dir)))
}

/// The programs of one major version; no other can read its data.
pub(crate) fn find_postgres_of(major: u32) -> Option<PathBuf> {
    let dirs = [of_path(), of_pg_config()].into_iter().flatten().chain(debians());
    dirs.into_iter().find(|dir| major_of(dir) == Some(major))
}

/// As [`find_postgres`], and installs Debian's package if it is missing and we are root.
pub fn ensure_postgres(report: Report) -> Result<PathBuf, Error> {
    let install = || {
        install::without_main_cluster()?;
        install::debian(&Debian { what: "PostgreSQL", package: "postgresql" }, report)
    };
    install::ensure(find_postgres, install, || {
        Error::failed("find PostgreSQL", format!("Debian's package holds none of version {OLDEST} or newer"))
    })
}

/// The major version, if all programs are there.
pub(crate) fn major_of(dir: &Path) -> Option<u32> {
    if !PROGRAMS.iter().all(|name| dir.join(name).is_file()) {
        return None;
    }
    version_of(&dir.join("postgres"), "--version").map(|(major, _)| major)
}

fn of_path() -> Option<PathBuf> {
    on_path("postgres")?.parent().map(Path::to_path_buf)
}

fn of_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

fn debians() -> Vec<PathBuf> {
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    entries.map(|entry| entry.path().join("bin")).collect()
}
