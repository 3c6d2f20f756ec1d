//! The outcomes of replays, as reported by the command and over HTTP.

use std::net::Ipv4Addr;
use std::time::Duration;

use async_nats::jetstream;
use devstack::breaker::{Breaker, Mode};
use devstack::{Nats, NatsOptions};
use futures_util::StreamExt;
use hyper::{Request, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, DEAD, Service, Stack, eventually, in_time, order};

const MAX_PAYLOAD: usize = 65536;
const WITH_TOKEN: (&str, &str) = ("HTTP_REPLAY_TOKEN", "secret");

/// An order without a number, of this length.
fn nameless(bytes: usize) -> String {
    let empty = json!({ "track_number": "" }).to_string();
    json!({ "track_number": "x".repeat(bytes - empty.len()) }).to_string()
}

/// The keys of the dead letters, in the order in which their messages came.
async fn letters(stack: &Stack, count: usize) -> Vec<String> {
    eventually(&format!("{count} dead letters"), async || {
        let listed = stack.run(&["dead-letters", "list", "--json"], "").await.stdout;
        let lines = String::from_utf8(listed).unwrap();
        let mut letters: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        letters.sort_by_key(|letter| letter["sequence"].as_u64());
        let keys: Vec<_> = letters.iter().map(|letter| letter["key"].as_str().unwrap().to_owned()).collect();
        (keys.len() == count).then_some(keys)
    })
    .await
}

/// The ids of the rows.
fn ids(stack: &Stack) -> Vec<String> {
    let ids = stack.postgres.psql("SELECT id FROM orders2 ORDER BY id").unwrap();
    ids.lines().map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()).collect()
}

/// The exit code, stdout, and stderr without the lines of the audit log.
async fn replay(stack: &Stack, args: &[&str], stdin: &str) -> (i32, String, String) {
    let output = stack.run(&[&["dead-letters", "replay"], args].concat(), stdin).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let errors = text(output.stderr);
    let errors = errors.split_inclusive('\n').filter(|line| !line.contains(" audit: ")).collect();
    (output.status.code().unwrap(), text(output.stdout), errors)
}

