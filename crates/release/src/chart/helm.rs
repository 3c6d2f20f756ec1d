//! Helm, and the schemas against which what it renders is checked.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use devstack::{TempDir, tools};
use serde_json::Value;

use super::documents::Documents;
use crate::say;

/// Checks manifests against their schemas.
const VALIDATE: &str = include_str!("validate.py");

/// The oldest supported version, and the newest with schemas.
const KUBERNETES: [&str; 2] = ["1.27", "1.37"];

pub(super) struct Helm {
    program: PathBuf,
    python: PathBuf,
    /// Private folders, so that the user's files are neither read nor written.
    home: TempDir,
}

impl Helm {
    pub(super) fn ready() -> Result<Self> {
        let program = tools::ensure_helm(&mut say)?;
        let python = tools::ensure_kubernetes_schemas(&mut say)?;
        Ok(Self { program, python, home: TempDir::new()? })
    }

    pub(super) fn chart() -> PathBuf {
        tools::workspace().join("deploy/helm/orderd")
    }

    /// Renders the chart with these values, and checks each manifest against its schema; or returns why Helm refuses
    /// them.
    pub(super) fn render(&self, release: &str, values: &str) -> Result<Result<Documents, String>> {
        let output = self.template(release, &self.values_file(values)?, &[])?;
        if !output.status.success() {
            return Ok(Err(without_notes(&text(&output.stderr))));
        }
        Ok(Ok(Documents::new(self.checked(&text(&output.stdout))?)?))
    }

    /// The manifests as text.
    pub(super) fn template_text(&self, release: &str, values: &Path, only: &[&str]) -> Result<String> {
        let output = self.template(release, values, only)?;
        ensure!(output.status.success(), "helm template: {}", text(&output.stderr));
        Ok(text(&output.stdout))
    }

    pub(super) fn lint(&self, values: &str) -> Result<()> {
        let mut helm = self.command("lint");
        helm.arg("--strict").arg("--values").arg(self.values_file(values)?).arg(Self::chart());
        let output = helm.output().context("cannot start helm")?;
        ensure!(output.status.success(), "{}", text(&output.stdout));
        Ok(())
    }

    fn template(&self, release: &str, values: &Path, only: &[&str]) -> Result<Output> {
        let mut helm = self.command("template");
        helm.arg(release).arg(Self::chart()).arg("--values").arg(values);
        helm.args(["--kube-version", KUBERNETES[1]]);
        for template in only {
            helm.args(["--show-only", &format!("templates/{template}.yaml")]);
        }
        helm.output().context("cannot start helm")
    }

    fn command(&self, command: &str) -> Command {
        let mut helm = Command::new(&self.program);
        helm.arg(command).stdin(Stdio::null()).env_remove("KUBECONFIG");
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(name, self.home.path());
        }
        helm
    }

    fn values_file(&self, values: &str) -> Result<PathBuf> {
        let file = self.home.path().join("values.yaml");
        std::fs::write(&file, values).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    /// The manifests as JSON, checked against their schemas.
    pub(super) fn checked(&self, manifests: &str) -> Result<Vec<Value>> {
        let mut python = Command::new(&self.python);
        python.args(["-c", VALIDATE]).args(KUBERNETES);
        let output = fed(python, manifests).context("cannot check manifests")?;
        ensure!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).context("cannot read the checked manifests")
    }

    /// A file of YAML as JSON.
    pub(super) fn yaml(&self, file: &Path) -> Result<Value> {
        let source = std::fs::read_to_string(file);
        let source = source.with_context(|| format!("cannot read {}", file.display()))?;
        let mut python = Command::new(&self.python);
        python.args(["-c", "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"]);
        let output = fed(python, &source).with_context(|| format!("cannot read {}", file.display()))?;
        ensure!(output.status.success(), "{}: {}", file.display(), text(&output.stderr));
        serde_json::from_slice(&output.stdout).with_context(|| format!("cannot read {}", file.display()))
    }
}

/// Runs a program with a text on its stdin, from a file, because pipes in both directions could block.
fn fed(mut program: Command, input: &str) -> Result<Output> {
    let temp_dir = TempDir::new()?;
    let path = temp_dir.path().join("input");
    std::fs::File::create(&path)?.write_all(input.as_bytes())?;
    Ok(program.stdin(std::fs::File::open(&path)?).output()?)
}

/// Removes Helm's notes about symbolic links.
fn without_notes(said: &str) -> String {
    let lines = said.lines().filter(|line| !line.contains("found symbolic link") && !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
