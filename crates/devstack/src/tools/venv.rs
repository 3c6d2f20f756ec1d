//! Programs from PyPI, each with its dependencies in a virtual environment of this workspace.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use super::install::{self, Debian};
use super::{Report, tools_dir};
use crate::Error;

/// A virtual environment.
pub(super) struct Venv {
    /// Its folder among the tools.
    pub(super) name: &'static str,
    /// Its packages, with fixed versions.
    pub(super) packages: &'static [&'static str],
    /// Its program.
    pub(super) program: &'static str,
}

impl Venv {
    /// Its real path, because its programs begin with the path of their Python, and another checkout may link here.
    fn folder(&self) -> PathBuf {
        let tools = tools_dir();
        tools.canonicalize().unwrap_or(tools).join(self.name)
    }

    /// What a complete environment's stamp contains. An environment that was moved, with its checkout for instance, does
    /// not work.
    fn state(&self) -> String {
        format!("{}\n{}", self.folder().display(), self.packages.join("\n"))
    }

    /// Written last: without it, the environment is incomplete or outdated.
    fn stamp(&self) -> PathBuf {
        self.folder().join("installed")
    }

    /// The program, if the environment is complete.
    pub(super) fn find(&self) -> Option<PathBuf> {
        let installed = fs::read_to_string(self.stamp()).ok()?;
        let program = self.folder().join("bin").join(self.program);
        (installed == self.state() && program.is_file()).then_some(program)
    }

    /// As [`Self::find`], and installs it if missing.
    pub(super) fn ensure(&self, report: Report) -> Result<PathBuf, Error> {
        let what = format!("{} to {}", self.packages.join(", "), self.folder().display());
        let install = || install::timed(&what, report, |report| self.install(report));
        install::ensure(
            || self.find(),
            install,
            || Error::failed(format!("use the installed {}", self.name), "it is not there"),
        )
    }

    fn install(&self, report: Report) -> Result<(), Error> {
        let folder = self.folder();
        make(&folder, report)?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(self.packages);
        install::run(&format!("install {}", self.name), pip)?;
        fs::write(self.stamp(), self.state()).map_err(Error::path("write", &self.stamp()))
    }
}

fn make(folder: &Path, report: Report) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::path("remove", folder)(error));
        }
        _ => {}
    }
    // Debian packages the module separately from Python.
    let probe = Command::new("python3").args(["-c", "import venv, ensurepip"]).stdin(Stdio::null()).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        install::debian(&Debian { what: "Python with venv", package: "python3-venv" }, report)?;
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(folder);
    install::run("make an environment of Python's", venv)
}
