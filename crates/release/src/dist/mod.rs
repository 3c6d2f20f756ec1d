//! `cargo xtask dist`: builds the files of a release. The same commit gives the same bytes, in any folder.

mod archive;
mod build;
mod chart;
mod deb;
mod image;
mod licences;
mod pedigree;
mod roots;
mod sbom;
mod shell;
mod targets;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use devstack::tools;
use sha2::{Digest, Sha256};

use crate::release::Release;
use crate::say;
use targets::{TARGETS, Target};

/// Build the files of a release
///
/// For x86-64 and aarch64 a static program (musl), as an archive and a .deb; one OCI image for both; a bill of
/// materials for each (CycloneDX); the Helm chart; SHA256SUMS. Zig from PyPI compiles the C parts. Two runs give the
/// same bytes: times in the files are the commit's (or SOURCE_DATE_EPOCH), and paths of this machine are removed. The
/// version is the workspace's, the revision the commit's (or ORDERD_REVISION), with `-dirty` if files have changed
/// since.
///
/// `--check` then tests them: the .deb with lintian and in a Debian root file system, where the program must print its
/// revision and serve; the image against real servers; the bills of materials against their schema. Needs root;
/// installs what is missing.
///
/// Examples: cargo xtask dist
///           cargo xtask dist --target x86_64 --check
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Output folder; an existing one is replaced
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Build for only one architecture: x86_64 or aarch64
    #[arg(long, value_name = "ARCH", value_parser = targets::parse)]
    target: Option<&'static Target>,
    /// Package this program instead of building it; needs --target
    #[arg(long, value_name = "FILE", requires = "target")]
    program: Option<PathBuf>,
    /// Also test the files
    #[arg(long)]
    check: bool,
}

/// A target with its program.
pub(crate) struct Built {
    target: &'static Target,
    program: Vec<u8>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let release = Release::read()?;
    release.warn_of_placeholder();
    let out = options.out.clone().unwrap_or_else(|| tools::workspace().join("target/dist"));
    say(&format!("orderd {} ({}) to {}", release.version, release.revision, out.display()));
    let targets: Vec<_> = match options.target {
        Some(target) => vec![target],
        None => TARGETS.iter().collect(),
    };
    ensure!(
        targets.iter().any(|target| target.is_native()),
        "cannot make a release for another architecture alone: the manual and the completions are what the program says \
         of itself; leave --target away to build for both"
    );
    let mut built = Vec::new();
    for target in targets {
        let file = match &options.program {
            Some(file) => file.clone(),
            None => build::program(target, &release)?,
        };
        let program = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        built.push(Built { target, program });
    }
    let files = make(&release, &built)?;
    write(&out, &files)?;
    if options.check {
        trial::run(&out, &release, &built)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Each file's name and bytes.
fn make(release: &Release, built: &[Built]) -> Result<Vec<(String, Vec<u8>)>> {
    let texts = shell::texts(built, release)?;
    let mut files = Vec::new();
    for each in built {
        let packages = sbom::packages(each.target)?;
        let licences = licences::text(&packages)?;
        let named = format!("orderd-{}-{}-linux", release.version, each.target.arch);
        files.push((
            format!("{named}.tar.gz"),
            archive::of_program(&named, release, each, &texts, &licences)?,
        ));
        files.push((format!("{named}.cdx.json"), sbom::document(release, each.target, &packages)?));
        files.push((deb::name(release, each.target), deb::package(release, each, &texts, &licences)?));
    }
    files.push((format!("orderd-{}-oci.tar", release.version), image::tar(release, built)?));
    files.push((format!("orderd-chart-{}.tgz", release.version), chart::package(release)?));
    files.sort();
    let sums = files.iter().map(|(name, bytes)| format!("{}  {name}\n", hex(&Sha256::digest(bytes))));
    let sums: String = sums.collect();
    files.push(("SHA256SUMS".to_owned(), sums.into_bytes()));
    Ok(files)
}

fn write(out: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    if out.exists() {
        ensure!(
            out.join("SHA256SUMS").exists() || fs::read_dir(out)?.next().is_none(),
            "{} exists, and is not a folder of `cargo xtask dist`",
            out.display()
        );
        fs::remove_dir_all(out).with_context(|| format!("cannot remove {}", out.display()))?;
    }
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    for (name, bytes) in files {
        let file = out.join(name);
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        say(&format!("{:>9.1} kB  {name}", bytes.len() as f64 / 1000.0));
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
