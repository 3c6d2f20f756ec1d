//! The service's process: start, readiness, stop.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use devstack::{Launch, Process, Signal, wait_for};
use serde_json::Value;

use super::ports::reachable;
use super::signals::Signals;
use crate::say;

const READY_LIMIT: Duration = Duration::from_secs(120);
/// After this long, a start that is not ready yet is explained.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
/// The service drains within 10 s.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Variables that would connect the service to other servers.
const ELSEWHERE: [&str; 8] = [
    "DATABASE_URL",
    "DATABASE_URL_FILE",
    "PG_PASSWORD",
    "PG_PASSWORD_FILE",
    "NATS_URL",
    "NATS_URL_FILE",
    "NATS_CREDS",
    "NATS_CREDS_FILE",
];

/// What has ended by itself.
pub(super) enum End {
    Service(ExitStatus),
    /// A server, and why.
    Server(String),
}

/// The running service.
pub(super) struct Service {
    process: Process,
    address: SocketAddr,
    start: Instant,
}

impl Service {
    /// Starts it; its log goes to our stderr.
    pub(super) fn start(program: &Path, address: SocketAddr, settings: &[(String, String)]) -> Result<Self> {
        let start = Instant::now();
        let process = Process::spawn(Launch {
            args: vec!["serve".into()],
            envs: settings.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            unset: ELSEWHERE.map(Into::into).to_vec(),
            port: address.port(),
            grace: DRAIN_LIMIT,
            ..Launch::new("orderd", program, devstack::tools::workspace())
        })?;
        Ok(Self { process, address, start })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `false` if a signal arrived meanwhile. If it takes long, reports what keeps the service from being ready.
    /// `server_end` says which of its servers has ended, and why.
    pub(super) fn wait_until_ready(
        &mut self,
        signals: &Signals,
        mut server_end: impl FnMut() -> Option<String>,
    ) -> Result<bool> {
        let mut ended = None;
        let mut ready = false;
        let mut misfit = None;
        let mut said = None;
        let answered = wait_for(READY_LIMIT, || {
            let report = readiness(self.address);
            ready = report["ready"] == true;
            if report["fill"]["model_fits"] == false {
                misfit = Some(report["fill"]["reason"].as_str().unwrap_or_default().to_owned());
            }
            let reasons = reasons(&report);
            if !ready && self.start.elapsed() > SILENCE_LIMIT && said != reasons {
                say(&format!("not ready yet: {}", reasons.as_deref().unwrap_or("it does not answer")));
                said = reasons;
            }
            ended = server_end();
            ready
                || misfit.is_some()
                || ended.is_some()
                || self.process.has_ended()
                || signals.stop_requested()
        });
        if let Some(how) = ended {
            bail!("{how}");
        }
        if let Some(status) = self.process.wait(Duration::ZERO) {
            bail!("orderd ended while it was starting: {status}; its log is above");
        }
        if let Some(reason) = misfit {
            bail!("orderd can't use this table: {reason}");
        }
        if !answered {
            bail!("orderd was not ready within {} s; its log is above", READY_LIMIT.as_secs());
        }
        if ready {
            // Its address is in the line `ready`.
            say(&format!("orderd started in {:.1} s", self.start.elapsed().as_secs_f64()));
        }
        Ok(ready)
    }

    /// What ends before a signal arrives: the service, or one of its servers.
    pub(super) fn wait_for_end_or(
        &mut self,
        signals: &Signals,
        mut server_end: impl FnMut() -> Option<String>,
    ) -> Option<End> {
        let mut ended = None;
        wait_for(FOREVER, || {
            ended = server_end();
            ended.is_some() || self.process.has_ended() || signals.stop_requested()
        });
        let server = ended.map(End::Server);
        self.process.wait(Duration::ZERO).map(End::Service).or(server)
    }

    /// Lets it drain; another signal kills it at once.
    pub(super) fn stop(&mut self, signals: &Signals) -> Result<()> {
        say("stopping orderd (Ctrl-C again ends it at once)");
        let before = signals.count();
        self.process.signal(Signal::TERM);
        wait_for(DRAIN_LIMIT, || self.process.has_ended() || signals.count() > before);
        let drained = self.process.has_ended();
        let status = self.process.end(Signal::KILL);
        match status {
            Some(status) if drained && status.success() => {
                say("orderd stopped");
                Ok(())
            }
            Some(status) if drained => bail!("orderd did not stop cleanly: {status}"),
            _ if signals.count() > before => bail!("orderd was killed before it had drained"),
            _ => bail!("orderd did not stop within {} s and was killed", DRAIN_LIMIT.as_secs()),
        }
    }
}

/// What `/readyz` answers; null where it can't be asked.
fn readiness(address: SocketAddr) -> Value {
    let ask = || {
        let address = reachable(address);
        let mut stream = TcpStream::connect_timeout(&address, REQUEST_TIMEOUT)?;
        stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        std::io::Result::Ok(response)
    };
    let response = ask().unwrap_or_default();
    let body = response.split_once("\r\n\r\n").map(|(_, body)| body);
    body.and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default()
}

/// Which parts are down, and why; `None` if the service does not answer.
fn reasons(report: &Value) -> Option<String> {
    let part = |name: &str| {
        let reason = report[name]["reason"].as_str()?;
        Some(format!("{name}: {reason}"))
    };
    let reasons: Vec<_> = ["nats", "postgres", "intake", "fill"].into_iter().filter_map(part).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}
