//! Checks that hold for every rendering.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::documents::Documents;

/// Maximum time of the service's shutdown after `SHUTDOWN_DELAY`.
const DRAIN_SECONDS: u64 = 10;

pub(super) fn check(documents: &Documents) -> Result<()> {
    names(documents)?;
    selectors(documents)?;
    locked_up(documents)?;
    mounts(documents)?;
    probes(documents)?;
    shutdown(documents)
}

/// Names are valid for the API; those of Services are the strictest.
fn names(documents: &Documents) -> Result<()> {
    let mut seen = BTreeSet::new();
    for document in documents.all() {
        let kind = document["kind"].as_str().context("a manifest without a kind")?;
        let name = document["metadata"]["name"].as_str().with_context(|| format!("{kind} without a name"))?;
        ensure!(seen.insert((kind, name)), "two {kind} {name}");
        let longest = if kind == "ConfigMap" { 253 } else { 63 };
        let is_label = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        ensure!(
            is_label && begins && !name.ends_with('-') && name.len() <= longest,
            "{kind} is called {name:?}"
        );
        for (label, value) in document["metadata"]["labels"].as_object().into_iter().flatten() {
            let value = value.as_str().with_context(|| format!("label {label} of {kind} is not text"))?;
            let ends = |c: char| !c.is_ascii_alphanumeric();
            let is_value = value.len() <= 63 && !value.starts_with(ends) && !value.ends_with(ends);
            ensure!(value.is_empty() || is_value, "label {label} of {kind} is {value:?}");
        }
    }
    Ok(())
}

/// Every pod selector selects those of the Deployment.
fn selectors(documents: &Documents) -> Result<()> {
    let labels = &documents.get("Deployment")?["spec"]["template"]["metadata"]["labels"];
    let selectors = documents.all().filter_map(|document| {
        let spec = &document["spec"];
        let selector = match document["kind"].as_str()? {
            "Service" => &spec["selector"],
            "NetworkPolicy" => &spec["podSelector"]["matchLabels"],
            "Deployment" | "PodDisruptionBudget" | "ServiceMonitor" => &spec["selector"]["matchLabels"],
            _ => return None,
        };
        Some((document, selector))
    });
    for (document, selector) in selectors {
        let selector =
            selector.as_object().with_context(|| format!("{} selects nothing", document["kind"]))?;
        ensure!(!selector.is_empty(), "{} selects everything", document["kind"]);
        for (label, value) in selector {
            ensure!(labels[label] == *value, "{} selects {label}={value}: {labels}", document["kind"]);
        }
    }
    Ok(())
}

fn locked_up(documents: &Documents) -> Result<()> {
    let pod = documents.pod()?;
    let container = documents.container()?;
    for (part, path, wanted) in [
        (pod, "/enableServiceLinks", json!(false)),
        (pod, "/automountServiceAccountToken", json!(false)),
        (pod, "/securityContext/runAsNonRoot", json!(true)),
        (pod, "/securityContext/seccompProfile/type", json!("RuntimeDefault")),
        (container, "/securityContext/allowPrivilegeEscalation", json!(false)),
        (container, "/securityContext/readOnlyRootFilesystem", json!(true)),
        (container, "/securityContext/capabilities", json!({"drop": ["ALL"]})),
    ] {
        ensure!(part.pointer(path) == Some(&wanted), "{path} is {:?}", part.pointer(path));
    }
    ensure!(pod["securityContext"]["runAsUser"].as_u64() > Some(0), "it runs as root");
    Ok(())
}

/// Each volume is mounted, whole and read-only, and each file that a variable names is in one of them.
fn mounts(documents: &Documents) -> Result<()> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let volumes = list(&documents.pod()?["volumes"]);
    let mounts = list(&documents.container()?["volumeMounts"]);
    let names = |list: &[Value]| list.iter().map(|it| it["name"].to_string()).collect::<BTreeSet<_>>();
    ensure!(names(&volumes) == names(&mounts) && volumes.len() == mounts.len(), "{volumes:?}; {mounts:?}");
    let mut files = BTreeSet::new();
    for mount in &mounts {
        ensure!(mount["readOnly"] == true && mount.get("subPath").is_none(), "{mount}");
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).context("no volume")?;
        let source = volume.get("secret").or_else(|| volume.get("configMap")).context("no source")?;
        for item in list(&source["items"]) {
            let [folder, file] =
                [&mount["mountPath"], &item["path"]].map(|it| it.as_str().unwrap_or_default());
            ensure!(files.insert(format!("{folder}/{file}")), "{folder}/{file} is mounted twice");
        }
    }
    let env = documents.env()?;
    let named: BTreeSet<_> = env.values().filter(|value| value.starts_with("/etc/orderd/")).collect();
    ensure!(named.iter().all(|file| files.contains(**file)), "{named:?} are named, {files:?} are mounted");
    ensure!(named.len() == files.len(), "{files:?} are mounted, {named:?} are named");
    Ok(())
}

fn probes(documents: &Documents) -> Result<()> {
    let container = documents.container()?;
    let is_tls = documents.env()?.contains_key("HTTP_TLS_CERT");
    let scheme = if is_tls { "HTTPS" } else { "HTTP" };
    for (probe, path) in
        [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz?for=reads")]
    {
        let wanted = json!({"path": path, "port": "http", "scheme": scheme});
        ensure!(container[probe]["httpGet"] == wanted, "{probe} is {}", container[probe]);
    }
    let protocol = &documents.get("Service")?["spec"]["ports"][0]["appProtocol"];
    ensure!(*protocol == scheme.to_lowercase(), "the Service says {protocol}");
    Ok(())
}

/// Kubernetes kills the service only after its shutdown time.
fn shutdown(documents: &Documents) -> Result<()> {
    let grace = documents.pod()?["terminationGracePeriodSeconds"].as_u64().context("no grace period")?;
    let env = documents.env()?;
    let delay = env.get("SHUTDOWN_DELAY").and_then(|delay| delay.strip_suffix('s')?.parse::<u64>().ok());
    let delay = delay.context("no SHUTDOWN_DELAY")?;
    ensure!(grace > delay + DRAIN_SECONDS, "SHUTDOWN_DELAY is {delay} s, the grace period {grace} s");
    Ok(())
}
