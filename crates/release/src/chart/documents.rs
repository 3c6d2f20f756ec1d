//! Manifests, and access to their checked parts.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub(super) struct Documents(Vec<Value>);

impl Documents {
    pub(super) fn new(documents: Vec<Value>) -> Result<Self> {
        ensure!(!documents.is_empty(), "nothing is rendered");
        Ok(Self(documents))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Value> {
        self.0.iter()
    }

    pub(super) fn of_kind(&self, kind: &str) -> Option<&Value> {
        self.0.iter().find(|document| document["kind"] == kind)
    }

    pub(super) fn get(&self, kind: &str) -> Result<&Value> {
        self.of_kind(kind).with_context(|| format!("there is no {kind}"))
    }

    /// The pod template of the Deployment.
    pub(super) fn pod(&self) -> Result<&Value> {
        Ok(&self.get("Deployment")?["spec"]["template"]["spec"])
    }

    pub(super) fn container(&self) -> Result<&Value> {
        Ok(&self.pod()?["containers"][0])
    }

    /// The variables of the container. A repeated name is an error, because the last would win.
    pub(super) fn env(&self) -> Result<BTreeMap<&str, &str>> {
        let mut env = BTreeMap::new();
        for variable in self.container()?["env"].as_array().context("no env")? {
            let name = variable["name"].as_str().context("a variable without a name")?;
            let value = variable["value"].as_str().with_context(|| format!("{name} has no text"))?;
            ensure!(env.insert(name, value).is_none(), "{name} is there twice");
        }
        Ok(env)
    }

    /// Checks that a variable has a value, or is missing.
    pub(super) fn expect_env(&self, name: &str, wanted: Option<&str>) -> Result<()> {
        let found = self.env()?.get(name).copied();
        ensure!(found == wanted, "{name} is {found:?}, not {wanted:?}");
        Ok(())
    }

    /// The ports to which egress is allowed.
    pub(super) fn egress_ports(&self) -> Result<Vec<u64>> {
        let rules = self.get("NetworkPolicy")?["spec"]["egress"].as_array().context("no egress")?;
        let ports = rules.iter().filter_map(|rule| rule["ports"].as_array()).flatten();
        Ok(ports.filter_map(|port| port["port"].as_u64()).collect())
    }
}
