//! Tests the package in a minimal Debian: installs, reads its documents, runs, upgrades and removes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use devstack::tools;

use super::service::Servers;
use super::{completions, output_of};
use crate::release::Release;
use crate::say;

/// Beside the essential packages and the shells: what the package depends on, and what reads its manual.
const PACKAGES: &str = "adduser,man-db";

/// The settings file, which the user changes.
const SETTINGS: &str = "etc/orderd/orderd.env";

/// Seconds that a command with a terminal may wait for what it wants to see there.
const TERMINAL: &str = "60";

/// Runs its arguments in the folder that is the first.
const WITH_TERMINALS: &str =
    r#"mount -t devpts -o newinstance,ptmxmode=0666 devpts "$0/dev/pts" && exec chroot "$0" "$@""#;

/// Every finding of lintian, from errors to hints, is an error.
pub(super) fn lint(package: &Path) -> Result<()> {
    let lintian = tools::ensure_lintian(&mut say)?;
    let mut lint = Command::new(lintian);
    lint.args(["--allow-root", "--info", "--display-info", "--fail-on", "error,warning,info"]);
    // It finds random misspelt words in machine code, different ones in each build; typos checks the sources.
    lint.args(["--suppress-tags", "spelling-error-in-binary"]).arg(package);
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
    let wanted = release.says();
    ensure!(version == wanted, "the installed program says {version:?}, not {wanted:?}");
    say(&format!("installed in a folder of Debian {}: {version}", debian.suite));
    debian.run(&["getent", "passwd", "orderd"]).context("the package makes no user")?;
    let secrets = debian.run(&["stat", "--format=%a %U %G", "/etc/orderd/secrets"])?;
    ensure!(secrets == "750 root orderd", "/etc/orderd/secrets is {secrets}");
    read(&debian)?;
    completions::check(&debian)?;
    serve(&debian)?;
    upgrade(&debian)?;
    debian.run(&["dpkg", "--purge", "orderd"])?;
    ensure!(!debian.folder.join("etc/orderd").exists(), "/etc/orderd stays after the package is purged");
    ensure!(!debian.folder.join("usr/bin/orderd").exists(), "the program stays after the package is purged");
    say("upgraded with its settings kept, and purged");
    debian.remove()
}

/// `man` finds the pages.
fn read(debian: &Debian) -> Result<()> {
    for (page, wanted) in [("orderd", "dead-letters"), ("orderd-serve", "PG_HOST")] {
        let text = debian.run(&["man", page])?;
        ensure!(text.contains(wanted), "man {page} says nothing of {wanted}: {text}");
    }
    say("man finds its pages");
    Ok(())
}

/// An upgrade keeps the user's settings.
fn upgrade(debian: &Debian) -> Result<()> {
    let settings = debian.folder.join(SETTINGS);
    fs::write(&settings, "PG_HOST=db.example.com\n")?;
    debian.run(&["dpkg", "--install", "/orderd.deb"])?;
    ensure!(fs::read_to_string(&settings)? == "PG_HOST=db.example.com\n", "an upgrade replaces orderd.env");
    Ok(())
}

/// The service runs as the package's user, with the package's settings file, inside this Debian.
fn serve(debian: &Debian) -> Result<()> {
    let servers = Servers::start()?;
    let file = debian.folder.join(SETTINGS);
    let settings = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    fs::write(&file, settings + &servers.settings().join("\n") + "\n")
        .with_context(|| format!("cannot write {}", file.display()))?;
    servers.try_service(|args| debian.of_service(args))
}

pub(super) struct Debian {
    folder: PathBuf,
    suite: String,
}

impl Debian {
    /// Uses this machine's version of Debian, whose packages are reachable.
    fn make() -> Result<Self> {
        let debootstrap = tools::ensure_debootstrap(&mut say)?;
        let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
        let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let suite = suite.context("/etc/os-release says no VERSION_CODENAME")?.to_owned();
        let folder = tools::workspace().join("target/dist-debian");
        drop(fs::remove_dir_all(&folder));
        say(&format!("making a Debian {suite}"));
        let mut make = Command::new(debootstrap);
        make.args(["--variant=minbase", &format!("--include={PACKAGES},{}", completions::PACKAGES), &suite])
            .arg(&folder)
            .stdin(Stdio::null());
        let made = make.output().context("cannot start debootstrap")?;
        let words = String::from_utf8_lossy(&made.stdout);
        ensure!(made.status.success(), "debootstrap ended with {}: {}", made.status, words.trim());
        Ok(Self { folder, suite })
    }

    fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }

    /// Runs a command as root, and returns its output.
    pub(super) fn run(&self, command: &[&str]) -> Result<String> {
        let folder = self.folder.display().to_string();
        output_of(&[&["chroot", &folder, "env", "DEBIAN_FRONTEND=noninteractive"], command].concat())
    }

    /// A command as root that opens terminals. They are mounted for it alone: nothing stays in the folder.
    pub(super) fn run_with_terminals(&self, command: &[&str]) -> Result<String> {
        let folder = self.folder.display().to_string();
        output_of(
            &[&["timeout", TERMINAL, "unshare", "--mount", "sh", "-c", WITH_TERMINALS, &folder], command]
                .concat(),
        )
    }

    /// The command that runs `orderd` as the unit does: as the package's user, with the settings of the package's file.
    fn of_service(&self, args: &[&str]) -> Vec<String> {
        let folder = self.folder.display().to_string();
        let with_settings = format!("set -a; . /{SETTINGS}; exec orderd \"$@\"");
        let mut command =
            ["chroot", "--userspec=orderd:orderd", &folder, "env", "-i", "PATH=/usr/bin:/bin"].to_vec();
        command.extend(["sh", "-c", &with_settings, "sh"]);
        command.extend(args);
        command.into_iter().map(ToOwned::to_owned).collect()
    }
}
