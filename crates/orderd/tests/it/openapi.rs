//! The description against the service: the schema holds for orders, and what is refused is described too.

use hyper::{Method, Request, StatusCode};
use serde_json::Value;

use crate::support::{Stack, order, sample};

/// What the schemas of models use of JSON Schema: types, members and elements.
fn check(schema: &Value, value: &Value, path: &str) {
    let fits = match schema["type"].as_str().unwrap_or_else(|| panic!("{path} has no type")) {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        other => panic!("{path} is of the type {other}"),
    };
    assert!(fits, "{path} is {value}, not as described: {schema}");
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
            // The sign-in refuses by itself; whoever asks for it has no token yet.
            let refused = answer.status == StatusCode::UNAUTHORIZED;
            assert!(refused == needs_token || path == "/session", "{method} {path}: {}", answer.status);
            closed += usize::from(needs_token);
        }
    }
    assert_eq!(closed, 11, "ten that show orders or dead letters, and the one that erases");
}
