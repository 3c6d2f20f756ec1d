//! The bill of materials: the third-party code that is linked into the program, as CycloneDX. We write it ourselves
//! from cargo's resolution: it is a page of JSON, and cargo-cyclonedx would be another tool to install.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use devstack::tools;
use serde_json::{Value, json};

use super::pedigree::Pedigree;
use super::targets::Target;
use crate::release::Release;

/// Whose a package is.
pub(super) enum Origin {
    Workspace,
    /// As it is in the registry.
    Registry,
    /// Others', with our patches.
    Changed(Pedigree),
}

/// A library in the program.
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) licence: String,
    pub(super) folder: PathBuf,
    pub(super) origin: Origin,
    /// SHA-256 of the archive in the registry.
    checksum: Option<String>,
    /// References of its dependencies.
    uses: BTreeSet<String>,
}

impl Package {
    pub(super) fn reference(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

/// All packages that the program is linked from, including itself, without build and test dependencies.
pub(super) fn packages(target: &Target) -> Result<Vec<Package>> {
    let metadata = metadata(target)?;
    let checksums = checksums()?;
    let by_id = |list: &Value| -> Result<BTreeMap<String, Value>> {
        let list = list.as_array().context("cargo metadata has no such list")?;
        Ok(list.iter().filter_map(|it| Some((it["id"].as_str()?.to_owned(), it.clone()))).collect())
    };
    let (packages, nodes) = (by_id(&metadata["packages"])?, by_id(&metadata["resolve"]["nodes"])?);
    let root =
        packages.iter().find(|(_, package)| package["name"] == "orderd").context("no package orderd")?.0;
    let mut linked = BTreeMap::new();
    let mut open = vec![root.clone()];
    while let Some(id) = open.pop() {
        if linked.contains_key(&id) {
            continue;
        }
        let uses = nodes.get(&id).map(used).unwrap_or_default();
        open.extend(uses.iter().cloned());
        linked.insert(id, uses);
    }
    let mut found = Vec::new();
    for (id, uses) in &linked {
        let package = packages.get(id).with_context(|| format!("cargo metadata lacks {id}"))?;
        let text = |name: &str| package[name].as_str().unwrap_or_default().to_owned();
        let uses = uses.iter().filter_map(|id| packages.get(id));
        let reference = |of: &Value| {
            format!(
                "pkg:cargo/{}@{}",
                of["name"].as_str().unwrap_or_default(),
                of["version"].as_str().unwrap_or_default()
            )
        };
        let manifest = PathBuf::from(text("manifest_path"));
        let folder = manifest.parent().unwrap_or(&manifest).to_path_buf();
        let origin = if package["source"].is_string() {
            Origin::Registry
        } else {
            Pedigree::read(&text("name"), &folder, &text("repository"))?
                .map_or(Origin::Workspace, Origin::Changed)
        };
        found.push(Package {
            licence: text("license"),
            folder,
            origin,
            checksum: checksums.get(&(text("name"), text("version"))).cloned(),
            uses: uses.map(reference).collect(),
            name: text("name"),
            version: text("version"),
        });
    }
    found.sort_by_key(Package::reference);
    ensure!(found.len() > 20, "{} packages are too few to be all", found.len());
    Ok(found)
}

/// The normal dependencies of a package.
fn used(node: &Value) -> Vec<String> {
    let dependencies = node["deps"].as_array().into_iter().flatten();
    let is_linked = |dependency: &&Value| {
        dependency["dep_kinds"]
            .as_array()
            .is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    dependencies
        .filter(is_linked)
        .filter_map(|dependency| Some(dependency["pkg"].as_str()?.to_owned()))
        .collect()
}

fn metadata(target: &Target) -> Result<Value> {
    let mut cargo = devstack::cargo::command();
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target.triple]);
    cargo.args(["--manifest-path", "crates/orderd/Cargo.toml"]);
    let output = run(cargo)?;
    serde_json::from_slice(&output).context("cannot read what cargo metadata says")
}

fn run(mut command: Command) -> Result<Vec<u8>> {
    let output = command.current_dir(tools::workspace()).stdin(Stdio::null()).output();
    let output = output.context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(output.stdout)
}

/// The checksum in Cargo.lock for each package and version.
fn checksums() -> Result<BTreeMap<(String, String), String>> {
    let lock = String::from_utf8(super::shell::read("Cargo.lock")?)?;
    let value = |part: &str, name: &str| {
        let line = part.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
        line.map(|line| line.trim_end_matches('"').to_owned())
    };
    let parts = lock.split("[[package]]").skip(1);
    Ok(parts
        .filter_map(|part| Some(((value(part, "name")?, value(part, "version")?), value(part, "checksum")?)))
        .collect())
}

pub(super) fn document(release: &Release, target: &Target, packages: &[Package]) -> Result<Vec<u8>> {
    let (own, others): (Vec<_>, Vec<_>) = packages.iter().partition(|package| package.name == "orderd");
    let own = own.first().context("orderd is not among its packages")?;
    let mut program = component(own, "application");
    program["properties"] = json!([
        {"name": "orderd:revision", "value": release.revision},
        {"name": "orderd:target", "value": target.triple},
        {"name": "orderd:rustc", "value": release.compiler},
    ]);
    let dependencies =
        packages.iter().map(|package| json!({"ref": package.reference(), "dependsOn": package.uses}));
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": release.rfc3339()?,
            "tools": {"components": [{"type": "application", "name": "cargo xtask dist", "version": release.version}]},
            "component": program,
        },
        "components": others.into_iter().map(|package| component(package, "library")).collect::<Vec<_>>(),
        "dependencies": dependencies.collect::<Vec<_>>(),
    });
    Ok((serde_json::to_string_pretty(&document)? + "\n").into_bytes())
}

fn component(package: &Package, kind: &str) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": package.reference(),
        "name": package.name,
        "version": package.version,
    });
    if !package.licence.is_empty() {
        // Old manifests use a slash for OR.
        component["licenses"] = json!([{"expression": package.licence.replace('/', " OR ")}]);
    }
    match &package.origin {
        Origin::Workspace => {}
        Origin::Registry => component["purl"] = json!(package.reference()),
        Origin::Changed(pedigree) => {
            let reference = package.reference();
            component["purl"] = json!(pedigree.purl(&reference));
            component["pedigree"] = pedigree.document(json!({
                "type": kind,
                "name": package.name,
                "version": package.version,
                "purl": reference,
            }));
        }
    }
    if let Some(checksum) = &package.checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}
