//! A server process: the common part of PostgreSQL, NATS, Prometheus and the service.
//!
//! The order of steps makes it safe. The process waits at a gate until its reaper knows its pid, so that our death
//! never leaves it behind. Its exit status is collected only after the reaper has ended: until then the kernel does not
//! reuse its pid, and the reaper can't hit another process.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use crate::error::last_lines;
use crate::process_tree::{self, ProcessIdentity};
use crate::reaper::Reaper;
use crate::run_as::User;
use crate::{Error, wait_for};

/// Waits for a line on stdin, then becomes the server. If we die before that, it exits.
const GATE: &str = r#"read -r word || exit 125; exec "$@" </dev/null"#;

/// What to run, and how to end it.
pub struct Launch {
    /// Its name in messages.
    pub name: &'static str,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Additional environment variables.
    pub envs: Vec<(OsString, OsString)>,
    /// Variables of our environment to remove.
    pub unset: Vec<OsString>,
    /// The port that it will listen on.
    pub port: u16,
    /// The working directory.
    pub dir: PathBuf,
    /// The user; `None` for ours.
    pub user: Option<User>,
    /// The file to which its output is appended; `None` for our stderr.
    pub log: Option<PathBuf>,
    /// The signal that ends it on drop, or when we die.
    pub last_signal: Signal,
    /// The time from that signal to SIGKILL.
    pub grace: Duration,
}

impl Launch {
    /// A program without arguments, with output on our stderr, ended by SIGTERM, and by SIGKILL 10 s later.
    pub fn new(name: &'static str, program: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        Self {
            name,
            program: program.into(),
            args: Vec::new(),
            envs: Vec::new(),
            unset: Vec::new(),
            port: 0,
            dir: dir.into(),
            user: None,
            log: None,
            last_signal: Signal::TERM,
            grace: Duration::from_secs(10),
        }
    }
}

/// A running process that ends with us.
pub struct Process {
    name: &'static str,
    port: u16,
    child: Child,
    identity: ProcessIdentity,
    reaper: Reaper,
    status: Option<ExitStatus>,
    log: Option<PathBuf>,
    log_start: u64,
    last_signal: Signal,
    grace: Duration,
}

impl Process {
    /// Starts it, with its reaper.
    pub fn spawn(launch: Launch) -> Result<Self, Error> {
        let (output, log_start) = output_of(launch.log.as_deref())?;
        let mut child = gated(&launch, output)?;
        let watched =
            reaper_over(&child, &launch).and_then(|watched| open_gate(&mut child, &launch).map(|()| watched));
        let (identity, reaper) = watched.inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
        })?;
        let Launch { name, port, log, last_signal, grace, .. } = launch;
        Ok(Self { name, port, child, identity, reaper, status: None, log, log_start, last_signal, grace })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            process_tree::send(self.pid(), signal);
        }
    }

    /// Whether it has ended. Its pid is not reused before [`Process::wait`] has ended its reaper.
    pub fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        self.status.is_some() || pid.is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), options), Ok(None)))
    }

    /// Its exit status if it ends within the limit.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        if self.status.is_none() && wait_for(limit, || self.has_ended()) {
            self.reaper.dismiss();
            self.status = self.child.wait().ok();
        }
        self.status
    }

    /// Ends it with a signal, and with SIGKILL after the grace period.
    pub fn end(&mut self, signal: Signal) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.signal(signal);
            // A stopped process handles only SIGKILL before it is continued.
            self.signal(Signal::CONT);
        }
        if self.wait(self.grace).is_none() {
            self.signal(Signal::KILL);
        }
        self.wait(Duration::from_secs(30))
    }

    /// How it ended, and the last lines of its log; `None` while it runs.
    pub fn end_in_words(&mut self) -> Option<String> {
        let status = if self.has_ended() { self.wait(Duration::from_secs(1))? } else { return None };
        let said = self.log();
        let lines: Vec<&str> = said.lines().collect();
        let last: String =
            lines[lines.len().saturating_sub(5)..].iter().map(|line| format!("\n  {line}")).collect();
        let log = self.log.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        Some(format!("{} ended: {status}; the end of its log, {log}:{last}", self.name))
    }

    /// Its log since the start.
    pub fn log(&self) -> String {
        let bytes = self.log.as_ref().and_then(|path| fs::read(path).ok()).unwrap_or_default();
        let start = usize::try_from(self.log_start).unwrap_or(0).min(bytes.len());
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    }

    /// Returns an error if it has ended, for callers that wait until it is ready.
    pub fn check_starting(&mut self) -> Result<(), Error> {
        if !self.has_ended() {
            return Ok(());
        }
        let status = self.wait(Duration::ZERO).map_or_else(String::new, |status| status.to_string());
        let (name, log) = (self.name.to_owned(), self.log());
        if log.to_lowercase().contains("address already in use") {
            return Err(Error::PortTaken { name, port: self.port });
        }
        let words = last_lines(&log, 4);
        Err(Error::Ended { name, log: if words.is_empty() { status } else { words } })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(self.last_signal);
    }
}

fn output_of(log: Option<&Path>) -> Result<(Option<File>, u64), Error> {
    let Some(path) = log else { return Ok((None, 0)) };
    let open = || {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let length = file.metadata()?.len();
        Ok((Some(file), length))
    };
    open().map_err(Error::path("open the log", path))
}

fn gated(launch: &Launch, output: Option<File>) -> Result<Child, Error> {
    let action = format!("start {}", launch.program.display());
    let mut command = Command::new("sh");
    command.args(["-c", GATE, launch.name]).arg(&launch.program).args(&launch.args);
    command.envs(launch.envs.iter().map(|(name, value)| (name, value)));
    for name in &launch.unset {
        command.env_remove(name);
    }
    command.current_dir(&launch.dir).stdin(Stdio::piped()).process_group(0);
    if let Some(user) = launch.user {
        user.apply(&mut command);
    }
    match output {
        Some(file) => {
            let copy = file.try_clone().map_err(Error::io(&action))?;
            command.stdout(copy).stderr(file);
        }
        None => {
            command.stdout(std::io::stderr()).stderr(Stdio::inherit());
        }
    }
    command.spawn().map_err(Error::io(action))
}

fn reaper_over(child: &Child, launch: &Launch) -> Result<(ProcessIdentity, Reaper), Error> {
    let gone = || Error::failed(format!("start {}", launch.name), "it ended at once");
    let identity = ProcessIdentity::of(child.id()).ok_or_else(gone)?;
    Ok((identity, Reaper::over(identity, launch.last_signal, launch.grace)?))
}

fn open_gate(child: &mut Child, launch: &Launch) -> Result<(), Error> {
    let mut pipe = child.stdin.take();
    let written = pipe.as_mut().map_or(Ok(()), |pipe| pipe.write_all(b"go\n"));
    written.map_err(Error::io(format!("start {}", launch.name)))
}
