//! Errors of finding, installing, starting and querying servers. Each is one sentence: what could not be done, why,
//! and, if it helps, what to do.

use std::io;
use std::path::Path;
use std::process::Output;

/// An error of this crate; its text is for users.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was to be done: verb and object.
        action: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A program exited with a failure.
    #[error("cannot {action}: {reason}")]
    Failed {
        /// What was to be done: verb and object.
        action: String,
        /// The program's output, or its exit status if there was none.
        reason: String,
    },
    /// A server ended before it was ready.
    #[error("{name} ended while it was starting: {log}")]
    Ended {
        /// Which server.
        name: String,
        /// The end of its log.
        log: String,
    },
    /// Another process has the server's port.
    #[error("cannot start {name}: port {port} of 127.0.0.1 is taken; choose another one or leave the choice")]
    PortTaken {
        /// Which server.
        name: String,
        /// Which port.
        port: u16,
    },
    /// A condition was not met in time.
    #[error("{what}: not within {seconds} s")]
    TimedOut {
        /// The condition.
        what: String,
        /// For how long.
        seconds: u64,
    },
    /// A program is missing, and we can't install it.
    #[error("{what} is missing: {advice}")]
    Missing {
        /// Which program.
        what: String,
        /// The command that installs it.
        advice: String,
    },
}

impl Error {
    /// For `map_err`: an I/O error with the action.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// For `map_err`: as [`Error::io`], with a path as the object of the verb.
    pub(crate) fn path(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io(format!("{verb} {}", path.display()))
    }

    pub(crate) fn failed(action: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Failed { action: action.into(), reason: reason.into() }
    }

    /// The output of a program, or an error if it failed.
    pub(crate) fn check(action: &str, output: Output) -> Result<Output, Self> {
        if output.status.success() {
            return Ok(output);
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let reason = last_lines(&words, 4);
        let reason = if reason.is_empty() { output.status.to_string() } else { reason };
        Err(Self::failed(action, reason))
    }
}

/// The last lines of a program's output as one line.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("; ")
}
