//! `/order`, `/orders` and their parameters, described: those that are members follow from the model and from `SEARCH`.

use cache::{LIMIT, MAX_LIMIT};
use model::Model;
use order::{SearchKind, SearchPath};
use serde_json::{Value, json};

use crate::http::routes::openapi::ID;
use crate::http::routes::openapi::parts::{content, operation, parameter, plain, reference};
use crate::http::routes::query::{self, PARAMETERS};

/// RFC 3339, or nanoseconds. With the days that months have, so that what fits is a time.
const TIME: &str = "^([0-9]+|([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)\
                    |02-(0[1-9]|1[0-9]|2[0-8]))|[0-9]{2}(0[48]|[2468][048]|[13579][26])-02-29)\
                    T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))$";

/// One parameter for each member, beside these others.
pub(crate) fn members(model: &Model, search: &[String], parameters: &[&str]) -> Vec<Value> {
    let paths = order::searchable(model.shape(), search).unwrap_or_default();
    let member = |(name, path): (&String, &SearchPath)| {
        let kind = match path.kind() {
            SearchKind::Bool => "boolean",
            SearchKind::Int => "integer",
            SearchKind::Float => "number",
            SearchKind::String | SearchKind::Any => "string",
        };
        let any = if path.is_many() { ", in any element," } else { "" };
        let description =
            format!("Only orders whose `{name}`{any} is exactly this; with several members, all must match");
        parameter("query", &query::parameter(name, parameters), &description, json!({ "type": kind }))
    };
    search.iter().zip(&paths).map(member).collect()
}

fn away() -> (&'static str, Value) {
    plain("503", "Memory doesn't have all of it, and PostgreSQL can't be asked now, or not yet")
}

pub(crate) fn newest(model: &Model, search: &[String], sample: Value) -> Value {
    let mut found =
        content("The newest of the orders with these values", "application/json", reference("Order"));
    found["content"]["application/json"]["example"] = sample;
    found["headers"] = json!({ "Content-Location": header("The address of the order: `/order/{id}`") });
    let mut newest = operation(
        "The newest order with these values, whole",
        vec![
            ("200", found),
            plain("400", "No member, or one that orders are not found by"),
            plain("404", "There is no such order"),
            plain("500", "Its row can't be decoded"),
            away(),
        ],
    );
    newest["parameters"] = members(model, search, &[]).into();
    newest
}

pub(crate) fn find(model: &Model, search: &[String]) -> Value {
    let either = json!({ "anyOf": [
        { "type": "array", "items": { "type": "string" }, "maxItems": MAX_LIMIT, "examples": [[ID]] },
        { "type": "array", "items": reference("Entry"), "maxItems": MAX_LIMIT },
    ] });
    let mut found = content("Ids; with `full`, ids and orders", "application/json", either);
    found["headers"] =
        json!({ "Link": header("`<…>; rel=\"next\"`, where more follow: what to ask for next") });
    let wrong =
        plain("400", "A parameter that is unknown, or given more than once, or a value that it doesn't take");
    let mut find = operation(
        "The orders with these values and of this time, newest first; without parameters, all orders",
        vec![("200", found), wrong, away()],
    );
    let mut parameters = members(model, search, &PARAMETERS);
    parameters.extend(others());
    find["parameters"] = parameters.into();
    find
}

/// The parameters of `/orders` that are no members.
fn others() -> [Value; 6] {
    let time = || json!({ "type": "string", "pattern": TIME, "examples": ["2026-01-31T12:00:00Z"] });
    let order = json!({ "type": "string", "enum": ["desc", "asc"], "default": "desc" });
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": LIMIT });
    let after = json!({ "type": "string", "minLength": 1, "examples": [ID] });
    [
        (
            "from",
            "Only orders of this time or later, by their ids: RFC 3339, or nanoseconds since 1970",
            time(),
        ),
        ("to", "Only orders before this time", time()),
        ("order", "Newest first, or oldest first", order),
        ("limit", "Maximum number", limit),
        ("after", "Only what follows this id, which need not exist: the last one of the page before", after),
        ("full", "The orders too, and not only their ids", json!({ "type": "boolean", "default": false })),
    ]
    .map(|(name, description, schema)| parameter("query", name, description, schema))
}

/// An order of a list.
pub(crate) fn entry() -> Value {
    json!({
        "type": "object",
        "required": ["id", "order"],
        "properties": { "id": { "type": "string", "examples": [ID] }, "order": reference("Order") },
    })
}

fn header(description: &str) -> Value {
    json!({ "description": description, "schema": { "type": "string" } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_called_as_a_parameter_is_written_as_a_member() {
        let source =
            model::Source { name: "a.json", json: r#"{"from": "x", "weight": 1.5, "n": 1, "is": true}"# };
        let model = Model::new("parcel", &[source]).unwrap();
        let search = ["from", "weight", "n", "is"].map(str::to_owned);
        let described = |operation: &Value| {
            let parameters = operation["parameters"].as_array().unwrap().clone();
            let one = |parameter: Value| {
                format!(
                    "{} {}",
                    parameter["name"].as_str().unwrap(),
                    parameter["schema"]["type"].as_str().unwrap()
                )
            };
            parameters.into_iter().map(one).collect::<Vec<_>>()
        };
        let members = ["$.from string", "weight number", "n integer", "is boolean"];
        let others =
            ["from string", "to string", "order string", "limit integer", "after string", "full boolean"];
        assert_eq!(described(&find(&model, &search)), [&members[..], &others].concat());
        assert_eq!(described(&newest(&model, &search, Value::Null))[..2], ["from string", "weight number"]);
    }
}
