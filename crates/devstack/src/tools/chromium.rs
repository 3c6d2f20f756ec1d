//! Chromium with the program that drives it, for tests of the page.

use std::path::PathBuf;

use super::install::{self, Debian};
use super::{Report, on_path};
use crate::Error;

/// ChromeDriver, which finds the browser itself.
pub fn find_chromedriver() -> Option<PathBuf> {
    on_path("chromedriver")
}

/// As [`find_chromedriver`], and installs Debian's package where there is none and we are root.
pub fn ensure_chromedriver(report: Report) -> Result<PathBuf, Error> {
    if let Some(file) = find_chromedriver() {
        return Ok(file);
    }
    let _lock = install::lock()?;
    if let Some(file) = find_chromedriver() {
        return Ok(file);
    }
    // It brings the Chromium of its version.
    install::debian(&Debian { what: "Chromium with its driver", package: "chromium-driver" }, report)?;
    find_chromedriver()
        .ok_or_else(|| Error::failed("find ChromeDriver", "Debian's package holds no program of that name"))
}
