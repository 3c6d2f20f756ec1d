//! The alerts of the chart: those of `deploy/prometheus`, except those about the machine.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::documents::Documents;

/// The service's group of rules in `deploy/prometheus/alerts.yml`.
const GROUP: &str = "orderd";

/// Checks that the PrometheusRule has exactly the service's group.
pub(super) fn check(documents: &Documents, alerts: &Value) -> Result<()> {
    let groups = alerts["groups"].as_array().context("alerts.yml has no groups")?;
    let wanted: Vec<_> = groups.iter().filter(|group| group["name"] == GROUP).collect();
    let rendered = &documents.get("PrometheusRule")?["spec"]["groups"];
    let rendered: Vec<_> = rendered.as_array().context("the PrometheusRule has no groups")?.iter().collect();
    ensure!(wanted.len() == 1, "alerts.yml has {} groups {GROUP}", wanted.len());
    ensure!(rendered == wanted, "the chart's alerts are not those of deploy/prometheus");
    Ok(())
}
