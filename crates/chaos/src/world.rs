//! The servers, the breakers between them and the service, and the service.
//!
//! PostgreSQL runs with `fsync` off: a killed process doesn't lose what the kernel already has, only a
//! machine without power does, and that is not what is done here.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use devstack::breaker::{Breaker, Mode};
use devstack::{Launch, Nats, NatsOptions, Postgres, PostgresOptions, Process, Scratch, Signal, free_port};

use crate::http;
use crate::plan::{Blow, Side, Target};

/// How long the service may take to be ready when nothing is broken.
const READY: Duration = Duration::from_secs(30);

/// How long the service may take to end after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);

/// Settings of the environment that would lead the service elsewhere.
const ELSEWHERE: [&str; 9] = [
    "DATABASE_URL",
    "DATABASE_URL_FILE",
    "PG_PASSWORD",
    "PG_PASSWORD_FILE",
    "NATS_URL",
    "NATS_URL_FILE",
    "NATS_CREDS",
    "NATS_CREDS_FILE",
    "HTTP_TOKEN",
];

/// What runs in a round. The service is first: what is dropped is dropped in this order.
pub(crate) struct World {
    service: Option<Process>,
    /// When the service was told to end.
    told: Option<Instant>,
    pub(crate) http: SocketAddr,
    pub(crate) postgres: Postgres,
    pub(crate) nats: Nats,
    to_postgres: Breaker,
    to_nats: Breaker,
    program: PathBuf,
    scratch: Scratch,
    peak_kib: u64,
    /// What the service did that it should not have.
    pub(crate) complaints: Vec<String>,
}

impl World {
    /// Starts all of it and waits until the service is ready.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let postgres = Postgres::temporary(PostgresOptions::quick())?;
        let nats = Nats::temporary(NatsOptions::default())?;
        let upstream = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut world = Self {
            service: None,
            told: None,
            http: upstream(free_port()),
            to_postgres: Breaker::start(upstream(postgres.port()))?,
            to_nats: Breaker::start(upstream(nats.port()))?,
            postgres,
            nats,
            program: program.to_owned(),
            scratch: Scratch::new()?,
            peak_kib: 0,
            complaints: Vec::new(),
        };
        world.start_service()?;
        anyhow::ensure!(world.wait_ready(READY), "orderd was not ready: {}", world.end_of_log());
        Ok(world)
    }

    fn start_service(&mut self) -> Result<()> {
        let setting = |name: &str, value: String| (OsString::from(name), OsString::from(value));
        let process = Process::spawn(Launch {
            args: vec!["serve".into()],
            envs: vec![
                setting("HTTP_ADDR", self.http.to_string()),
                setting("NATS_PORT", self.to_nats.addr().port().to_string()),
                setting("PG_PORT", self.to_postgres.addr().port().to_string()),
            ],
            unset: ELSEWHERE.map(Into::into).to_vec(),
            port: self.http.port(),
            log: Some(self.log_file()),
            last_signal: Signal::KILL,
            ..Launch::new("orderd", &self.program, self.scratch.path())
        })?;
        let listens = || std::net::TcpStream::connect(self.http).is_ok();
        // Before that it can't be told to end in good order.
        devstack::wait_for(READY, || listens() || process.has_ended());
        self.service = Some(process);
        Ok(())
    }

    /// Whether the service takes orders and has read the table, within the limit.
    pub(crate) fn wait_ready(&self, limit: Duration) -> bool {
        devstack::wait_for(limit, || {
            let answer = http::get(self.http, "/readyz", Duration::from_secs(2));
            answer.is_ok_and(|(status, body)| status == 200 && fill_is_up(&body))
        })
    }

    /// Does it.
    pub(crate) fn strike(&mut self, blow: Blow) {
        self.look_at_service();
        match blow {
            Blow::Kill(Target::Service) => drop(self.service.take().map(|mut it| it.end(Signal::KILL))),
            Blow::Kill(Target::Postgres) => self.postgres.kill(),
            Blow::Kill(Target::Nats) => self.nats.kill(),
            Blow::Pause(Target::Service) => self.signal(Signal::STOP),
            Blow::Pause(Target::Postgres) => self.postgres.pause(),
            Blow::Pause(Target::Nats) => self.nats.pause(),
            Blow::Terminate => {
                self.told = Some(Instant::now());
                self.signal(Signal::TERM);
            }
            Blow::Break(side, mode) => self.breaker(side).set(mode),
        }
    }

    /// Undoes it.
    pub(crate) fn undo(&mut self, blow: Blow) -> Result<()> {
        match blow {
            Blow::Kill(Target::Service) => self.start_service()?,
            Blow::Kill(Target::Postgres) => self.postgres.start_again()?,
            Blow::Kill(Target::Nats) => self.nats.start_again()?,
            Blow::Pause(Target::Service) => self.signal(Signal::CONT),
            Blow::Pause(Target::Postgres) => self.postgres.resume(),
            Blow::Pause(Target::Nats) => self.nats.resume(),
            Blow::Terminate => self.replace_terminated()?,
            Blow::Break(side, _) => self.breaker(side).set(Mode::Pass),
        }
        Ok(())
    }

    /// It has to have ended by itself, with 0, in time, whatever else is broken meanwhile.
    fn replace_terminated(&mut self) -> Result<()> {
        let told = self.told.take().context("nobody told the service to end")?;
        if let Some(mut process) = self.service.take() {
            match process.wait(DRAIN.saturating_sub(told.elapsed())) {
                Some(status) if status.success() => {}
                Some(status) => self.complain(format!("ended with {status} after SIGTERM")),
                None => self.complain(format!("did not end within {} s of SIGTERM", DRAIN.as_secs())),
            }
            process.end(Signal::KILL);
        }
        self.start_service()
    }

    fn breaker(&self, side: Side) -> &Breaker {
        match side {
            Side::Postgres => &self.to_postgres,
            Side::Nats => &self.to_nats,
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.service {
            process.signal(signal);
        }
    }

    /// Its peak memory until now, and whether it still runs although nobody has ended it.
    pub(crate) fn look_at_service(&mut self) {
        let Some(process) = &self.service else { return };
        self.peak_kib = self.peak_kib.max(peak_kib(process.pid()));
        if self.told.is_none() && process.has_ended() {
            self.complain(format!("ended by itself: {}", self.end_of_log()));
            self.service = None;
        }
    }

    /// The most memory that any service process of this round has had, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.peak_kib
    }

    /// All that the service has logged in this round.
    pub(crate) fn service_log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    fn complain(&mut self, what: String) {
        self.complaints.push(format!("the service {what}"));
    }

    fn log_file(&self) -> PathBuf {
        self.scratch.path().join("orderd.log")
    }

    fn end_of_log(&self) -> String {
        let log = self.service_log();
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
