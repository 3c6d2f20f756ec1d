//! `cargo xtask image`: the image that `deploy/Dockerfile` describes, built and tried without Docker.

mod base;
mod podman;
mod trial;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use devstack::tools;

use crate::say;
use podman::Podman;
use trial::HealthCheck;

/// What the image is called, as in `deploy/compose.yaml`.
const TAG: &str = "localhost/orderd:local";

/// Build deploy/Dockerfile's image and try it as compose.yaml would run it
///
/// By podman, without a daemon; its images stay under target/image. Where the registry of the
/// image that the Dockerfile builds in can't be reached, Debian's debootstrap makes a stand-in for
/// it, with the Rust of this machine. Then the image runs as its user, without capabilities, on a
/// read-only file system, with secrets from files, against a private PostgreSQL and NATS: it takes
/// orders, `verify` finds them, its health check passes, and it stops as it should. Exit code 1
/// where one of these is not so. As root only; installs podman and debootstrap if missing.
///
/// Example: cargo xtask image
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Only build it
    #[arg(long)]
    build: bool,
}

/// Tries an image that is in OCI's layout in a tar.
pub(crate) fn try_archive(archive: &Path) -> Result<()> {
    let podman = Podman::ready()?;
    let said = podman.output("pull", &["--quiet", &format!("oci-archive:{}", archive.display())])?;
    let image = said.lines().last().unwrap_or_default();
    tools::ensure_postgres(&mut say)?;
    tools::ensure_nats_server(&mut say)?;
    trial::run(&podman, image, HealthCheck::Command)?;
    podman.output("rmi", &["--force", image])?;
    Ok(())
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let podman = Podman::ready()?;
    base::make(&podman)?;
    say("building the image");
    podman.build(TAG)?;
    say(&format!("built {TAG}, {:.1} MB", podman.size(TAG)? as f64 / 1e6));
    if !options.build {
        tools::ensure_postgres(&mut say)?;
        tools::ensure_nats_server(&mut say)?;
        trial::run(&podman, TAG, HealthCheck::OfImage)?;
    }
    Ok(ExitCode::SUCCESS)
}
