//! `orderd publish`: the messages that it sends from a file or a pipe, and its errors.

use std::time::{Duration, Instant};

use async_nats::jetstream::stream;
use devstack::{Nats, NatsOptions};

use crate::support::{Stack, eventually, order, orders};

/// Far below the minute of retries for a server that does not answer.
const PROMPT: Duration = Duration::from_secs(30);

struct Ended {
    code: Option<i32>,
    out: String,
    errors: String,
}

async fn publish(stack: &Stack, args: &[&str], stdin: &str) -> Ended {
    let output = stack.run(&[&["publish"], args].concat(), stdin).await;
    let [out, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Ended { code: output.status.code(), out, errors }
}

/// The messages of the stream, oldest first.
async fn messages(stack: &Stack) -> Vec<(String, Option<String>)> {
    let Ok(stream) = stack.jetstream().await.get_stream("ORDERS").await else { return Vec::new() };
    let state = stream.get_info().await.unwrap().state;
    let mut found = Vec::new();
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let id = message.headers.get("Nats-Msg-Id").map(|id| id.as_str().to_owned());
        found.push((String::from_utf8(message.payload.to_vec()).unwrap(), id));
    }
    found
}

async fn payloads(stack: &Stack) -> Vec<String> {
    messages(stack).await.into_iter().map(|(payload, _)| payload).collect()
}

fn file(stack: &Stack, name: &str, text: &[u8]) -> String {
    let path = stack.temp_dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn pretty(uid: &str) -> String {
    let order: serde_json::Value = serde_json::from_str(&order(uid)).unwrap();
    serde_json::to_string_pretty(&order).unwrap()
}

/// Text that is required must not be empty.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_from_a_schema_without_examples_is_taken_in() {
    let stack = Stack::new();
    let schema = serde_json::json!({
        "type": "object", "required": ["id"],
        "properties": { "id": { "type": "string" }, "at": { "type": "string", "format": "date-time" },
                        "stops": { "type": "array", "items": { "type": "string" } } },
    });
    let model = file(&stack, "parcel.schema.json", schema.to_string().as_bytes());
    let service = stack.serve(&[("MODEL", &model), ("REQUIRE", "id,at,stops")]).await;
    let sent = publish(&stack, &["--count", "2", "--wait-committed", "--model", &model], "").await;
    assert_eq!((sent.code, sent.errors.as_str()), (Some(0), ""), "{}", sent.out);
    service.wait_len(2).await;
}

