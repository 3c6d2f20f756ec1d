//! Schemathesis, which tests a service against its OpenAPI description: a fixed version from PyPI.

use std::path::PathBuf;

use super::Report;
use super::venv::Venv;
use crate::Error;

const SCHEMATHESIS: Venv =
    Venv { name: "schemathesis", packages: &["schemathesis==4.32.5"], program: "schemathesis" };

/// The workspace's copy: other versions find other problems.
pub fn find_schemathesis() -> Option<PathBuf> {
    SCHEMATHESIS.find()
}

/// As [`find_schemathesis`], and installs it if missing.
pub fn ensure_schemathesis(report: Report) -> Result<PathBuf, Error> {
    SCHEMATHESIS.ensure(report)
}
