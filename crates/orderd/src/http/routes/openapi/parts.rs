//! What descriptions are put together from.

use serde_json::{Map, Value, json};

/// A status, and what comes with it.
pub(crate) type Answer = (&'static str, Value);

pub(crate) fn operation(summary: &str, answers: Vec<Answer>) -> Value {
    let answers: Map<_, _> = answers.into_iter().map(|(status, answer)| (status.into(), answer)).collect();
    json!({ "summary": summary, "responses": answers })
}

pub(crate) fn content(description: &str, kind: &str, schema: Value) -> Value {
    json!({ "description": description, "content": { kind: { "schema": schema } } })
}

pub(crate) fn ok(kind: &str, schema: Value) -> Answer {
    ("200", content("OK", kind, schema))
}

pub(crate) fn ids() -> Answer {
    ("200", content("Up to 50 ids", "application/json", reference("Ids")))
}

pub(crate) fn mem_len() -> Value {
    json!({
        "type": "object",
        "required": ["mem_len"],
        "properties": { "mem_len": { "type": "integer", "minimum": 0 } },
        "examples": [{ "mem_len": 1000 }],
    })
}

pub(crate) fn plain(status: &'static str, description: &str) -> Answer {
    (status, content(description, "text/plain", json!({ "type": "string" })))
}

pub(crate) fn foreign() -> Answer {
    plain("403", "A page of another address made the browser ask")
}

pub(crate) fn not_modified() -> Answer {
    ("304", json!({ "description": "As it was when the ETag was given" }))
}

pub(crate) fn parameter(place: &str, name: &str, description: &str, schema: Value) -> Value {
    json!({ "in": place, "name": name, "description": description, "schema": schema })
}

pub(crate) fn required(mut parameter: Value) -> Value {
    parameter["required"] = true.into();
    parameter
}

/// Any one of the schemes opens it.
pub(crate) fn close(operation: &mut Value, schemes: &[&str]) {
    operation["security"] = schemes.iter().map(|scheme| json!({ *scheme: [] })).collect();
    let refusals = [
        plain("401", "A token is needed"),
        plain("403", "The token lacks this right, or a page of another address made the browser ask"),
    ];
    for (status, answer) in refusals {
        operation["responses"][status] = answer;
    }
}

pub(crate) fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}
