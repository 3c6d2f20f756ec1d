//! `jsonb` and `json` rows: responses, rows, refusals and searches are the same before and after a restart, in each
//! process, and for each command.

use hyper::StatusCode;
use order::{Layouts, Parser, Reason, RowFormat, RowReader};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::support::{Service, Stack, eventually, order, orders};

const FORMATS: [&str; 3] = ["gob", "jsonb", "json"];

/// Documents with all that a row of gob can't keep, and how a `jsonb` row of each is served.
const KEPT: [(&str, &str); 5] = [
    (r#"{"order_uid":"plain"}"#, r#"{"order_uid":"plain"}"#),
    (
        "{ \"order_uid\": \"null\",\n\t\"sm_id\": null, \"delivery\": null, \"items\": [] }",
        r#"{"items":[],"sm_id":null,"delivery":null,"order_uid":"null"}"#,
    ),
    (
        r#"{"order_uid":"unknown","extra":{"n":[1e2,1.50,-0,0.10e1],"aa":2,"b":{"b":1,"b":2}},"z":18446744073709551616}"#,
        r#"{"z":18446744073709551616,"extra":{"b":{"b":2},"n":[100,1.50,0,1.0],"aa":2},"order_uid":"unknown"}"#,
    ),
    (
        r#"{"delivery":{"name":"a"},"order_uid":"twice","delivery":{"phone":"b"},"sm_id":1,"sm_id":2}"#,
        r#"{"sm_id":2,"delivery":{"name":"a","phone":"b"},"order_uid":"twice"}"#,
    ),
    (
        r#"{"order_uid":"text \u0416\/\ud83d\ude00\u2028<","entry":"Ann \ud83d"}"#,
        "{\"entry\":\"Ann \u{fffd}\",\"order_uid\":\"text Ж/😀\u{2028}<\"}",
    ),
];

/// The expected response for each of `KEPT`.
fn expected(format: &str) -> Vec<String> {
    let served = KEPT.map(|(json, jsonb)| if format == "json" { json } else { jsonb }.to_owned());
    served.into()
}

async fn served(service: &Service) -> Vec<String> {
    let mut bodies = Vec::new();
    for id in service.ids().await {
        let answer = service.get(&format!("/order/{id}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        bodies.push(answer.body);
    }
    bodies
}

async fn wait_rows(stack: &Stack, count: usize) {
    eventually(&format!("{count} rows"), async || (stack.rows() == count).then_some(())).await;
}

/// A service that has ingested `KEPT`.
async fn kept(format: &str) -> (Stack, Service) {
    let stack = Stack::new();
    let service = stack.serve(&[("PG_FORMAT", format), ("HTTP_ERASE_TOKEN", "eraser")]).await;
    stack.publish(&KEPT.map(|(document, _)| document)).await;
    service.wait_len(KEPT.len() as u64).await;
    wait_rows(&stack, KEPT.len()).await;
    (stack, service)
}

fn column(stack: &Stack) -> String {
    let query = "SELECT atttypid::regtype FROM pg_attribute WHERE attrelid = 'public.orders2'::regclass AND attname = 'data'";
    stack.postgres.psql(query).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_and_reader_that_only_filled_serve_the_same_bytes_in_each_format() {
    for format in FORMATS {
        let (stack, mut service) = kept(format).await;
        assert_eq!(column(&stack), if format == "gob" { "bytea" } else { format });
        let before = served(&service).await;
        if format != "gob" {
            assert_eq!(before, expected(format), "{format}");
        }
        // A process that has only read the table, another table's setting and all; the column decides.
        let reader = stack.serve(&[("PG_FORMAT", "jsonb")]).await;
        assert_eq!(served(&reader).await, before, "{format}");
        stack.verify(&reader, &[]).await;
        if format == "json" {
            let log = reader.process.log();
            assert!(log.contains("its column data decides") && log.contains("data=\"json\""), "{log}");
        }
        assert_eq!(service.stop(), Some(0));
        let service = stack.serve(&[]).await;
        assert_eq!(served(&service).await, before, "{format}");
        // Read through from the table, with no room for a body.
        let evicting = stack.serve(&[("CACHE_MAX_BYTES", "1")]).await;
        assert_eq!(served(&evicting).await, before, "{format}");
        assert_eq!(evicting.get("/orders?order_uid=twice").await.json().as_array().unwrap().len(), 1);
        assert_eq!(evicting.metric("myapp_orders_errors").await, 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_the_documents_for_sql_and_its_indexes() {
    let (stack, _service) = kept("jsonb").await;
    let sql = |query: &str| stack.postgres.psql(query).unwrap().trim().to_owned();
    assert_eq!(sql("SELECT count(*) FROM orders2 WHERE data @> '{\"delivery\":{\"phone\":\"b\"}}'"), "1");
    assert_eq!(
        sql("SELECT data->'extra'->'n'->>1 FROM orders2 WHERE data->>'order_uid' = 'unknown'"),
        "1.50"
    );
    assert_eq!(
        sql("SELECT data ? 'sm_id', data->>'sm_id' IS NULL FROM orders2 WHERE data->>'order_uid' = 'null'"),
        "t|t"
    );
    let guide = std::fs::read_to_string(devstack::tools::workspace().join("docs/OPERATIONS.md")).unwrap();
    let block = guide.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(block.contains("jsonb_path_ops") && block.contains("@>"), "{block}");
    stack.postgres.psql(block).unwrap();
    stack
        .postgres
        .psql("CREATE INDEX ON orders2 USING gin (data jsonb_path_ops); CREATE UNIQUE INDEX ON orders2 ((data->>'order_uid'))")
        .unwrap();
    stack.publish(&[order("indexed")]).await;
    wait_rows(&stack, KEPT.len() + 1).await;
    assert_eq!(
        sql("SELECT data->'delivery'->>'city' FROM orders2 WHERE data->>'order_uid' = 'indexed'"),
        "Kiryat Mozkin"
    );
}

/// Row and response are equal, also for rows written by COPY.
#[tokio::test(flavor = "multi_thread")]
async fn many_json_rows_are_the_same_before_and_after_a_restart() {
    for format in FORMATS {
        let stack = Stack::new();
        let count = 1500;
        // Waiting in the stream, so that they come in large batches.
        let first = stack.serve(&[("PG_FORMAT", format)]).await;
        drop(first);
        stack.publish(&orders(count)).await;
        let mut service = stack.serve(&[]).await;
        service.wait_len(count as u64).await;
        wait_rows(&stack, count).await;
        let before = served(&service).await;
        let with_null = before.iter().filter(|body| body.contains("null")).count();
        assert_eq!(with_null, 0, "{format}");
        assert_eq!(service.stop(), Some(0));
        let service = stack.serve(&[]).await;
        assert_eq!(served(&service).await, before, "{format}");
        let found = service.get("/orders?order_uid=order-777").await.json();
        let id = found[0].as_str().unwrap().to_owned();
        assert_eq!(service.get(&format!("/order/{id}")).await.json()["order_uid"], "order-777");
        stack.verify(&service, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_jsonb_can_not_hold_is_a_dead_letter_and_json_keeps_it() {
    let documents = [
        r#"{"order_uid":"a","entry":"x\u0000"}"#,
        r#"{"order_uid":"b","unknown":{"\u0000":1}}"#,
        r#"{"order_uid":"c","unknown":[1e131071]}"#,
        r#"{"order_uid":"d","unknown":1e-20000}"#,
    ];
    let letters = [
        ("not_storable", "$.entry"),
        ("not_storable", "$.unknown"),
        ("number_out_of_range", "$.unknown[0]"),
        ("not_storable", "$.unknown"),
    ];
    for format in ["jsonb", "json"] {
        let stack = Stack::new();
        let mut service = stack.serve(&[("PG_FORMAT", format)]).await;
        stack.publish(&documents).await;
        stack.publish(&[r#"{"order_uid":1}"#, r#"{"sm_id":1}"#, "[]"]).await;
        stack.wait_settled(7).await;
        let listed = service.get("/dead_letters").await.json();
        let listed: Vec<_> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|letter| (letter["reason"].as_str().unwrap(), letter["path"].as_str().unwrap_or_default()))
            .collect();
        let usual =
            [("wrong_type", "$.order_uid"), ("missing_member", "$.order_uid"), ("not_an_object", "$")];
        let refused: Vec<_> = letters.into_iter().filter(|_| format == "jsonb").chain(usual).collect();
        for letter in &refused {
            assert!(listed.contains(letter), "{format}: {letter:?} is not in {listed:?}");
        }
        assert_eq!(listed.len(), refused.len(), "{format}: {listed:?}");
        let taken = if format == "json" { documents.to_vec() } else { Vec::new() };
        assert_eq!(served(&service).await, taken);
        stack.verify(&service, &[]).await;
        assert_eq!(service.stop(), Some(0));
        let service = stack.serve(&[]).await;
        assert_eq!(served(&service).await, taken);
        if format == "jsonb" {
            let letters = service.get("/dead_letters").await.json();
            let entry =
                letters.as_array().unwrap().iter().find(|letter| letter["path"] == "$.entry").unwrap();
            let key = entry["key"].as_str().unwrap();
            let corrected = stack.temp_dir.path().join("corrected.json");
            std::fs::write(&corrected, r#"{"order_uid":"a","entry":"x"}"#).unwrap();
            let with = corrected.display().to_string();
            let replayed = stack.run(&["dead-letters", "replay", key, "--with", &with], "").await;
            assert_eq!(replayed.status.code(), Some(0), "{}", String::from_utf8_lossy(&replayed.stderr));
            service.wait_len(1).await;
            assert_eq!(served(&service).await, [r#"{"entry":"x","order_uid":"a"}"#]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn export_and_import_keep_each_byte_in_each_format() {
    for format in FORMATS {
        let (stack, service) = kept(format).await;
        let before = served(&service).await;
        let exported = stack.run(&["export"], "").await;
        assert!(exported.status.success());
        let lines = String::from_utf8(exported.stdout).unwrap();
        assert_eq!(lines.lines().count(), KEPT.len(), "{lines}");
        for line in lines.lines() {
            let members: std::collections::HashMap<String, &RawValue> = serde_json::from_str(line).unwrap();
            assert!(members["order"].get().starts_with('{'), "{line}");
        }
        // Into another installation, which knows neither the stream nor the keys.
        let other = Stack::new();
        let mut copy = other.serve(&[("PG_FORMAT", format)]).await;
        assert_eq!(copy.stop(), Some(0));
        for _ in 0..2 {
            let imported = other.run(&["import"], &lines).await;
            assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        }
        let copy = other.serve(&[]).await;
        assert_eq!(served(&copy).await, before, "{format}");
        assert_eq!(copy.ids().await, service.ids().await);
        assert_eq!(String::from_utf8(other.run(&["export"], "").await.stdout).unwrap(), lines);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_erased_by_id_and_by_value_in_each_format() {
    for format in FORMATS {
        let (stack, service) = kept(format).await;
        let ids = service.ids().await;
        assert_eq!(service.erase(&ids[0], "eraser").await, StatusCode::NO_CONTENT);
        let addr = service.addr.to_string();
        let erased =
            stack.run(&["erase", "--yes", "--where", "order_uid=twice", "--http-addr", &addr], "").await;
        assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
        wait_rows(&stack, KEPT.len() - 2).await;
        service.wait_len(KEPT.len() as u64 - 2).await;
        for id in [&ids[0], &ids[3]] {
            assert_eq!(service.get(&format!("/order/{id}")).await.status, StatusCode::NOT_FOUND, "{format}");
        }
        stack.verify(&service, &[]).await;
    }
}

/// Each in turn writes, is killed, and the others continue; all serve the same bytes.
#[tokio::test(flavor = "multi_thread")]
async fn three_processes_serve_the_same_bytes_whichever_writes() {
    for format in ["jsonb", "json"] {
        let stack = Stack::new();
        let mut services = Vec::new();
        for _ in 0..3 {
            services.push(stack.serve(&[("PG_FORMAT", format)]).await);
        }
        let mut published = 0;
        for round in 0..3 {
            let documents = KEPT.map(|(document, _)| document);
            stack.publish(&documents).await;
            published += documents.len();
            if round < 2 {
                services.remove(0).kill();
                services.push(stack.start(&[]).await);
            }
        }
        stack.wait_settled(published as u64).await;
        for service in &services {
            service.wait_ready().await;
        }
        stack.wait_same(&services, published).await;
        for service in &services {
            assert_eq!(
                served(service).await,
                [expected(format), expected(format), expected(format)].concat(),
                "{format}"
            );
        }
        assert_eq!(services[0].get("/dead_letters").await.json(), json!([]));
    }
}

/// Rows written by SQL are read, and rows that do not fit the model are logged and skipped.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_others_write_are_served_and_checked() {
    for format in ["jsonb", "json"] {
        let stack = Stack::new();
        let insert = format!(
            "CREATE TABLE public.orders2 (id text PRIMARY KEY, data {format});
             INSERT INTO public.orders2 VALUES ('a', '{{\"order_uid\": \"a\", \"sm_id\": 1}}'), ('b', '{{\"sm_id\": \"1\"}}'),
               ('c', '[1]'), ('d', NULL), ('e', '{{}}'), ('f', '{{\"sm_id\": 1.0}}'),
               ('g', '{{\"ORDER_UID\": \"g\", \"x\": 12e1}}'), ('h', '{{}}'), ('i', '{{}}'), ('j', '{{}}')"
        );
        stack.postgres.psql(&insert).unwrap();
        let service = stack.serve(&[("MODEL", ""), ("REFILL_EVERY", "1")]).await;
        assert_eq!(service.ids().await, ["a", "e", "g", "h", "i", "j"]);
        for undecodable in ["b", "c", "d", "f"] {
            let answer = service.get_once(&format!("/order/{undecodable}")).await;
            assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{format} {undecodable}");
        }
        assert_eq!(service.metric("orderd_undecodable_rows").await, 4.0);
        let of_a = if format == "json" {
            r#"{"order_uid": "a", "sm_id": 1}"#
        } else {
            r#"{"sm_id":1,"order_uid":"a"}"#
        };
        assert_eq!(service.get("/order/a").await.body, of_a);
        assert_eq!(service.get("/orders?order_uid=g").await.json(), json!(["g"]));
        let checked = stack.run(&["model", "check"], "").await;
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(said.contains("6 of 10 rows readable"), "{said}");
        // Written while it runs, too.
        stack.postgres.psql("INSERT INTO public.orders2 VALUES ('k', '{\"order_uid\":\"k\"}')").unwrap();
        service.wait_len(7).await;
    }
}

/// Such rows are damaged, which says nothing about the model.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_no_objects_do_not_stop_a_small_table() {
    for (format, model) in [("jsonb", ""), ("json", ""), ("json", "any")] {
        let stack = Stack::new();
        let insert = format!(
            "CREATE TABLE public.orders2 (id text PRIMARY KEY, data {format});
             INSERT INTO public.orders2 VALUES ('a', '{{\"order_uid\": \"a\"}}'), ('b', 'null'), ('c', '[]')"
        );
        stack.postgres.psql(&insert).unwrap();
        let service = stack.serve(&[("MODEL", model)]).await;
        stack.publish(&[order("new")]).await;
        service.wait_len(2).await;
        assert_eq!(service.metric("orderd_undecodable_rows").await, 2.0, "{format} {model}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_events_show_null_where_a_document_has_no_value() {
    use http_body_util::BodyExt;
    for (format, shown) in
        [("gob", r#""sm_id":0"#), ("jsonb", r#""sm_id":null"#), ("json", r#""sm_id":null"#)]
    {
        let stack = Stack::new();
        let service = stack.serve(&[("PG_FORMAT", format), ("SEARCH", "order_uid,sm_id")]).await;
        let stream = tokio::net::TcpStream::connect(service.addr).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        let request = hyper::Request::get("/events").header("host", "localhost");
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        let mut events = sender.send_request(request).await.unwrap().into_body();
        stack.publish(&[r#"{"order_uid":"a\u0416\n"}"#]).await;
        let mut text = String::new();
        crate::support::in_time("the order's event", async {
            while !text.contains("event: order") || !text.ends_with("\n\n") {
                let frame = events.frame().await.unwrap().unwrap();
                text.push_str(&String::from_utf8(frame.into_data().unwrap().into()).unwrap());
            }
        })
        .await;
        let data = text.lines().skip_while(|line| *line != "event: order").nth(1).unwrap();
        let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(event["members"]["order_uid"], "aЖ\n", "{data}");
        assert!(data.contains(shown), "{format}: {data}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_need_a_database_in_utf_8() {
    let stack = Stack::new();
    stack
        .postgres
        .psql("CREATE DATABASE other ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        .unwrap();
    for args in [&["serve"][..], &["check", "--settings"]] {
        let args = [args, &["--pg-dbname", "other", "--pg-format", "jsonb"]].concat();
        let ended = stack.run(&args, "").await;
        let said = [ended.stdout, ended.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("LATIN1") && said.contains("ENCODING 'UTF8'"), "{said}");
    }
    let wrong = stack.run(&["serve", "--pg-format", "xml"], "").await;
    assert_eq!(wrong.status.code(), Some(2));
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("PG_FORMAT") || said.contains("--pg-format"), "{said}");
}

const DOCUMENTS: usize = 4000;

/// Values of any form: numbers and strings as nobody writes them, names that come twice.
fn value() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        "-?0(\\.0{1,3})?([eE]-?[0-9]{1,2})?"
    ];
    let scalar = prop_oneof![4 => number, 4 => string(), 1 => Just("null".into()), 1 => Just("true".into())];
    scalar.prop_recursive(4, 24, 5, |inner| {
        let elements = prop::collection::vec(inner.clone(), 0..5);
        let array = elements.prop_map(|elements| format!("[ {} ]", elements.join(", ")));
        prop_oneof![array, object(inner)]
    })
}

fn object(value: impl Strategy<Value = String> + Clone) -> impl Strategy<Value = String> {
    let name = prop_oneof![3 => "\\PC{0,3}".prop_map(|name| json!(name).to_string()), 3 => "\"[a-c]{0,2}\"", 1 => string()];
    let member = (name, value).prop_map(|(name, value)| format!("{name} :{value}"));
    prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",\t")))
}

fn string() -> impl Strategy<Value = String> {
    let unit = prop_oneof![
        8 => "\\PC".prop_map(|text| json!(text).to_string().trim_matches('"').replace("\\\"", "")),
        4 => "\\\\u[0-9a-f]{4}",
        2 => "\\\\[\"\\\\/bfnrt]",
        1 => Just("\\ud83d\\ude00".to_owned()),
    ];
    prop::collection::vec(unit, 0..5).prop_map(|units| format!("\"{}\"", units.concat()))
}

/// Intake and fill produce the same document, the latter from PostgreSQL's text.
#[tokio::test(flavor = "multi_thread")]
async fn canonical_form_is_what_postgresql_makes_of_generated_documents() {
    let stack = Stack::new();
    let client = stack.sql().await;
    let statement =
        client.prepare_typed("SELECT $1::jsonb::text", &[tokio_postgres::types::Type::TEXT]).await.unwrap();
    let layouts = std::sync::Arc::new(Layouts::new(model::Model::order().unwrap().shape()).unwrap());
    let mut parser = Parser::new(layouts.shape());
    parser.set_format(RowFormat::Jsonb);
    let mut reader = RowReader::new(layouts.clone());
    reader.set_format(RowFormat::Jsonb);
    let mut runner = TestRunner::default();
    let documents = object(value().boxed());
    let (mut taken, mut same) = (0, 0);
    for _ in 0..DOCUMENTS {
        let document = documents.new_tree(&mut runner).unwrap().current();
        let printed: Option<String> =
            client.query_one(&statement, &[&document]).await.ok().map(|row| row.get(0));
        let order = match parser.parse(document.as_bytes(), "1-1") {
            Ok(order) => order,
            // Also one that a repeated member replaces, which PostgreSQL never prints.
            Err(refusal) if refusal.reason == Reason::NumberOutOfRange => continue,
            Err(refusal) => {
                assert!(printed.is_none(), "{document} is refused, {refusal}, and {printed:?}");
                continue;
            }
        };
        taken += 1;
        let mut canonical = Vec::new();
        layouts.write_json(order.body(), &mut canonical).unwrap();
        let canonical = String::from_utf8(canonical).unwrap();
        let row = client.query_one(&statement, &[&canonical]).await;
        let written: String = row.unwrap_or_else(|error| panic!("{document} {canonical}: {error:?}")).get(0);
        let body = reader.read("1-1", &[b"\x01", written.as_bytes()].concat()).unwrap();
        assert!(body == *order.body(), "{document}\n{canonical}\n{written}");
        match printed {
            Some(printed) => {
                same += 1;
                assert_eq!(printed, written, "{document}");
            }
            // Halves of surrogate pairs, which become U+FFFD.
            None => assert!(document.contains("\\ud"), "{document}"),
        }
    }
    assert!(taken > DOCUMENTS / 2 && same > DOCUMENTS / 3, "{taken} taken, {same} of them by PostgreSQL too");
}
