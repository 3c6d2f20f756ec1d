//! The base image of the Dockerfile's build: from the registry, or a substitute made with debootstrap.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use devstack::tools;

use super::podman::Podman;
use crate::say;

/// The substitute: like the registry's image, with this machine's Rust.
const STAND_IN: &str = "localhost/orderd-build-base";
const PACKAGES: &str = "ca-certificates,gcc,libc6-dev";
const RUST: &str = "/usr/local/rust";

/// Makes sure that a base image exists.
pub(super) fn make(podman: &Podman) -> Result<()> {
    let wanted = wanted()?;
    if podman.has(&wanted) || podman.has(STAND_IN) {
        return Ok(());
    }
    say(&format!("fetching {wanted}"));
    match podman.output("pull", &["--quiet", &wanted]) {
        Ok(_) => Ok(()),
        Err(error) => {
            say(&format!("cannot fetch it, a stand-in is made: {error:#}"));
            stand_in(podman, &wanted)
        }
    }
}

/// The flags that make the build use a substitute.
pub(super) fn flags(podman: &Podman) -> Result<Vec<String>> {
    if podman.has(&wanted()?) {
        return Ok(Vec::new());
    }
    Ok(vec!["--from".into(), STAND_IN.into(), "--volume".into(), format!("{}:{RUST}:ro", sysroot()?)])
}

/// The image of the Dockerfile's first FROM.
fn wanted() -> Result<String> {
    let file = tools::workspace().join("deploy/Dockerfile");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let from = text.lines().find_map(|line| line.strip_prefix("FROM ")?.split(' ').next());
    Ok(format!("docker.io/library/{}", from.context("the Dockerfile has no FROM")?))
}

fn sysroot() -> Result<String> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().context("cannot run rustc")?;
    ensure!(output.status.success(), "rustc doesn't say where it is");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Builds the substitute, with the Debian release at the end of the tag.
fn stand_in(podman: &Podman, wanted: &str) -> Result<()> {
    let suite = wanted.rsplit('-').next().unwrap_or_default();
    let debootstrap = tools::ensure_debootstrap(&mut say)?;
    let dir = podman.home().join("base");
    drop(fs::remove_dir_all(&dir));
    say(&format!("making a Debian {suite} with {PACKAGES}"));
    let mut make = Command::new(debootstrap);
    make.args(["--variant=minbase", &format!("--include={PACKAGES}"), suite]).arg(&dir);
    let made = make.stdin(Stdio::null()).output().context("cannot start debootstrap")?;
    if !made.status.success() {
        bail!("debootstrap ended with {}: {}", made.status, String::from_utf8_lossy(&made.stdout).trim());
    }
    import(podman, &dir)?;
    fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))
}

fn import(podman: &Podman, dir: &std::path::Path) -> Result<()> {
    let tar = podman.home().join("base.tar");
    let packed = Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(dir).arg(".").status();
    ensure!(packed.context("cannot start tar")?.success(), "tar can't pack {}", dir.display());
    let path = format!("ENV PATH={RUST}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let tar_text = tar.display().to_string();
    let cargo = "ENV CARGO_HOME=/usr/local/cargo";
    podman.output("import", &["--change", &path, "--change", cargo, &tar_text, STAND_IN])?;
    fs::remove_file(&tar).with_context(|| format!("cannot remove {}", tar.display()))
}
