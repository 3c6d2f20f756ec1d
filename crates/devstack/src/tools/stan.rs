//! The server of NATS Streaming, which is no longer packaged: its last version, built by Go.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{Report, install, on_path, tools_dir};
use crate::Error;

const PROGRAM: &str = "nats-streaming-server";
const MODULE: &str = "github.com/nats-io/nats-streaming-server@v0.25.6";

/// Go, which we do not install.
pub fn find_go() -> Option<PathBuf> {
    on_path("go")
}

/// The server: the search path's, or the one built for this workspace.
pub fn find_stan_server() -> Option<PathBuf> {
    let built = tools_dir().join(PROGRAM);
    on_path(PROGRAM).or_else(|| built.is_file().then_some(built))
}

/// As [`find_stan_server`], and builds it if it is missing and Go is installed.
pub fn ensure_stan_server(report: Report) -> Result<PathBuf, Error> {
    let install = || {
        let go = find_go().ok_or_else(|| Error::Missing {
            what: "Go, which builds the server of NATS Streaming".to_owned(),
            advice: "install it from go.dev/dl or your system's packages".to_owned(),
        })?;
        install::timed(&format!("{PROGRAM} ({MODULE}) to {}", tools_dir().display()), report, |_| {
            let mut install = Command::new(go);
            // Go moves the finished program to its final path.
            install.args(["install", MODULE]).env("GOBIN", tools_dir()).stdin(Stdio::null());
            install::run(&format!("build {PROGRAM}"), install)
        })
    };
    install::ensure(find_stan_server, install, || {
        Error::failed(format!("build {PROGRAM}"), "Go left no program")
    })
}
