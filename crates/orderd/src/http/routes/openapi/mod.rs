//! `/openapi.json`. `openapi.json` in this folder is the whole description for the default settings; this module
//! patches it for the model, the members of `SEARCH`, tokens (with the additions of `tokens.json`) and hosts.

mod wording;

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use model::Model;
use order::{Layouts, Parser, RowFormat, SearchKind, SearchPath};
use serde_json::{Map, Value, json};

use crate::config::{Access, Right, Settings};
use crate::http::App;
use crate::http::routes::assets::{tag, unless_known};
use crate::http::routes::{events, query};

/// The description for the default settings. A test compares it with the response.
const DEFAULTS: &str = include_str!("openapi.json");

/// Additions if there are tokens: for `any` right, and for each right.
const TOKENS: &str = include_str!("tokens.json");

/// The operations with member parameters, and the names of their other parameters.
const SEARCHES: [(&str, &[&str]); 3] =
    [("/order", &[]), ("/orders", &query::PARAMETERS), ("/events", &events::PARAMETERS)];

/// The tag of the operations that need no token to read.
const OPEN: &str = "Service";

/// Built for the current settings, because tokens may change.
pub(crate) async fn openapi(State(app): State<Arc<App>>, asked: HeaderMap) -> Response {
    // Until the table is known, the format of a new table.
    let format = app.flow_state.run.borrow().map_or(app.settings.postgres.format, |run| run.format);
    let body = describe(&app.settings, format).to_string().into_bytes();
    let tag = tag(&body);
    unless_known(&tag, &asked, || crate::http::json(body))
}

fn describe(settings: &Settings, format: RowFormat) -> Value {
    let model = &settings.model;
    let mut api = parsed(DEFAULTS);
    api["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    // The searched members, the name of documents, and their schema; for the page.
    api["x-search"] = settings.search.as_slice().into();
    api["x-model"] = model.name.as_str().into();
    api["components"]["schemas"]["Order"] = schema(model, format);
    for (path, parameters) in SEARCHES {
        let is_other = |other: &Value| {
            other["in"] != "query" || other["name"].as_str().is_some_and(|name| parameters.contains(&name))
        };
        if let Some(all) = api["paths"][path]["get"]["parameters"].as_array_mut() {
            all.retain(is_other);
            all.splice(0..0, members(model, &settings.search, format, path, parameters));
        }
    }
    add_tokens(&mut api, &settings.access);
    leave_out(&mut api, settings);
    if !model.is_order() {
        wording::use_name_of(model, &mut api);
    }
    api
}

/// A file of this folder; tests read each.
fn parsed(file: &str) -> Value {
    serde_json::from_str(file).unwrap_or_default()
}

/// The document's schema, with a sample.
fn schema(model: &Model, format: RowFormat) -> Value {
    let schema = if format.is_document() { model.document_schema() } else { model.row_schema() };
    let mut schema = parsed(&schema);
    if let Some(schema) = schema.as_object_mut() {
        schema.shift_remove("$schema");
        let rendered = rendered(model).filter(|_| !format.is_document());
        schema.insert("examples".into(), json!([parsed(rendered.as_ref().unwrap_or(&model.sample))]));
        if model.is_any() {
            // Explicit, so that generated clients keep the members.
            schema.insert("additionalProperties".into(), true.into());
        }
    }
    schema
}

/// The sample as it is served from a gob row.
fn rendered(model: &Model) -> Option<String> {
    let order = Parser::new(model.shape()).parse(model.sample.as_bytes(), "").ok()?;
    let mut json = Vec::new();
    Layouts::new(model.shape()).ok()?.write_json(order.body(), &mut json).ok()?;
    String::from_utf8(json).ok()
}

/// Adds a parameter for each member of `SEARCH`.
fn members(
    model: &Model,
    search: &[String],
    format: RowFormat,
    path: &str,
    parameters: &[&str],
) -> Vec<Value> {
    let paths = order::searchable(model.shape(), search).unwrap_or_default();
    let member = |(name, member): (&String, &SearchPath)| {
        let schema = match member.kind() {
            SearchKind::Bool => json!({ "type": "boolean" }),
            SearchKind::Int => json!({ "type": "integer", "format": "int64" }),
            SearchKind::Float => json!({ "type": "number", "format": "double" }),
            SearchKind::String | SearchKind::Any => json!({ "type": "string" }),
        };
        let any = if member.is_many() { ", in any element," } else { "" };
        let missing = missing(member, format);
        let mut parameter = json!({
            "name": query::parameter(name, parameters),
            "in": "query",
            "description": format!(
                "Only orders whose `{name}`{any} is exactly this value; with several members, all must match. {missing}"
            ),
            "schema": schema,
        });
        if path == "/order" && search.len() == 1 {
            parameter["required"] = true.into();
        }
        parameter
    };
    search.iter().zip(&paths).map(member).collect()
}

/// Which value finds orders without one: gob has neither `null` nor missing members.
fn missing(member: &SearchPath, format: RowFormat) -> &'static str {
    match (member.kind(), format.is_document()) {
        // An array without elements has no values.
        (SearchKind::String, false) if member.is_many() => {
            "An empty value finds elements that are empty, `null`, or lack the member"
        }
        (SearchKind::Int | SearchKind::Float, false) if member.is_many() => {
            "`0` also finds elements that are `null`, or lack the member"
        }
        (SearchKind::Bool, false) if member.is_many() => {
            "`false` also finds elements that are `null`, or lack the member"
        }
        (SearchKind::String, false) => "An empty value finds empty, `null` and missing ones",
        (SearchKind::Int | SearchKind::Float, false) => "`0` also finds `null` and missing ones",
        (SearchKind::Bool, false) => "`false` also finds `null` and missing ones",
        (SearchKind::String | SearchKind::Any, _) => {
            "An empty value finds only the empty text; no value finds `null` or missing ones"
        }
        (_, true) => "No value finds `null` or missing ones",
    }
}

