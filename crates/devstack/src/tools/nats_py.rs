//! NATS's client for Python, which programs in the documents use: a fixed version from PyPI.

use std::path::PathBuf;

use super::Report;
use super::venv::Venv;
use crate::Error;

const NATS_PY: Venv = Venv { name: "nats-py", packages: &["nats-py==2.16.0"], program: "python" };

/// A Python with `nats`, if it is installed for this workspace.
pub fn find_nats_py() -> Option<PathBuf> {
    NATS_PY.find()
}

/// As [`find_nats_py`], and installs it if missing.
pub fn ensure_nats_py(report: Report) -> Result<PathBuf, Error> {
    NATS_PY.ensure(report)
}
