//! A private PostgreSQL.
//!
//! It listens on 127.0.0.1 only, has the database `demo1`, the superuser `postgres`, and its data in
//! a folder of its own. Tests turn `fsync` off and start from a copied template.

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
/// Recovery after a kill replays what was written since the last checkpoint.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);
const PORT_TRIES: usize = 20;

/// How a PostgreSQL is to be.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Its port; none: a free one.
    pub port: Option<u16>,
    /// Whether it waits for the disk. Without, it survives its own end but not the machine's.
    pub fsync: bool,
    /// Whether a new folder is filled by copying a template kept for this machine: far faster.
    pub template: bool,
    /// More settings, as of `postgresql.conf`.
    pub settings: Vec<(String, String)>,
    /// The password of `postgres`, then demanded as SCRAM; none: every connection is trusted.
    pub password: Option<String>,
    /// A certificate; connections without TLS are then refused, unless a rule lets them in.
    pub tls: Option<Tls>,
    /// Lines of `pg_hba.conf` that stand before all others.
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
    /// For tests: no waiting for the disk, a start from the template.
    pub fn quick() -> Self {
        Self { fsync: false, template: true, ..Self::default() }
    }
}

/// A running PostgreSQL, ended when this is dropped.
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
    /// Starts it on the data of a folder, which is filled where it is empty.
    pub fn start(dir: &Path, options: PostgresOptions) -> Result<Self, Error> {
        let user = User::of_postgres()?;
        let home = run_as::place(dir, user)?;
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

    /// Starts it in a temporary folder that goes when it goes.
    pub fn temporary(options: PostgresOptions) -> Result<Self, Error> {
        let temp_dir = TempDir::new()?;
        let mut postgres = Self::start(&temp_dir.path().join("postgres"), options)?;
        postgres._temp_dir = Some(temp_dir);
        Ok(postgres)
    }

    /// Starts a standby of this one in a temporary folder: it has what this one has, and follows it.
    pub fn standby(&self) -> Result<Self, Error> {
        self.standby_on(Lease::take()?, None)
    }

    /// Ends this one permanently, and starts a standby of another in its place: on its port.
    pub fn follow(&mut self, primary: &Self) -> Result<(), Error> {
        self.kill();
        let port = self.port();
        let lease = std::mem::replace(&mut self.lease, Lease::of(port));
        *self = primary.standby_on(lease, Some(port))?;
        Ok(())
    }

    fn standby_on(&self, lease: Lease, port: Option<u16>) -> Result<Self, Error> {
        let temp_dir = TempDir::new()?;
        let home = run_as::place(&temp_dir.path().join("postgres"), self.user)?;
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

    /// From now on a commit waits until a standby has it too. Returns when one is there.
    pub fn wait_for_standby(&self) -> Result<(), Error> {
        self.psql("alter system set synchronous_standby_names = '*'")?;
        self.psql("select pg_reload_conf()")?;
        self.wait_for_follower("sync_state = 'sync'")
    }

    /// Returns when a standby has caught up, for which no commit waits.
    pub fn wait_for_asynchronous_standby(&self) -> Result<(), Error> {
        self.wait_for_follower("state = 'streaming'")
    }

    fn wait_for_follower(&self, condition: &str) -> Result<(), Error> {
        let count = format!("select count(*) from pg_stat_replication where {condition}");
        wait_until(START_LIMIT, "a standby follows", || Ok((self.psql(&count)?.trim() != "0").then_some(())))
    }

    /// A standby gets nothing more from its primary, as where the network between them is cut.
    pub fn stop_following(&self) -> Result<(), Error> {
        // Nobody listens at this port.
        self.psql("alter system set primary_conninfo = 'host=127.0.0.1 port=1'")?;
        self.psql("select pg_reload_conf()")?;
        let count = "select count(*) from pg_stat_wal_receiver where status = 'streaming'";
        wait_until(
            START_LIMIT,
            "a standby is cut off",
            || Ok((self.psql(count)?.trim() == "0").then_some(())),
        )
    }

    /// Makes a standby the one that takes writes.
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

    /// The address of its database, with the user and, where there is one, the password.
    pub fn url(&self) -> String {
        let password = self.options.password.as_ref().map(|word| format!(":{word}")).unwrap_or_default();
        format!("postgres://postgres{password}@{}:{}/{DATABASE}", self.host(), self.port())
    }

    /// The postmaster's process id; 0 while it is stopped.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::pid)
    }

    /// Where its data really are.
    pub fn data_dir(&self) -> PathBuf {
        cluster::data_of(&self.home)
    }

    /// What it has logged since its last start.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Runs SQL on its database and gives the bare rows, columns separated by `|`.
    pub fn psql(&self, sql: &str) -> Result<String, Error> {
        self.psql_on(DATABASE, sql)
    }

    /// Changes the password that it demands, and that [`Postgres::psql`] and [`Postgres::url`] use.
    pub fn set_password(&mut self, password: &str) -> Result<(), Error> {
        self.psql(&format!("alter user postgres password '{}'", password.replace('\'', "''")))?;
        self.options.password = Some(password.to_owned());
        Ok(())
    }

    /// Ends it as a crash does: SIGKILL to the postmaster and all its backends, which are gone when
    /// this returns.
    pub fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // Stopped, it can't make another backend between the look at them and their end.
        process.signal(Signal::STOP);
        let backends = process_tree::children(process.pid());
        process.end(Signal::KILL);
        backends.iter().for_each(|backend| backend.signal(Signal::KILL));
        wait_for(STOP_LIMIT, || !backends.iter().any(|backend| backend.is_alive()));
    }

    /// Ends it as [`Postgres::kill`] does, before its data go too: its shared memory is given back, which its next
    /// start would do if it knew of it.
    pub fn lose_power(&mut self) {
        self.kill();
        cluster::release_memory(&self.home);
    }

    /// Ends it in good order ("fast": running statements are broken off, what is committed stays).
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::INT);
            process.wait(STOP_LIMIT);
        }
    }

    /// Starts it again after [`Postgres::kill`] or [`Postgres::stop`], on the same port and data.
    pub fn start_again(&mut self) -> Result<(), Error> {
        self.stop();
        self.launch()
    }

    /// Stops the whole process tree in the middle of its work: connections stay open,
    /// nothing answers.
    pub fn pause(&self) {
        self.signal_tree(Signal::STOP);
    }

    /// Lets a paused one continue.
    pub fn resume(&self) {
        self.signal_tree(Signal::CONT);
    }

    fn signal_tree(&self, signal: Signal) {
        let Some(process) = &self.process else { return };
        process.signal(signal);
        process_tree::children(process.pid()).iter().for_each(|backend| backend.signal(signal));
    }

    /// With a port of our own choice, another one is tried when another process was faster.
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
            // "Immediate": it ends its backends and gives its shared memory back, without a checkpoint.
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
            // Shared memory in files of the data folder goes with it, however the server ends.
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
        // Paused backends hear no signal; the postmaster would wait for them in vain.
        self.resume();
        if self.options.fsync {
            // Data worth syncing are worth a checkpoint: the next start has nothing to recover.
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
