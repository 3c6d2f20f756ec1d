//! `/openapi.json`: all that is served, with the model's own schema and sample.

mod parts;
mod words;
mod dead_letters;
mod queries;

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use model::Model;
use order::RowFormat;
use serde_json::{Map, Value, json};

use self::parts::{
    close, content, foreign, ids, mem_len, not_modified, ok, operation, parameter, plain, reference, required,
};
use crate::config::Right;
use crate::health::warning::What;
use crate::http::App;
use crate::http::routes::assets::{tag, unless_known};
use crate::http::routes::events;

const ID: &str = "1700000000123456789-42";

/// As the settings of now are: tokens may come and go.
pub(crate) async fn openapi(State(app): State<Arc<App>>, asked: HeaderMap) -> Response {
    // Until the table is known, what a table is made with.
    let format = app.positions.run.borrow().map_or(app.settings.postgres.format, |run| run.format);
    let api = describe(
        &app.settings.model,
        format,
        &app.settings.search,
        &Tokens {
            read: app.settings.access.is_set(Right::Read),
            replay: app.settings.access.is_set(Right::Replay),
            erase: app.settings.access.is_set(Right::Erase),
        },
    );
    let body = api.to_string().into_bytes();
    let tag = tag(&body);
    unless_known(&tag, &asked, || crate::http::json(body))
}

/// For what a token is needed.
struct Tokens {
    read: bool,
    replay: bool,
    erase: bool,
}

fn describe(model: &Model, format: RowFormat, search: &[String], tokens: &Tokens) -> Value {
    let mut api = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "orderd",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Orders, taken from NATS, kept exactly once in PostgreSQL, served from memory.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "./" }],
        // Which members documents are found by, what they are called, and by what schema; the page asks for it.
        "x-search": search,
        "x-model": model.name,
        "x-schema": "Order",
        "paths": paths(model, search, tokens),
        "components": { "schemas": schemas(model, format) },
    });
    let mut schemes = Map::new();
    if tokens.read {
        schemes.insert("token".into(), json!({ "type": "http", "scheme": "bearer" }));
    }
    if tokens.replay {
        schemes.insert("replay".into(), json!({ "type": "http", "scheme": "bearer" }));
    }
    if tokens.erase {
        schemes.insert("erase".into(), json!({ "type": "http", "scheme": "bearer" }));
    }
    if !schemes.is_empty() {
        schemes
            .insert("session".into(), json!({ "type": "apiKey", "in": "cookie", "name": "orderd_session" }));
        api["components"]["securitySchemes"] = schemes.into();
    }
    if !model.is_order() {
        words::use_name_of(model, &mut api);
    }
    api
}

fn schemas(model: &Model, format: RowFormat) -> Value {
    let schema = if format.is_document() { model.document_schema() } else { model.json_schema() };
    let mut order: Value = serde_json::from_str(&schema).unwrap_or_default();
    if let Some(order) = order.as_object_mut() {
        order.remove("$schema");
        order.insert("examples".into(), json!([sample(model)]));
    }
    let part = json!({
        "type": "object",
        "required": ["up", "since"],
        "properties": {
            "up": { "type": "boolean" },
            "since": { "type": "string", "format": "date-time" },
            "reason": { "type": ["string", "null"], "description": "Why it is not up" },
        },
    });
    let writer = json!({
        "type": "object",
        "required": ["name", "self"],
        "description": "The process that writes to the table",
        "properties": {
            "name": { "type": ["string", "null"], "description": "Null while it is not known" },
            "self": { "type": "boolean", "description": "Whether it is this process" },
        },
    });
    let position = json!({
        "type": "object",
        "required": ["seq", "behind"],
        "description": "How far the table is in the stream; null while it is not known",
        "properties": {
            "seq": { "type": ["integer", "null"], "description": "Every message up to this sequence is passed" },
            "behind": { "type": ["integer", "null"], "description": "Messages of the stream that are not passed" },
        },
    });
    let warning = json!({
        "type": "object",
        "required": ["what", "name", "text"],
        "properties": {
            "what": { "type": "string", "enum": What::ALL.map(What::as_str) },
            "name": { "type": "string", "description": "The stream, account or server that is meant" },
            "text": { "type": "string", "description": "What it is, and what to change" },
        },
    });
    json!({
        "Order": order,
        "Ids": { "type": "array", "items": { "type": "string" }, "maxItems": 50, "examples": [[ID]] },
        "Entry": queries::entry(),
        "Part": part,
        "DeadLetter": dead_letters::schema(),
        "Replay": dead_letters::outcome_schema(),
        "Writer": writer,
        "Position": position,
        "Warning": warning,
        "Health": {
            "type": "object",
            "required": ["ready", "nats", "postgres", "intake", "fill", "position", "writer", "warnings"],
            "properties": {
                "ready": { "type": "boolean", "description": "Orders are taken in" },
                "draining": { "type": "boolean", "description": "The service was told to stop" },
                "nats": reference("Part"),
                "postgres": reference("Part"),
                "intake": reference("Part"),
                "fill": reference("Part"),
                "position": reference("Position"),
                "writer": reference("Writer"),
                "warnings": { "type": "array", "items": reference("Warning") },
            },
        },
    })
}

