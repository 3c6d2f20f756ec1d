//! What is never printed, and may be in a file.

use super::{ConfigError, wrong};

/// Something that is never printed.
#[derive(Clone, Default)]
pub struct Secret<T>(pub T);

impl<T> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A secret from the environment or a flag, or else from the file that `{setting}_FILE` names.
///
/// # Errors
/// A file that can't be read.
pub(super) fn secret(setting: &'static str, given: Option<&str>) -> Result<Option<String>, ConfigError> {
    if let Some(given) = given.filter(|given| !given.is_empty()) {
        return Ok(Some(given.into()));
    }
    let Some(file) = std::env::var_os(format!("{setting}_FILE")) else { return Ok(None) };
    let read = std::fs::read_to_string(&file);
    let text = read.map_err(|error| wrong(setting, format!("can't read {}: {error}", file.display())))?;
    Ok(Some(text.trim().to_owned()))
}
