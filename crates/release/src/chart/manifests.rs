//! `deploy/kubernetes`: the rendered chart, for users without Helm.

use std::path::Path;

use anyhow::{Context, Result, bail};
use devstack::tools;

use super::documents::Documents;
use super::helm::Helm;
use super::{invariants, rules};
use crate::say;

const HEAD: &str =
    "# Made from deploy/helm/orderd by `cargo xtask chart --write`, with the values beside it. Don't edit.\n";

/// Each file, and its templates.
const FILES: [(&str, &[&str]); 2] = [
    ("orderd.yaml", &["serviceaccount", "service", "networkpolicy", "poddisruptionbudget", "deployment"]),
    ("monitoring.yaml", &["servicemonitor", "prometheusrule"]),
];

pub(super) fn check(helm: &Helm, write: bool) -> Result<()> {
    let folder = tools::workspace().join("deploy/kubernetes");
    let mut all = String::new();
    for (name, templates) in FILES {
        let text = format!("{HEAD}{}", render(helm, &folder, templates)?);
        let file = folder.join(name);
        if write {
            std::fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
            say(&format!("wrote {}", file.display()));
        } else if std::fs::read_to_string(&file).unwrap_or_default() != text {
            bail!("{} is not what the chart renders; `cargo xtask chart --write` writes it", file.display());
        }
        all.push_str(&text);
    }
    let documents = Documents::new(helm.checked(&all)?)?;
    invariants::check(&documents)?;
    rules::check(&documents, &helm.yaml(&tools::workspace().join("deploy/prometheus/alerts.yml"))?)
}

fn render(helm: &Helm, folder: &Path, templates: &[&str]) -> Result<String> {
    let text = helm.template_text("orderd", &folder.join("values.yaml"), templates)?;
    let lines = text.lines().filter(|line| !is_of_helm(line));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

/// Whether a line is a label of Helm's.
fn is_of_helm(line: &str) -> bool {
    let line = line.trim_start();
    ["helm.sh/chart:", "app.kubernetes.io/managed-by:", "# Source:"]
        .iter()
        .any(|start| line.starts_with(start))
}
