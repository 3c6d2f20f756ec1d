//! The package in a Debian that has nothing but what every one has: installed, run, installed again, removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use devstack::{
    Launch, Nats, NatsOptions, Postgres, PostgresOptions, Process, Signal, TempDir, free_port, tools,
    wait_for,
};

use super::super::release::Release;
use crate::say;

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(15);
const ORDERS: usize = 100;

/// What lintian says of the package, from errors to hints, is an error.
pub(super) fn lint(package: &Path) -> Result<()> {
    let lintian = tools::ensure_lintian(&mut say)?;
    let mut lint = Command::new(lintian);
    lint.args(["--allow-root", "--info", "--display-info", "--fail-on", "error,warning,info"]).arg(package);
    let output = lint.stdin(Stdio::null()).output().context("cannot start lintian")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && said.trim().is_empty(), "lintian on {}:\n{said}", package.display());
    Ok(())
}

pub(super) fn install(package: &Path, release: &Release) -> Result<()> {
    let debian = Debian::make()?;
    let inside = debian.folder.join("orderd.deb");
    fs::copy(package, &inside).with_context(|| format!("cannot copy {}", package.display()))?;
    debian.run(&["dpkg", "--install", "/orderd.deb"])?;
    let version = debian.run(&["orderd", "--version"])?;
    let wanted = format!("orderd {} ({})", release.version, release.revision);
    ensure!(version == wanted, "the installed program says {version:?}, not {wanted:?}");
    say(&format!("installed in a folder of Debian {}: {version}", debian.suite));
    debian.run(&["getent", "passwd", "orderd"]).context("the package makes no user")?;
    let secrets = debian.run(&["stat", "--format=%a %U %G", "/etc/orderd/secrets"])?;
    ensure!(secrets == "750 root orderd", "/etc/orderd/secrets is {secrets}");
    serve(&debian)?;
    upgrade(&debian)?;
    debian.run(&["dpkg", "--purge", "orderd"])?;
    ensure!(!debian.folder.join("etc/orderd").exists(), "/etc/orderd stays after the package is purged");
    ensure!(!debian.folder.join("usr/bin/orderd").exists(), "the program stays after the package is purged");
    say("upgraded with its settings kept, and purged");
    debian.remove()
}

/// Settings that the user has changed stay.
fn upgrade(debian: &Debian) -> Result<()> {
    let settings = debian.folder.join("etc/orderd/orderd.env");
    fs::write(&settings, "PG_HOST=db.example.com\n")?;
    debian.run(&["dpkg", "--install", "/orderd.deb"])?;
    ensure!(fs::read_to_string(&settings)? == "PG_HOST=db.example.com\n", "an upgrade replaces orderd.env");
    Ok(())
}

/// The service takes orders as the package's user, with no more than the folder has.
fn serve(debian: &Debian) -> Result<()> {
    let postgres = Postgres::temporary(PostgresOptions::quick())?;
    let nats = Nats::temporary(NatsOptions::default())?;
    let temp_dir = TempDir::new()?;
    let http = free_port();
    let settings = [
        format!("HTTP_ADDR=127.0.0.1:{http}"),
        format!("NATS_PORT={}", nats.port()),
        format!("PG_PORT={}", postgres.port()),
    ];
    let mut launch = Launch::new("the installed orderd", "chroot", temp_dir.path());
    launch.args = debian.arguments(&settings, &["orderd", "serve"]).into_iter().map(Into::into).collect();
    launch.log = Some(temp_dir.path().join("log"));
    launch.grace = STOP;
    let mut service = Process::spawn(launch)?;
    let orderd = |args: &[&str]| debian.run_with(&settings, args);
    let taken = || -> Result<()> {
        ensure!(wait_for(START, || orderd(&["orderd", "check"]).is_ok()), "it does not get ready");
        orderd(&["orderd", "publish", "--count", &ORDERS.to_string()])?;
        let rows = || postgres.psql("select count(*) from public.orders2").unwrap_or_default();
        ensure!(wait_for(START, || rows().trim() == ORDERS.to_string()), "{} rows", rows().trim());
        orderd(&["orderd", "verify"])?;
        Ok(())
    };
    if let Err(error) = taken() {
        bail!("{error:#}; its log: {}", service.log());
    }
    let status = service.end(Signal::TERM).and_then(|status| status.code());
    ensure!(status == Some(0), "it stopped with {status:?}: {}", service.log());
    say(&format!("took {ORDERS} orders, verified them, stopped with 0"));
    Ok(())
}

struct Debian {
    folder: PathBuf,
    suite: String,
}

impl Debian {
    /// Of this machine's version; its packages can be had, then.
    fn make() -> Result<Self> {
        let debootstrap = tools::ensure_debootstrap(&mut say)?;
        let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
        let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let suite = suite.context("/etc/os-release says no VERSION_CODENAME")?.to_owned();
        let folder = tools::workspace().join("target/dist-debian");
        drop(fs::remove_dir_all(&folder));
        say(&format!("making a Debian {suite}"));
        let mut make = Command::new(debootstrap);
        make.args(["--variant=minbase", "--include=adduser", &suite]).arg(&folder).stdin(Stdio::null());
        let made = make.output().context("cannot start debootstrap")?;
        let words = String::from_utf8_lossy(&made.stdout);
        ensure!(made.status.success(), "debootstrap ended with {}: {}", made.status, words.trim());
        Ok(Self { folder, suite })
    }

    fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }

    /// A command as root; what it says.
    fn run(&self, command: &[&str]) -> Result<String> {
        let mut chroot = Command::new("chroot");
        chroot.arg(&self.folder).args(command).env("DEBIAN_FRONTEND", "noninteractive");
        said(chroot, command)
    }

    /// A command as the package's user, with these settings.
    fn run_with(&self, settings: &[String], command: &[&str]) -> Result<String> {
        let mut chroot = Command::new("chroot");
        chroot.args(self.arguments(settings, command));
        said(chroot, command)
    }

    /// Of chroot.
    fn arguments(&self, settings: &[String], command: &[&str]) -> Vec<String> {
        let mut arguments = vec!["--userspec=orderd:orderd".to_owned(), self.folder.display().to_string()];
        arguments.extend(["env".to_owned(), "-i".to_owned(), "PATH=/usr/bin:/bin".to_owned()]);
        arguments.extend(settings.iter().cloned());
        arguments.extend(command.iter().map(|&word| word.to_owned()));
        arguments
    }
}

fn said(mut command: Command, what: &[&str]) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context("cannot start chroot")?;
    let words =
        [&output.stdout, &output.stderr].map(|words| String::from_utf8_lossy(words).trim().to_owned());
    ensure!(output.status.success(), "{} ended with {}: {}", what.join(" "), output.status, words.join(" "));
    Ok(words[0].clone())
}
