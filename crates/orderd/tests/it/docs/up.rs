//! Starts `cargo xtask up` for one document, and a shell that uses it.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use devstack::{Launch, Process, Signal, TempDir, free_port, tools, wait_for};

use super::words::{cargo_xtask, set_for_tests};
use crate::support::{LIMIT, eventually, uid};

/// Both servers recreate their data, and write all of it to the disk; several documents at once.
const STARTED: Duration = Duration::from_secs(300);

/// A running `cargo xtask up`.
pub(super) struct Up {
    process: Process,
    temp_dir: TempDir,
    ports: Ports,
}

/// `cargo xtask up` of a document: the folder of its data is replaced by the test's own.
#[derive(Default)]
pub(super) struct UpCommand {
    variables: Vec<(String, String)>,
    model: Option<String>,
}

impl UpCommand {
    pub(super) fn of(command: &str) -> Self {
        let words = shlex::split(command).unwrap();
        let (variables, rest) = words.split_at(words.iter().position(|word| word == "cargo").unwrap());
        let variables = variables.iter().map(|word| word.split_once('=').unwrap());
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let model = match &rest.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["cargo", "xtask", "up"] => None,
            ["cargo", "xtask", "up", "--model", model, "--data-dir", _] => Some((*model).to_owned()),
            _ => panic!("{command}"),
        };
        Self { variables, model }
    }

    /// Whether it is more than `cargo xtask up`.
    pub(super) fn is_special(&self) -> bool {
        self.model.is_some() || !self.variables.is_empty()
    }
}

struct Ports {
    http: u16,
    postgres: u16,
    nats: u16,
}

/// Starts it, and waits until it is ready.
fn launch(temp_dir: &TempDir, ports: &Ports, command: &UpCommand) -> Process {
    let mut launch = Launch::new("cargo xtask up", env!("CARGO"), tools::workspace());
    let flags: [(&str, OsString); 5] = [
        ("--data-dir", temp_dir.path().join("data").into()),
        ("--program", env!("CARGO_BIN_EXE_orderd").into()),
        ("--http-addr", format!("127.0.0.1:{}", ports.http).into()),
        ("--pg-port", ports.postgres.to_string().into()),
        ("--nats-port", ports.nats.to_string().into()),
    ];
    launch.args = vec!["xtask".into(), "up".into()];
    launch.args.extend(flags.into_iter().flat_map(|(flag, value)| [flag.into(), value]));
    if let Some(model) = &command.model {
        // A command of the document may have created it.
        let created = clone(temp_dir).join(model);
        let file = if created.exists() { created.into() } else { model.into() };
        launch.args.extend(["--model".into(), file]);
    }
    launch.unset = set_for_tests().collect();
    launch.envs = command.variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    launch.log = Some(temp_dir.path().join(format!("up-{}.log", uid())));
    // As long as `up` itself waits for its processes.
    launch.grace = LIMIT;
    let process = Process::spawn(launch).unwrap();
    let ready = format!("ready http://127.0.0.1:{}", ports.http);
    assert!(wait_for(STARTED, || process.log().contains(&ready)), "{}", process.log());
    process
}

/// The folder in which commands run: a partial clone of the workspace, in which they can create files.
fn clone(temp_dir: &TempDir) -> PathBuf {
    temp_dir.path().join("clone")
}

impl Up {
    /// Starts it on free ports, with the program under test.
    pub(super) fn start() -> Self {
        Self::start_with(&UpCommand::default())
    }

    /// The same with a model and variables.
    pub(super) fn start_with(command: &UpCommand) -> Self {
        let temp_dir = TempDir::new().unwrap();
        let ports = Ports { http: free_port(), postgres: free_port(), nats: free_port() };
        // Builds it first, which may take longer than starting.
        assert!(cargo_xtask().arg("--help").output().unwrap().status.success());
        let process = launch(&temp_dir, &ports, command);
        let up = Self { process, temp_dir, ports };
        up.make_folder();
        up
    }

