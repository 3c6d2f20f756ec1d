//! The OpenAPI description compared with the service: the schema fits the orders, and errors are described too.

use hyper::{Method, Request, StatusCode};
use serde_json::Value;

use crate::support::{Stack, eventually, order, sample};

/// The type names of a schema, one or several.
fn types(schema: &Value) -> Vec<&str> {
    let types = schema["type"].as_array().map_or(std::slice::from_ref(&schema["type"]), Vec::as_slice);
    types.iter().filter_map(Value::as_str).collect()
}

/// Whether a value has one of the schema's types.
fn fits(schema: &Value, value: &Value, path: &str) -> bool {
    assert!(!types(schema).is_empty(), "{path} has no type");
    types(schema).into_iter().any(|name| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{path} is of the type {other}"),
    })
}

/// Checks a document against its schema.
fn check_document(schema: &Value, value: &Value, path: &str) {
    assert!(fits(schema, value, path), "{path} is {value}, not as described: {schema}");
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(name.as_str().unwrap()).is_some(), "{path} lacks {name}");
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let described = &schema["properties"][name];
        assert!(described.is_object() || schema["additionalProperties"] != false, "{path}.{name} is closed");
        if described.is_object() {
            check_document(described, member, &format!("{path}.{name}"));
        }
    }
    for element in value.as_array().into_iter().flatten() {
        check_document(&schema["items"], element, &format!("{path}[]"));
    }
}

