//! Parses the value of `LOG`.

use tracing_subscriber::EnvFilter;

use crate::cli::error::ConfigError;
use crate::logging::audit;

/// The log filter. `EnvFilter` would take a misspelt level for a module name and silence everything else.
///
/// # Errors
/// A misspelt level, or a filter that can't be parsed.
pub fn parse(log: &str) -> Result<EnvFilter, ConfigError> {
    filter(log).map_err(|problem| ConfigError::new("LOG", problem))
}

/// The audit log is written at each level, unless the filter names its target.
fn with_audit(log: &str) -> String {
    let is_said = log.split(',').any(|word| word.trim() == "off" || word.trim().starts_with(audit::TARGET));
    if is_said { log.to_owned() } else { format!("{log},{}=info", audit::TARGET) }
}

/// At `info`, the NATS client would log each attempt to reconnect; the service logs when NATS is away, and why.
fn with_quiet_client(log: &str) -> String {
    let mut words = log.split(',').map(str::trim);
    let is_quiet =
        words.clone().any(|word| word == "info") && !words.any(|word| word.starts_with("async_nats"));
    if is_quiet { format!("{log},async_nats=warn") } else { log.to_owned() }
}

fn filter(log: &str) -> Result<EnvFilter, String> {
    const TAKES: &str =
        "it takes error, warn, info, debug, trace or off, or a filter such as info,orderd=debug";
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    let log = if log.trim().is_empty() { "info".to_owned() } else { log.to_lowercase() };
    let words = log.split(',').map(str::trim).filter(|word| !word.is_empty());
    for word in words.filter(|word| !word.contains('=')) {
        if !levels.contains(&word) {
            return Err(format!("{word:?} is not a level; {TAKES}"));
        }
    }
    EnvFilter::try_new(with_audit(&with_quiet_client(&log))).map_err(|error| format!("{error}; {TAKES}"))
}
