//! `cargo xtask up`: private servers and the service, until Ctrl-C.
//!
//! Startup: data folder lock, programs, PostgreSQL, NATS, build, service, `ready`. Shutdown: the service drains first,
//! then NATS and PostgreSQL. However this process ends, the servers end with it.
#![allow(clippy::print_stdout, reason = "the `ready` line is this command's result")]

mod data_dir;
mod ports;
mod service;
mod signals;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use devstack::{Nats, NatsOptions, Postgres, PostgresOptions, Prometheus, cargo, tools};

pub(crate) use data_dir::{DataDir, PROGRAM};
use service::{End, Service};
use signals::Signals;

use crate::say;

/// The variable that names the data folder for `up` and for `cargo xtask orderd`.
pub(crate) const DATA_DIR: &str = "ORDERD_DATA_DIR";

const PROMETHEUS_PORT: u16 = 9090;

/// The profile of this program too, so that it shares dependencies with the service.
const UP: &str = "up";

/// Start PostgreSQL, NATS and the service, and stop all with Ctrl-C
///
/// Installs missing programs, keeps the data between runs, and prints `ready http://ADDRESS` on stdout when the service
/// is ready. If a port is in use, takes the next free one.
///
/// Examples: cargo xtask up
///           cargo xtask up --data-dir /tmp/try --http-addr 127.0.0.1:9000
///           cargo xtask up --model parcel.json --data-dir parcels
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Folder for the data [default: .orderd in the workspace]
    #[arg(long, value_name = "DIR", env = DATA_DIR)]
    data_dir: Option<PathBuf>,
    /// Address of the service
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    http_addr: SocketAddr,
    /// Port of PostgreSQL, on 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 5432, value_parser = clap::value_parser!(u16).range(1..))]
    pg_port: u16,
    /// Port of NATS, on 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 4222, value_parser = clap::value_parser!(u16).range(1..))]
    nats_port: u16,
    /// Model of the documents: a sample, several (separated by commas, or a folder of .json files), or a JSON Schema; any for
    /// arbitrary JSON objects [default: the order]
    #[arg(long, value_name = "FILE", env = "MODEL")]
    model: Option<String>,
    /// Also start Prometheus, which scrapes the service
    #[arg(long)]
    prometheus: bool,
    /// Build with the optimizations of a release: about ten minutes on two cores, the first time
    #[arg(long, conflicts_with = "program")]
    release: bool,
    /// Run this program instead of building orderd
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

pub(crate) fn run(options: Options) -> Result<ExitCode> {
    let signals = Signals::catch()?;
    let mut data_dir = DataDir::at(options.data_dir.clone())?;
    data_dir.lock()?;
    install(&options)?;
    let Some(mut stack) = Stack::start(&options, &mut data_dir, &signals)? else {
        say("stopped before it was ready");
        return Ok(ExitCode::SUCCESS);
    };
    println!("ready {}", stack.service.url());
    std::io::stdout().flush().context("cannot print that the service is ready")?;
    let other = options.data_dir.as_deref().map_or_else(String::new, |_| {
        // `cargo xtask orderd` may run in another directory.
        let dir = std::path::absolute(data_dir.path()).unwrap_or_else(|_| data_dir.path().into());
        format!("{DATA_DIR}='{}' ", dir.display())
    });
    if let Some(name) = ["HTTP_TOKEN", "HTTP_TOKEN_FILE"].into_iter().find(|name| is_set(name)) {
        say(&format!(
            "{name} is set: set it in the other terminal too, for `verify` and `erase --where`, which ask the service"
        ));
    }
    say(&format!(
        "Ctrl-C stops everything. In another terminal: {other}cargo xtask orderd publish --count 10"
    ));
    let ended_by_itself = stack.service.wait_for_end_or(&signals, || stack.servers.end_in_words());
    let result = match ended_by_itself {
        Some(End::Service(status)) => Err(anyhow::anyhow!("orderd exited unexpectedly: {status}")),
        // Without the server nothing more can be tried; going on would hide why, and so would an error of stopping.
        Some(End::Server(how)) => {
            if let Err(error) = stack.service.stop(&signals) {
                say(&format!("{error:#}"));
            }
            Err(anyhow::anyhow!("{how}"))
        }
        None => stack.service.stop(&signals),
    };
    data_dir.forget_settings();
    stack.servers.stop();
    result.map(|()| ExitCode::SUCCESS)
}

/// Whether the service takes it as set.
fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

fn install(options: &Options) -> Result<()> {
    tools::ensure_postgres(&mut say)?;
    tools::ensure_nats_server(&mut say)?;
    if options.prometheus {
        tools::ensure_prometheus(&mut say)?;
    }
    Ok(())
}

/// The running processes. Fields are dropped in order, so the service is first.
struct Stack {
    service: Service,
    _prometheus: Option<Prometheus>,
    servers: Servers,
}

struct Servers {
    nats: Nats,
    postgres: Postgres,
}

impl Stack {
    /// `None` if a signal stopped it meanwhile.
    fn start(options: &Options, data_dir: &mut DataDir, signals: &Signals) -> Result<Option<Self>> {
        let postgres = start_postgres(data_dir, options.pg_port)?;
        let nats = start_nats(data_dir, options.nats_port)?;
        if signals.stop_requested() {
            return Ok(None);
        }
        let program = match &options.program {
            Some(file) => file.canonicalize().with_context(|| format!("cannot find {}", file.display()))?,
            None => build(options.release, signals)?,
        };
        if signals.stop_requested() {
            return Ok(None);
        }
        let address = ports::free("orderd", options.http_addr)?;
        let mut settings = settings(address, &postgres, &nats);
        let mut servers = Servers { nats, postgres };
        settings.extend(options.model.as_deref().and_then(model));
        data_dir.keep_settings(&program, &settings)?;
        let mut service = Service::start(&program, address, &settings)?;
        if !service.wait_until_ready(signals, || servers.end_in_words())? {
            return Ok(None);
        }
        let prometheus = options.prometheus.then(|| start_prometheus(data_dir, address)).transpose()?;
        Ok(Some(Self { service, _prometheus: prometheus, servers }))
    }
}