async fn post(service: &Service, key: &str, document: &str) -> Answer {
    let request =
        Request::post(format!("/dead_letters/{key}/replay")).header("authorization", "Bearer secret");
    service.send_body(request, document).await
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_counts_taken_in_orders_and_names_refused_ones() {
    let (stack, mut service) = Stack::started().await;
    stack
        .publish(&["{\"track_number\":\"A\"}", "{", "{\"order_uid\":\"a\",\"items\":[{\"price\":\"much\"}]}"])
        .await;
    let keys = letters(&stack, 3).await;
    service.stop();
    let service = stack.serve(&[("REQUIRE", "none"), WITH_TOKEN]).await;
    let (code, said, errors) = replay(&stack, &["--all"], "").await;
    assert_eq!((code, said.as_str()), (1, "3 dead letters replayed: 1 accepted, 2 refused again\n"));
    for words in [
        format!("{}: refused again: invalid_json: ", keys[1]),
        format!("{}: refused again: wrong_type: ", keys[2]),
        " at byte 1".to_owned(),
        " at $.items[0].price, byte 35".to_owned(),
    ] {
        assert!(errors.contains(&words), "{words:?} in {errors}");
    }
    assert_eq!(ids(&stack), keys[..1]);
    let (code, said, errors) = replay(&stack, &["--json", &keys[2], &keys[1], &keys[2]], "").await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, errors.as_str()), (1, ""));
    assert_eq!((&said["count"], &said["taken_in"], &said["refused"]), (&2.into(), &0.into(), &2.into()));
    let of = &said["dead_letters"][0];
    assert_eq!((&of["key"], &of["outcome"]), (&keys[2].as_str().into(), &"refused".into()));
    assert_eq!((&of["reason"], &of["path"]), (&"wrong_type".into(), &"$.items[0].price".into()));
    assert_eq!(of["offset"], 35);
    // The same over HTTP.
    let refused = post(&service, &keys[2], "").await;
    assert_eq!((refused.status, refused.json()), (StatusCode::OK, of.clone()));
    assert_eq!(post(&service, &keys[0], "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_without_a_dead_letter_is_gone_and_does_not_hold_up_the_others() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&["{\"track_number\":\"A\"}", "{\"track_number\":\"B\"}", "{"]).await;
    let keys = letters(&stack, 3).await;
    service.stop();
    let _service = stack.serve(&[("REQUIRE", "none")]).await;
    let (code, said, errors) = replay(&stack, &["nope", &keys[0]], "").await;
    assert_eq!(
        (code, said.as_str(), errors.as_str()),
        (
            1,
            "2 dead letters replayed: 1 accepted, 0 refused again, 1 gone before\n",
            "there is no dead letter nope\n"
        )
    );
    let (code, said, _) = replay(&stack, &["--json", &keys[1], &keys[0]], "").await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["taken_in"], &said["gone"]), (1, &1.into(), &1.into()));
    assert_eq!(said["dead_letters"][1], json!({ "key": keys[0], "outcome": "gone" }));
    assert_eq!(ids(&stack), keys[..2]);
    // A drop is all or nothing.
    let dropped = stack.run(&["dead-letters", "drop", "--yes", "nope", &keys[2]], "").await;
    let said = String::from_utf8_lossy(&dropped.stderr).into_owned();
    assert!(dropped.status.code() == Some(1) && said.contains("there is no dead letter nope"), "{said}");
    assert!(said.contains("nothing is dropped"), "{said}");
    letters(&stack, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_document_replaces_the_payload_of_one() {
    let stack = Stack::new();
    let service = stack.serve(&[WITH_TOKEN]).await;
    stack.publish(&["{", "[", "7"]).await;
    let keys = letters(&stack, 3).await;
    let file = stack.temp_dir.path().join("corrected.json");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "").unwrap();
    for (args, said) in [
        (&["--with", path, &keys[0]][..], "is empty"),
        (&["--with", "/no/such/file", &keys[0]], "/no/such/file"),
        (&["--with", path, &keys[0], &keys[1]], "one KEY"),
        (&["--with", path, "--all"], "--with"),
        (&["--with", path, "--reason", "invalid_json"], "--with"),
    ] {
        let (code, _, errors) = replay(&stack, args, "").await;
        assert!(code == 2 && errors.contains(said), "{args:?}: {code}: {errors}");
    }
    std::fs::write(&file, r#"{"order_uid":7}"#).unwrap();
    let (code, said, errors) = replay(&stack, &["--with", path, &keys[0]], "").await;
    assert_eq!((code, said.as_str()), (1, "1 dead letter replayed: 0 accepted, 1 refused again\n"));
    assert!(errors.contains("wrong_type"), "{errors}");
    // It is unchanged.
    let shown = stack.run(&["dead-letters", "show", &keys[0], "--json"], "").await;
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["payload"], &shown["reason"]), (&"{".into(), &"invalid_json".into()));
    std::fs::write(&file, order("from a file")).unwrap();
    assert_eq!(replay(&stack, &["--with", path, &keys[0]], "").await.0, 0);
    assert_eq!(replay(&stack, &["--with", "-", &keys[1]], &order("from stdin")).await.0, 0);
    let refused = post(&service, &keys[2], "[]").await;
    assert_eq!((refused.status, &refused.json()["reason"]), (StatusCode::OK, &"not_an_object".into()));
    assert_eq!(post(&service, &keys[2], &order("from a body")).await.status, StatusCode::OK);
    for (key, uid) in keys.iter().zip(["from a file", "from stdin", "from a body"]) {
        let order = Request::get(format!("/order/{key}")).header("authorization", "Bearer secret");
        assert_eq!(service.send(order).await.json()["order_uid"], uid);
    }
    letters(&stack, 0).await;
    assert_eq!(stack.rows(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letter_near_max_payload_is_counted_once_named_and_blocks_no_others() {
    let options =
        NatsOptions { extra_config: format!("max_payload: {MAX_PAYLOAD}\n"), ..NatsOptions::default() };
    let stack = Stack { nats: Nats::temporary(options).unwrap(), ..Stack::new() };
    let mut service = stack.serve(&[]).await;
    // One too long with its key; one with space for its key, but not for the receipt; then a short one.
    let key_header = "NATS/1.0\r\nOrderd-Key: 1700000000000000000-2\r\n\r\n".len();
    let payloads = [nameless(MAX_PAYLOAD - 20), nameless(MAX_PAYLOAD - key_header), nameless(100)];
    stack.publish(&payloads).await;
    let keys = letters(&stack, 3).await;
    let mut dead = jetstream::new(stack.client().await).get_stream(DEAD).await.unwrap();
    assert_eq!(dead.info().await.unwrap().state.messages, 5, "two in two parts");
    eventually("each is counted once", async || {
        (service.metric("orderd_dead_letters_waiting").await == 3.0).then_some(())
    })
    .await;
    let listed = service.get("/dead_letters").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 3);
    // What is refused again is reported, with a receipt or without.
    let (code, said, errors) = replay(&stack, &[&keys[1], &keys[2]], "").await;
    assert_eq!(
        (code, said.as_str()),
        (1, "2 dead letters replayed: 0 accepted, 2 refused again\n"),
        "{errors}"
    );
    for (key, reason) in [(&keys[1], "not_reported"), (&keys[2], "missing_member")] {
        assert!(errors.contains(&format!("{key}: refused again: {reason}: ")), "{errors}");
    }
    service.stop();
    let service = stack.serve(&[("REQUIRE", "none"), WITH_TOKEN]).await;
    let (code, said, errors) = replay(&stack, &["--all"], "").await;
    let expected = "3 dead letters replayed: 2 accepted, 0 refused again, 1 too large to be sent again\n";
    assert_eq!((code, said.as_str()), (1, expected), "{errors}");
    assert!(errors.contains(&keys[0]) && errors.contains("raise max_payload"), "{errors}");
    assert_eq!(ids(&stack), keys[1..]);
    let refused = post(&service, &keys[0], "").await;
    assert_eq!(
        (refused.status, &refused.json()["outcome"]),
        (StatusCode::PAYLOAD_TOO_LARGE, &"too_large".into())
    );
    // The remaining way deletes both parts.
    assert_eq!(post(&service, &keys[0], &nameless(200)).await.status, StatusCode::OK);
    assert_eq!(dead.info().await.unwrap().state.messages, 3, "a note of each accepted one");
    assert_eq!(stack.rows(), 3);
}

/// A skipped replay has no new dead letter, but notes say why it was skipped.
#[tokio::test(flavor = "multi_thread")]
async fn replay_without_a_receipt_reports_why_it_was_skipped() {
    let stack = Stack::new();
    let settings = [("RECEIPT_SUBJECTS", "none")];
    let mut service = stack.serve(&settings).await;
    stack.publish(&["{", "["]).await;
    let keys = letters(&stack, 2).await;
    let row = format!("{{\"id\":\"{}\",\"order\":{}}}", keys[0], order("imported"));
    assert!(stack.run(&["import"], &row).await.status.success());
    let taken = "key_taken: the table already has a row";
    // The second replay is skipped too; the third has another reason, although the row is there.
    for (document, reason) in
        [(&*order("a"), taken), (&*order("b"), taken), ("{", "not_reported: no receipt arrived")]
    {
        let (code, said, errors) = replay(&stack, &["--with", "-", &keys[0]], document).await;
        assert_eq!(
            (code, said.as_str()),
            (1, "1 dead letter replayed: 0 accepted, 1 refused again\n"),
            "{errors}"
        );
        assert!(errors.contains(&format!("{}: refused again: {reason}", keys[0])), "{errors}");
    }
    service.stop();
    let mut messages = stack.client().await.subscribe("TESTING").await.unwrap();
    let sent_and_dropped = async {
        in_time("the replay", messages.next()).await.unwrap();
        assert!(stack.run(&["dead-letters", "drop", "--yes", &keys[1]], "").await.status.success());
        stack.serve(&settings).await
    };
    let with_document = ["--with", "-", &keys[1]];
    let corrected = order("c");
    let ((code, _, errors), _service) =
        tokio::join!(replay(&stack, &with_document, &corrected), sent_and_dropped);
    assert!(code == 1 && errors.contains(&format!("{}: refused again: dropped: ", keys[1])), "{errors}");
}

/// A refusal and an acceptance without a receipt are reported. Without a service, nothing decides.
#[tokio::test(flavor = "multi_thread")]
async fn replay_without_a_receipt_reports_what_the_position_shows() {
    let stack = Stack::new();
    let settings = [WITH_TOKEN, ("RECEIPT_SUBJECTS", "none")];
    // One of them is not the writer.
    let mut services = [stack.serve(&settings).await, stack.serve(&settings).await];
    stack.publish(&["{", "["]).await;
    let keys = letters(&stack, 2).await;
    for service in &services {
        let sent = post(service, &keys[0], "").await;
        let said = sent.json();
        let reason = (&said["outcome"], &said["reason"]);
        assert_eq!((sent.status, reason), (StatusCode::OK, (&"refused".into(), &"not_reported".into())));
    }
    let (code, said, errors) = replay(&stack, &["--all"], "").await;
    assert_eq!((code, said.as_str()), (1, "2 dead letters replayed: 0 accepted, 2 refused again\n"));
    for key in &keys {
        let words = format!("{key}: refused again: not_reported: ");
        assert!(
            errors.contains(&words) && errors.contains("no receipt arrived; the log of orderd serve"),
            "{errors}"
        );
    }
    // If it is accepted, the outcome says so.
    assert_eq!(post(&services[1], &keys[0], &order("a")).await.status, StatusCode::OK);
    for service in &mut services {
        service.stop();
    }
    let (code, said, errors) = replay(&stack, &["--all"], "").await;
    let expected = "1 dead letter replayed: 0 accepted, 0 refused again, 1 sent, outcome not known\n";
    assert_eq!((code, said.as_str()), (1, expected));
    assert!(errors.contains(&keys[1]) && errors.contains("orderd serve"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_say_what_became_of_a_message_and_go_nowhere_else() {
    let stack = Stack::new();
    let service = stack.serve(&[("RECEIPT_SUBJECTS", "_INBOX.>, done.*")]).await;
    let client = stack.client().await;
    let mut all = client.subscribe(">").await.unwrap();
    client.flush().await.unwrap();
    let send = async |receipt: &str, payload: &str| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Orderd-Receipt", receipt);
        client.publish_with_headers("TESTING", headers, payload.to_owned().into()).await.unwrap();
    };
    send("done.a", &order("a")).await;
    send("_INBOX.x.y", "{").await;
    let mut receipts = Vec::new();
    while receipts.len() < 2 {
        let message = in_time("receipts", all.next()).await.unwrap();
        if ["done.a", "_INBOX.x.y"].contains(&message.subject.as_str()) {
            receipts.push((
                message.subject.to_string(),
                serde_json::from_slice::<Value>(&message.payload).unwrap(),
            ));
        }
    }
    receipts.sort_by_key(|(subject, _)| subject.clone());
    let keys = (letters(&stack, 1).await, service.ids().await);
    assert_eq!(receipts[0].1, json!({ "refused": "invalid_json", "key": keys.0[0] }));
    assert_eq!(receipts[1].1, json!({ "key": keys.1[0] }));
    assert_eq!(stack.rows(), 1, "it was committed when the receipt came");
    let elsewhere =
        ["$JS.API.STREAM.DELETE.ORDERS", "dead.ORDERS.TESTING.1-1", "TESTING", "_INBOX.*", "done.a.b", ""];
    for subject in elsewhere {
        send(subject, &order(&format!("asks for {subject}"))).await;
    }
    service.wait_len(1 + elsewhere.len() as u64).await;
    eventually("they are counted", async || {
        (service.metric("orderd_receipts_ignored_total").await == elsewhere.len() as f64).then_some(())
    })
    .await;
    assert_eq!(letters(&stack, 1).await.len(), 1);
}

/// Each request to NATS takes half a second, so that the writer renews its lease between a commit and its receipts.
#[tokio::test(flavor = "multi_thread")]
async fn receipts_come_although_dead_letters_are_removed_slowly() {
    let stack = Stack::new();
    let link = Breaker::start((Ipv4Addr::LOCALHOST, stack.nats.port()).into()).unwrap();
    let service = stack.serve(&[("NATS_PORT", &link.addr().port().to_string())]).await;
    stack.publish(&["{"]).await;
    let key = letters(&stack, 1).await.remove(0);
    link.set(Mode::Distant(Duration::from_millis(250)));
    let client = stack.client().await;
    let mut receipts = client.subscribe("_INBOX.me").await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Orderd-Receipt", "_INBOX.me");
    headers.insert("Orderd-Key", key.as_str());
    client.publish_with_headers("TESTING", headers, order("corrected").into()).await.unwrap();
    let receipt = in_time("a receipt", receipts.next()).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&receipt.payload).unwrap(), json!({ "key": key }));
    assert_eq!(service.mem_len().await, 1);
}

/// Neither the writer nor the other process shows a replayed order later than the outcome.
#[tokio::test(flavor = "multi_thread")]
async fn order_is_found_in_every_way_once_it_was_replayed() {
    let stack = Stack::new();
    let services = [stack.serve(&[WITH_TOKEN]).await, stack.serve(&[WITH_TOKEN]).await];
    stack.publish(&["{"; 6]).await;
    let keys = letters(&stack, 6).await;
    for (number, key) in keys.iter().enumerate() {
        let service = &services[number % 2];
        let uid = format!("corrected-{number}");
        assert_eq!(post(service, key, &order(&uid)).await.status, StatusCode::OK);
        let found = service.get(&format!("/order?order_uid={uid}")).await;
        assert_eq!(found.status, StatusCode::OK, "{number}: {}", found.body);
        assert!(service.get("/orders").await.body.contains(key), "{number}");
        // The replay before went to the other process, and may come into this one's memory later.
        service.wait_len(number as u64 + 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_found_by_its_value_once_its_receipt_has_come() {
    let stack = Stack::new();
    let service = stack.serve(&[("PG_FORMAT", "jsonb")]).await;
    let client = stack.client().await;
    let mut receipts = client.subscribe("_INBOX.me").await.unwrap();
    for number in 0..20 {
        // Large, so that memory takes longer.
        let uid = format!("{number}{}", "x".repeat(100_000));
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Orderd-Receipt", "_INBOX.me");
        client.publish_with_headers("TESTING", headers, order(&uid).into()).await.unwrap();
        let receipt = in_time("a receipt", receipts.next()).await.unwrap();
        let receipt: Value = serde_json::from_slice(&receipt.payload).unwrap();
        assert!(service.get("/orders").await.body.contains(receipt["key"].as_str().unwrap()), "{number}");
        assert_eq!(service.mem_len().await, number + 1);
    }
}