/// Removes operations that these settings only answer with an error, and errors that they rule out.
fn leave_out(api: &mut Value, settings: &Settings) {
    let Some(paths) = api["paths"].as_object_mut() else { return };
    if settings.search.is_empty() {
        paths.shift_remove("/order");
    }
    if settings.event_readers == 0 {
        paths.shift_remove("/events");
    }
    if settings.http_hosts.is_none() || settings.access.is_set(Right::Read) {
        operations(api).filter_map(|operation| operation["responses"].as_object_mut()).for_each(
            |responses| {
                responses.shift_remove("421");
            },
        );
        if let Some(responses) = api["components"]["responses"].as_object_mut() {
            responses.shift_remove("Misdirected");
        }
    }
}

fn add_tokens(api: &mut Value, access: &Access) {
    let added = parsed(TOKENS);
    for right in Right::ALL.into_iter().filter(|right| access.is_set(*right)) {
        if right == Right::Read {
            let is_guarded = |operation: &&mut Value| operation["tags"][0] != OPEN;
            for operation in operations(api).filter(is_guarded) {
                operation["security"] = json!([{ "token": [] }, { "session": [] }]);
                for (status, response) in [("401", "Unauthorized"), ("403", "Forbidden")] {
                    let response = format!("#/components/responses/{response}");
                    operation["responses"][status] = json!({ "$ref": response });
                }
            }
        }
        merge(api, &added["any"]);
        merge(api, &added[right.as_str()]);
    }
}

