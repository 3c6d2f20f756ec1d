//! A private NATS server, with JetStream unless disabled.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::ports::Lease;
use crate::process::{Launch, Process};
use crate::{Error, TempDir, tools, wait_until};

/// Time limit of a start, at which the server reads whole streams.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const PORT_TRIES: usize = 20;
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);

/// Options of a NATS server.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// Its port; `None` for a free one.
    pub port: Option<u16>,
    /// Whether JetStream syncs to disk before it answers a publish.
    pub sync_always: bool,
    /// Whether it has JetStream.
    pub jetstream: bool,
    /// Whether to serve the monitoring pages on another free port.
    pub monitoring: bool,
    /// Additional lines of its configuration.
    pub extra_config: String,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            port: None,
            sync_always: false,
            jetstream: true,
            monitoring: false,
            extra_config: String::new(),
        }
    }
}

/// A running NATS server, stopped on drop.
pub struct Nats {
    process: Option<Process>,
    lease: Lease,
    monitoring: Option<Lease>,
    program: PathBuf,
    home: PathBuf,
    options: NatsOptions,
    _temp_dir: Option<TempDir>,
}

impl Nats {
    /// Starts it with its streams in a folder, which is created if missing.
    pub fn start(dir: &Path, options: NatsOptions) -> Result<Self, Error> {
        let program = tools::find_nats_server().ok_or_else(|| Error::Missing {
            what: "nats-server".to_owned(),
            advice: "`cargo xtask up` and `cargo xtask test` install it".to_owned(),
        })?;
        fs::create_dir_all(dir).map_err(Error::path("make", dir))?;
        let home = dir.canonicalize().map_err(Error::path("resolve", dir))?;
        let lease = options.port.map_or_else(Lease::take, |port| Ok(Lease::of(port)))?;
        let monitoring = options.monitoring.then(Lease::take).transpose()?;
        let mut nats = Self { process: None, lease, monitoring, program, home, options, _temp_dir: None };
        nats.start_somewhere()?;
        Ok(nats)
    }

    /// Starts it in a temporary folder that is removed on drop.
    pub fn temporary(options: NatsOptions) -> Result<Self, Error> {
        let temp_dir = TempDir::new()?;
        let mut nats = Self::start(&temp_dir.path().join("nats"), options)?;
        nats._temp_dir = Some(temp_dir);
        Ok(nats)
    }

    /// The port it listens on, also while it is stopped.
    pub fn port(&self) -> u16 {
        self.lease.port
    }

    /// The address it listens on.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// Its address for clients.
    pub fn url(&self) -> String {
        format!("nats://{}:{}", self.host(), self.port())
    }

    /// The port of its monitoring pages, if enabled.
    pub fn monitoring_port(&self) -> Option<u16> {
        self.monitoring.as_ref().map(|lease| lease.port)
    }

    /// Its process id; 0 while it is stopped.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::pid)
    }

    /// The directory of its streams.
    pub fn store_dir(&self) -> PathBuf {
        self.home.join("store")
    }

    /// How it ended by itself, and the last lines of its log; `None` while it runs or is stopped.
    pub fn end_in_words(&mut self) -> Option<String> {
        self.process.as_mut().and_then(Process::end_in_words)
    }

    /// Its log since the last start.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Kills it, as in a crash.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.end(Signal::KILL);
        }
    }

    /// Stops it gracefully.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::TERM);
            process.wait(STOP_LIMIT);
        }
    }

    /// Restarts it after [`Nats::kill`] or [`Nats::stop`], with the same port and streams.
    pub fn start_again(&mut self) -> Result<(), Error> {
        self.stop();
        self.launch()
    }

    /// Changes the additional lines of its configuration, from the next start on.
    pub fn set_extra_config(&mut self, lines: &str) {
        self.options.extra_config = lines.to_owned();
    }

    /// Suspends it: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes it after [`Nats::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// If another process has taken a port of our choice, tries another port.
    fn start_somewhere(&mut self) -> Result<(), Error> {
        for _ in 1..PORT_TRIES {
            match self.launch() {
                Err(Error::PortTaken { .. }) if self.options.port.is_none() => self.lease = Lease::take()?,
                result => return result,
            }
        }
        self.launch()
    }

    fn launch(&mut self) -> Result<(), Error> {
        let config = self.home.join("nats.conf");
        fs::write(&config, self.config()).map_err(Error::path("write", &config))?;
        let mut process = Process::spawn(Launch {
            args: vec!["-c".into(), OsString::from(config)],
            port: self.port(),
            log: Some(self.home.join("nats.log")),
            last_signal: Signal::KILL,
            ..Launch::new("NATS", &self.program, &self.home)
        })?;
        // With TLS from the first byte, it sends no greeting.
        let silent = self.options.extra_config.contains("handshake_first");
        wait_until(START_LIMIT, "NATS accepts connections", || {
            process.check_starting()?;
            let is_ready = process.log().contains("Server is ready");
            Ok((is_ready && (silent || greets(self.port()))).then_some(()))
        })?;
        self.process = Some(process);
        Ok(())
    }

    fn config(&self) -> String {
        let mut text = format!("host: {}\nport: {}\n", self.host(), self.port());
        if let Some(port) = self.monitoring_port() {
            let _ = writeln!(text, "http: \"{}:{port}\"", self.host());
        }
        if self.options.jetstream {
            let store = self.store_dir().display().to_string().replace('\\', r"\\").replace('"', "\\\"");
            let sync = if self.options.sync_always { "; sync_interval: always" } else { "" };
            let _ = writeln!(text, "jetstream {{ store_dir: \"{store}\"{sync} }}");
        }
        text + &self.options.extra_config
    }
}

/// Whether a server at this port sends the first line of the NATS protocol.
fn greets(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(stream) = TcpStream::connect_timeout(&address, HANDSHAKE_LIMIT) else { return false };
    let mut line = String::new();
    let read = stream
        .set_read_timeout(Some(HANDSHAKE_LIMIT))
        .and_then(|()| BufReader::new(stream).read_line(&mut line));
    read.is_ok() && line.starts_with("INFO ")
}
