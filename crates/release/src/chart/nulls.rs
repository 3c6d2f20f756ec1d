//! Sets each value of the schema to null: the chart renders, or names the value.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::helm::Helm;
use super::invariants;

/// A value, and whether the schema requires it.
struct Named {
    path: Vec<String>,
    is_required: bool,
}

/// Checks each value of the schema. All optional values are null in the same rendering, except `settings` in one and
/// `secrets` in another: a chart without settings needs secrets.
pub(super) fn check(helm: &Helm) -> Result<()> {
    let schema = Helm::chart().join("values.schema.json");
    let schema = fs::read_to_string(&schema).with_context(|| format!("cannot read {}", schema.display()))?;
    let mut values = Vec::new();
    collect(&serde_json::from_str(&schema)?, &[], &mut values);
    let (required, optional): (Vec<_>, Vec<_>) = values.into_iter().partition(|value| value.is_required);
    for Named { path, .. } in &required {
        let name = path.last().context("a value without a name")?;
        let mut values = reached();
        set_null(&mut values, path);
        match helm.render("orderd", &values.to_string())? {
            Ok(_) => bail!("{} is null, and rendered", path.join(".")),
            Err(said) => {
                ensure!(said.contains(&format!("missing property '{name}'")), "{}: {said}", path.join("."));
            }
        }
    }
    for kept in ["settings", "secrets"] {
        let mut values = reached();
        for Named { path, .. } in optional.iter().filter(|value| value.path != [kept]) {
            set_null(&mut values, path);
        }
        let rendered = helm.render("orderd", &values.to_string())?;
        let documents = rendered.map_err(|said| anyhow::anyhow!("all but {kept} is null: {said}"))?;
        invariants::check(&documents).with_context(|| format!("all but {kept} is null"))?;
    }
    Ok(())
}

/// Values by which everything is rendered that can be, with addresses among settings as well as secrets.
fn reached() -> Value {
    json!({
        "settings": {"NATS_HOST": "nats", "PG_HOST": "pg", "HTTP_ANONYMOUS": true},
        "secrets": {
            "NATS_URL": {"name": "s", "key": "nats"},
            "DATABASE_URL": {"name": "s", "key": "postgres"},
            "HTTP_TOKEN": {"name": "s", "key": "token"},
        },
        "monitoring": {
            "serviceMonitor": {"enabled": true},
            "rules": {"enabled": true},
            "dashboard": {"enabled": true},
        },
    })
}

fn collect(schema: &Value, path: &[String], found: &mut Vec<Named>) {
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = [path, std::slice::from_ref(name)].concat();
        let is_required = schema["required"].as_array().is_some_and(|all| all.contains(&json!(name)));
        collect(below, &path, found);
        found.push(Named { path, is_required });
    }
}

fn set_null(values: &mut Value, path: &[String]) {
    let mut place = values;
    for name in path {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[name.as_str()];
    }
    *place = Value::Null;
}
