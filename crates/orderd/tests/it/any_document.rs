//! `MODEL=any`: JSON objects of any form, stored and served byte for byte.

use hyper::StatusCode;
use serde_json::json;

use crate::support::{Service, Stack, eventually};

const ANY: (&str, &str) = ("MODEL", "any");

/// Documents that only their own form can keep.
const DOCUMENTS: [&str; 7] = [
    "{}",
    " {\n\t\"b\" : [1, 2.50, -0, 1e131071, 18446744073709551616],\r\n \"a\" : null } \n",
    r#"{"a":1,"a":2,"":{"id":"x","type":[]},"A":3}"#,
    r#"{"a":"\u0000\ud83d\/\u0416"}"#,
    r#"{"to":{"city":"Tver","tags":["x","y"]},"weight":12.50}"#,
    r#"{"to":[{"city":"Pskov"},{"city":"Tver"}],"weight":125e-1}"#,
    r#"{"order_uid":7,"items":"none"}"#,
];

async fn served(service: &Service) -> Vec<String> {
    let mut bodies = Vec::new();
    for id in service.ids().await {
        bodies.push(service.get(&format!("/order/{id}")).await.body);
    }
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn any_object_is_kept_and_served_byte_for_byte() {
    let stack = Stack::new();
    let mut service = stack.serve(&[ANY]).await;
    // As deep as is accepted: PostgreSQL takes it with its default max_stack_depth.
    let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let documents: Vec<&str> = DOCUMENTS.into_iter().chain([deep.as_str()]).collect();
    stack.publish(&documents).await;
    service.wait_len(documents.len() as u64).await;
    assert_eq!(served(&service).await, documents);
    let column = "SELECT data::text FROM orders2 WHERE data::text LIKE '%city%' ORDER BY id LIMIT 1";
    eventually("it is in the table", async || (stack.rows() == documents.len()).then_some(())).await;
    assert_eq!(stack.postgres.psql(column).unwrap().trim(), DOCUMENTS[4]);
    stack.verify(&service, &["--model", "any"]).await;
    // Nothing is unknown.
    assert_eq!(service.metric("orderd_unknown_members_total").await, 0.0);
    assert_eq!(service.stop(), Some(0));
    let service = stack.serve(&[ANY]).await;
    assert_eq!(served(&service).await, documents);
    let evicting = stack.serve(&[ANY, ("CACHE_MAX_BYTES", "1")]).await;
    assert_eq!(served(&evicting).await, documents);
    let exported = stack.run(&["export", "--model", "any"], "").await;
    let lines = String::from_utf8(exported.stdout).unwrap();
    let other = Stack::new();
    let imported = other.run(&["import", "--model", "any"], &lines).await;
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let copy = other.serve(&[ANY]).await;
    assert_eq!(served(&copy).await, documents);
}

/// With a limit below PostgreSQL's default, which takes more than the service does.
#[tokio::test(flavor = "multi_thread")]
async fn document_nested_deeper_than_postgresql_takes_is_a_dead_letter_and_keeps_no_other() {
    let stack = Stack::new();
    stack.postgres.psql("ALTER SYSTEM SET max_stack_depth = '500kB'").unwrap();
    stack.postgres.psql("SELECT pg_reload_conf()").unwrap();
    let service = stack.serve(&[ANY]).await;
    let deep = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    stack.publish(&[deep(10_000), deep(10_001), deep(100)]).await;
    stack.wait_settled(3).await;
    let mut reasons = Vec::new();
    for letter in service.get("/dead_letters").await.json().as_array().unwrap() {
        reasons.push(letter["reason"].as_str().unwrap().to_owned());
    }
    reasons.sort_unstable();
    assert_eq!(reasons, ["invalid_json", "refused_by_database"]);
    service.wait_len(1).await;
    assert!(served(&service).await == [deep(100)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_no_object_is_refused() {
    let stack = Stack::new();
    let service = stack.serve(&[ANY]).await;
    let refused: [&[u8]; 6] = [b"[]", b"1", b"null", b"{\"a\":}", b"{\"a\":\"\xff\"}", b"{} {}"];
    stack.publish(&refused).await;
    stack.publish(&["{}"]).await;
    stack.wait_settled(7).await;
    let letters = service.get("/dead_letters").await.json();
    let mut reasons: Vec<_> =
        letters.as_array().unwrap().iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
    reasons.sort_unstable();
    let object = ["not_an_object"; 3];
    assert_eq!(reasons, [&["invalid_json"; 2][..], &["invalid_utf8"], &object].concat());
    assert_eq!(served(&service).await, ["{}"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_required_by_path() {
    let stack = Stack::new();
    let service = stack.serve(&[ANY, ("REQUIRE", r"to.city,a\.b")]).await;
    let taken = r#"{"to":[{"city":""},{"city":"x"}],"a.b":0}"#;
    stack.publish(&[taken, r#"{"to":{"city":""},"a.b":1}"#, r#"{"to":{"city":"x"},"a":{"b":1}}"#]).await;
    stack.wait_settled(3).await;
    assert_eq!(served(&service).await, [taken]);
    let letters = service.get("/dead_letters").await.json();
    let paths: Vec<_> = letters.as_array().unwrap().iter().map(|letter| letter["path"].clone()).collect();
    assert!(paths.contains(&json!("$.to.city")) && paths.contains(&json!(r"$.a\.b")), "{paths:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_found_by_path_whatever_they_hold() {
    let stack = Stack::new();
    let search = ("SEARCH", r"to.city,to.tags,weight,a\.b");
    let mut service = stack.serve(&[ANY, search]).await;
    stack.publish(&DOCUMENTS).await;
    stack.publish(&[r#"{"a.b":"12","to":7,"weight":{"kg":1}}"#]).await;
    service.wait_len(DOCUMENTS.len() as u64 + 1).await;
    eventually("all are in the table", async || (stack.rows() == DOCUMENTS.len() + 1).then_some(())).await;
    for round in 0..3 {
        let ids = service.ids().await;
        for (query, found) in [
            ("to.city=Tver", &[5, 4][..]),
            ("to.city=Pskov", &[5]),
            ("to.tags=y", &[4]),
            ("weight=12.5", &[5, 4]),
            ("weight=125e-1&to.tags=x", &[4]),
            (r"a%5C.b=12", &[7]),
            (r"a%5C.b=12.0", &[]),
            ("to.city=nobody", &[]),
            ("weight=1", &[]),
        ] {
            let answer = service.get(&format!("/orders?{query}")).await;
            let expected: Vec<_> = found.iter().map(|index: &usize| ids[*index].clone()).collect();
            assert_eq!(answer.json(), json!(expected), "{round} {query}: {}", answer.body);
        }
        let newest = service.get("/order?to.city=Tver").await;
        assert_eq!((newest.status, newest.body.as_str()), (StatusCode::OK, DOCUMENTS[5]));
        assert_eq!(service.get("/orders?nobody=7").await.status, StatusCode::BAD_REQUEST);
        // From the table, and then with no room for a body.
        assert_eq!(service.stop(), Some(0));
        let bound = ("CACHE_MAX_BYTES", if round == 0 { "" } else { "1" });
        service = stack.serve(&[ANY, search, bound]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn table_of_another_type_is_refused_by_name() {
    for (column, fix) in [("bytea", "PG_TABLE"), ("jsonb", "ALTER COLUMN data TYPE json")] {
        let stack = Stack::new();
        stack.postgres.psql(&format!("CREATE TABLE orders2 (id text PRIMARY KEY, data {column})")).unwrap();
        for args in [&["serve"][..], &["check", "--settings"]] {
            let ended = stack.run(&[args, &["--model", "any"]].concat(), "").await;
            let said = [ended.stdout, ended.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert_eq!(ended.status.code(), Some(1), "{said}");
            assert!(said.contains("MODEL=any") && said.contains(column) && said.contains(fix), "{said}");
        }
        // Also if all its rows are JSON objects.
        let row = format!("INSERT INTO orders2 VALUES ('1', '{{\"a\": 1}}'::text::{column})");
        stack.postgres.psql(&row).unwrap();
        let checked = stack.run(&["model", "check", "--model", "any"], "").await;
        let said = String::from_utf8_lossy(&checked.stdout);
        assert_eq!(checked.status.code(), Some(1), "{said}");
        assert!(said.starts_with("NOT readable: MODEL=any") && said.contains(fix), "{said}");
    }
    let stack = Stack::new();
    let wrong = stack.run(&["serve", "--model", "any", "--pg-format", "jsonb"], "").await;
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.code() == Some(2) && said.contains("PG_FORMAT"), "{said}");
    let types = stack.run(&["model", "go", "--model", "any"], "").await;
    assert_eq!(types.status.code(), Some(2), "{}", String::from_utf8_lossy(&types.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn page_and_description_speak_of_documents() {
    let stack = Stack::new();
    let service = stack.serve(&[ANY]).await;
    let published = stack.run(&["publish", "--count", "3", "--model", "any"], "").await;
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    service.wait_len(3).await;
    for path in ["/", "/docs", "/openapi.json", "/orders", "/metrics"] {
        assert_eq!(service.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(service.get("/orders").await.json().as_array().unwrap().len(), 3);
}

/// Ids and versions that look like numbers are text: another document with an equal number is another document.
#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_a_number_too_is_found_and_erased_exactly() {
    let stack = Stack::new();
    let service = stack.serve(&[ANY, ("SEARCH", "id")]).await;
    stack.publish(&[r#"{"id":"1e2"}"#, r#"{"id":"100"}"#, r#"{"id":100}"#, r#"{"id":"1E2"}"#]).await;
    service.wait_len(4).await;
    let ids = service.ids().await;
    for (asked, found) in [("1e2", &[2, 0][..]), ("100", &[2, 1]), ("1E2", &[3, 2]), ("100.0", &[2])] {
        let expected: Vec<_> = found.iter().map(|index: &usize| ids[*index].clone()).collect();
        assert_eq!(service.get(&format!("/orders?id={asked}")).await.json(), json!(expected), "{asked}");
    }
    eventually("all are in the table", async || (stack.rows() == 4).then_some(())).await;
    let addr = service.addr.to_string();
    let erased = stack.run(&["erase", "--yes", "--where", "id=1E2", "--http-addr", &addr], "").await;
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    service.wait_len(2).await;
    assert_eq!(service.ids().await, ids[..2]);
}

/// The format of the older rows decides, and of any documents only the table knows more.
#[tokio::test(flavor = "multi_thread")]
async fn model_check_compares_any_with_a_model_as_serve_would() {
    let stack = Stack::new();
    let parcel = stack.temp_dir.path().join("parcel.json");
    std::fs::write(&parcel, r#"{"id": "p", "weight": 1}"#).unwrap();
    let parcel = parcel.to_str().unwrap();
    for (args, code, said) in [
        (
            &["any", parcel][..],
            1,
            "NOT readable: MODEL=any needs rows of json, and rows are gob unless PG_FORMAT",
        ),
        (&["any", parcel, "--pg-format", "gob"], 1, "NOT readable: MODEL=any needs rows of json"),
        (&["any", parcel, "--pg-format", "jsonb"], 1, "NOT readable: MODEL=any needs rows of json"),
        (&["any", parcel, "--pg-format", "json"], 0, "readable: "),
        (&[parcel, "any"], 1, "not known: documents of MODEL=any may have any members"),
        (&["any", "any"], 0, "the models are the same"),
    ] {
        let checked = stack.run(&[&["model", "check", "--model"], args].concat(), "").await;
        let report = String::from_utf8_lossy(&checked.stdout);
        assert_eq!(checked.status.code(), Some(code), "{args:?}: {report}");
        assert!(report.starts_with(said), "{args:?}: {report}");
    }
    // A file that is called so.
    let missing = stack.run(&["model", "check", "--model", parcel, "./any"], "").await;
    assert_eq!(missing.status.code(), Some(2), "{}", String::from_utf8_lossy(&missing.stderr));
}
