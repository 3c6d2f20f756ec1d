//! `--check`: the files of a release, tried as those do who install them.

mod bom;
mod debian;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use devstack::{TempDir, tools};

use super::release::Release;
use super::{Built, deb};
use crate::{image, say};

pub(super) fn run(out: &Path, release: &Release, built: &[Built]) -> Result<()> {
    for each in built {
        let package = out.join(deb::name(release, each.target));
        debian::lint(&package)?;
        say(&format!("lintian says nothing of {}", package.display()));
        bom::check(&out.join(format!("orderd-{}-{}-linux.cdx.json", release.version, each.target.arch)))?;
        if each.target.is_native() {
            debian::install(&package, release)?;
        } else {
            emulate(each, release)?;
        }
    }
    image::try_archive(&out.join(format!("orderd-{}-oci.tar", release.version)))
}

/// A program of another architecture says at least which it is.
fn emulate(built: &Built, release: &Release) -> Result<()> {
    let qemu = tools::ensure_qemu(built.target.arch, &mut say)?;
    let temp_dir = TempDir::new()?;
    let program = temp_dir.path().join("orderd");
    std::fs::write(&program, &built.program)?;
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let output = std::process::Command::new(qemu).arg(&program).arg("--version").output();
    let output = output.context("cannot start QEMU")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wanted = format!("orderd {} ({})\n", release.version, release.revision);
    ensure!(said == wanted, "under QEMU the program for {} says {said:?}, not {wanted:?}", built.target.arch);
    say(&format!("the program for {} runs under QEMU: {}", built.target.arch, said.trim()));
    Ok(())
}
