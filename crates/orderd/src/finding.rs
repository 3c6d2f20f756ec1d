//! A finding: a problem in PostgreSQL, NATS or the machine, and how to fix it.

use std::fmt::{self, Display};

/// Whether the service can run in spite of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// The service would lose, duplicate or hide orders, or can't work at all: it does not start.
    Refusal,
    /// The service starts, but reads or stores no orders until this is changed.
    Blocked,
    /// The service runs, and something less important does not work.
    Warning,
}

/// A problem of a server, or of something on it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// The problem, with the name of what it concerns.
    pub(crate) problem: String,
    /// The fix: a statement, a command or a setting.
    pub(crate) fix: String,
}

impl Finding {
    pub(crate) fn refusal(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Refusal, problem: problem.into(), fix: fix.into() }
    }

    pub(crate) fn blocked(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Blocked, problem: problem.into(), fix: fix.into() }
    }

    pub(crate) fn warning(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, problem: problem.into(), fix: fix.into() }
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; to fix it: {}", self.problem, self.fix)
    }
}

/// The findings about one server.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct ServerReport {
    /// One line: versions, names, rights. Empty where the server can't be reached.
    pub(crate) found: String,
    pub(crate) findings: Vec<Finding>,
}
