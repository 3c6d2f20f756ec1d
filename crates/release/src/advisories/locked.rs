//! The crates that the lock files name.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustsec::Lockfile;
use semver::Version;

/// Folders without lock files that we build from: a vendored crate's lock file is its authors'.
const PASSED_OVER: [&str; 2] = ["target", "vendor"];

/// A crate of a lock file.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: Version,
}

pub(super) struct Locked {
    /// From the workspace's root.
    pub(super) files: Vec<String>,
    /// From the registry or vendored, each once.
    pub(super) crates: BTreeSet<Crate>,
    /// Names of the folders in `vendor`.
    pub(super) vendored: Vec<String>,
}

impl Locked {
    /// Every lock file at the root or one folder below.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let vendored = folders(&root.join("vendor"), "Cargo.toml")?;
        let mut files = vec!["Cargo.lock".to_owned()];
        let below = folders(root, "Cargo.lock")?;
        let ours = below.iter().filter(|name| !PASSED_OVER.contains(&name.as_str()));
        files.extend(ours.map(|name| format!("{name}/Cargo.lock")));
        let mut crates = BTreeSet::new();
        for file in &files {
            let lock = Lockfile::load(root.join(file)).with_context(|| format!("cannot read {file}"))?;
            // Neither our crates nor vendored ones have a source.
            let others = lock.packages.into_iter().filter(|package| {
                package.source.is_some() || vendored.iter().any(|name| name == package.name.as_str())
            });
            crates.extend(
                others.map(|package| Crate { name: package.name.to_string(), version: package.version }),
            );
        }
        if let Some(unused) = vendored.iter().find(|name| !crates.iter().any(|krate| krate.name == **name)) {
            bail!("vendor/{unused} is in no lock file, so that its version is unknown");
        }
        Ok(Self { files, crates, vendored })
    }
}

/// Sorted names of the folders in this one that have such a file.
fn folders(dir: &Path, file: &str) -> Result<Vec<String>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", dir.display()))?.path();
        if path.join(file).is_file()
            && let Some(name) = path.file_name()
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
