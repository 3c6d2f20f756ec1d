//! Asks for confirmation on a terminal before something that can't be undone.

use std::io::{BufRead, IsTerminal};

use crate::config::ConfigError;

/// Asks, and returns whether the answer is `yes`.
///
/// # Errors
/// stdin or stderr is not a terminal.
pub(super) fn confirmed(question: &str) -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let problem =
            "is required without a terminal: this can't be undone, and there is no user to confirm it";
        return Err(ConfigError::new("--yes", problem).into());
    }
    super::complain(&format!("{question} Type yes:"));
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    let is_yes = answer.trim() == "yes";
    if !is_yes {
        super::complain("nothing was changed");
    }
    Ok(is_yes)
}
