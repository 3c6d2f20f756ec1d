//! `cargo xtask image`: builds and tests the image of `deploy/Dockerfile` without Docker.

mod base;
mod podman;
mod trial;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use devstack::tools;

use crate::release::Release;
use crate::say;
use podman::Podman;
use trial::HealthCheck;

/// The image's name, as in `deploy/compose.yaml`.
const TAG: &str = "localhost/orderd:local";

/// Build the image of deploy/Dockerfile and test it as compose.yaml would run it
///
/// Uses podman, without a daemon; its images stay under target/image. If the registry of the base image can't be
/// reached, debootstrap makes a substitute with this machine's Rust. Then the image runs as its user, without
/// capabilities, on a read-only file system, with secrets from files, against a private PostgreSQL and NATS: it must
/// say its commit and read orders, `verify` must find them, its health check must pass, and it must stop cleanly. Exit
/// code 1 otherwise. Needs root; installs podman and debootstrap if missing.
///
/// Example: cargo xtask image
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Only build it
    #[arg(long)]
    build: bool,
}

/// Tests an image in OCI layout in a tar. PostgreSQL and nats-server must be installed.
pub(crate) fn try_archive(archive: &Path, release: &Release) -> Result<()> {
    let podman = Podman::ready()?;
    let said = podman.output("pull", &["--quiet", &format!("oci-archive:{}", archive.display())])?;
    let image = said.lines().last().unwrap_or_default();
    trial::run(&podman, image, HealthCheck::Command, release)?;
    podman.output("rmi", &["--force", image])?;
    Ok(())
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let release = Release::read()?;
    let podman = Podman::ready()?;
    base::make(&podman)?;
    say("building the image");
    podman.build(TAG, &release.revision)?;
    say(&format!("built {TAG}, {:.1} MB", podman.size(TAG)? as f64 / 1e6));
    if !options.build {
        tools::ensure_postgres(&mut say)?;
        tools::ensure_nats_server(&mut say)?;
        trial::run(&podman, TAG, HealthCheck::OfImage, &release)?;
    }
    Ok(ExitCode::SUCCESS)
}
