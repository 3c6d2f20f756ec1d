//! Tools that check the Helm chart: Helm, built by Go, and schemas of Kubernetes and of the Prometheus operator, from
//! PyPI.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::venv::Venv;
use super::{Report, find_go, install, tools_dir};
use crate::Error;

const HELM: &str = "helm.sh/helm/v3/cmd/helm@v3.19.0";

/// The packages contain the schemas, so that checks need no network.
const SCHEMAS: Venv = Venv {
    name: "kubernetes-schemas",
    packages: &["kubernetes-validate==1.37.0", "cloudcoil-models-prometheus-operator==0.80.1.0"],
    program: "python",
};

/// A fixed version of Helm, built if missing and Go is installed; that takes minutes.
pub fn ensure_helm(report: Report) -> Result<PathBuf, Error> {
    let program = tools_dir().join("helm");
    let find = || Some(program.clone()).filter(|program| program.is_file());
    let install = || {
        let go = find_go().ok_or_else(|| Error::Missing {
            what: "Go, which builds Helm".to_owned(),
            advice: "install it from go.dev/dl or your system's packages".to_owned(),
        })?;
        install::timed(&format!("Helm ({HELM}) to {}", program.display()), report, |_| {
            let mut install = Command::new(go);
            install.args(["install", HELM]).env("GOBIN", tools_dir()).stdin(Stdio::null());
            install::run("build Helm", install)
        })
    };
    install::ensure(find, install, || Error::failed("build Helm", "Go left no program"))
}

/// A Python with `kubernetes_validate`, models of the Prometheus operator's objects, and `yaml`.
pub fn ensure_kubernetes_schemas(report: Report) -> Result<PathBuf, Error> {
    SCHEMAS.ensure(report)
}