fn sample(model: &Model) -> Value {
    serde_json::from_str(&model.sample).unwrap_or_default()
}

fn paths(model: &Model, search: &[String], tokens: &Tokens) -> Value {
    let mut paths = json!({
        "/mem_len": { "get": operation("How many orders are known", vec![ok("application/json", mem_len())]) },
        "/order_pages/last": { "get": operation("The last page of ids", vec![ids(), not_modified(), plain("404", "There is no order"), filling()]) },
        "/order_pages/{n}": { "get": page() },
        "/order/{id}": { "get": get_order(model) },
        "/order": { "get": queries::newest(model, search, sample(model)) },
        "/orders": { "get": queries::find(model, search) },
        "/events": { "get": events(model, search) },
        "/dead_letters": { "get": dead_letters::list() },
        "/dead_letters/{key}": { "get": dead_letters::show() },
    });
    if tokens.read {
        let paths = paths.as_object_mut().into_iter().flat_map(Map::values_mut);
        for operation in paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
            close(operation, &["token", "session"]);
        }
    }
    if tokens.replay {
        let mut replay = dead_letters::replay();
        close(&mut replay, &["replay", "session"]);
        paths["/dead_letters/{key}/replay"] = json!({ "post": replay });
    }
    if tokens.erase {
        paths["/order/{id}"]["delete"] = erase();
    }
    for (path, item) in open_paths() {
        paths[path] = item;
    }
    paths
}

/// What needs no token.
fn open_paths() -> Vec<(&'static str, Value)> {
    let health = || ok("application/json", reference("Health"));
    let not_ready =
        ("503", content("Something that is needed is away", "application/json", reference("Health")));
    let mut ready = operation(
        "Whether orders are taken in",
        vec![health(), plain("400", "The query can't be read"), not_ready],
    );
    let reads = json!({ "type": "string", "enum": ["reads"] });
    ready["parameters"] = json!([parameter("query", "for", "`reads`: whether orders can be served", reads)]);
    let text = || json!({ "type": "string" });
    let file = |summary, kind| json!({ "get": operation(summary, vec![ok(kind, text()), not_modified()]) });
    let api = operation(
        "This description",
        vec![ok("application/json", json!({ "type": "object" })), not_modified()],
    );
    vec![
        ("/healthz", json!({ "get": operation("Whether it is alive", vec![health()]) })),
        ("/readyz", json!({ "get": ready })),
        ("/metrics", json!({ "get": operation("Metrics for Prometheus", vec![ok("text/plain", text())]) })),
        ("/session", json!({ "post": sign_in(), "delete": sign_out() })),
        ("/openapi.json", json!({ "get": api })),
        ("/docs", file("This description, for reading", "text/html")),
        ("/", file("The page", "text/html")),
    ]
}

