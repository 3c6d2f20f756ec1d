//! Zig, as a C compiler for other platforms: a fixed version from PyPI, as a self-contained wheel.

use std::path::PathBuf;

use super::Report;
use super::venv::Venv;
use crate::Error;

const ZIG: Venv = Venv { name: "zig", packages: &["ziglang==0.15.2"], program: "python" };

/// Zig, installed if missing.
pub fn ensure_zig(report: Report) -> Result<PathBuf, Error> {
    let python = ZIG.ensure(report)?;
    let environment = python.ancestors().nth(2).unwrap_or(&python).to_path_buf();
    let libraries = environment.join("lib");
    let folders = std::fs::read_dir(&libraries).map_err(Error::path("read", &libraries))?;
    let programs = folders.flatten().map(|folder| folder.path().join("site-packages/ziglang/zig"));
    programs.into_iter().find(|program| program.is_file()).ok_or_else(|| {
        Error::failed(format!("find Zig in {}", libraries.display()), "its package holds no such program")
    })
}