    /// Stops it, and starts it with another model or other variables on the same data.
    pub(super) fn start_again(mut self, command: &UpCommand) -> Self {
        self.end();
        self.process = launch(&self.temp_dir, &self.ports, command);
        self
    }

    fn folder(&self) -> PathBuf {
        clone(&self.temp_dir)
    }

    fn make_folder(&self) {
        let bin = self.folder().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        symlink(env!("CARGO_BIN_EXE_orderd"), bin.join("orderd")).unwrap();
        // An answer such as 404 is a failure, and so is a refused statement.
        std::fs::write(self.folder().join(".curlrc"), "fail\n").unwrap();
        std::fs::write(self.folder().join(".psqlrc"), "\\set ON_ERROR_STOP on\n").unwrap();
        for name in ["samples", "deploy", "docs"] {
            symlink(tools::workspace().join(name), self.folder().join(name)).unwrap();
        }
    }

    /// Waits until everything published is ingested.
    pub(super) fn settle(&self) {
        let settled = eventually("everything published is ingested", async || {
            let client = async_nats::connect(format!("127.0.0.1:{}", self.ports.nats)).await.ok()?;
            let stream = async_nats::jetstream::new(client).get_stream("ORDERS").await.ok()?;
            let report = self.bash("curl --silent http://127.0.0.1:8090/readyz").output().ok()?;
            let report: serde_json::Value = serde_json::from_slice(&report.stdout).ok()?;
            (report["position"]["seq"] == stream.cached_info().state.last_sequence).then_some(())
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(settled);
    }

    /// Runs commands, which must succeed; returns their stdout and stderr.
    pub(super) fn run(&self, document: &str, commands: &str) -> [String; 2] {
        let ran = self.bash(commands).output().unwrap();
        let said = [ran.stdout, ran.stderr].map(|words| String::from_utf8_lossy(&words).into_owned());
        let log = self.process.log();
        assert!(ran.status.success(), "{document}: {}\n{commands}\n{}\n{log}", ran.status, said[1]);
        said
    }

    fn bash(&self, commands: &str) -> Command {
        let Ports { http, postgres, nats } = self.ports;
        let commands =
            [("8090", http), ("4222", nats)].iter().fold(commands.to_owned(), |text, (port, free)| {
                text.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{free}"))
            });
        let path = std::env::var("PATH").unwrap_or_default();
        let postgres_bin = tools::find_postgres().unwrap();
        let promtool = tools::ensure_prometheus(&mut |line| eprintln!("{line}")).unwrap();
        let manifest = tools::workspace().join("Cargo.toml");
        let alias =
            format!("run --quiet --profile up --manifest-path {} --package xtask --", manifest.display());
        let mut bash = Command::new("bash");
        for name in set_for_tests() {
            bash.env_remove(name);
        }
        bash.args(["-c", &format!("set -euo pipefail\n{commands}")]).current_dir(self.folder());
        let others = [postgres_bin.as_path(), promtool.parent().unwrap()]
            .map(|dir| dir.display().to_string())
            .join(":");
        bash.env("PATH", format!("{}/bin:{path}:{others}", self.folder().display()));
        bash.env("CURL_HOME", self.folder()).env("PSQLRC", self.folder().join(".psqlrc"));
        bash.env("CARGO_ALIAS_XTASK", alias).env("ORDERD_DATA_DIR", self.temp_dir.path().join("data"));
        bash.env("HTTP_ADDR", format!("127.0.0.1:{http}")).env("NATS_PORT", nats.to_string());
        bash.env("PG_PORT", postgres.to_string()).env("PGPORT", postgres.to_string());
        bash.env("PGHOST", "127.0.0.1").env("PGUSER", "postgres");
        bash
    }

    /// Stops it as Ctrl-C does.
    pub(super) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let status = self.process.end(Signal::INT);
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", self.process.log());
    }
}
