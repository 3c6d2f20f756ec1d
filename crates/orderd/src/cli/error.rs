//! The error of a setting, whether clap or `config` refuses it.

use std::borrow::Cow;

/// An invalid setting: its name, and what it expects.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct ConfigError {
    pub(crate) setting: Cow<'static, str>,
    pub(crate) problem: String,
}

impl ConfigError {
    /// `problem` says what is wrong, and what the setting expects.
    pub fn new(setting: impl Into<Cow<'static, str>>, problem: impl ToString) -> Self {
        Self { setting: setting.into(), problem: problem.to_string() }
    }
}
