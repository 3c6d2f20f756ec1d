//! The measured service as a process.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use devstack::{Launch, Process, Signal, free_port, wait_for};

use crate::environment::Environment;
use crate::http::{self, Connection};

/// Time limit of every wait, for the slowest reasonable machine.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(600);

/// Intervals of polling the number of orders, near the end and before.
const LOOK: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(50)];

/// Environment variables that would change the service.
const ELSEWHERE: [&str; 18] = [
    "DATABASE_URL",
    "DATABASE_URL_FILE",
    "PG_PASSWORD",
    "PG_PASSWORD_FILE",
    "PG_USER",
    "PG_DBNAME",
    "NATS_URL",
    "NATS_URL_FILE",
    "NATS_CREDS",
    "NATS_CREDS_FILE",
    "HTTP_TOKEN",
    "HTTP_REPLAY_TOKEN",
    "HTTP_TOKEN_FILE",
    "REQUIRE",
    "SEARCH",
    "REFILL_EVERY",
    "LOG",
    "LOG_FORMAT",
];

/// The configuration of a service.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) table: String,
    pub(crate) subject: String,
    pub(crate) stream: String,
    /// The core that it is pinned to.
    pub(crate) core: Option<u32>,
    /// Memory limit for orders, in bytes.
    pub(crate) bound: Option<u64>,
}

impl Setup {
    /// Serves a table, with a topic without messages.
    pub(crate) fn serving(table: &str) -> Self {
        let name = |name: &str| name.to_owned();
        let (subject, stream) = (name("bench.quiet"), name("BENCH_QUIET"));
        Self { table: table.to_owned(), subject, stream, core: None, bound: None }
    }
}

/// A running service, stopped on drop.
pub(crate) struct Service {
    process: Process,
    pub(crate) addr: SocketAddr,
    pub(crate) started: Instant,
}

impl Service {
    pub(crate) fn start(env: &Environment, setup: &Setup) -> Result<Self> {
        Self::start_with(env, setup, &[])
    }

    /// With more flags.
    pub(crate) fn start_with(env: &Environment, setup: &Setup, flags: &[&str]) -> Result<Self> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let settings = [
            ("HTTP_ADDR", addr.to_string()),
            ("PG_PORT", env.postgres.port().to_string()),
            ("PG_TABLE", setup.table.clone()),
            ("NATS_PORT", env.nats.port().to_string()),
            ("PUB_TOPIC", setup.subject.clone()),
            ("NATS_STREAM", setup.stream.clone()),
            // Empty counts as not set.
            ("CACHE_MAX_BYTES", setup.bound.map(|bound| bound.to_string()).unwrap_or_default()),
        ];
        let (program, mut args) = pinned(setup.core, env.program.as_os_str());
        args.push("serve".into());
        args.extend(flags.iter().map(Into::into));
        let started = Instant::now();
        let process = Process::spawn(Launch {
            args,
            envs: settings.map(|(name, value)| (name.into(), value.into())).into(),
            unset: ELSEWHERE.map(Into::into).to_vec(),
            port: addr.port(),
            log: Some(env.temp_dir.path().join("orderd.log")),
            grace: Duration::from_secs(15),
            ..Launch::new("orderd", program, env.temp_dir.path())
        })?;
        Ok(Self { process, addr, started })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn connection(&self) -> Result<Connection> {
        let mut open = None;
        wait_for(WAIT_TIMEOUT, || {
            open = Connection::open(self.addr).ok();
            open.is_some() || self.process.has_ended()
        });
        open.with_context(|| format!("cannot reach orderd: {}", self.end_of_log()))
    }

    /// Waits until it is ready and has read the table; returns the time since the start.
    pub(crate) fn wait_ready(&self) -> Result<Duration> {
        let is_ready = || {
            let (status, body) = http::get(self.addr, "/readyz").ok()?;
            let report: serde_json::Value = serde_json::from_slice(&body).ok()?;
            (status == 200 && report["fill"]["up"] == true).then_some(())
        };
        wait_for(WAIT_TIMEOUT, || is_ready().is_some() || self.process.has_ended());
        let elapsed = self.started.elapsed();
        ensure!(is_ready().is_some(), "orderd is not ready: {}", self.end_of_log());
        Ok(elapsed)
    }

