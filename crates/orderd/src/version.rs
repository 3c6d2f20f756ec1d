//! The version and commit of this build.

use std::sync::LazyLock;

/// The commit, if ORDERD_REVISION was set for the build, as by `cargo xtask dist`.
pub const REVISION: Option<&str> = option_env!("ORDERD_REVISION");

/// The output of `--version`: `0.1.0 (773bf4e1a2b3)`.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| match REVISION {
        Some(revision) => format!("{} ({revision})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    });
    &TEXT
}