fn filling() -> (&'static str, Value) {
    plain("503", "Memory lacks the page, and doesn't have the whole table yet")
}

fn page() -> Value {
    let zero = plain("400", "Pages are counted from 1");
    let mut page = operation(
        "A page of ids, oldest first",
        vec![ids(), not_modified(), zero, plain("404", "There is no such page"), filling()],
    );
    let number = json!({ "type": "integer", "minimum": 1, "examples": [1] });
    page["parameters"] = json!([required(parameter("path", "n", "From 1", number))]);
    page
}

fn id() -> Value {
    required(parameter(
        "path",
        "id",
        "Where the order stands in pages",
        json!({ "type": "string", "minLength": 1, "examples": [ID] }),
    ))
}

fn get_order(model: &Model) -> Value {
    let mut found = content("The order", "application/json", reference("Order"));
    found["content"]["application/json"]["example"] = sample(model);
    let mut order = operation(
        "An order",
        vec![
            ("200", found),
            plain("400", "The id is not UTF-8"),
            plain("404", "There is no such order"),
            plain("500", "Its row can't be decoded"),
            plain(
                "503",
                "Memory doesn't have it, and PostgreSQL can't be asked now; or too many large answers wait for others",
            ),
        ],
    );
    order["parameters"] = json!([id()]);
    order
}

fn erase() -> Value {
    let mut erase = operation(
        "Erases an order everywhere, for good",
        vec![
            ("204", json!({ "description": "It is gone everywhere" })),
            plain("400", "The id is not UTF-8"),
            plain("404", "Nothing of it is there"),
            plain("503", "It is not gone everywhere yet; the same again goes on"),
        ],
    );
    erase["parameters"] = json!([id()]);
    close(&mut erase, &["erase", "session"]);
    erase
}

fn events(model: &Model, search: &[String]) -> Value {
    let stream = "Server-sent events. `order`: `{\"id\":…,\"members\":{…}}`, with the members that orders are found by; with `full`, also `\"order\"`, the order itself. `stats`, once a \
                  second and when a part comes up or goes away: counters and rates, and under `parts` how NATS, \
                  PostgreSQL, intake and fill are; `skipped` counts, since the start, the orders above a hundred \
                  a second, which are not shown where neither members nor `full` are given. `reset`: the event asked for is unknown or too old; ask for the \
                  last page.";
    let stream = ("200", content(stream, "text/event-stream", json!({ "type": "string" })));
    let mut events = operation(
        "Orders as they come in",
        vec![
            stream,
            plain(
                "400",
                "A parameter that is unknown, or given more than once, or a value that it doesn't take",
            ),
            plain("503", "Too many event-stream clients"),
        ],
    );
    let last = |place, name| parameter(place, name, "Go on after this event", json!({ "type": "string" }));
    let full = json!({ "type": "boolean", "default": false });
    let mut parameters = queries::members(model, search, &events::PARAMETERS);
    parameters.extend([
        parameter("query", "full", "All orders, with the orders themselves", full),
        last("query", "last_event_id"),
        last("header", "Last-Event-ID"),
    ]);
    events["parameters"] = parameters.into();
    events
}

fn sign_in() -> Value {
    let form =
        json!({ "type": "object", "required": ["token"], "properties": { "token": { "type": "string" } } });
    let mut sign_in = operation(
        "Begins a session in a browser: 12 hours",
        vec![
            ("204", json!({ "description": "A cookie is set, where tokens are set" })),
            ("303", json!({ "description": "The same, for clients that accept text/html" })),
            plain("401", "Invalid token"),
            foreign(),
            plain("413", "Too long"),
            plain("415", "Not a form"),
            plain("422", "No token in it"),
        ],
    );
    sign_in["requestBody"] =
        json!({ "required": true, "content": { "application/x-www-form-urlencoded": { "schema": form } } });
    sign_in
}

fn sign_out() -> Value {
    operation("Ends the browser's session", vec![("204", json!({ "description": "Ended" })), foreign()])
}
