//! A private PostgreSQL.
//!
//! It listens on 127.0.0.1 only, has the database `demo1`, the superuser `postgres`, and its data in a separate folder.
//! Tests turn `fsync` off and start from a copied template.

mod access;
mod cluster;
mod template;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::ports::Lease;
use crate::process::{Launch, Process};
use crate::run_as::{self, User};
use crate::{Error, TempDir, process_tree, wait_for, wait_until};

const DATABASE: &str = "demo1";
/// Time limit of a start, which after a kill replays the WAL since the last checkpoint.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);
const PORT_TRIES: usize = 20;

/// Options of a PostgreSQL server.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Its port; `None` for a free one.
    pub port: Option<u16>,
    /// Whether it syncs. Without, its data survive a kill, but not a crash of the machine.
    pub fsync: bool,
    /// Whether to fill a new folder from a template, which is much faster.
    pub template: bool,
    /// Additional settings for `postgresql.conf`.
    pub settings: Vec<(String, String)>,
    /// The password of `postgres`, required with SCRAM; `None` trusts every connection.
    pub password: Option<String>,
    /// A certificate; connections without TLS are then refused, unless a rule allows them.
    pub tls: Option<Tls>,
    /// Lines at the beginning of `pg_hba.conf`.
    pub rules: String,
}

/// PEM files for encrypted connections.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        let settings = Vec::new();
        let rules = String::new();
        Self { port: None, fsync: true, template: false, settings, password: None, tls: None, rules }
    }
}

impl PostgresOptions {
    /// For tests: without syncs, from the template.
    pub fn quick() -> Self {
        Self { fsync: false, template: true, ..Self::default() }
    }
}

/// A running PostgreSQL, stopped on drop.
pub struct Postgres {
    process: Option<Process>,
    lease: Lease,
    programs: PathBuf,
    home: PathBuf,
    user: Option<User>,
    options: PostgresOptions,
    _temp_dir: Option<TempDir>,
}

impl Postgres {
    /// Starts it with the data of a folder; fills the folder if it is empty.
    pub fn start(dir: &Path, options: PostgresOptions) -> Result<Self, Error> {
        let user = User::of_postgres()?;
        let home = run_as::reachable_folder(dir, user)?;
        let programs = cluster::programs_for(&home)?;
        cluster::prepare(&programs, &home, user, &options)?;
        access::write(&home, user, &options)?;
        let mut postgres = Self {
            process: None,
            lease: lease_for(&options)?,
            programs,
            home,
            user,
            options,
            _temp_dir: None,
        };
        postgres.start_somewhere()?;
        postgres.ensure_database()?;
        Ok(postgres)
    }

    /// Starts it in a temporary folder that is removed on drop.
    pub fn temporary(options: PostgresOptions) -> Result<Self, Error> {
        let temp_dir = TempDir::new()?;
        let mut postgres = Self::start(&temp_dir.path().join("postgres"), options)?;
        postgres._temp_dir = Some(temp_dir);
        Ok(postgres)
    }

    /// Starts a standby of this server in a temporary folder.
    pub fn standby(&self) -> Result<Self, Error> {
        self.standby_on(Lease::take()?, None)
    }

    /// Kills this server permanently, and starts a standby of `primary` on its port.
    pub fn follow(&mut self, primary: &Self) -> Result<(), Error> {
        self.kill();
        let port = self.port();
        let lease = std::mem::replace(&mut self.lease, Lease::of(port));
        *self = primary.standby_on(lease, Some(port))?;
        Ok(())
    }

    fn standby_on(&self, lease: Lease, port: Option<u16>) -> Result<Self, Error> {
        let temp_dir = TempDir::new()?;
        let home = run_as::reachable_folder(&temp_dir.path().join("postgres"), self.user)?;
        cluster::copy_running(&self.programs, &home, self.user, &self.url())?;
        let options = PostgresOptions { port, ..self.options.clone() };
        access::write(&home, self.user, &options)?;
        let mut standby = Self {
            process: None,
            lease,
            programs: self.programs.clone(),
            home,
            user: self.user,
            options,
            _temp_dir: Some(temp_dir),
        };
        standby.start_somewhere()?;
        Ok(standby)
    }

    /// Makes commits wait for a standby. Returns when a standby is connected.
    pub fn wait_for_standby(&self) -> Result<(), Error> {
        self.psql("alter system set synchronous_standby_names = '*'")?;
        self.psql("select pg_reload_conf()")?;
        self.wait_for_follower("sync_state = 'sync'")
    }

    /// Returns when an asynchronous standby has caught up.
    pub fn wait_for_asynchronous_standby(&self) -> Result<(), Error> {
        self.wait_for_follower("state = 'streaming'")
    }

    fn wait_for_follower(&self, condition: &str) -> Result<(), Error> {
        let count = format!("select count(*) from pg_stat_replication where {condition}");
        wait_until(START_LIMIT, "a standby follows", || Ok((self.psql(&count)?.trim() != "0").then_some(())))
    }

    /// Disconnects a standby from its primary, as a network failure would.
    pub fn stop_following(&self) -> Result<(), Error> {
        // Nothing listens on this port.
        self.psql("alter system set primary_conninfo = 'host=127.0.0.1 port=1'")?;
        self.psql("select pg_reload_conf()")?;
        let count = "select count(*) from pg_stat_wal_receiver where status = 'streaming'";
        wait_until(
            START_LIMIT,
            "a standby is cut off",
            || Ok((self.psql(count)?.trim() == "0").then_some(())),
        )
    }

    /// Promotes a standby.
    pub fn promote(&self) -> Result<(), Error> {
        self.psql("select pg_promote()").map(drop)
    }

