//! `orderd` serves any document for which `MODEL` names a sample or a JSON Schema.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::live::Reader;
use crate::support::{Service, Stack, eventually};

/// Files of models, in a folder of the test's own.
fn file(stack: &Stack, name: &str, text: &str) -> String {
    let file = stack.temp_dir.path().join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

fn station() -> String {
    devstack::tools::workspace().join("samples/station.json").display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_for_another_document() {
    let stack = Stack::new();
    let station = station();
    let sample: Value = serde_json::from_str(include_str!("../../../../samples/station.json")).unwrap();
    let settings = [("MODEL", &*station), ("REQUIRE", "station_id"), ("SEARCH", "station_id,имя,🌡")];
    let mut service = stack.serve(&settings).await;
    stack.publish(&[sample.to_string(), "{\"station_id\":\"\"}".into()]).await;
    assert!(stack.run(&["publish", "--model", &station, "--count", "2"], "").await.status.success());
    service.wait_len(3).await;
    let id = service.ids().await[0].clone();
    let before = service.get(&format!("/order/{id}")).await.body;
    for (name, value) in serde_json::from_str::<Value>(&before).unwrap().as_object().unwrap() {
        assert!(sample.get(name).is_some_and(|expected| alike(value, expected)), "{name}: {value}");
    }
    assert_eq!(service.get("/orders?%D0%B8%D0%BC%D1%8F=nowhere").await.body, "[]");
    assert_eq!(service.get("/orders?station_id=svo-07").await.json().as_array().unwrap().len(), 3);
    eventually("all rows are committed", async || (stack.rows() == 3).then_some(())).await;
    assert_eq!(service.stop(), Some(0));
    let service = stack.serve(&settings).await;
    assert_eq!(service.get(&format!("/order/{id}")).await.body, before);
}

/// Default members that the model lacks are omitted; an empty variable counts as not set.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_required_of_a_document_that_is_no_order() {
    let stack = Stack::new();
    let model = file(&stack, "parcel.json", r#"{"id": "p-1", "type": "box", "weight": 1.5}"#);
    let settings =
        [("MODEL", &*model), ("REQUIRE", ""), ("SEARCH", ""), ("UNKNOWN", ""), ("PG_FORMAT", "gob")];
    let service = stack.serve(&settings).await;
    stack.publish(&["{}", r#"{"id":"p-2","weight":3}"#]).await;
    service.wait_len(2).await;
    let mut bodies = Vec::new();
    for id in service.ids().await {
        bodies.push(service.get(&format!("/order/{id}")).await.body);
    }
    assert_eq!(bodies, [r#"{"id":"","type":"","weight":0.0}"#, r#"{"id":"p-2","type":"","weight":3.0}"#]);
    let api = service.get("/openapi.json").await.json();
    assert_eq!(api["x-search"], json!([]));
    assert_eq!((&api["x-model"], &api["x-schema"]), (&json!("parcel"), &json!("Parcel")));
    assert_eq!(api["info"]["title"], "orderd: parcel");
    let served = &api["paths"]["/order/{id}"]["get"]["responses"]["200"]["content"]["application/json"];
    assert_eq!(served["schema"]["$ref"], "#/components/schemas/Parcel");
    assert_eq!(api["components"]["schemas"]["Parcel"]["properties"]["weight"]["type"], "number");
    let refused = service.get("/order").await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.body.starts_with("400 no member can be searched: the service's setting SEARCH names"),
        "{}",
        refused.body
    );
    let mut prose = Vec::new();
    texts(&api, &mut prose);
    prose.push(service.get("/").await.body);
    for text in prose {
        // Names of the program, of paths and files, and what stands between backticks.
        let names =
            ["orderd", "order_pages", "view-order", "order.js", "fig-orders", "figOrders", "class=\"order\""];
        let prose: String = text.split('`').step_by(2).collect();
        let prose = names.iter().fold(prose, |prose, name| prose.replace(name, ""));
        assert!(!prose.to_lowercase().contains("order"), "{text}");
    }
}

#[test]
fn help_speaks_of_documents_whatever_the_model_is() {
    // Allowed names: paths, subjects, members, and the built-in model.
    let names = [
        "orderd",
        "/orders",
        "/order",
        "orders.jsonl",
        "public.orders2",
        "orders.>",
        "orders.*.new",
        "orders.new",
        "order_uid",
        "\"order\"",
        "Reads orders, or the documents that MODEL describes",
        "the built-in order",
        "order.json",
        "\"order\":",
    ];
    for command in [
        &["--help"][..],
        &["serve", "--help"],
        &["publish", "--help"],
        &["model", "check", "--help"],
        &["dead-letters", "list", "--help"],
        &["dead-letters", "replay", "--help"],
        &["dead-letters", "drop", "--help"],
        &["export", "--help"],
        &["import", "--help"],
        &["verify", "--help"],
        &["erase", "--help"],
        &["check", "--help"],
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_orderd")).args(command).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        let prose = names.iter().fold(help, |help, name| help.replace(name, ""));
        assert!(!prose.contains("order"), "{command:?}: {prose}");
    }
}

/// Places where a text mentions an order, except paths, members and names of files, tables and metrics.
fn about_orders(text: &str) -> Vec<String> {
    let is_name = |end: char| end.is_alphanumeric() || "_/\"'`.-=?&>$".contains(end);
    let mut found = Vec::new();
    for line in text.lines() {
        for (at, _) in line.to_lowercase().match_indices("order") {
            let (before, rest) = (&line[..at], &line[at + "order".len()..]);
            let rest = rest.strip_prefix('s').unwrap_or(rest);
            let is_word =
                !before.ends_with(is_name) && !rest.starts_with(|next| is_name(next) && next != '.');
            // The event, the stream and the parameter of these names.
            let is_parameter = before.ends_with("event: ") || line[at..].starts_with("order, limit");
            // SQL, the stream, a sequence, and names of subjects, files, hosts and a database.
            let is_dotted =
                rest.strip_prefix('.').is_some_and(|rest| !rest.is_empty() && !rest.starts_with(' '));
            let is_other = line[at..].starts_with("ORDER")
                || line[at..].starts_with("order of members")
                || before.ends_with("DATABASE ")
                || is_dotted;
            if is_word && !is_parameter && !is_other {
                found.push(line.to_owned());
            }
        }
    }
    found
}

/// Also those that no test provokes.
#[test]
fn no_message_in_the_code_calls_a_document_an_order() {
    let mut folders = vec![devstack::tools::workspace().join("crates/orderd/src")];
    let (mut texts, mut found) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // The description is for orders, and is reworded for other documents.
            if path.is_dir() && !path.ends_with("openapi") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let code = fs::read_to_string(&path).unwrap();
                for text in texts_in(code.split("#[cfg(test)]").next().unwrap()) {
                    texts += 1;
                    found.extend(
                        about_orders(&text).into_iter().map(|text| format!("{}: {text}", path.display())),
                    );
                }
            }
        }
    }
    assert!(texts > 1000, "{texts} texts are too few to have been found all");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The texts of more than one word between quotes, as far as they are on one line, or on lines that a `\` continues.
fn texts_in(code: &str) -> Vec<String> {
    let joined: String = code.split("\\\n").map(str::trim_start).collect();
    let lines = joined.lines().filter(|line| !line.trim_start().starts_with("//"));
    let without_escaped = |line: &str| line.replace("\\\"", "'").replace("'\"'", "");
    let texts = lines.flat_map(|line| {
        let line = without_escaped(line);
        line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    });
    texts.filter(|text| text.contains(' ')).collect()
}

/// Output of the service and its commands about parcels never calls them orders.
#[tokio::test(flavor = "multi_thread")]
async fn no_output_calls_a_parcel_an_order() {
    const TOKENS: [(&str, &str); 2] = [("HTTP_REPLAY_TOKEN", "replayer"), ("HTTP_ERASE_TOKEN", "eraser")];
    let stack = Stack::new();
    let model = file(&stack, "parcel.json", r#"{"id": "p", "weight": 1.5}"#);
    let newer = file(&stack, "parcel-2.json", r#"{"id": "p", "weight": 1.5, "note": ""}"#);
    let settings =
        [("MODEL", &*model), ("SEARCH", "id"), ("UNKNOWN", "refuse"), ("LOG", "debug"), ("KEEP", "400d")];
    let mut service = stack.serve(&[&settings[..], &TOKENS].concat()).await;
    let mut said: Vec<(String, String)> = Vec::new();
    let documents = file(&stack, "parcels.jsonl", "{\"id\":\"p-1\"}\n{\"id\":\"p-2\"}\n{\"id\":\"p-2\"}\n");
    let bad = file(&stack, "bad.jsonl", "{\"id\":\"p-1\"}\n{\"id\":");
    let fixed = file(&stack, "fixed.json", r#"{"id":"p-6"}"#);
    stack.publish(&["{", "[]", r#"{"id":7}"#, r#"{"id":"p-5","extra":1}"#, "{}", ""]).await;
    stack.publish(&[r#"{"id":"p-3","weight":2}"#]).await;
    stack.wait_settled(7).await;
    service.wait_len(2).await;
    let dead = service.get("/dead_letters").await;
    let keys: Vec<String> = dead
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["key"].as_str().unwrap().to_owned())
        .collect();
    let id = service.ids().await[0].clone();
    let addr = service.addr.to_string();
    let model_flag = ["--model", model.as_str()];
    let http = ["--http-addr", addr.as_str()];
    let with = |args: &[&str], more: &[&[&str]]| {
        args.iter().chain(more.iter().copied().flatten()).map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    for args in [
        with(&["publish", "--count", "2", "--wait-committed"], &[&model_flag]),
        with(&["publish", "--from", &documents], &[&model_flag]),
        with(&["publish", "--from", &bad], &[&model_flag]),
        with(&["publish", "--core"], &[&model_flag]),
        with(&["publish", "--rate", "-1"], &[&model_flag]),
        with(&["publish", "--from", "nowhere"], &[&model_flag]),
        with(&["publish", "--subject", "elsewhere"], &[&model_flag]),
        with(&["export"], &[&model_flag]),
        with(&["import", &bad], &[&model_flag]),
        with(&["verify"], &[&model_flag, &http]),
        with(&["verify", "--json"], &[&model_flag, &http]),
        with(&["check"], &[&http]),
        with(&["check", "--live"], &[&http]),
        with(&["check", "--settings"], &[&model_flag]),
        with(&["model", "infer", &model], &[]),
        with(&["model", "go", &model], &[]),
        with(&["model", "rust", &model], &[]),
        with(&["model", "typescript", &model], &[]),
        with(&["model", "check", "--model", &newer, &model], &[]),
        with(&["model", "check"], &[&model_flag]),
        with(&["dead-letters", "list"], &[]),
        with(&["dead-letters", "list", "--json"], &[]),
        with(&["dead-letters", "show", &keys[0]], &[]),
        with(&["dead-letters", "replay", &keys[0], "--with", &fixed], &[]),
        with(&["dead-letters", "replay", "--all"], &[]),
        with(&["dead-letters", "drop", &keys[1]], &[]),
        with(&["dead-letters", "show", "1-1"], &[]),
        with(&["erase", "--dry-run", &id], &[&model_flag]),
        with(&["erase", &id], &[&model_flag]),
        with(&["erase", "--yes", &id, "nobody"], &[&model_flag]),
        with(&["erase", "--yes", "--where", "id=p-2"], &[&model_flag, &http]),
        with(&["erase", "--yes", "--where", "id=nobody"], &[&model_flag, &http]),
        with(&["erase", "--yes", "--where", "other=p-2"], &[&model_flag, &http]),
        with(&["erase", "--older-than", "400d", "--dry-run"], &[&model_flag]),
        with(&["serve", "--http-addr", "0.0.0.0:0"], &[&model_flag]),
        with(
            &["serve", "--pg-table", "public.other", "--nats-stream", "DEAD"],
            &[&model_flag, &["--nats-dead-stream", "DEAD"]],
        ),
    ] {
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = stack.run(&words, "n\n").await;
        let text = [output.stdout, output.stderr].concat();
        said.push((args.join(" "), String::from_utf8_lossy(&text).into_owned()));
    }
    assert!(said.iter().any(|(_, text)| text.contains("2 documents erased")), "{said:?}");
    for path in [
        "/readyz",
        "/readyz?for=reads",
        "/healthz",
        "/metrics",
        "/dead_letters",
        "/order",
        "/order?id=nobody",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(["/order/1-1".into(), "/order_pages/0".into(), "/orders?limit=0".into(), "/mem_len".into()])
    .chain([format!("/dead_letters/{}", keys[2]), "/nowhere".into()])
    {
        let answer = service.get(&path).await;
        said.push((path, answer.body));
    }
    said.push(("DELETE".into(), service.erase("nobody", "eraser").await.to_string()));
    service.stop();
    said.push(("log".into(), service.process.log()));
    // Without its servers, it reports which are down.
    let away = [("MODEL", &*model), ("LOG", "debug"), ("NATS_PORT", "1"), ("PG_PORT", "1")];
    let service = stack.start(&away).await;
    eventually("both are away", async || {
        let ready = service.get("/readyz").await.json();
        (ready["nats"]["reason"].is_string() && ready["postgres"]["reason"].is_string()).then_some(())
    })
    .await;
    said.push(("/readyz".into(), service.get("/readyz").await.body));
    said.push(("/order/1-1".into(), service.get("/order/1-1").await.body));
    said.push(("log".into(), service.process.log()));
    let about_orders: Vec<_> = said
        .iter()
        .flat_map(|(by, text)| about_orders(text).into_iter().map(move |line| format!("{by}: {line}")))
        .collect();
    assert!(about_orders.is_empty(), "{}", about_orders.join("\n"));
}

/// All summaries and descriptions.
fn texts(part: &Value, found: &mut Vec<String>) {
    match part {
        Value::Object(members) => {
            for (name, value) in members {
                if let ("summary" | "description", Value::String(text)) = (name.as_str(), value) {
                    found.push(text.clone());
                }
                texts(value, found);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| texts(element, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_a_model() {
    let stack = Stack::new();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "parcel",
        "properties": {"id": {"type": "string"}, "to": {"$ref": "#/$defs/to"}},
        "required": ["id"],
        "additionalProperties": false,
        "$defs": {"to": {"type": "object", "properties": {"city": {"type": "string"}}}},
    });
    let model = file(&stack, "anything.json", &schema.to_string());
    let service = stack.serve(&[("MODEL", &model), ("SEARCH", "id")]).await;
    stack
        .publish(&[
            r#"{"id":"p","to":{"city":"c","zip":"z"}}"#,
            r#"{"to":{"city":"c"}}"#,
            r#"{"id":"p","weight":1}"#,
        ])
        .await;
    let letters = eventually("two are refused", async || {
        let letters = service.get("/dead_letters").await.json();
        (letters.as_array().unwrap().len() == 2).then_some(letters)
    })
    .await;
    let mut refused: Vec<_> = letters
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["reason"].as_str().unwrap(), it["path"].as_str().unwrap()))
        .collect();
    refused.sort_unstable();
    assert_eq!(refused, [("missing_member", "$.id"), ("unknown_member", "$.weight")]);
    service.wait_len(1).await;
}

/// Unknown members are not dropped silently: the message waits until the model has them.
#[tokio::test(flavor = "multi_thread")]
async fn refused_members_are_taken_in_once_the_model_has_them() {
    let stack = Stack::new();
    let older = file(&stack, "parcel.json", r#"{"id": "p"}"#);
    let mut service = stack.serve(&[("MODEL", &older), ("UNKNOWN", "refuse")]).await;
    stack.publish(&[r#"{"id":"a"}"#, r#"{"id":"b","to":{"city":"c"}}"#]).await;
    eventually("one is refused", async || {
        let letters = service.get("/dead_letters").await.json();
        (letters[0]["path"] == "$.to").then_some(())
    })
    .await;
    assert_eq!(service.stop(), Some(0));
    let newer = file(&stack, "newer.json", r#"{"id": "p", "to": {"city": ""}}"#);
    let service = stack.serve(&[("MODEL", &newer), ("UNKNOWN", "refuse")]).await;
    let replayed = stack.run(&["dead-letters", "replay", "--reason", "unknown_member"], "").await;
    assert_eq!(replayed.status.code(), Some(0), "{}", String::from_utf8_lossy(&replayed.stderr));
    service.wait_len(2).await;
    let id = service.ids().await[1].clone();
    assert_eq!(service.get(&format!("/order/{id}")).await.body, r#"{"id":"b","to":{"city":"c"}}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_model_is_refused_with_the_path_of_the_error() {
    let stack = Stack::new();
    for (name, text, said) in [
        ("a.json", r#"{"items": [{"x": 1}, {"x": "1"}]}"#, "$.items[1].x is a string"),
        (
            "b.json",
            r#"{"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}}"#,
            "$.properties.a.minLength",
        ),
        ("c.json", "[]", "$ is an array"),
        ("d.json", "{", "not valid JSON"),
    ] {
        let model = file(&stack, name, text);
        let ended = stack.run(&["serve", "--model", &model], "").await;
        let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("MODEL") && stderr.contains(said) && stderr.contains(name), "{stderr}");
    }
}

/// Neither counts nor lists show a table that the model does not fit. `member` can be searched.
async fn assert_not_listed(service: &Service, member: &str) {
    for path in ["/mem_len", "/order_pages/last", "/order_pages/1", "/orders", "/orders?full=true"]
        .map(str::to_owned)
        .into_iter()
        // Twice, because plain requests take another path through the code.
        .chain([format!("/orders?{member}=7"), format!("/order?{member}=7")])
        .chain([format!("/orders?{member}=7&limit=1"), format!("/order?{member}=7&{member}=7")])
    {
        let answer = service.get(&path).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
        assert!(answer.body.starts_with("503 the model does not fit the table"), "{path}: {}", answer.body);
        assert!(answer.headers.contains_key("retry-after"), "{path}");
    }
    assert_eq!(service.get("/order_pages/0").await.status, 400);
    assert_eq!(service.get("/order_pages/x").await.status, 404);
}

/// Each undecodable row alone would be skipped; a table of them, however small, means another model, and is not served
/// as empty.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_the_model_does_not_fit_is_not_served() {
    let stack = Stack::new();
    let mut service = stack.serve(&[("PG_FORMAT", "gob")]).await;
    stack.publish(&crate::support::orders(2)).await;
    eventually("all rows are committed", async || (stack.rows() == 2).then_some(())).await;
    assert_eq!(service.stop(), Some(0));
    let parcel = file(&stack, "parcel.json", r#"{"barcode": "", "weight": 1.5}"#);
    stack.publish(&[r#"{"barcode":"b-1","weight":2}"#]).await;
    let mut service = stack.start(&[("MODEL", &parcel), ("SEARCH", "barcode")]).await;
    let health = eventually("the table is read", async || {
        let answer = service.get("/readyz").await;
        answer.json()["fill"]["reason"].as_str().is_some_and(|it| it.contains("model")).then_some(answer)
    })
    .await;
    assert_eq!(health.status, 503);
    assert_eq!(health.json()["ready"], false);
    assert_eq!(service.get("/readyz?for=reads").await.status, 503);
    let reason = health.json()["fill"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("2 of 2 rows") && reason.contains("does not fit"), "{reason}");
    let health = service.get("/readyz").await.json();
    assert_eq!((&health["fill"]["model_fits"], &health["writer"]["name"]), (&json!(false), &Value::Null));
    assert_not_listed(&service, "barcode").await;
    let stats = Reader::new(&service, None).await.until(|_| true).await;
    assert_eq!((&stats["mem_len"], &stats["parts"]["fill"]["up"]), (&Value::Null, &json!(false)));
    let checked = stack.run(&["model", "check", "--model", &parcel], "").await;
    assert_eq!(checked.status.code(), Some(1));
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        said.contains("no field of the row is one of the model") && said.contains("0 of 2 rows readable"),
        "{said}"
    );
    assert_eq!(service.stop(), Some(0));
    // The parcel, which was published before the start, is still in the stream only.
    assert_eq!(stack.rows(), 2);
    let checked = stack.run(&["model", "check"], "").await;
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
    let service = stack.serve(&[]).await;
    service.wait_len(2).await;
}

/// In `jsonb` and `json` rows, all names may be unknown ones, and new documents must not stand for the table.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_documents_of_another_model_is_neither_served_nor_written() {
    for format in ["jsonb", "json"] {
        let stack = Stack::new();
        let parcel = file(&stack, "parcel.json", r#"{"id": "", "v": 1}"#);
        let mut service = stack.serve(&[("MODEL", &parcel), ("PG_FORMAT", format)]).await;
        stack.publish(&[r#"{"id":"a","v":1}"#, r#"{"v":2,"id":"a longer one"}"#]).await;
        eventually("all rows are committed", async || (stack.rows() == 2).then_some(())).await;
        let checked = stack.run(&["model", "check", "--model", &parcel], "").await;
        assert_eq!(String::from_utf8_lossy(&checked.stdout), "2 rows: readable\n2 of 2 rows readable\n");
        assert_eq!(service.stop(), Some(0));
        for (name, other, document, member) in [
            ("stranger.json", r#"{"zz": "q", "yy": {"a": 1}}"#, r#"{"zz":"new"}"#, "zz"),
            ("changed.json", r#"{"id": 1, "w": "s"}"#, r#"{"id":7,"w":"new"}"#, "id"),
        ] {
            let model = file(&stack, name, other);
            let mut service = stack.start(&[("MODEL", &model), ("SEARCH", member)]).await;
            stack.publish(&[document]).await;
            let health = eventually("the table is read", async || {
                let answer = service.get("/readyz").await.json();
                let reason = answer["fill"]["reason"].as_str().unwrap_or_default();
                reason.contains("does not fit").then_some(answer)
            })
            .await;
            assert_eq!(
                (&health["ready"], &health["fill"]["model_fits"]),
                (&false.into(), &false.into()),
                "{health}"
            );
            let checked = stack.run(&["model", "check", "--model", &model], "").await;
            assert_eq!(checked.status.code(), Some(1), "{}", String::from_utf8_lossy(&checked.stdout));
            // What arrives is shown once a row has it, and none will.
            let state =
                stack.jetstream().await.get_stream("ORDERS").await.unwrap().cached_info().state.clone();
            let key = format!("{}-{}", state.last_timestamp.unix_timestamp_nanos(), state.last_sequence);
            assert_ne!(service.get(&format!("/order/{key}")).await.status, 200, "{format} {name}");
            assert_not_listed(&service, member).await;
            assert_eq!(service.stop(), Some(0));
            assert_eq!(stack.rows(), 2, "{format} {name}");
        }
    }
}

/// Rows of `documents`, written with this model.
async fn import(stack: &Stack, model: &str, format: &str, first_id: usize, documents: &[String]) {
    let lines = documents.iter().zip(first_id..);
    let lines: String = lines.map(|(text, id)| format!("{{\"id\":\"{id}\",\"order\":{text}}}\n")).collect();
    let imported = stack.run(&["import", "--model", model, "--pg-format", format], &lines).await;
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
}

/// Two models with one member in common can read each other's rows: nearly empty documents are served, with a warning.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_have_little_in_common_with_the_model_are_a_warning() {
    let warnings = async |service: &Service| service.get("/readyz").await.json()["warnings"].clone();
    for format in ["gob", "jsonb", "json"] {
        let stack = Stack::new();
        let invoice =
            file(&stack, "invoice.json", r#"{"id": "", "total": 1.5, "lines": [{"sku": "", "weight": 1}]}"#);
        let parcel = file(&stack, "parcel.json", r#"{"id": "", "weight": 1, "to": {"city": ""}}"#);
        let documents: Vec<_> =
            (0..150).map(|n| format!(r#"{{"id":"i-{n}","total":2.5,"lines":[{{"sku":"s"}}]}}"#)).collect();
        import(&stack, &invoice, format, 1, &documents).await;
        let said = ["public.orders2", "little in common", "weight, to", "MODEL", "PG_TABLE"];
        let mut service = stack.serve(&[("MODEL", &parcel)]).await;
        let shown = warnings(&service).await;
        assert_eq!(
            (&shown[0]["what"], shown.as_array().map(Vec::len)),
            (&json!("little_in_common"), Some(1)),
            "{format}: {shown}"
        );
        let log = service.process.log();
        for words in said {
            assert!(shown[0]["text"].as_str().unwrap().contains(words), "{format}: no {words} in {shown}");
            assert!(log.contains(words), "{format}: no {words} in {log}");
        }
        let metrics = service.get("/metrics").await.body;
        assert!(metrics.contains("orderd_warning{what=\"little_in_common\"} 1"), "{metrics}");
        // Reading the table again decodes rows that memory has.
        import(&stack, &invoice, format, 151, &documents[..1]).await;
        service.process.signal(devstack::Signal::USR1);
        service.wait_len(151).await;
        assert_eq!(warnings(&service).await[0]["what"], "little_in_common", "{format}");
        let checked = stack.run(&["model", "check", "--model", &parcel], "").await;
        let report = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert_eq!(checked.status.code(), Some(0), "{report}");
        assert!(report.contains("151 of 151 rows readable") && report.contains(said[1]), "{report}");
        let checked = stack.run(&["check", "--settings", "--model", &parcel], "").await;
        let report = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert_eq!(checked.status.code(), Some(0), "{report}");
        assert!(said.iter().all(|words| report.contains(words)), "{report}");
        let compared = stack.run(&["model", "check", "--model", &parcel, &invoice], "").await;
        let report = String::from_utf8_lossy(&compared.stdout).into_owned();
        assert!(report.contains("the models have only id in common"), "{report}");
        // The model has replaced the other: its documents arrive.
        let parcels: Vec<_> =
            (0..2).map(|n| format!(r#"{{"id":"p-{n}","weight":2,"to":{{"city":"c"}}}}"#)).collect();
        import(&stack, &parcel, format, 152, &parcels).await;
        assert_eq!(service.stop(), Some(0));
        let service = stack.serve(&[("MODEL", &parcel)]).await;
        assert_eq!(warnings(&service).await, json!([]), "{format}");
    }
}

/// Rows of an older, a newer, and a sparse model, and of any.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_evolved_model_are_no_warning() {
    let stack = Stack::new();
    let small = file(&stack, "parcel.json", r#"{"id": "", "weight": 1}"#);
    let large = file(
        &stack,
        "grown/parcel.json",
        r#"{"id": "", "weight": 1, "to": {"x": 1}, "a": 1, "b": 1, "c": 1}"#,
    );
    let full = r#"{"id":"p","weight":2,"to":{"x":1},"a":1,"b":1,"c":1}"#.to_owned();
    for (number, (format, written_by, document)) in [
        ("gob", &small, r#"{"id":"p","weight":2}"#.to_owned()),
        ("gob", &large, full.clone()),
        ("jsonb", &large, full.clone()),
        ("json", &large, r#"{"id":"p","extra":1}"#.to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let table = format!("rows_{number}");
        let lines = format!("{{\"id\":\"1\",\"order\":{document}}}\n");
        let flags = ["import", "--model", written_by, "--pg-format", format, "--pg-table", &table];
        assert!(stack.run(&flags, &lines).await.status.success());
        // Rows of gob and of jsonb are no documents of any form.
        let models = if format == "json" { &[&*small, &large, "any"][..] } else { &[&*small, &large] };
        for model in models.iter().filter(|model| document != r#"{"id":"p","extra":1}"# || **model == "any") {
            let flags = ["model", "check", "--model", model, "--pg-table", &table, "--pg-format", format];
            let checked = stack.run(&flags, "").await;
            let report = String::from_utf8_lossy(&checked.stdout).into_owned();
            assert_eq!(checked.status.code(), Some(0), "{report}");
            assert!(!report.contains("little in common"), "{format} {document} {model}: {report}");
        }
    }
}

/// A few documents of another model among others are served as they are, and say nothing about the table; most of them
/// do. `/readyz` and `orderd model check` agree.
#[tokio::test(flavor = "multi_thread")]
async fn the_service_and_model_check_judge_foreign_documents_alike() {
    let stack = Stack::new();
    let parcel = file(&stack, "parcel.json", r#"{"id": "", "weight": 1}"#);
    let (own, foreign) = (r#"{"id":"p","weight":1}"#.to_owned(), r#"{"zz":1}"#.to_owned());
    import(&stack, &parcel, "json", 1, &[own]).await;
    import(&stack, "any", "json", 2, std::slice::from_ref(&foreign)).await;
    let mut service = stack.serve(&[("MODEL", &parcel)]).await;
    assert_eq!(service.get("/order/2").await.body, foreign);
    let checked = stack.run(&["model", "check", "--model", &parcel], "").await;
    let report = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(0), "{report}");
    assert!(
        report.contains("1 row: no member of the document is one of the model; served all the same")
            && report.contains("2 of 2 rows readable"),
        "{report}"
    );
    assert_eq!(service.stop(), Some(0));
    import(&stack, "any", "json", 3, &[foreign]).await;
    let service = stack.start(&[("MODEL", &parcel)]).await;
    let misfit = async |what: &str| {
        eventually(what, async || {
            let fill = service.get("/readyz").await.json()["fill"].clone();
            (fill["model_fits"] == false && fill["rows"] == 3).then_some(())
        })
        .await;
    };
    misfit("the table is read").await;
    let checked = stack.run(&["model", "check", "--model", &parcel], "").await;
    let report = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{report}");
    assert!(report.contains("2 rows NOT readable") && report.contains("1 of 3 rows readable"), "{report}");
    // Another read of the table comes to the same conclusion, though memory has its rows.
    let reads = || service.process.log().matches("table read").count();
    let before = reads();
    service.process.signal(devstack::Signal::USR1);
    eventually("the table is read again", async || (reads() > before).then_some(())).await;
    misfit("the model still does not fit").await;
    assert_eq!(service.get("/readyz?for=reads").await.status, 503);
}

/// A process that has written to a table before starts as its writer, and stops writing when it has read the table.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_steps_down_when_the_table_turns_out_not_to_fit() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&crate::support::orders(20)).await;
    eventually("all rows are committed", async || (stack.rows() == 20).then_some(())).await;
    assert_eq!(service.stop(), Some(0));
    let parcel = file(&stack, "parcel.json", r#"{"barcode": "", "weight": 1.5}"#);
    let mut other = stack.serve(&[("MODEL", &parcel), ("PG_TABLE", "parcels")]).await;
    assert_eq!(other.stop(), Some(0));
    let models = "SELECT other.model FROM orderd_position other WHERE other.table_name LIKE '%parcels%'";
    let update = format!("UPDATE orderd_position SET model = ({models})");
    stack.sql().await.batch_execute(&update).await.unwrap();
    let service = stack.start(&[("MODEL", &parcel)]).await;
    eventually("the process has stopped writing", async || {
        let health = service.get("/readyz").await.json();
        (health["fill"]["model_fits"] == false && health["writer"]["name"].is_null()).then_some(())
    })
    .await;
    // A process with the table's model takes over at once.
    let orders = stack.serve(&[]).await;
    stack.publish(&crate::support::orders(3)).await;
    eventually("orders are written", async || (stack.rows() == 23).then_some(())).await;
    drop(orders);
}

/// A newer model reads what an older one wrote: members added and removed, whole numbers that became fractions.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_older_model_are_served_under_a_newer_one() {
    let stack = Stack::new();
    let older = file(&stack, "older/parcel.json", r#"{"id": "", "weight": 1, "gone": true, "at": {"x": 1}}"#);
    let mut service = stack.serve(&[("MODEL", &older), ("SEARCH", "id"), ("PG_FORMAT", "gob")]).await;
    stack.publish(&[r#"{"id":"p","weight":12,"gone":true,"at":{"x":-3}}"#]).await;
    eventually("it is committed", async || (stack.rows() == 1).then_some(())).await;
    assert_eq!(service.stop(), Some(0));
    let newer = file(&stack, "parcel.json", r#"{"note": "", "at": {"x": 0.5}, "id": "", "weight": 1.5}"#);
    let checked = stack.run(&["model", "check", "--model", &newer, &older], "").await;
    assert_eq!(checked.status.code(), Some(0));
    assert_eq!(
        String::from_utf8_lossy(&checked.stdout),
        "$.weight: was a whole number, and is a number; readable\n\
         $.gone: removed; gob rows no longer show it, jsonb and json rows do\n\
         $.at.x: was a whole number, and is a number; readable\n$.note: new; missing in older documents\n\
         readable\n"
    );
    let table = stack.run(&["model", "check", "--model", &newer], "").await;
    assert_eq!(table.status.code(), Some(0));
    assert_eq!(
        String::from_utf8_lossy(&table.stdout),
        "1 row: readable\n  $.weight: was a whole number, and is a number; readable\n  \
         $: the Go field Gone is not in the model; no longer shown\n  \
         $.at.x: was a whole number, and is a number; readable\n  $.note: new; missing in older documents\n\
         1 of 1 row readable\n"
    );
    let service = stack.serve(&[("MODEL", &newer), ("SEARCH", "id,weight")]).await;
    let id = service.ids().await[0].clone();
    let served = r#"{"note":"","at":{"x":-3.0},"id":"p","weight":12.0}"#;
    assert_eq!(service.get(&format!("/order/{id}")).await.body, served);
    assert_eq!(service.get("/orders?weight=12.0").await.json(), json!([id]));
}

/// Each member that differs, in rows of each format.
#[tokio::test(flavor = "multi_thread")]
async fn model_check_names_every_member_that_differs() {
    let stack = Stack::new();
    let older = file(&stack, "older/parcel.json", r#"{"id": "", "weight": 1, "gone": true, "at": {"x": 1}}"#);
    let newer = file(&stack, "parcel.json", r#"{"id": 1, "weight": "", "at": {"x": 1, "y": 1}, "note": ""}"#);
    let members = "  $.id: a string in 2 rows, and a whole number in the model; NOT readable\n  \
                   $.weight: a whole number in 1 row, and a string in the model; NOT readable\n  \
                   $.at.y: in no row\n  $.note: in no row\n  $.gone: in 2 rows, and not in the model; served all the same\n";
    for (format, differences) in [
        (
            "gob",
            "  $.id: was a string, and is a whole number; NOT readable\n  \
             $.weight: was a whole number, and is a string; NOT readable\n  \
             $: the Go field Gone is not in the model; no longer shown\n  \
             $.at.y: new; missing in older documents\n  $.note: new; missing in older documents\n",
        ),
        ("jsonb", members),
        ("json", members),
    ] {
        let table = format!("rows_{format}");
        let flags = ["--pg-table", &table];
        let documents = [r#"{"id":"p","weight":12,"gone":true,"at":{"x":-3}}"#, r#"{"id":"q","gone":false}"#];
        let lines: String = documents
            .iter()
            .zip(1..)
            .map(|(text, id)| format!("{{\"id\":\"{id}\",\"order\":{text}}}\n"))
            .collect();
        let imported = [&["import", "--model", &older, "--pg-format", format], &flags[..]].concat();
        assert!(stack.run(&imported, &lines).await.status.success());
        stack.postgres.psql(&format!("INSERT INTO {table} VALUES ('3', NULL)")).unwrap();
        let checked = stack.run(&[&["model", "check", "--model", &newer], &flags[..]].concat(), "").await;
        assert_eq!(checked.status.code(), Some(1));
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        let null = "  1 row NOT readable: the row is null\n";
        let of_all = match format {
            "gob" => format!("2 rows: 2 NOT readable\n{differences}1 row: 1 NOT readable\n{null}"),
            _ => format!("3 rows: 3 NOT readable\n{null}{differences}"),
        };
        assert_eq!(said, format!("{of_all}0 of 3 rows readable\n"), "{format}");
    }
}

/// A model is not the same if only its rules differ.
#[tokio::test(flavor = "multi_thread")]
async fn model_check_names_rules_that_differ() {
    let stack = Stack::new();
    let schema =
        |rest: &str| format!(r#"{{"type": "object", "properties": {{"a": {{"type": "string"}}}}{rest}}}"#);
    let older = file(&stack, "older.json", &schema(""));
    let newer = file(&stack, "newer.json", &schema(r#", "required": ["a"], "additionalProperties": false"#));
    for (model, said) in [
        (
            &newer,
            "$: unknown members are refused now\n$.a: required now; documents without it are refused\nreadable\n",
        ),
        (&older, "the models are the same\n"),
    ] {
        let checked = stack.run(&["model", "check", "--model", model, &older], "").await;
        assert_eq!(checked.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&checked.stdout), said);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_members_are_counted_and_each_is_named_once_up_to_a_limit() {
    let (stack, service) = Stack::started().await;
    let with = |names: std::ops::Range<usize>| {
        let members: String = names.map(|number| format!(",\"extra_{number:05}\":1")).collect();
        format!("{{\"order_uid\":\"a\"{members}}}")
    };
    let counted = async |count: f64| {
        eventually("they are counted", async || {
            (service.metric("orderd_unknown_members_total").await == count).then_some(())
        })
        .await;
    };
    let lines = |with: &str| service.process.log().lines().filter(|line| line.contains(with)).count();
    stack.publish(&[with(0..20), with(0..25), with(5..25)]).await;
    counted(65.0).await;
    eventually("all are named", async || (lines("unknown member ignored") == 25).then_some(())).await;
    for number in 0..25 {
        assert_eq!(lines(&format!("extra_{number:05}")), 1, "{}", service.process.log());
    }
    stack.publish(&[with(25..1000), with(0..1000)]).await;
    counted(2040.0).await;
    eventually("all are named", async || (lines("unknown member ignored") == 1000).then_some(())).await;
    assert_eq!(lines("further ones are only counted"), 0);
    stack.publish(&[with(999..1003), with(1003..1005)]).await;
    counted(2046.0).await;
    eventually("that is said", async || (lines("further ones are only counted") == 1).then_some(())).await;
    // A message that is read after them: nothing more is logged.
    stack.publish(&[with(1005..1006)]).await;
    counted(2047.0).await;
    stack.wait_settled(8).await;
    assert_eq!((lines("unknown member ignored"), lines("further ones are only counted")), (1000, 1));
    assert_eq!(service.mem_len().await, 8);
}

/// Three processes change to a newer model one after the other, while documents of both arrive: nothing is lost, nothing
/// is doubled, and no member is dropped.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_change_of_the_model_loses_and_doubles_nothing() {
    for format in ["gob", "jsonb", "json"] {
        let stack = Stack::new();
        let older = file(&stack, "parcel.json", r#"{"id": "p", "weight": 1}"#);
        let newer = file(&stack, "parcel-2.json", r#"{"id": "p", "weight": 1.5, "to": {"city": ""}}"#);
        let settings =
            |model| [("MODEL", model), ("UNKNOWN", "refuse"), ("SEARCH", "id"), ("PG_FORMAT", format)];
        let mut services = Vec::new();
        for _ in 0..3 {
            services.push(stack.serve(&settings(&older)).await);
        }
        let publisher = Publisher::start(&stack).await;
        publisher.wait_for_more().await;
        for (number, service) in services.iter_mut().enumerate() {
            // Killed once, so that it cannot hand over its lease and its orders.
            if number == 1 {
                service.kill();
            } else {
                assert_eq!(service.stop(), Some(0));
            }
            publisher.wait_for_more().await;
            *service = stack.start(&settings(&newer)).await;
            publisher.wait_for_more().await;
        }
        let published = publisher.stop().await;
        stack.wait_settled(published as u64).await;
        for service in &services {
            service.wait_ready().await;
        }
        // Refused for the member that comes first: a fraction, or the new one.
        let refused = services[0].get("/dead_letters").await.json();
        assert!(!refused.as_array().unwrap().is_empty(), "{format}: {published} published");
        let replayed = stack.run(&["dead-letters", "replay", "--all"], "").await;
        assert_eq!(replayed.status.code(), Some(0), "{}", String::from_utf8_lossy(&replayed.stderr));
        stack.wait_same(&services, published).await;
        for service in &services {
            let mut served = all_documents(service).await;
            served.sort_unstable();
            let mut expected: Vec<_> = (0..published).map(|number| under_newer(number, format)).collect();
            expected.sort_unstable();
            // Not as a whole, which would be printed.
            let wrong = served.iter().zip(&expected).find(|(served, expected)| served != expected);
            assert_eq!((wrong, served.len()), (None, published), "{format}");
        }
    }
}

/// Publishes documents, one after the other, until it is stopped.
struct Publisher {
    published: Arc<AtomicUsize>,
    is_stopped: Arc<AtomicBool>,
    running: tokio::task::JoinHandle<()>,
}

impl Publisher {
    /// Pauses keep the number of documents small.
    const PAUSE: Duration = Duration::from_millis(2);

    async fn start(stack: &Stack) -> Self {
        let (published, is_stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop, context) = (published.clone(), is_stopped.clone(), stack.jetstream().await);
        let running = tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let document = document(count.load(Ordering::Relaxed));
                context.publish("TESTING", document.into()).await.unwrap().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Self::PAUSE).await;
            }
        });
        Self { published, is_stopped, running }
    }

    async fn wait_for_more(&self) {
        let before = self.published.load(Ordering::Relaxed);
        eventually("more are published", async || {
            (self.published.load(Ordering::Relaxed) >= before + 60).then_some(())
        })
        .await;
    }

    /// Returns the number of documents published.
    async fn stop(self) -> usize {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.running.await.unwrap();
        self.published.load(Ordering::Relaxed)
    }
}

/// A published document as it is served under the newer model.
fn under_newer(number: usize, format: &str) -> String {
    match (format, is_newer(number)) {
        ("gob", false) => format!(r#"{{"id":"p-{number}","weight":{number}.0,"to":{{"city":""}}}}"#),
        ("jsonb", true) => format!(r#"{{"id":"p-{number}","to":{{"city":"c"}},"weight":{number}.5}}"#),
        _ => document(number),
    }
}

/// All documents, as they are served.
async fn all_documents(service: &Service) -> Vec<String> {
    let mut documents = Vec::new();
    let mut path = Some("/orders?full=true&limit=1000".to_owned());
    while let Some(asked) = path {
        let answer = service.get(&asked).await;
        let entries: Vec<HashMap<String, Box<RawValue>>> = serde_json::from_str(&answer.body).unwrap();
        documents.extend(entries.iter().map(|entry| entry["order"].get().to_owned()));
        let next = answer.headers.get("link").map(|link| link.to_str().unwrap());
        path = next.and_then(|link| link.strip_prefix('<')?.split('>').next()).map(str::to_owned);
    }
    documents
}

/// Rows of which a member can't be read under a newer model, among others: these are served.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_newer_model_cannot_read_are_named_and_the_others_are_served() {
    for format in ["gob", "jsonb", "json"] {
        let stack = Stack::new();
        let oldest = file(&stack, "oldest/parcel.json", r#"{"id": "p", "weight": "12 kg"}"#);
        let older = file(&stack, "older/parcel.json", r#"{"id": "p", "weight": 1}"#);
        let newer = file(&stack, "parcel.json", r#"{"id": "p", "weight": 1.5, "note": ""}"#);
        let texts: Vec<_> = (1..=2).map(|n| format!(r#"{{"id":"p-{n}","weight":"{n} kg"}}"#)).collect();
        let numbers: Vec<_> = (3..=7).map(|n| format!(r#"{{"id":"p-{n}","weight":{n}}}"#)).collect();
        import(&stack, &oldest, format, 1, &texts).await;
        import(&stack, &older, format, 3, &numbers).await;
        let service = stack.serve(&[("MODEL", &newer), ("SEARCH", "id")]).await;
        assert_eq!(service.ids().await, ["3", "4", "5", "6", "7"], "{format}");
        assert_eq!(service.metric("orderd_undecodable_rows").await, 2.0, "{format}");
        let log = service.process.log();
        for id in ["1", "2"] {
            let answer = service.get(&format!("/order/{id}")).await;
            assert_eq!(
                (answer.status.as_u16(), &*answer.body),
                (500, "500 row can't be decoded\n"),
                "{format}"
            );
            let is_named = |line: &str| {
                line.contains("row can't be decoded, skipped")
                    && line.contains(&format!("id=\"{id}\""))
                    && line.contains("weight")
            };
            assert!(
                log.lines().filter(|line| is_named(&line.to_lowercase())).count() == 1,
                "{format}: {log}"
            );
        }
        assert_eq!(service.get("/orders?id=p-3").await.json(), json!(["3"]), "{format}");
        let checked = stack.run(&["model", "check", "--model", &newer], "").await;
        let report = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert_eq!(checked.status.code(), Some(1), "{report}");
        assert!(
            report.contains("$.weight: ") && report.contains("5 of 7 rows readable"),
            "{format}: {report}"
        );
    }
}

/// Processes with two models, each the writer's for a time, under load: each document has one row, and what is shown of
/// it is what the row has, also by the process whose model is not the writer's.
#[tokio::test(flavor = "multi_thread")]
async fn documents_are_shown_as_their_rows_are_while_models_differ() {
    const ROUND: usize = 200;
    for format in ["gob", "jsonb", "json"] {
        let stack = Stack::new();
        let older = file(&stack, "parcel.json", r#"{"id": "p", "weight": 1}"#);
        let newer =
            file(&stack, "parcel-2.json", r#"{"id": "p", "weight": 1, "to": {"city": "", "zip": ""}}"#);
        let settings = |model| [("MODEL", model), ("SEARCH", "id"), ("PG_FORMAT", format)];
        let models = [&older, &newer, &newer];
        let mut services = Vec::new();
        for model in models {
            services.push(stack.serve(&settings(model)).await);
        }
        let mut published = 0;
        for round in 0..5 {
            // Repeated members are merged where the model knows them.
            let document = |number| {
                format!(r#"{{"id":"p-{number}","weight":{number},"to":{{"city":"c"}},"to":{{"zip":"z"}}}}"#)
            };
            let documents: Vec<_> = (published..published + ROUND).map(document).collect();
            published += ROUND;
            let publish = stack.publish(&documents);
            let (at, model) = if round == 1 { (0, &older) } else { (1, &newer) };
            if round == 1 || round == 3 {
                let restart = async {
                    // Killed once, so that it cannot hand over its lease and its orders.
                    if round == 3 {
                        services[at].kill();
                    } else {
                        assert_eq!(services[at].stop(), Some(0));
                        // Before it starts again, a process with the other model writes.
                        let written = "SELECT count(*) FROM orderd_position WHERE writer IS NOT NULL";
                        eventually("another process writes", async || {
                            (stack.postgres.psql(written).unwrap().trim() == "1").then_some(())
                        })
                        .await;
                    }
                    services[at] = stack.start(&settings(model)).await;
                };
                tokio::join!(publish, restart);
            } else {
                publish.await;
            }
            stack.wait_settled(published as u64).await;
        }
        for service in &services {
            service.wait_ready().await;
        }
        stack.wait_same(&services, published).await;
        let mut shown = Vec::new();
        for service in &services {
            shown.push(shown_by(service).await);
        }
        // The last one was never restarted, and has the same from the stream.
        assert_eq!(shown[1], shown[2], "{format}");
        if format != "gob" {
            assert_eq!(shown[0], shown[1], "{format}");
        }
        // Processes of both models have been the writer.
        let has_to = |body: &&String| body.contains(r#""city":"c""#);
        let of_newer = shown[1].iter().filter(has_to).count();
        assert!(of_newer > 0 && (format == "json" || of_newer < published), "{format}: {of_newer}");
        services.iter_mut().for_each(Service::kill);
        for (model, before) in models.into_iter().zip(shown) {
            let service = stack.serve(&settings(model)).await;
            service.wait_len(published as u64).await;
            assert_eq!(shown_by(&service).await, before, "{format}");
        }
    }
}

/// Each rendered document, in page order.
async fn shown_by(service: &Service) -> Vec<String> {
    let mut bodies = Vec::new();
    for id in service.ids().await {
        bodies.push(service.get(&format!("/order/{id}")).await.body);
    }
    bodies
}

fn is_newer(number: usize) -> bool {
    number.is_multiple_of(3)
}

fn document(number: usize) -> String {
    if is_newer(number) {
        format!(r#"{{"id":"p-{number}","weight":{number}.5,"to":{{"city":"c"}}}}"#)
    } else {
        format!(r#"{{"id":"p-{number}","weight":{number}}}"#)
    }
}

/// Equal, except for zero values where the sample omits a member or has null.
fn alike(served: &Value, sample: &Value) -> bool {
    match (served, sample) {
        (Value::Object(served), Value::Object(sample)) => served
            .iter()
            .all(|(name, value)| sample.get(name).map_or(is_zero(value), |expected| alike(value, expected))),
        (Value::Array(served), Value::Array(sample)) => {
            served.len() == sample.len()
                && served.iter().zip(sample).all(|(served, sample)| alike(served, sample))
        }
        (Value::Number(served), Value::Number(sample)) => served.as_f64() == sample.as_f64(),
        (served, Value::Null) => is_zero(served),
        (served, sample) => served == sample,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().all(is_zero),
        Value::Array(elements) => elements.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Bool(value) => !value,
        Value::Null => true,
    }
}
