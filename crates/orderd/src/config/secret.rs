//! Secrets: values that may come from a file and are never printed.

use std::path::PathBuf;

use super::ConfigError;
use super::reloadable::Files;
use crate::cli::parse::is_blank;

/// A value that is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret<T>(pub T);

impl<T> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A secret from the environment or a flag, or else from the file that `{setting}_FILE` names.
///
/// # Errors
/// A file that can't be read, or is empty; or both variables are set, of which one would be ignored.
pub(super) fn secret(
    setting: &'static str,
    given: Option<&str>,
    files: &mut Files,
) -> Result<Option<String>, ConfigError> {
    let variable = format!("{setting}_FILE");
    let file = std::env::var_os(&variable).filter(|file| !is_blank(file)).map(PathBuf::from);
    if let Some(given) = given.filter(|given| !given.is_empty()) {
        // A flag replaces both.
        let is_of_variable = std::env::var_os(setting).is_some_and(|value| value == given);
        return match is_of_variable && file.is_some() {
            true => Err(ConfigError::new(setting, format!("{variable} is set too: set only one of them"))),
            false => Ok(Some(given.into())),
        };
    }
    let Some(file) = file else { return Ok(None) };
    match files.read_text(&file) {
        Ok(text) if text.trim().is_empty() => Err(ConfigError::new(
            variable,
            format!("{} is empty; it takes the value of {setting}", file.display()),
        )),
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) => Err(ConfigError::new(
            variable,
            format!("can't read {}: {error}; it takes a file with the value of {setting}", file.display()),
        )),
    }
}
