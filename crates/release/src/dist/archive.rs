//! Reproducible archives: sorted, with one time, owned by root.

use std::io::Write;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

use super::shell::Texts;
use super::{Built, shell};
use crate::release::Release;

/// A file or a folder in an archive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Without a leading slash; a folder's ends with a slash.
    path: String,
    mode: u32,
    bytes: Vec<u8>,
}

impl Entry {
    pub(super) fn file(path: impl Into<String>, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), mode, bytes: bytes.into() }
    }

    fn folder(path: String) -> Self {
        Self { path, mode: 0o755, bytes: Vec::new() }
    }

    pub(super) fn is_folder(&self) -> bool {
        self.path.ends_with('/')
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Adds the folders of the files, each once and before its contents.
pub(super) fn with_folders(files: &[Entry]) -> Vec<Entry> {
    let mut all = files.to_vec();
    for file in files {
        let slashes = file.path.char_indices().filter(|(_, c)| *c == '/');
        all.extend(slashes.map(|(at, _)| Entry::folder(file.path[..=at].to_owned())));
    }
    all.sort();
    all.dedup_by(|one, other| one.path == other.path);
    all
}

/// A tar of these entries. `prefix` precedes each path: dpkg wants `./`.
pub(super) fn tar(entries: &[Entry], prefix: &str, epoch: u64) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(if entry.is_folder() { EntryType::Directory } else { EntryType::Regular });
        header.set_mode(entry.mode);
        header.set_mtime(epoch);
        header.set_size(entry.bytes.len() as u64);
        header.set_username("root")?;
        header.set_groupname("root")?;
        let path = format!("{prefix}{}", entry.path);
        // Not with `append_data`, which drops a `./`.
        let name = &mut header.as_gnu_mut().context("no header of GNU's")?.name;
        let field =
            name.get_mut(..path.len()).with_context(|| format!("{path} is too long for an archive"))?;
        field.copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, entry.bytes.as_slice())?;
    }
    Ok(builder.into_inner()?)
}

/// Compresses without gzip's time and name.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// The archive with the program and its files, for manual installation.
pub(super) fn of_program(
    folder: &str,
    release: &Release,
    built: &Built,
    texts: &Texts,
    licences: &str,
) -> Result<Vec<u8>> {
    let at = |path: &str| format!("{folder}/{path}");
    let mut files = vec![
        Entry::file(at("orderd"), 0o755, built.program.clone()),
        Entry::file(at("LICENSES-OF-LIBRARIES"), 0o644, licences),
    ];
    for (name, source) in [
        ("README.md", "README.md"),
        ("INSTALL.md", "docs/INSTALL.md"),
        ("CHANGELOG.md", "CHANGELOG.md"),
        ("LICENSE-MIT", "LICENSE-MIT"),
        ("LICENSE-APACHE", "LICENSE-APACHE"),
        ("orderd.service", "deploy/orderd.service"),
        ("orderd.env", "deploy/debian/orderd.env"),
    ] {
        files.push(Entry::file(at(name), 0o644, shell::read(source)?));
    }
    files.extend(
        texts.manual.iter().map(|(name, text)| Entry::file(at(&format!("man/{name}")), 0o644, text.clone())),
    );
    files.extend(
        texts
            .completions
            .iter()
            .map(|(shell, text)| Entry::file(at(&format!("completions/{shell}")), 0o644, text.clone())),
    );
    gzip(&tar(&with_folders(&files), "", release.epoch)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_in_which_files_are_named_changes_no_byte() {
        let [a, b] = ["usr/bin/a", "usr/b"].map(|path| Entry::file(path, 0o644, path));
        let one = with_folders(&[a.clone(), b.clone()]);
        assert_eq!(
            one.iter().map(Entry::path).collect::<Vec<_>>(),
            ["usr/", "usr/b", "usr/bin/", "usr/bin/a"]
        );
        let tars =
            [one, with_folders(&[b, a])].map(|entries| gzip(&tar(&entries, "./", 1).unwrap()).unwrap());
        assert_eq!(tars[0], tars[1]);
    }

    #[test]
    fn a_path_that_is_too_long_is_refused_and_not_cut() {
        let entry = Entry::file("a".repeat(101), 0o644, "");
        assert!(tar(&[entry], "", 1).is_err());
    }
}