    /// The port it listens on, also while it is stopped.
    pub fn port(&self) -> u16 {
        self.lease.port
    }

    /// The address it listens on.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The URL of its database, with the user and the password, if any.
    pub fn url(&self) -> String {
        let password = self.options.password.as_ref().map(|word| format!(":{word}")).unwrap_or_default();
        format!("postgres://postgres{password}@{}:{}/{DATABASE}", self.host(), self.port())
    }

    /// The postmaster's process id; 0 while it is stopped.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::pid)
    }

    /// The real path of its data.
    pub fn data_dir(&self) -> PathBuf {
        cluster::data_of(&self.home)
    }

    /// How it ended by itself, and the last lines of its log; `None` while it runs or is stopped.
    pub fn end_in_words(&mut self) -> Option<String> {
        self.process.as_mut().and_then(Process::end_in_words)
    }

    /// Its log since the last start.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Runs SQL on its database, and returns the rows, with columns separated by `|`.
    pub fn psql(&self, sql: &str) -> Result<String, Error> {
        self.psql_on(DATABASE, sql)
    }

    /// Changes the password, also for [`Postgres::psql`] and [`Postgres::url`].
    pub fn set_password(&mut self, password: &str) -> Result<(), Error> {
        self.psql(&format!("alter user postgres password '{}'", password.replace('\'', "''")))?;
        self.options.password = Some(password.to_owned());
        Ok(())
    }

    /// Kills the postmaster and all its backends with SIGKILL, and waits until they have ended.
    pub fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // Stopped, it can't start another backend between listing and killing them.
        process.signal(Signal::STOP);
        let backends = process_tree::children(process.pid());
        process.end(Signal::KILL);
        backends.iter().for_each(|backend| backend.signal(Signal::KILL));
        wait_for(STOP_LIMIT, || !backends.iter().any(|backend| backend.is_alive()));
    }

    /// Like [`Postgres::kill`], for data that will be replaced: also frees the shared memory, which the next start
    /// could not find.
    pub fn lose_power(&mut self) {
        self.kill();
        cluster::release_memory(&self.home);
    }

    /// Stops it ("fast": running statements are cancelled).
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::INT);
            process.wait(STOP_LIMIT);
        }
    }

    /// Restarts it after [`Postgres::kill`] or [`Postgres::stop`], with the same port and data.
    pub fn start_again(&mut self) -> Result<(), Error> {
        self.stop();
        self.launch()
    }

    /// Suspends the whole process tree: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.signal_tree(Signal::STOP);
    }

    /// Resumes it after [`Postgres::pause`].
    pub fn resume(&self) {
        self.signal_tree(Signal::CONT);
    }

    fn signal_tree(&self, signal: Signal) {
        let Some(process) = &self.process else { return };
        process.signal(signal);
        process_tree::children(process.pid()).iter().for_each(|backend| backend.signal(signal));
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
        let mut process = Process::spawn(Launch {
            args: self.arguments(),
            envs: vec![("LC_ALL".into(), "C".into())],
            port: self.port(),
            user: self.user,
            log: Some(self.home.join("postgres.log")),
            // "Immediate": it ends its backends and frees its shared memory, without a checkpoint.
            last_signal: Signal::QUIT,
            grace: Duration::from_secs(8),
            ..Launch::new("PostgreSQL", self.programs.join("postgres"), &self.home)
        })?;
        wait_until(START_LIMIT, "PostgreSQL accepts connections", || {
            process.check_starting()?;
            Ok(cluster::is_ready(&self.home, process.pid()).then_some(()))
        })?;
        self.process = Some(process);
        Ok(())
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut settings = vec![
            ("listen_addresses".to_owned(), self.host().to_owned()),
            ("port".to_owned(), self.port().to_string()),
            ("unix_socket_directories".to_owned(), String::new()),
        ];
        if !self.options.fsync {
            // Shared memory in files of the data folder is removed with the folder, however the server ends.
            let quick =
                [("fsync", "off"), ("full_page_writes", "off"), ("dynamic_shared_memory_type", "mmap")];
            settings.extend(quick.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        settings.extend(access::settings(&self.options));
        settings.extend(self.options.settings.iter().cloned());
        let mut arguments = vec!["-D".into(), self.data_dir().into_os_string()];
        for (name, value) in settings {
            arguments.extend(["-c".into(), format!("{name}={value}").into()]);
        }
        arguments
    }

    fn ensure_database(&self) -> Result<(), Error> {
        let there =
            self.psql_on("postgres", &format!("select 1 from pg_database where datname = '{DATABASE}'"))?;
        if there.trim().is_empty() {
            self.psql_on("postgres", &format!("create database {DATABASE}"))?;
        }
        Ok(())
    }

    /// Runs SQL on one of its databases.
    pub fn psql_on(&self, database: &str, sql: &str) -> Result<String, Error> {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres"]);
        command.args(["-h", self.host(), "-p", &self.port().to_string(), "-d", database, "-c", sql]);
        command.env("PGPASSWORD", self.options.password.as_deref().unwrap_or_default());
        let output = command.stdin(Stdio::null()).output().map_err(Error::io("run psql"))?;
        let output = Error::check("run SQL", output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Suspended backends handle no signal, and the postmaster would wait for them forever.
        self.resume();
        if self.options.fsync {
            // With `fsync`, a regular stop makes a checkpoint, so that the next start needs no recovery.
            self.stop();
        }
        self.process = None;
        if self._temp_dir.is_some() {
            cluster::release_memory(&self.home);
            let _ = fs::remove_dir_all(&self.home);
        }
    }
}

fn lease_for(options: &PostgresOptions) -> Result<Lease, Error> {
    options.port.map_or_else(Lease::take, |port| Ok(Lease::of(port)))
}
