//! Chromium with the program that drives it, for tests of the page.

use std::path::PathBuf;

use super::install::{self, Debian};
use super::{Report, on_path};
use crate::Error;

/// ChromeDriver, which finds the browser itself.
pub fn find_chromedriver() -> Option<PathBuf> {
    on_path("chromedriver")
}

/// As [`find_chromedriver`], and installs Debian's package if it is missing and we are root.
pub fn ensure_chromedriver(report: Report) -> Result<PathBuf, Error> {
    // The package depends on the Chromium of its version.
    let package = Debian { what: "Chromium with its driver", package: "chromium-driver" };
    install::ensure(
        find_chromedriver,
        || install::debian(&package, report),
        || Error::failed("find ChromeDriver", "Debian's package holds no program of that name"),
    )
}