    /// Waits until this number of orders is in memory; returns the time since the start.
    pub(crate) fn wait_len(&self, count: u64) -> Result<Duration> {
        let mut connection = self.connection()?;
        let (mut len, mut pause) = (0, LOOK[0]);
        let begun = Instant::now();
        while len < count && !self.process.has_ended() && begun.elapsed() < WAIT_TIMEOUT {
            std::thread::sleep(pause);
            len = mem_len(&mut connection).unwrap_or(len);
            pause = until_next_look(len, count, self.started.elapsed());
        }
        let elapsed = self.started.elapsed();
        ensure!(len == count, "{len} orders in memory, not {count}: {}", self.end_of_log());
        Ok(elapsed)
    }

    /// The number of orders in memory.
    pub(crate) fn len(&self) -> Option<u64> {
        mem_len(&mut Connection::open(self.addr).ok()?)
    }

    /// Waits until this number of orders are committed.
    pub(crate) fn wait_written(&self, count: u64) -> Result<()> {
        let mut connection = self.connection()?;
        let mut written = 0.0;
        wait_for(WAIT_TIMEOUT, || {
            written = metric(&mut connection, "myapp_orders_write_db").unwrap_or(written);
            written >= count as f64 || self.process.has_ended()
        });
        ensure!(written == count as f64, "{written} orders committed, not {count}: {}", self.end_of_log());
        Ok(())
    }

    /// Waits until the table is complete up to this sequence; returns the time since the start.
    pub(crate) fn wait_position(&self, sequence: u64) -> Result<Duration> {
        let mut connection = self.connection()?;
        let mut position = 0.0;
        wait_for(WAIT_TIMEOUT, || {
            position = metric(&mut connection, "orderd_position").unwrap_or(position);
            position >= sequence as f64 || self.process.has_ended()
        });
        let elapsed = self.started.elapsed();
        ensure!(
            position == sequence as f64,
            "the position is {position}, not {sequence}: {}",
            self.end_of_log()
        );
        Ok(elapsed)
    }

    /// The value of a metric, named with its labels.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        metric(&mut self.connection()?, name).with_context(|| format!("orderd has no metric {name}"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Stops it with SIGTERM; it must exit with 0.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self.process.end(Signal::TERM).context("orderd did not end")?;
        ensure!(status.success(), "orderd ended with {status}: {}", self.end_of_log());
        Ok(())
    }

    fn end_of_log(&self) -> String {
        let log = self.process.log();
        let lines: Vec<_> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("; ")
    }
}

/// A quarter of the expected remaining time: each poll uses measured CPU time, but the measurement ends with the last
/// poll.
fn until_next_look(len: u64, count: u64, elapsed: Duration) -> Duration {
    let left = elapsed.as_secs_f64() * count.saturating_sub(len) as f64 / len.max(1) as f64;
    Duration::from_secs_f64(left / 4.0).clamp(LOOK[0], LOOK[1])
}

/// The number of orders in memory.
pub(crate) fn mem_len(connection: &mut Connection) -> Option<u64> {
    let (_, body) = connection.get("/mem_len").ok()?;
    serde_json::from_slice::<serde_json::Value>(&body).ok()?["mem_len"].as_u64()
}

fn metric(connection: &mut Connection, name: &str) -> Option<f64> {
    let (_, body) = connection.get("/metrics").ok()?;
    let text = String::from_utf8(body).ok()?;
    let line = text.lines().find(|line| line.split(' ').next() == Some(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// A command for the program, pinned to a core if one is given.
pub(crate) fn pinned(core: Option<u32>, program: &std::ffi::OsStr) -> (OsString, Vec<OsString>) {
    match core {
        Some(core) => ("taskset".into(), vec!["-c".into(), core.to_string().into(), program.into()]),
        None => (program.into(), Vec::new()),
    }
}