/// The subset of JSON Schema that models use: types, members and elements.
fn check(schema: &Value, value: &Value, path: &str) {
    assert!(fits(schema, value, path), "{path} is {value}, not as described: {schema}");
    for (name, member) in value.as_object().into_iter().flatten() {
        let described = &schema["properties"][name];
        assert!(described.is_object(), "{path}.{name} is not described");
        check(described, member, &format!("{path}.{name}"));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(!value[name.as_str().unwrap()].is_null(), "{path} lacks {name}");
    }
    for element in value.as_array().into_iter().flatten() {
        check(&schema["items"], element, &format!("{path}[]"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_what_the_schema_says() {
    let (stack, service) = Stack::started().await;
    stack.publish(&[order("full"), r#"{"order_uid":"bare"}"#.into()]).await;
    service.wait_len(2).await;
    let api = service.get("/openapi.json").await.json();
    let schema = &api["components"]["schemas"]["Order"];
    check(schema, &serde_json::from_str(&sample()).unwrap(), "the sample");
    check(schema, &schema["examples"][0], "the example");
    for id in service.ids().await {
        check(schema, &service.get(&format!("/order/{id}")).await.json(), &id);
    }
}

/// Accepted, and kept by rows that are documents: nothing, `null`, other members, names in another case.
pub(crate) const AS_THEY_CAME: [&str; 4] = [
    r#"{"order_uid":"bare"}"#,
    r#"{"order_uid":"nulls","sm_id":null,"delivery":null,"items":[null,{"price":null,"more":[1.5]}],"payment":{}}"#,
    r#"{"ORDER_UID":"case","Items":[],"Delivery":{"Name":null}}"#,
    r#"{"order_uid":"more","x":{"y":[null,true,1e2]},"items":null}"#,
];

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_served_as_they_came_are_what_the_schema_says() {
    for settings in [("PG_FORMAT", "json"), ("PG_FORMAT", "jsonb"), ("MODEL", "any")] {
        let stack = Stack::new();
        let mut service = stack.serve(&[settings]).await;
        stack.publish(&AS_THEY_CAME).await;
        stack.publish(&[order("full")]).await;
        service.wait_len(5).await;
        // Of a table that is there, its column's type counts.
        service.stop();
        let restarted = if settings.0 == "MODEL" { settings } else { ("PG_FORMAT", "gob") };
        let service = stack.serve(&[restarted]).await;
        service.wait_len(5).await;
        let api = service.get("/openapi.json").await.json();
        let schema = &api["components"]["schemas"][api["x-schema"].as_str().unwrap()];
        assert!(schema["required"].is_null(), "{schema}");
        for entry in service.get("/orders?full=true").await.json().as_array().unwrap() {
            check_document(schema, &entry["order"], settings.1);
        }
        check_document(schema, &schema["examples"][0], "the example");
        if settings.0 != "MODEL" {
            assert!(types(&schema["properties"]["sm_id"]).contains(&"null"));
            let wrong = serde_json::json!({ "sm_id": "text" });
            assert!(!fits(&schema["properties"]["sm_id"], &wrong["sm_id"], "sm_id"));
        }
    }
}

/// Checks a response against its schema: each member has to be described.
fn check_strictly(api: &Value, schema: &Value, value: &Value, path: &str) {
    let reference = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    let schema = reference.map_or(schema, |pointer| api.pointer(pointer).unwrap());
    assert!(fits(schema, value, path), "{path} is {value}, not as described: {schema}");
    let values = schema["enum"].as_array();
    assert!(values.is_none_or(|values| values.contains(value)), "{path} is {value}: {schema}");
    // Of words that are open to new ones, the known ones are the examples.
    let words = schema["examples"].as_array().filter(|_| path.ends_with(".reason"));
    assert!(words.is_none_or(|words| words.contains(value)), "{path} is {value}: {schema}");
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(name.as_str().unwrap()).is_some(), "{path} lacks {name}");
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let described = &schema["properties"][name];
        assert!(described.is_object(), "{path}.{name} is not described");
        check_strictly(api, described, member, &format!("{path}.{name}"));
    }
    for element in value.as_array().into_iter().flatten() {
        check_strictly(api, &schema["items"], element, &format!("{path}[]"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_dead_letters_and_replays_are_what_the_schemas_say_and_no_more() {
    let mut stack = Stack::new();
    let mut service = stack.serve(&[("HTTP_REPLAY_TOKEN", "replayer")]).await;
    stack.publish(&[r#"{"order_uid":1}"#, "{", r#"{"track_number":"A"}"#]).await;
    stack.wait_settled(3).await;
    let api = service.get("/openapi.json").await.json();
    let schema = |path: &str, method: &str, status: u16| {
        let response = &api["paths"][path][method]["responses"][status.to_string()];
        response["content"]["application/json"]["schema"].clone()
    };
    let listed = service.get("/dead_letters").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 3);
    check_strictly(&api, &schema("/dead_letters", "get", 200), &listed, "the list");
    let keys: Vec<_> = listed.as_array().unwrap().iter().map(|it| it["key"].as_str().unwrap()).collect();
    for key in &keys {
        let letter = service.get(&format!("/dead_letters/{key}")).await.json();
        assert!(letter["payload"].is_string());
        check_strictly(&api, &schema("/dead_letters/{key}", "get", 200), &letter, key);
    }
    // A row from elsewhere takes the first key.
    stack.publish(&[order("row")]).await;
    service.wait_len(1).await;
    stack.wait_settled(4).await;
    stack.postgres.psql(&format!("INSERT INTO orders2 SELECT '{}', data FROM orders2", keys[0])).unwrap();
    for (key, document, said) in [
        (keys[0], order("another"), "key_taken"),
        (keys[1], r#"{"order_uid":[]}"#.to_owned(), "wrong_type"),
        (keys[1], order("good"), ""),
    ] {
        let request = Request::post(format!("/dead_letters/{key}/replay"));
        let request = request.header("authorization", "Bearer replayer");
        let answer = service.send_body(request, &document).await;
        let outcome = answer.json();
        assert_eq!(outcome["reason"].as_str().unwrap_or_default(), said, "{outcome}");
        let schema = schema("/dead_letters/{key}/replay", "post", answer.status.as_u16());
        check_strictly(&api, &schema, &outcome, "the replay");
    }
    let report = service.get("/readyz").await;
    assert_eq!(report.status, StatusCode::OK);
    check_strictly(&api, &schema("/readyz", "get", 200), &report.json(), "ready");
    // A part that is down, and a position that is not known.
    assert_eq!(service.stop(), Some(0));
    stack.postgres.stop();
    let service = stack.start(&[]).await;
    let down = eventually("PostgreSQL is down", async || {
        let report = service.get("/readyz").await;
        (report.json()["postgres"]["reason"].as_str() != Some("starting")).then_some(report)
    })
    .await;
    assert_eq!(down.status, StatusCode::SERVICE_UNAVAILABLE);
    check_strictly(&api, &schema("/readyz", "get", 503), &down.json(), "not ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_described() {
    let stack = Stack::new();
    let tokens =
        [("HTTP_TOKEN", "secret"), ("HTTP_REPLAY_TOKEN", "replayer"), ("HTTP_ERASE_TOKEN", "eraser")];
    let service = stack.start(&tokens).await;
    let api = service.get("/openapi.json").await.json();
    let mut closed = 0;
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let asked = path.replace("{id}", "x").replace("{key}", "x").replace("{n}", "1");
            let answer = service.send(Request::builder().method(&method).uri(&asked)).await;
            let described = operation["responses"][answer.status.as_str()].is_object();
            assert!(described, "{method} {path}: {} is not described", answer.status);
            let needs_token = operation["security"].is_array();
            // The sign-in route checks the token itself: its client has no session yet.
            let refused = answer.status == StatusCode::UNAUTHORIZED;
            assert!(refused == needs_token || path == "/session", "{method} {path}: {}", answer.status);
            closed += usize::from(needs_token);
        }
    }
    assert_eq!(closed, 12, "nine that read, two that decide about dead letters, and the one that erases");
}
