//! What `LOG` takes.

use tracing_subscriber::EnvFilter;

use crate::config::ConfigError;

/// The filter of log lines. A word that is no level would be taken for a part of the program, and all others be silent.
///
/// # Errors
/// A word that is no level, or a filter that can't be read.
pub fn parse(log: &str) -> Result<EnvFilter, ConfigError> {
    filter(log).map_err(|problem| ConfigError::new("LOG", problem))
}

fn filter(log: &str) -> Result<EnvFilter, String> {
    const TAKES: &str =
        "it takes error, warn, info, debug, trace or off, or a filter such as info,orderd=debug";
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    let log = if log.trim().is_empty() { "info".to_owned() } else { log.to_lowercase() };
    let words = log.split(',').map(str::trim).filter(|word| !word.is_empty());
    for word in words.filter(|word| !word.contains('=')) {
        if !levels.contains(&word) {
            return Err(format!("{word:?} is no level; {TAKES}"));
        }
    }
    EnvFilter::try_new(&log).map_err(|error| format!("{error}; {TAKES}"))
}