/// Members that are called as those of orders, and have other types.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_from_a_sample_has_its_types() {
    let stack = Stack::new();
    for (number, sample, is_renewed) in [
        (1, r#"{"order_uid":7,"sm_id":"a","date_created":1700000000}"#, [false; 3]),
        (2, r#"{"order_uid":"a","sm_id":1.5,"date_created":{"at":1}}"#, [true, false, false]),
        (3, r#"{"order_uid":["a"],"sm_id":1,"date_created":"2026-01-01"}"#, [false, true, true]),
    ] {
        let model = file(&stack, "parcel.json", sample.as_bytes());
        let table = format!("parcels_{number}");
        let mut service = stack.serve(&[("MODEL", &model), ("PG_TABLE", &table)]).await;
        let sent = publish(&stack, &["--count", "2", "--wait-committed", "--model", &model], "").await;
        assert_eq!((sent.code, sent.errors.as_str()), (Some(0), ""), "{}", sent.out);
        let sample: serde_json::Value = serde_json::from_str(sample).unwrap();
        let payloads = payloads(&stack).await;
        let sent: serde_json::Value = serde_json::from_str(payloads.last().unwrap()).unwrap();
        let changed = ["order_uid", "sm_id", "date_created"].map(|name| sent[name] != sample[name]);
        assert_eq!(changed, is_renewed, "{sent}");
        assert_eq!(service.stop(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_sent_byte_for_byte_however_they_are_laid_out() {
    let (stack, service) = Stack::started().await;
    let (first, second, third) = (pretty("one"), order("two"), pretty("three"));
    let text = format!("\u{feff}\r\n{first}{second}\n\n\n{third}\r\n\n");
    let path = file(&stack, "orders.json", text.as_bytes());
    for args in [["--from", &path], ["--from", "-"]] {
        let sent = publish(&stack, &args, &text).await;
        assert!(sent.code == Some(0) && sent.out.starts_with("3 orders in "), "{}{}", sent.out, sent.errors);
    }
    let sent = messages(&stack).await;
    let right = [&first, &second, &third, &first, &second, &third];
    assert_eq!(sent.iter().map(|(payload, _)| payload).collect::<Vec<_>>(), right);
    let ids: std::collections::HashSet<_> = sent.iter().map(|(_, id)| id.clone().unwrap()).collect();
    assert_eq!(ids.len(), 6);
    service.wait_len(6).await;
    // The sample in the repository.
    let sample = devstack::tools::workspace().join("samples/order.json");
    let sent = publish(&stack, &["--from", sample.to_str().unwrap()], "").await;
    assert!(sent.out.starts_with("1 order in "), "{}", sent.errors);
    service.wait_len(7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_file_that_is_not_json_nothing_is_sent_and_of_a_pipe_what_stands_before() {
    let stack = Stack::new();
    let good = orders(3).join("\n");
    let cases = ["{\"secret\":1,}", "secret", "{\"secret\":\n", ",{}", "{'secret':1}"];
    let mut sent_before = 0;
    for bad in cases {
        let text = format!("{good}\n\n{bad}\n{{}}");
        let path = file(&stack, "bad.json", text.as_bytes());
        let refused = publish(&stack, &["--from", &path], "").await;
        let location = if bad.ends_with('\n') { "line 7" } else { "line 5" };
        let said = &refused.errors;
        assert!(refused.code == Some(1) && refused.out.is_empty(), "{bad}: {said}");
        assert!(
            said.contains(location) && said.contains("nothing was sent") && !said.contains("secret"),
            "{said}"
        );
        assert_eq!(payloads(&stack).await.len(), sent_before, "{bad}");

        let refused = publish(&stack, &["--from", "-"], &text).await;
        let said = &refused.errors;
        assert!(refused.code == Some(1) && refused.out.is_empty(), "{bad}: {said}");
        assert!(said.contains(location) && said.contains("3 orders acknowledged"), "{said}");
        assert!(!said.contains("secret"), "{said}");
        sent_before += 3;
        assert_eq!(payloads(&stack).await.len(), sent_before, "{bad}");
    }
    let missing = publish(&stack, &["--from", "/nope"], "").await;
    assert!(missing.code == Some(1) && missing.errors.contains("can't read /nope"), "{}", missing.errors);
    let utf16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let refused = publish(&stack, &["--from", &file(&stack, "utf16.json", &utf16)], "").await;
    assert!(refused.code == Some(1) && refused.errors.contains("UTF-16"), "{}", refused.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn input_without_a_document_or_with_part_of_one_is_said() {
    let stack = Stack::new();
    for blank in ["", " \n\t\r\n", "\u{feff}", "\u{feff}\n"] {
        let empty = publish(&stack, &["--from", &file(&stack, "empty.json", blank.as_bytes())], "").await;
        assert!(empty.code == Some(1) && empty.out.is_empty(), "{blank:?}: {}{}", empty.out, empty.errors);
        assert!(empty.errors.contains("empty.json: it contains no document"), "{}", empty.errors);
        // A pipe without documents is not an error.
        let empty = publish(&stack, &["--from", "-"], blank).await;
        assert!(empty.code == Some(0) && empty.out.starts_with("0 orders"), "{blank:?}: {}", empty.out);
        assert!(empty.errors.contains("the input has no document"), "{}", empty.errors);
    }
    let cut = format!("{}\n{{\"order_uid\":\n\"secr", order("one"));
    let right = "line 3: the text ends within the document that begins on line 2";
    let said = publish(&stack, &["--from", &file(&stack, "cut.json", cut.as_bytes())], "").await;
    assert!(said.code == Some(1) && said.errors.contains(right), "{}", said.errors);
    assert!(said.errors.contains("nothing was sent") && !said.errors.contains("secr\n"), "{}", said.errors);
    let said = publish(&stack, &["--from", "-"], &cut).await;
    assert!(said.code == Some(1) && said.errors.contains(right), "{}", said.errors);
    assert!(said.errors.contains("1 order acknowledged"), "{}", said.errors);
    assert_eq!(payloads(&stack).await, [order("one")]);
}

/// The command sends a document that is not an order, and warns that the service will refuse it.
#[tokio::test(flavor = "multi_thread")]
async fn json_that_is_not_an_object_is_sent_and_said() {
    let (stack, _service) = Stack::started().await;
    let sent = publish(&stack, &["--from", "-"], "[{}]\n5 \"x\" null\n").await;
    assert!(sent.code == Some(0) && sent.out.starts_with("4 orders in "), "{}", sent.errors);
    assert!(sent.errors.contains("line 1") && sent.errors.contains("dead letter"), "{}", sent.errors);
    assert_eq!(payloads(&stack).await, ["[{}]", "5", "\"x\"", "null"]);
    eventually("all are dead letters", async || {
        let listed = stack.run(&["dead-letters", "list", "--json"], "").await;
        (String::from_utf8(listed.stdout).unwrap().lines().count() == 4).then_some(())
    })
    .await;
}

/// Each error is reported at once, with what refuses and why.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_refuses_is_said_at_once() {
    let stack = Stack::new();
    let context = stack.jetstream().await;
    let config = stream::Config {
        name: "ORDERS".into(),
        subjects: vec!["orders.eu".into(), "orders.us".into()],
        max_messages: 4,
        max_message_size: 3000,
        discard: stream::DiscardPolicy::New,
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    let large = format!("{{\"order_uid\":\"{}\"}}", "x".repeat(4000));
    let small = "{\"order_uid\":\"small\"}";
    let path = file(&stack, "large.json", format!("{small}\n{large}").as_bytes());
    let to = |subject| ["--subject", subject];
    for (args, stdin, said, kept) in [
        // Of a file the size is known before.
        (vec!["--from", &path], "", &["line 2", "ORDERS", "max_msg_size", "4016", "3000"][..], 0),
        (
            vec!["--from", "-"],
            &format!("{small}\n{large}\n{small}"),
            &["line 2", "max_msg_size", "1 order acknowledged"],
            1,
        ),
        (
            vec!["--count", "10"],
            "",
            &["document 4", "ORDERS", "maximum messages exceeded", "3 orders acknowledged"],
            4,
        ),
    ] {
        let begun = Instant::now();
        let topic = ["--pub-topic", "orders.*"];
        let refused = publish(&stack, &[&args[..], &to("orders.eu"), &topic].concat(), stdin).await;
        assert_eq!(refused.code, Some(1), "{args:?}: {}", refused.errors);
        assert!(begun.elapsed() < PROMPT, "{args:?}");
        for word in said {
            assert!(refused.errors.contains(word), "{args:?}: no {word} in {}", refused.errors);
        }
        assert_eq!(payloads(&stack).await.len(), kept, "{args:?}");
    }
    let begun = Instant::now();
    let refused =
        publish(&stack, &["--pub-topic", "orders.*", "--subject", "orders.asia", "--count", "2"], "").await;
    assert!(refused.code == Some(1) && begun.elapsed() < PROMPT, "{}", refused.errors);
    assert!(refused.errors.contains("no stream takes the subject orders.asia"), "{}", refused.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_is_said_at_once() {
    let stack = Stack::new();
    let large = format!("{{\"order_uid\":\"{}\"}}", "x".repeat(2 << 20));
    for args in [&["--from", "-"][..], &["--from", "-", "--core"]] {
        let begun = Instant::now();
        let refused = publish(&stack, args, &format!("{{}}\n{large}")).await;
        assert!(refused.code == Some(1) && begun.elapsed() < PROMPT, "{}", refused.errors);
        assert!(
            refused.errors.contains("max_payload") && refused.errors.contains("line 2"),
            "{}",
            refused.errors
        );
    }
}

/// Also with plain publish, to which the server sends no other response.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_denies_is_said_at_once() {
    let mut stack = Stack::new();
    let users = "{ user: admin, password: secret }, \
                 { user: orderd, password: secret, permissions: { publish: { deny: \"TESTING\" } } }";
    let options = NatsOptions {
        extra_config: format!("authorization {{ users: [ {users} ] }}\n"),
        ..NatsOptions::default()
    };
    stack.nats = Nats::temporary(options).unwrap();
    let url = format!("nats://orderd:secret@127.0.0.1:{}", stack.nats.port());
    for args in [&["--count", "3"][..], &["--count", "3", "--core"]] {
        let begun = Instant::now();
        let refused = publish(&stack, &[args, &["--nats-url", &url]].concat(), "").await;
        assert!(begun.elapsed() < PROMPT, "{args:?}");
        assert_eq!(refused.code, Some(1), "{args:?}: {}{}", refused.out, refused.errors);
        assert!(refused.errors.contains("denies publishing on TESTING"), "{}", refused.errors);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_committed_ends_with_every_row_in_the_table() {
    let (stack, _service) = Stack::started().await;
    for args in [&["--count", "3000"][..], &["--count", "20", "--core"]] {
        let before = stack.rows();
        let sent = publish(&stack, &[args, &["--wait-committed"]].concat(), "").await;
        assert_eq!(sent.code, Some(0), "{}{}", sent.out, sent.errors);
        assert!(sent.out.ends_with(&format!("\n{} committed, 0 refused\n", args[1])), "{}", sent.out);
        assert_eq!((stack.rows() - before).to_string(), args[1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_committed_names_each_refused_message_with_key_and_reason() {
    let (stack, _service) = Stack::started().await;
    let lines =
        [order("one"), r#"{"order_uid":7,"x":"secret"}"#.into(), order("two"), "[]".into()].join("\n");
    let sent = publish(&stack, &["--from", "-", "--wait-committed"], &lines).await;
    assert_eq!(sent.code, Some(1), "{}{}", sent.out, sent.errors);
    assert!(sent.out.ends_with("\n2 committed, 2 refused\n"), "{}", sent.out);
    let listed = stack.run(&["dead-letters", "list", "--json"], "").await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    let letters: Vec<serde_json::Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(letters.len(), 2);
    for letter in letters {
        let line = if letter["reason"] == "wrong_type" { 2 } else { 4 };
        let [key, reason] = ["key", "reason"].map(|name| letter[name].as_str().unwrap());
        let said = format!("the document at line {line}, key {key}: {reason}");
        assert!(sent.errors.contains(&said), "no {said} in {}", sent.errors);
    }
    assert!(!sent.errors.contains("secret"), "{}", sent.errors);
    // Documents before an error are reported too.
    let cut = publish(&stack, &["--from", "-", "--wait-committed"], &format!("{}\n{{", order("three"))).await;
    assert!(cut.code == Some(1) && cut.out == "1 committed, 0 refused\n", "{}{}", cut.out, cut.errors);
}

/// Never called committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_a_receipt_is_unknown() {
    let (stack, mut service) = Stack::started().await;
    let wait = ["--wait-committed", "--timeout", "2s"];
    let locked = stack.sql().await;
    locked.batch_execute("BEGIN; LOCK TABLE public.orders2 IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let sent = publish(&stack, &[&["--count", "2"][..], &wait].concat(), "").await;
    locked.batch_execute("ROLLBACK").await.unwrap();
    assert!(
        sent.code == Some(1) && sent.out.ends_with("0 committed, 0 refused, 2 unknown\n"),
        "{}",
        sent.out
    );
    for word in ["no receipt for 2 of 2 within 2 s", "RECEIPT_SUBJECTS", "/readyz"] {
        assert!(sent.errors.contains(word), "no {word} in {}", sent.errors);
    }
    service.wait_len(2).await;
    service.stop();
    // Receipts for the first two of three, from another program.
    let mut asked = stack.client().await.subscribe("TESTING").await.unwrap();
    let client = stack.client().await;
    client.flush().await.unwrap();
    let answering = async {
        use futures_util::StreamExt as _;
        for key in ["1-1", "1-2", "none"] {
            let message = asked.next().await.unwrap();
            let subject = message.headers.unwrap().get("Orderd-Receipt").unwrap().to_string();
            if key != "none" {
                client.publish(subject, format!("{{\"key\":\"{key}\"}}").into()).await.unwrap();
            }
        }
        client.flush().await.unwrap();
    };
    let args = [&["--count", "3"][..], &wait].concat();
    let (sent, ()) = tokio::join!(publish(&stack, &args, ""), answering);
    assert!(
        sent.code == Some(1) && sent.out.ends_with("2 committed, 0 refused, 1 unknown\n"),
        "{}",
        sent.out
    );
    assert!(sent.errors.contains("at most once"), "{}", sent.errors);
    // An invalid time, and a timeout without --wait-committed.
    for args in [&["--wait-committed", "--timeout", "0"][..], &["--timeout", "5s"]] {
        assert_eq!(publish(&stack, args, "").await.code, Some(2), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_is_sent_while_it_is_written() {
    use tokio::io::AsyncWriteExt;
    let (stack, service) = Stack::started().await;
    let mut command = tokio::process::Command::new(&stack.program);
    command.args(["publish", "--from", "-"]).envs(stack.env()).kill_on_drop(true);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for number in 1..=3 {
        input.write_all(pretty(&format!("order-{number}")).as_bytes()).await.unwrap();
        service.wait_len(number).await;
    }
    drop(input);
    assert!(child.wait().await.unwrap().success());
}
