//! `--check`: tests the files of a release as users install them.

mod bom;
mod completions;
mod debian;
mod emulated;
mod service;

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use devstack::tools;

use super::{Built, deb};
use crate::release::Release;
use crate::{image, say};

pub(super) fn run(out: &Path, release: &Release, built: &[Built]) -> Result<()> {
    tools::ensure_postgres(&mut say)?;
    tools::ensure_nats_server(&mut say)?;
    for each in built {
        let package = out.join(deb::name(release, each.target));
        debian::lint(&package)?;
        say(&format!("lintian says nothing of {}", package.display()));
        bom::check(&out.join(format!("orderd-{}-{}-linux.cdx.json", release.version, each.target.arch)))?;
        if each.target.is_native() {
            debian::install(&package, release)?;
        } else {
            emulated::run(each, release)?;
        }
    }
    image::try_archive(&out.join(format!("orderd-{}-oci.tar", release.version)), release)
}

/// Runs a command to its end; what it says.
fn output_of<Word: AsRef<str>>(command: &[Word]) -> Result<String> {
    let words: Vec<&str> = command.iter().map(AsRef::as_ref).collect();
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {}", words[0]))?;
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).trim().to_owned());
    ensure!(output.status.success(), "{} ended with {}: {}", words.join(" "), output.status, said.join(" "));
    Ok(said[0].clone())
}