fn operations(api: &mut Value) -> impl Iterator<Item = &mut Value> {
    let items = api["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    items.filter_map(Value::as_object_mut).flat_map(Map::values_mut)
}

/// Merges objects; replaces anything else.
fn merge(into: &mut Value, added: &Value) {
    match (into, added) {
        (Value::Object(into), Value::Object(added)) => {
            for (name, value) in added {
                merge(into.entry(name).or_insert_with(|| json!({})), value);
            }
        }
        (into, added) => *into = added.clone(),
    }
}

#[cfg(test)]
mod tests {
    use cache::{LIMIT, MAX_LIMIT};
    use order::Reason;

    use super::*;
    use crate::dead_letters::replay::NOT_REPORTED;
    use crate::fuzzing::HttpHarness;
    use crate::health::readyz_warning::WarningKind;
    use crate::http::routes::dead_letters::{LARGEST, LISTED};
    use crate::receipts::SkipReason;

    /// The description of a service with these settings.
    fn served(args: &[&str]) -> Value {
        let request = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let response = HttpHarness::with(args).unwrap().response_to(request);
        let (_, body) = std::str::from_utf8(&response).unwrap().split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    /// The first difference of two values.
    fn difference(one: &Value, other: &Value, path: &str) -> Option<String> {
        match (one, other) {
            (Value::Object(members), Value::Object(others)) => {
                let names = members.keys().chain(others.keys());
                names.into_iter().find_map(|name| {
                    let of = |members: &Map<String, Value>| members.get(name).cloned().unwrap_or_default();
                    difference(&of(members), &of(others), &format!("{path}.{name}"))
                })
            }
            (one, other) => (one != other).then(|| format!("{path}\n  {one:#}\n  {other:#}")),
        }
    }

    fn names(api: &Value, path: &str) -> Vec<String> {
        let parameters = api["paths"][path]["get"]["parameters"].as_array().unwrap();
        let name = |parameter: &Value| {
            let kind = parameter["schema"]["type"].as_str().unwrap_or("time");
            format!("{} {kind}", parameter["name"].as_str().unwrap())
        };
        parameters.iter().map(name).collect()
    }

    /// All values of a member of this name, at any depth.
    fn all_of<'v>(value: &'v Value, name: &str, found: &mut Vec<&'v Value>) {
        for (member, value) in value.as_object().into_iter().flatten() {
            if member == name {
                found.push(value);
            }
            all_of(value, name, found);
        }
        value.as_array().into_iter().flatten().for_each(|element| all_of(element, name, found));
    }

    /// Settings that add and remove parts.
    const SETTINGS: [&[&str]; 6] = [
        &[],
        &["--http-token", "reader"],
        &["--http-replay-token", "replayer"],
        &["--http-erase-token", "eraser"],
        &["--http-token", "a", "--http-replay-token", "b", "--http-erase-token", "c"],
        &["--search", "none", "--http-anonymous", "true", "--http-event-readers", "0"],
    ];

    #[test]
    fn file_is_what_is_served_with_the_default_settings() {
        let difference = difference(&parsed(DEFAULTS), &served(&[]), "$");
        assert!(
            difference.is_none(),
            "openapi.json, then what is served: {}",
            difference.unwrap_or_default()
        );
        assert!(parsed(TOKENS).is_object());
    }

    #[test]
    fn limits_and_words_are_those_of_the_code() {
        let api = served(&["--http-replay-token", "b"]);
        let schemas = &api["components"]["schemas"];
        let reasons = json!(Reason::ALL.map(Reason::as_str));
        assert_eq!(schemas["DeadLetter"]["properties"]["reason"]["examples"], reasons);
        // Two of them have the same word.
        let mut skipped = SkipReason::ALL.map(SkipReason::as_str).to_vec();
        skipped.dedup();
        let reasons = json!([&Reason::ALL.map(Reason::as_str)[..], &skipped, &[NOT_REPORTED]].concat());
        assert_eq!(schemas["Replay"]["properties"]["reason"]["examples"], reasons);
        assert_eq!(
            schemas["Warning"]["properties"]["what"]["enum"],
            json!(WarningKind::ALL.map(WarningKind::as_str))
        );
        assert_eq!(schemas["Ids"]["maxItems"], MAX_LIMIT);
        assert_eq!(schemas["Entries"]["maxItems"], MAX_LIMIT);
        let get = |path: &str| &api["paths"][path]["get"];
        let limit = get("/orders")["parameters"].as_array().unwrap().iter().find(|it| it["name"] == "limit");
        let limit = &limit.unwrap()["schema"];
        assert_eq!((&limit["maximum"], &limit["default"]), (&MAX_LIMIT.into(), &LIMIT.into()));
        let letters = get("/dead_letters");
        assert_eq!(letters["parameters"][0]["schema"]["maximum"], LARGEST);
        let list = &letters["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(list["maxItems"], LISTED);
    }

    #[test]
    fn every_description_is_whole() {
        for settings in SETTINGS {
            let mut api = served(settings);
            let mut references = Vec::new();
            all_of(&api, "$ref", &mut references);
            for reference in references {
                let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
                assert!(api.pointer(pointer).is_some(), "{settings:?}: {reference}");
            }
            for kind in ["schemas", "responses", "headers"] {
                for name in api["components"][kind].as_object().unwrap().keys() {
                    let reference = format!("\"#/components/{kind}/{name}\"");
                    assert!(api.to_string().contains(&reference), "{settings:?}: {name} is not used");
                }
            }
            let schemes = api["components"]["securitySchemes"].clone();
            let mut ids = Vec::new();
            for operation in operations(&mut api) {
                let responses = operation["responses"].as_object().unwrap();
                for scheme in operation["security"].as_array().into_iter().flatten() {
                    let name = scheme.as_object().unwrap().keys().next().unwrap();
                    assert!(schemes[name].is_object(), "{settings:?}: {name}");
                    let has = |status| responses.contains_key(status);
                    assert!(has("401") && has("403"), "{operation}");
                }
                assert!(responses.contains_key("400"), "{operation}");
                for text in ["operationId", "summary", "description"] {
                    assert!(!operation[text].as_str().unwrap().is_empty(), "{operation}");
                }
                ids.push(operation["operationId"].as_str().unwrap().to_owned());
            }
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), count, "{settings:?}");
        }
    }

    #[test]
    fn operations_and_errors_follow_the_settings() {
        let described = SETTINGS.map(|settings| {
            let api = served(settings);
            let has = |path: &str, method: &str| api["paths"][path][method].is_object();
            let mut closed = Vec::new();
            all_of(&api["paths"], "security", &mut closed);
            let mut hosts = Vec::new();
            all_of(&api["paths"], "421", &mut hosts);
            (
                [
                    has("/order", "get"),
                    has("/events", "get"),
                    has("/dead_letters/{key}/replay", "post"),
                    has("/dead_letters/{key}", "delete"),
                    has("/order/{id}", "delete"),
                ],
                closed.len(),
                hosts.len(),
            )
        });
        assert_eq!(
            described,
            [
                ([true, true, false, false, false], 0, 14),
                ([true, true, false, false, false], 9, 0),
                ([true, true, true, true, false], 2, 16),
                ([true, true, false, false, true], 1, 15),
                ([true, true, true, true, true], 12, 0),
                ([false, false, false, false, false], 0, 0),
            ]
        );
    }

    /// A file of a model, for as long as the test runs.
    fn model(name: &str, json: &str) -> (devstack::TempDir, String) {
        let temp_dir = devstack::TempDir::new().unwrap();
        let file = temp_dir.path().join(name);
        std::fs::write(&file, json).unwrap();
        let file = file.display().to_string();
        (temp_dir, file)
    }

    #[test]
    fn member_with_the_name_of_a_parameter_has_a_prefix() {
        let (_temp_dir, file) = model("parcel.json", r#"{"from": "x", "weight": 1.5, "n": 1, "is": true}"#);
        let api = served(&["--model", &file, "--search", "from,weight,n,is"]);
        let members = ["$.from string", "weight number", "n integer", "is boolean"];
        let others =
            ["from time", "to time", "order string", "limit integer", "after string", "full boolean"];
        assert_eq!(names(&api, "/orders"), [&members[..], &others].concat());
        assert_eq!(names(&api, "/order")[..2], ["from string", "weight number"]);
        let events = ["full boolean", "last_event_id string", "Last-Event-ID string"];
        assert_eq!(names(&api, "/events")[..2], ["from string", "weight number"]);
        assert_eq!(names(&api, "/events")[4..], events);
        assert!(api["paths"]["/order"]["get"]["parameters"][0]["required"].is_null(), "any of them will do");
        // In clients of other languages, whole numbers are of 32 bits otherwise.
        let whole = &api["paths"]["/orders"]["get"]["parameters"][2]["schema"];
        assert_eq!(*whole, json!({ "type": "integer", "format": "int64" }));
        let api = served(&["--model", &file, "--search", "n"]);
        assert_eq!(api["paths"]["/order"]["get"]["parameters"][0]["required"], true);
    }

    /// The example of a gob row's document has all members, whatever the sample lacks.
    #[test]
    fn documents_of_gob_rows_have_every_member_and_others_need_none() {
        let (_temp_dir, file) = model("parcel.json", r#"{"id": "p", "to": [{"city": "c"}, {"zip": "z"}]}"#);
        let schema = |format: &str| {
            served(&["--model", &file, "--pg-format", format])["components"]["schemas"]["Parcel"].clone()
        };
        let of_gob = schema("gob");
        let nested = &of_gob["properties"]["to"]["items"]["required"];
        assert_eq!((&of_gob["required"], nested), (&json!(["id", "to"]), &json!(["city", "zip"])));
        let rendered = json!([{"id": "p", "to": [{"city": "c", "zip": ""}, {"city": "", "zip": "z"}]}]);
        assert_eq!(of_gob["examples"], rendered);
        let kept = schema("json");
        assert!(kept["required"].is_null() && kept["examples"] != rendered, "{kept}");
    }

    #[test]
    fn value_that_finds_orders_without_one_depends_on_format_and_arrays() {
        let (_temp_dir, file) = model("odd.json", r#"{"s": "x", "n": 1, "l": ["x"], "i": [{"n": 1}]}"#);
        let described = |format: &str| {
            let api = served(&["--model", &file, "--search", "s,n,l,i.n", "--pg-format", format]);
            let parameters = api["paths"]["/orders"]["get"]["parameters"].as_array().unwrap();
            let last = |parameter: &Value| {
                parameter["description"].as_str().unwrap().rsplit(". ").next().unwrap().to_owned()
            };
            parameters[..4].iter().map(last).collect::<Vec<_>>()
        };
        let gob = [
            "An empty value finds empty, `null` and missing ones",
            "`0` also finds `null` and missing ones",
            "An empty value finds elements that are empty, `null`, or lack the member",
            "`0` also finds elements that are `null`, or lack the member",
        ];
        assert_eq!(described("gob"), gob);
        let text = "An empty value finds only the empty text; no value finds `null` or missing ones";
        let number = "No value finds `null` or missing ones";
        assert_eq!(described("json"), [text, number, text, number]);
    }

    #[test]
    fn documents_are_called_as_the_model_is() {
        let texts = |api: &Value| {
            let mut found = Vec::new();
            for name in ["summary", "description", "operationId", "tags", "title"] {
                all_of(api, name, &mut found);
            }
            found.iter().map(|text| text.to_string()).collect::<Vec<_>>()
        };
        for (name, schema) in [
            ("parcel", "Parcel"),
            ("email preorder", "EmailPreorder"),
            ("entry", "EntryDocument"),
            ("посылка", "Document"),
        ] {
            let (_temp_dir, file) = model("m.json", &json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema", "title": name, "type": "object",
                "properties": { "id": { "type": "string" } }, "required": ["id"],
            }).to_string());
            let settings =
                ["--model", &file, "--search", "id", "--http-token", "a", "--http-erase-token", "c"];
            let api = served(&settings);
            assert_eq!((&api["x-schema"], &api["x-model"]), (&schema.into(), &name.into()));
            assert!(api["components"]["schemas"][schema].is_object());
            let get = &api["paths"]["/order/{id}"]["get"];
            let article = if name.starts_with('e') { "An" } else { "A" };
            assert_eq!(get["summary"], format!("{article} {name} by its id"));
            assert_eq!((&get["operationId"], &get["tags"][0]), (&"getDocument".into(), &"Documents".into()));
            assert_eq!(api["paths"]["/order/{id}"]["delete"]["operationId"], "eraseDocument");
            assert_eq!(api["tags"][0]["name"], "Documents");
            for text in texts(&api) {
                // Names are between backticks.
                let prose: String =
                    text.replace("orderd", "").replace(name, "").split('`').step_by(2).collect();
                assert!(!prose.to_lowercase().contains("order"), "{text}");
            }
        }
    }
}
