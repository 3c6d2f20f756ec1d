//! An image for every engine: an OCI layout in a tar, for both architectures. Built without an engine, which would add
//! times and its name.

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::archive::{self, Entry};
use super::{Built, hex, roots};
use crate::release::Release;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

const SECOND: u64 = 1_000_000_000;

/// An unprivileged user, as in `deploy/Dockerfile`.
const USER: &str = "65532:65532";

pub(super) fn tar(release: &Release, built: &[Built]) -> Result<Vec<u8>> {
    let mut blobs = Vec::new();
    let mut manifests = Vec::new();
    for each in built {
        let mut manifest = manifest(release, each, &mut blobs)?;
        manifest["platform"] = json!({"architecture": each.target.debian, "os": "linux"});
        manifests.push(manifest);
    }
    // A nested index, so that the name refers to all architectures.
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let mut index = blob(&mut blobs, INDEX, index.to_string().into_bytes());
    index["annotations"] = json!({"org.opencontainers.image.ref.name": release.version});
    let top = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [index]});
    blobs.push(Entry::file("index.json", 0o644, top.to_string()));
    blobs.push(Entry::file("oci-layout", 0o644, json!({"imageLayoutVersion": "1.0.0"}).to_string()));
    archive::tar(&archive::with_folders(&blobs), "", release.epoch)
}

/// Adds the blobs of an architecture, and returns its descriptor.
fn manifest(release: &Release, built: &Built, blobs: &mut Vec<Entry>) -> Result<Value> {
    let files = [
        Entry::file("etc/ssl/certs/ca-certificates.crt", 0o644, roots::pem()),
        Entry::file("usr/bin/orderd", 0o755, built.program.clone()),
    ];
    let layer = archive::tar(&archive::with_folders(&files), "", release.epoch)?;
    let unpacked = format!("sha256:{}", hex(&Sha256::digest(&layer)));
    let layer = blob(blobs, LAYER, archive::gzip(&layer)?);
    let config = blob(blobs, CONFIG, config(release, built, &unpacked)?.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer],
        "annotations": annotations(release)?,
    });
    Ok(blob(blobs, MANIFEST, manifest.to_string().into_bytes()))
}

/// As in `deploy/Dockerfile`.
fn config(release: &Release, built: &Built, layer: &str) -> Result<Value> {
    Ok(json!({
        "created": release.rfc3339()?,
        "architecture": built.target.debian,
        "os": "linux",
        "config": {
            "User": USER,
            "ExposedPorts": {"8090/tcp": {}},
            "Env": ["HTTP_ADDR=0.0.0.0:8090"],
            "Entrypoint": ["/usr/bin/orderd"],
            "Cmd": ["serve"],
            // An extension of Docker, which also reads it from OCI images; times are in nanoseconds.
            "Healthcheck": {
                "Test": ["CMD", "/usr/bin/orderd", "check", "--live"],
                "Interval": 10 * SECOND,
                "Timeout": 6 * SECOND,
                "StartPeriod": 10 * SECOND,
            },
            "Labels": annotations(release)?,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer]},
        "history": [{"created": release.rfc3339()?, "created_by": "cargo xtask dist"}],
    }))
}

fn annotations(release: &Release) -> Result<Value> {
    Ok(json!({
        "org.opencontainers.image.title": "orderd",
        "org.opencontainers.image.version": release.version,
        "org.opencontainers.image.revision": release.revision,
        "org.opencontainers.image.created": release.rfc3339()?,
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
    }))
}

/// Adds a blob, and returns its descriptor.
fn blob(blobs: &mut Vec<Entry>, kind: &str, bytes: Vec<u8>) -> Value {
    let digest = hex(&Sha256::digest(&bytes));
    let described = json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len()});
    blobs.push(Entry::file(format!("blobs/sha256/{digest}"), 0o644, bytes));
    described
}
