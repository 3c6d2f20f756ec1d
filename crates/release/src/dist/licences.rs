//! The licences of the program's libraries, which must be distributed with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::sbom::{Origin, Package};

/// Prefixes of their file names.
const NAMES: [&str; 6] = ["license", "licence", "copying", "copyright", "notice", "unlicense"];

/// Each text once, after the libraries that have it.
pub(super) fn text(packages: &[Package]) -> Result<String> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut without = Vec::new();
    for package in packages.iter().filter(|package| package.name != "orderd") {
        let changed = match package.origin {
            Origin::Changed(_) => ", changed",
            Origin::Workspace | Origin::Registry => "",
        };
        let named = format!("{} {}{changed}", package.name, package.version);
        let found = of_package(package)?;
        if found.is_empty() && !matches!(package.origin, Origin::Workspace) {
            without.push(format!("{named}: {}", package.licence));
        }
        for text in found {
            texts.entry(text).or_default().push(named.clone());
        }
    }
    let mut all: Vec<_> = texts.into_iter().map(|(text, packages)| (packages, text)).collect();
    all.sort();
    let parts = all.into_iter().map(|(packages, text)| format!("==== {}\n\n{text}\n\n", packages.join(", ")));
    let mut document = parts.collect::<String>();
    if !without.is_empty() {
        document.push_str(&format!(
            "==== Libraries without a licence file, and their licences\n\n{}\n",
            without.join("\n")
        ));
    }
    Ok(document)
}

fn of_package(package: &Package) -> Result<Vec<String>> {
    let folder = &package.folder;
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    let is_licence = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        NAMES.iter().any(|start| name.starts_with(start))
    };
    let read = |path: &PathBuf| -> Result<String> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).trim().replace("\r\n", "\n"))
    };
    files.iter().filter(is_licence).map(read).collect()
}
