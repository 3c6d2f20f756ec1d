//! The version and commit of this build.

use std::sync::{LazyLock, OnceLock};

static REVISION: OnceLock<&str> = OnceLock::new();

/// Sets the commit. Only the program knows it: were it compiled in here, each commit would compile this library again.
pub fn set_revision(revision: Option<&'static str>) {
    if let Some(revision) = revision {
        REVISION.get_or_init(|| revision);
    }
}

/// The commit; `unknown` if the program was built neither in a clone nor with ORDERD_REVISION.
pub(crate) fn revision() -> &'static str {
    REVISION.get().unwrap_or(&"unknown")
}

/// The output of `--version`: `0.1.0 (773bf4e1a2b3)`.
pub(crate) fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| match REVISION.get() {
        Some(revision) => format!("{} ({revision})", env!("CARGO_PKG_VERSION")),
        None => format!("{} (unknown commit)", env!("CARGO_PKG_VERSION")),
    });
    &TEXT
}