impl Servers {
    fn stop(&mut self) {
        self.nats.stop();
        say("NATS stopped");
        self.postgres.stop();
        say("PostgreSQL stopped");
    }

    /// The server that has ended by itself, and why.
    fn end_in_words(&mut self) -> Option<String> {
        self.postgres.end_in_words().or_else(|| self.nats.end_in_words())
    }
}

/// The program that `up` builds.
pub(crate) fn build_to_try() -> Result<PathBuf> {
    Ok(cargo::build_orderd(&["--profile", UP])?)
}

fn build(release: bool, signals: &Signals) -> Result<PathBuf> {
    let profile = if release { "release" } else { UP };
    match release {
        true => say("building orderd as it is released (profile `release`)"),
        false => say(
            "building orderd to try it (profile `up`: soon built, a little slower; --release has all optimisations)",
        ),
    }
    match cargo::build_orderd(&["--profile", profile]) {
        // Ctrl-C at the terminal reaches cargo too.
        Err(_) if signals.stop_requested() => Ok(PathBuf::new()),
        result => Ok(result?),
    }
}

fn start_postgres(data_dir: &DataDir, port: u16) -> Result<Postgres> {
    let start = Instant::now();
    let dir = data_dir.path().join("postgres");
    let at = |port| Postgres::start(&dir, PostgresOptions { port: Some(port), ..PostgresOptions::default() });
    let postgres = ports::start_at("PostgreSQL", port, at)?;
    if dir.is_symlink() {
        say(&format!("{} is a link: PostgreSQL's user can't reach the folder itself", dir.display()));
    }
    say(&format!(
        "PostgreSQL at 127.0.0.1:{}, data in {}, started in {:.1} s",
        postgres.port(),
        postgres.data_dir().display(),
        start.elapsed().as_secs_f64()
    ));
    Ok(postgres)
}

fn start_nats(data_dir: &DataDir, port: u16) -> Result<Nats> {
    let start = Instant::now();
    let dir = data_dir.path().join("nats");
    let options = NatsOptions { sync_always: true, ..NatsOptions::default() };
    let at = |port| Nats::start(&dir, NatsOptions { port: Some(port), ..options.clone() });
    let nats = ports::start_at("NATS", port, at)?;
    say(&format!(
        "NATS at 127.0.0.1:{}, data in {}, started in {:.1} s",
        nats.port(),
        nats.store_dir().display(),
        start.elapsed().as_secs_f64()
    ));
    Ok(nats)
}

/// Prometheus with the service as its only target.
fn start_prometheus(data_dir: &DataDir, service: SocketAddr) -> Result<Prometheus> {
    let dir = data_dir.path().join("prometheus");
    let config = dir.join("prometheus.yml");
    let target = ports::reachable(service);
    let text = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: orderd\n    static_configs:\n      - targets: ['{target}']\n"
    );
    fs::create_dir_all(&dir)
        .and_then(|()| fs::write(&config, text))
        .with_context(|| format!("cannot write {}", config.display()))?;
    let at = |port| Prometheus::start(&dir, &config, Some(port));
    let prometheus = ports::start_at("Prometheus", PROMETHEUS_PORT, at)?;
    say(&format!("Prometheus at http://127.0.0.1:{}", prometheus.port()));
    Ok(prometheus)
}

/// The setting `MODEL` with absolute paths, if a model is given.
fn model(named: &str) -> Option<(String, String)> {
    let absolute = |name: &str| {
        let path = std::path::absolute(name).unwrap_or_else(|_| name.into());
        path.display().to_string()
    };
    let whole = named.trim();
    if whole == "any" {
        return Some(("MODEL".to_owned(), whole.to_owned()));
    }
    let files: Vec<String> = if Path::new(whole).exists() {
        vec![absolute(whole)]
    } else {
        whole.split(',').map(str::trim).filter(|name| !name.is_empty()).map(absolute).collect()
    };
    (!files.is_empty()).then(|| ("MODEL".to_owned(), files.join(",")))
}

/// The service's settings, as environment variables.
fn settings(address: SocketAddr, postgres: &Postgres, nats: &Nats) -> Vec<(String, String)> {
    let pairs = [
        ("HTTP_ADDR", address.to_string()),
        ("NATS_HOST", nats.host().to_owned()),
        ("NATS_PORT", nats.port().to_string()),
        ("PG_HOST", postgres.host().to_owned()),
        ("PG_PORT", postgres.port().to_string()),
        ("PG_USER", "postgres".to_owned()),
        ("PG_DBNAME", "demo1".to_owned()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found_from_any_folder() {
        let temp_dir = devstack::TempDir::new().unwrap();
        let file = temp_dir.path().join("a,b.json").display().to_string();
        fs::write(&file, "{}").unwrap();
        assert_eq!(model(&file), Some(("MODEL".to_owned(), file)));
        let folder = temp_dir.path().display().to_string();
        assert_eq!(model(&folder), Some(("MODEL".to_owned(), folder)));
        let here = std::env::current_dir().unwrap();
        let two = format!("{},{}", here.join("a.json").display(), here.join("b.json").display());
        assert_eq!(model(" a.json, b.json"), Some(("MODEL".to_owned(), two)));
        assert_eq!(model(" any "), Some(("MODEL".to_owned(), "any".to_owned())));
        assert_eq!(model(" "), None);
    }
}
