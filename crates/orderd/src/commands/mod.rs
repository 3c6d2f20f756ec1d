//! The commands other than `serve`, one file or folder each, and shared code.

pub mod completions;
pub mod manual;
pub mod check;
pub mod export;
pub mod import;
pub mod model;
pub mod publish;
pub mod dead_letters;
pub mod verify;
pub mod erase;
#[cfg(feature = "drain-stan")]
pub mod drain_stan;

mod http_client;
mod interruption;
mod check_nats;
mod check_rights;
mod confirm;
mod progress;
mod check_rows;

use crate::cli;

/// Writes to stdout, whose reader may close the pipe.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes a line to stderr for each variable that looks like a misspelt setting.
pub fn complain_of_misspelt_variables() {
    cli::misspelt().iter().for_each(|variable| complain(&format!("orderd: {variable}")));
}

/// Writes a line to stderr.
pub(crate) fn complain(line: &str) {
    use std::io::Write;
    // A closed stderr does not stop the command.
    drop(writeln!(std::io::stderr(), "{line}"));
}
