//! The environment of a round: servers, the breakers in front of them, and the services.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use devstack::breaker::Breaker;
use devstack::{Launch, Process, Signal, TempDir, free_port};
use order::RowFormat;

use crate::http;
use crate::plan::{Plan, Side};
use crate::servers::{Servers, postgres_url};

/// Time limit for the service to become ready without faults.
const READY: Duration = Duration::from_secs(120);

/// Environment variables that would connect the service to other servers.
const ELSEWHERE: [&str; 8] = [
    "DATABASE_URL_FILE",
    "PG_PASSWORD",
    "PG_PASSWORD_FILE",
    "NATS_URL_FILE",
    "NATS_CREDS",
    "NATS_CREDS_FILE",
    "HTTP_TOKEN",
    "HTTP_REPLAY_TOKEN",
];

/// The processes of a round. Fields are dropped in order, so services come first.
pub(crate) struct Environment {
    pub(crate) services: Vec<Service>,
    pub(crate) servers: Servers,
    program: PathBuf,
    format: RowFormat,
    temp_dir: TempDir,
    peak_kib: u64,
    /// Violations by the services.
    pub(crate) complaints: Vec<String>,
}

/// One of the services, with breakers between it and the servers.
pub(crate) struct Service {
    pub(crate) process: Option<Process>,
    /// When SIGTERM was sent.
    pub(crate) terminated_at: Option<Instant>,
    http: SocketAddr,
    /// One for each server.
    to_postgres: Vec<Breaker>,
    to_nats: Vec<Breaker>,
    log: PathBuf,
}

impl Environment {
    /// Starts everything and waits until the services are ready.
    pub(crate) fn start(program: &Path, plan: &Plan) -> Result<Self> {
        let mut environment = Self {
            services: Vec::new(),
            servers: Servers::start(plan)?,
            program: program.to_owned(),
            format: plan.format,
            temp_dir: TempDir::new()?,
            peak_kib: 0,
            complaints: Vec::new(),
        };
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let breakers = |ports: Vec<u16>| {
            ports.into_iter().map(|port| Breaker::start(local(port))).collect::<Result<_, _>>()
        };
        for number in 0..plan.replicas {
            environment.services.push(Service {
                process: None,
                terminated_at: None,
                http: local(free_port()),
                to_postgres: breakers(environment.servers.postgres_ports())?,
                to_nats: breakers(environment.servers.nats_ports())?,
                log: environment.temp_dir.path().join(format!("orderd-{number}.log")),
            });
            environment.start_service(number)?;
        }
        anyhow::ensure!(
            environment.wait_ready(READY),
            "orderd was not ready: {}",
            environment.services[0].end_of_log()
        );
        Ok(environment)
    }

    pub(crate) fn start_service(&mut self, number: usize) -> Result<()> {
        let setting = |name: &str, value: String| (OsString::from(name), OsString::from(value));
        let service = &mut self.services[number];
        let nats: Vec<_> = service.to_nats.iter().map(|it| format!("nats://{}", it.addr())).collect();
        let postgres: Vec<_> = service.to_postgres.iter().map(|it| it.addr().port()).collect();
        let format = if self.format.is_document() { self.format.column_type() } else { "gob" };
        let process = Process::spawn(Launch {
            args: vec!["serve".into()],
            envs: vec![
                setting("HTTP_ADDR", service.http.to_string()),
                setting("NATS_URL", nats.join(",")),
                setting("NATS_REPLICAS", nats.len().to_string()),
                setting("DATABASE_URL", postgres_url(&postgres)),
                setting("PG_FORMAT", format.to_owned()),
            ],
            unset: ELSEWHERE.map(Into::into).to_vec(),
            port: service.http.port(),
            log: Some(service.log.clone()),
            last_signal: Signal::KILL,
            ..Launch::new("orderd", &self.program, self.temp_dir.path())
        })?;
        let listens = || std::net::TcpStream::connect(service.http).is_ok();
        // Before it listens, it does not handle SIGTERM.
        devstack::wait_for(READY, || listens() || process.has_ended());
        service.process = Some(process);
        Ok(())
    }

    pub(crate) fn kill_service(&mut self, number: usize) {
        if let Some(mut process) = self.services[number].process.take() {
            process.end(Signal::KILL);
        }
    }

    /// The service that writes.
    pub(crate) fn writer(&self) -> Option<usize> {
        let writes = |service: &Service| {
            let (_, body) = http::get(service.http, "/readyz", Duration::from_secs(2)).ok()?;
            let report: serde_json::Value = serde_json::from_str(&body).ok()?;
            report["writer"]["self"].as_bool().filter(|writes| *writes)
        };
        self.services.iter().position(|service| writes(service).is_some())
    }

    /// The HTTP addresses of the services.
    pub(crate) fn addrs(&self) -> Vec<SocketAddr> {
        self.services.iter().map(|service| service.http).collect()
    }

    /// Whether all services take orders and have read the table, within the limit.
    pub(crate) fn wait_ready(&self, limit: Duration) -> bool {
        let ready = |service: &Service| {
            let answer = http::get(service.http, "/readyz", Duration::from_secs(2));
            answer.is_ok_and(|(status, body)| status == 200 && fill_is_up(&body))
        };
        devstack::wait_for(limit, || self.services.iter().all(ready))
    }

    /// Records the peak memory of the services, and services that have exited unexpectedly.
    pub(crate) fn look_at_services(&mut self) {
        for number in 0..self.services.len() {
            let service = &mut self.services[number];
            let Some(process) = &service.process else { continue };
            self.peak_kib = self.peak_kib.max(peak_kib(process.pid()));
            if service.terminated_at.is_none() && process.has_ended() {
                service.process = None;
                let log = service.end_of_log();
                self.complain(format!("ended by itself: {log}"));
            }
        }
    }

    /// Peak memory of any service process of this round, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.peak_kib
    }

    /// The services' logs of this round.
    pub(crate) fn service_log(&self) -> String {
        self.services.iter().map(Service::log).collect()
    }

    pub(crate) fn complain(&mut self, what: String) {
        self.complaints.push(format!("the service {what}"));
    }
}

impl Service {
    pub(crate) fn breakers(&self, side: Side) -> &[Breaker] {
        match side {
            Side::Postgres => &self.to_postgres,
            Side::Nats => &self.to_nats,
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn end_of_log(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("; ")
    }
}

fn fill_is_up(body: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(body).is_ok_and(|report| report["fill"]["up"] == true)
}

fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
