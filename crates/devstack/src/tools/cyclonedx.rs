//! CycloneDX's library, which contains the schemas of bills of materials: a fixed version from PyPI.

use std::path::PathBuf;

use super::Report;
use super::venv::Venv;
use crate::Error;

const CYCLONEDX: Venv = Venv {
    name: "cyclonedx",
    packages: &["cyclonedx-python-lib[json-validation]==11.5.0"],
    program: "python",
};

/// A Python with `cyclonedx`.
pub fn ensure_cyclonedx(report: Report) -> Result<PathBuf, Error> {
    CYCLONEDX.ensure(report)
}
