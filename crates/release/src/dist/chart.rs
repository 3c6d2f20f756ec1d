//! The Helm chart as Helm packs it, except for the time; symbolic links into the repository become files.

use std::path::Path;

use anyhow::{Context, Result};
use devstack::tools;

use super::archive::{self, Entry};
use crate::release::Release;

const CHART: &str = "deploy/helm/orderd";

pub(super) fn package(release: &Release) -> Result<Vec<u8>> {
    let mut files = Vec::new();
    collect(&tools::workspace().join(CHART), "orderd", &mut files)?;
    archive::gzip(&archive::tar(&archive::with_folders(&files), "", release.epoch)?)
}

fn collect(folder: &Path, to: &str, files: &mut Vec<Entry>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = format!("{to}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            collect(&path, &name, files)?;
        } else {
            let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            files.push(Entry::file(name, 0o644, bytes));
        }
    }
    Ok(())
}
