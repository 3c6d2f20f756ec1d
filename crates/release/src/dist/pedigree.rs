//! What a library in `vendor/` was before we changed it, and the changes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use devstack::tools;
use serde_json::{Value, json};

use super::shell::read;

/// Of a library that we changed.
pub(super) struct Pedigree {
    /// SHA-256 of the published archive.
    checksum: String,
    /// Where its authors keep it, with the commit and the folder.
    source: String,
    /// Each file of `vendor/patches`, in order.
    patches: Vec<String>,
}

impl Pedigree {
    /// Of a package without a registry; none: it is our own.
    pub(super) fn read(name: &str, folder: &Path, repository: &str) -> Result<Option<Self>> {
        if !folder.starts_with(tools::workspace().join("vendor")) {
            return Ok(None);
        }
        let version = text(&format!("vendor/{name}.version"))?;
        let checksum = version.split_whitespace().nth(1);
        let checksum = checksum.with_context(|| format!("vendor/{name}.version has no SHA-256"))?.to_owned();
        let origin = text(&format!("vendor/{name}/.cargo_vcs_info.json"))?;
        let origin: Value = serde_json::from_str(&origin)
            .with_context(|| format!("vendor/{name}/.cargo_vcs_info.json is not JSON"))?;
        let member = |pointer: &str| {
            let value = origin.pointer(pointer).and_then(Value::as_str);
            value.with_context(|| format!("vendor/{name}/.cargo_vcs_info.json has no {pointer}"))
        };
        let source = format!("git+{repository}@{}#{}", member("/git/sha1")?, member("/path_in_vcs")?);
        Ok(Some(Self { checksum, source, patches: patches()? }))
    }

    /// As a package URL has it: it does not name the archive in the registry, whose bytes are others.
    pub(super) fn purl(&self, reference: &str) -> String {
        let source = self.source.replace('+', "%2B").replace('@', "%40").replace('#', "%23");
        format!("{reference}?vcs_url={source}")
    }

    pub(super) fn document(&self, ancestor: Value) -> Value {
        let mut ancestor = ancestor;
        ancestor["hashes"] = json!([{"alg": "SHA-256", "content": self.checksum}]);
        let patches = self.patches.iter().map(|patch| {
            json!({"type": "unofficial", "diff": {"text": {"contentType": "text/x-diff", "content": patch}}})
        });
        json!({
            "ancestors": [ancestor],
            "patches": patches.collect::<Vec<_>>(),
            "notes": "without its tests, examples and benches; vendor/README.md of orderd gives the reason for each patch",
        })
    }
}

fn patches() -> Result<Vec<String>> {
    let folder = tools::workspace().join("vendor/patches");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<_> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.ends_with(".patch"));
    names.sort();
    names.iter().map(|name| text(&format!("vendor/patches/{name}"))).collect()
}

fn text(file: &str) -> Result<String> {
    String::from_utf8(read(file)?).with_context(|| format!("{file} is not text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_library_is_not_the_one_of_the_registry() {
        let folder = tools::workspace().join("vendor/async-nats");
        let read = |folder: &Path| Pedigree::read("async-nats", folder, "https://example.com/nats").unwrap();
        let pedigree = read(&folder).unwrap();
        let purl = pedigree.purl("pkg:cargo/async-nats@1.0.0");
        let (reference, source) = purl.split_once("?vcs_url=").unwrap();
        assert_eq!(reference, "pkg:cargo/async-nats@1.0.0");
        assert!(source.starts_with("git%2Bhttps://example.com/nats%40"), "{source}");
        assert!(source.ends_with("%23async-nats"), "{source}");
        let document = pedigree.document(json!({"purl": reference}));
        assert_eq!(document["ancestors"][0]["purl"], reference);
        let diff = document["patches"][0]["diff"]["text"]["content"].as_str().unwrap();
        assert!(diff.starts_with("diff --git a/src/connection.rs"), "{diff}");
        assert!(read(&tools::workspace().join("crates/orderd")).is_none());
    }
}
