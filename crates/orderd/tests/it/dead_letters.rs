//! `orderd dead-letters`, `/dead_letters`, and replays.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_nats::jetstream;
use futures_util::StreamExt;
use hyper::{Request, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{DEAD, Service, Stack, eventually, in_time, order, orders};

async fn listed(stack: &Stack, more: &[&str]) -> Vec<Value> {
    let output = stack.run(&[&["dead-letters", "list", "--json"], more].concat(), "").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn wait_for_dead(stack: &Stack, count: usize) -> Vec<Value> {
    eventually(&format!("{count} dead letters"), async || {
        let letters = listed(stack, &[]).await;
        (letters.len() == count).then_some(letters)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letter_has_reason_path_subject_and_time() {
    let (stack, _service) = Stack::started().await;
    let bad = r#"{"order_uid":"a","items":[{"price":1},{"price":"much"}]}"#;
    stack.publish(&[bad, "{", &order("good")]).await;
    let letters = wait_for_dead(&stack, 2).await;
    assert_eq!(letters[0]["reason"], "wrong_type");
    assert_eq!(letters[0]["path"], "$.items[1].price");
    assert_eq!(letters[0]["offset"], bad.find("\"much\"").unwrap());
    assert_eq!((&letters[0]["sequence"], &letters[0]["subject"]), (&1.into(), &"TESTING".into()));
    assert_eq!(letters[1]["reason"], "invalid_json");
    assert_eq!(listed(&stack, &["--reason", "invalid_json"]).await.len(), 1);
    let table = stack.run(&["dead-letters", "list"], "").await;
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.lines().count() == 3 && table.lines().all(|line| line.trim() == line), "{table}");
    let none = stack.run(&["dead-letters", "list", "--reason", "not_storable"], "").await;
    assert_eq!((none.status.code(), String::from_utf8(none.stdout).unwrap().as_str()), (Some(0), ""));
    let said = String::from_utf8(none.stderr).unwrap();
    assert!(said.contains("there are no dead letters with the reason not_storable of "), "{said}");
    let key = letters[0]["key"].as_str().unwrap();
    let shown = stack.run(&["dead-letters", "show", key], "").await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(bad) && shown.contains("reason: wrong_type"), "{shown}");
    let missing = stack.run(&["dead-letters", "show", "1-1"], "").await;
    assert_eq!(missing.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_at_the_servers_limit_is_kept_whole() {
    let (stack, _service) = Stack::started().await;
    let client = stack.client().await;
    let huge = "x".repeat(client.server_info().max_payload);
    stack.publish(&[&huge]).await;
    let letters = wait_for_dead(&stack, 1).await;
    assert_eq!(letters[0]["bytes"], huge.len());
    let key = letters[0]["key"].as_str().unwrap();
    let shown = stack.run(&["dead-letters", "show", key, "--json"], "").await;
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["payload"], huge);
    assert!(stack.run(&["dead-letters", "drop", "--all", "--yes"], "").await.status.success());
    wait_for_dead(&stack, 0).await;
    let mut stream = async_nats::jetstream::new(client).get_stream(DEAD).await.unwrap();
    // Its note stays, so that rereading the message does not bring it back.
    assert_eq!(stream.info().await.unwrap().state.messages, 1, "the second part is dropped with the first");
    let note = stream.get_last_raw_message_by_subject(&format!("dead.ORDERS.TESTING.{key}.dropped")).await;
    assert!(note.unwrap().payload.is_empty());
}

fn key_of(letter: &Value) -> String {
    letter["key"].as_str().unwrap().to_owned()
}

/// Two orders without a number, accepted once REQUIRE allows it.
async fn two_dead_letters() -> (Stack, Service, Vec<Value>) {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&[r#"{"track_number":"A"}"#, r#"{"track_number":"B"}"#]).await;
    let letters = wait_for_dead(&stack, 2).await;
    assert_eq!(service.stop(), Some(0));
    let mended = stack.serve(&[("REQUIRE", "none")]).await;
    (stack, mended, letters)
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_makes_each_the_order_of_its_key_however_often_it_is_run() {
    let (stack, service, letters) = two_dead_letters().await;
    for taken_in in [2, 0, 0] {
        let replayed = stack.run(&["dead-letters", "replay", "--all"], "").await;
        assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
        let said = String::from_utf8(replayed.stdout).unwrap();
        assert!(said.contains(&format!(" replayed: {taken_in} accepted, 0 refused again\n")), "{said}");
    }
    // The output was correct.
    assert_eq!(listed(&stack, &[]).await, [Value::Null; 0]);
    service.wait_len(2).await;
    let keys: Vec<_> = letters.iter().map(|letter| letter["key"].as_str().unwrap()).collect();
    assert_eq!(service.ids().await, keys);
    assert_eq!(stack.rows(), 2);
    // A message that is refused again stays a dead letter.
    stack.publish(&["{"]).await;
    let letters = wait_for_dead(&stack, 1).await;
    let refused = stack.run(&["dead-letters", "replay", "--reason", "invalid_json"], "").await;
    assert_eq!(refused.status.code(), Some(1));
    stack.publish(&[order("after")]).await;
    service.wait_len(3).await;
    assert_eq!(listed(&stack, &[]).await, letters);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_whose_key_the_table_has_is_refused_and_its_dead_letter_stays() {
    let (stack, service) = Stack::started().await;
    stack.publish(&[r#"{"track_number":"A"}"#]).await;
    let letters = wait_for_dead(&stack, 1).await;
    let key = letters[0]["key"].as_str().unwrap();
    let row = format!("{{\"id\":\"{key}\",\"order\":{}}}", order("imported"));
    assert!(stack.run(&["import"], &row).await.status.success());
    let verify = ["verify", "--json", "--http-addr", &service.addr.to_string()];
    let verified = stack.run(&verify, "").await;
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((verified.status.code(), &report["both"]["ids"]), (Some(1), &serde_json::json!([key])));

    let replayed = stack.run(&["dead-letters", "replay", key, "--with", "-"], &order("corrected")).await;
    let said = String::from_utf8(replayed.stdout).unwrap();
    let errors = String::from_utf8(replayed.stderr).unwrap();
    assert_eq!(replayed.status.code(), Some(1), "{said}{errors}");
    assert!(said.contains("0 accepted, 1 refused again"), "{said}");
    assert!(errors.contains("key_taken") && errors.contains("drop the dead letter"), "{errors}");
    assert_eq!(listed(&stack, &[]).await, letters);
    // What follows it is taken in.
    stack.publish(&[order("after")]).await;
    eventually("it is committed", async || (stack.rows() == 2).then_some(())).await;
    let stored = service.get(&format!("/order/{key}")).await;
    assert!(stored.body.contains("imported"), "{}", stored.body);

    assert!(stack.run(&["dead-letters", "drop", key, "--yes"], "").await.status.success());
    service.process.signal(devstack::Signal::USR1);
    service.wait_len(2).await;
    stack.verify(&service, &[]).await;
}

/// Nothing removes the dead letter by itself: if the table went back, a process that refuses its message would rely on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_accepted_when_it_is_read_again_has_no_dead_letter_any_more() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&[r#"{"track_number":"A"}"#, "{"]).await;
    let letters = wait_for_dead(&stack, 2).await;
    stack.wait_settled(2).await;
    assert_eq!(service.stop(), Some(0));
    stack.postgres.psql("UPDATE orderd_position SET seq = 0").unwrap();
    let service = stack.serve(&[("REQUIRE", "none")]).await;
    eventually("its row is written", async || (stack.rows() == 1).then_some(())).await;
    stack.wait_settled(2).await;
    assert_eq!(listed(&stack, &[]).await, letters[1..]);
    stack.verify(&service, &["--require", "none"]).await;
    // A process that refuses it stores its dead letter again, and one that accepts it makes it a row again.
    drop(service);
    stack.postgres.psql("TRUNCATE orders2; UPDATE orderd_position SET seq = 0, last_row = NULL").unwrap();
    let mut refusing = stack.serve(&[]).await;
    stack.wait_settled(2).await;
    assert_eq!(wait_for_dead(&stack, 2).await.len(), 2);
    assert_eq!((stack.rows(), refusing.stop()), (0, Some(0)));
    stack.postgres.psql("UPDATE orderd_position SET seq = 0").unwrap();
    let service = stack.serve(&[("REQUIRE", "none")]).await;
    stack.wait_settled(2).await;
    assert_eq!((stack.rows(), wait_for_dead(&stack, 1).await), (1, letters[1..].to_vec()));
    stack.verify(&service, &["--require", "none"]).await;
}

/// A killed process may have left only the second part of a large one. Its message may be an order now, or have left the
/// stream.
#[tokio::test(flavor = "multi_thread")]
async fn erasing_also_removes_a_second_part_whose_first_part_is_not_there() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&[order("a"), order("b"), order("c")]).await;
    stack.wait_settled(3).await;
    let exported = stack.run(&["export"], "").await;
    let exported = String::from_utf8(exported.stdout).unwrap();
    let rows = exported.lines().map(|row| serde_json::from_str(row).unwrap());
    let keys: Vec<String> = rows.map(|row: Value| row["id"].as_str().unwrap().to_owned()).collect();
    let context = stack.jetstream().await;
    let subject = |key: &String| format!("dead.ORDERS.TESTING.{key}.rest");
    for key in &keys {
        context.publish(subject(key), "rest".into()).await.unwrap().await.unwrap();
    }
    let dead = context.get_stream(DEAD).await.unwrap();
    let is_there = async |key: &String| dead.get_last_raw_message_by_subject(&subject(key)).await.is_ok();
    assert!(stack.run(&["erase", &keys[0], "--yes"], "").await.status.success());
    assert!(!is_there(&keys[0]).await);
    context.get_stream("ORDERS").await.unwrap().purge().await.unwrap();
    stack.postgres.psql(&format!("DELETE FROM orders2 WHERE id = '{}'", keys[1])).unwrap();
    assert!(stack.run(&["erase", &keys[1], "--yes"], "").await.status.success());
    assert!(!is_there(&keys[1]).await);
    // Erased by another process, which was killed before it came to the dead letter.
    assert_eq!(service.stop(), Some(0));
    let erased =
        format!("INSERT INTO orderd_erased SELECT table_name, '{}' FROM orderd_erased LIMIT 1", keys[2]);
    stack.postgres.psql(&erased).unwrap();
    let _service = stack.serve(&[]).await;
    eventually("what a killed process has left goes", async || (!is_there(&keys[2]).await).then_some(()))
        .await;
}

/// The notes decide, also where the model accepts now what it refused then: the correction stays, and what was dropped.
#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_dead_letters_stays_so_when_their_messages_are_read_again_and_accepted() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&[r#"{"track_number":"A"}"#, r#"{"track_number":"B"}"#]).await;
    let keys: Vec<_> = wait_for_dead(&stack, 2).await.iter().map(key_of).collect();
    let corrected = order("corrected");
    let replay = ["dead-letters", "replay", &keys[0], "--with", "-"];
    assert!(stack.run(&replay, &corrected).await.status.success());
    assert!(stack.run(&["dead-letters", "drop", &keys[1], "--yes"], "").await.status.success());
    stack.wait_settled(3).await;
    assert_eq!(service.stop(), Some(0));
    stack.postgres.psql("BEGIN; UPDATE orderd_position SET seq = 0; DELETE FROM orders2; COMMIT").unwrap();
    let mut service = stack.serve(&[("REQUIRE", "none")]).await;
    let follower = stack.serve(&[("REQUIRE", "none")]).await;
    eventually("the correction is back", async || (stack.rows() == 1).then_some(())).await;
    stack.wait_settled(3).await;
    for service in [&service, &follower] {
        service.wait_len(1).await;
        let found = service.get(&format!("/order/{}", keys[0])).await;
        assert!(found.body.contains("\"corrected\""), "{}", found.body);
        assert_eq!(service.get(&format!("/order/{}", keys[1])).await.status, StatusCode::NOT_FOUND);
    }
    stack.verify(&service, &["--require", "none"]).await;
    assert_eq!(service.stop(), Some(0));
}

/// Both are read at once, and written in one batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_not_said_to_be_stored_where_its_message_is_accepted_before_it() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&[r#"{"track_number":"A"}"#]).await;
    let key = key_of(&wait_for_dead(&stack, 1).await[0]);
    stack.wait_settled(1).await;
    assert_eq!(service.stop(), Some(0));
    let mut receipts = stack.client().await.subscribe("_INBOX.test.1").await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Orderd-Key", key.as_str());
    headers.insert("Orderd-Receipt", "_INBOX.test.1");
    let corrected = order("corrected");
    let context = stack.jetstream().await;
    let sent = context.publish_with_headers("TESTING", headers, corrected.into()).await;
    sent.unwrap().await.unwrap();
    stack.postgres.psql("UPDATE orderd_position SET seq = 0").unwrap();
    let service = stack.serve(&[("REQUIRE", "none")]).await;
    stack.wait_settled(2).await;
    let receipt = in_time("the receipt", receipts.next()).await.unwrap();
    let receipt: Value = serde_json::from_slice(&receipt.payload).unwrap();
    assert_eq!(receipt, serde_json::json!({ "refused": "key_taken", "key": key }));
    let found = service.get(&format!("/order/{key}")).await.json();
    assert_eq!(found["track_number"], "A", "{found}");
    assert_ne!(found["order_uid"], "corrected", "{found}");
    assert_eq!(listed(&stack, &[]).await, [Value::Null; 0]);
    stack.verify(&service, &["--require", "none"]).await;
}

/// A process that has made its message a row, or a correction of it, may remove the copy that it knew only after the
/// table went back. The test is that process.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_another_process_may_still_remove_is_stored_again() {
    for has_room_for_two in [true, false] {
        let stack = Stack::new();
        let context = stack.jetstream().await;
        let config = jetstream::stream::Config {
            name: DEAD.into(),
            subjects: vec!["dead.ORDERS.>".into()],
            max_messages_per_subject: if has_room_for_two { -1 } else { 1 },
            discard: jetstream::stream::DiscardPolicy::New,
            discard_new_per_subject: !has_room_for_two,
            allow_direct: true,
            ..Default::default()
        };
        let dead = context.create_stream(config).await.unwrap();
        let mut service = stack.serve(&[]).await;
        // The second one has two parts.
        let huge = "x".repeat(stack.client().await.server_info().max_payload);
        stack.publish(&["{", &huge]).await;
        let letters = wait_for_dead(&stack, 2).await;
        stack.wait_settled(2).await;
        assert_eq!(service.stop(), Some(0));
        let subjects = letters.iter().map(|letter| format!("dead.ORDERS.TESTING.{}", key_of(letter)));
        let subjects: Vec<_> =
            subjects.flat_map(|letter| [format!("{letter}.rest"), letter]).skip(1).collect();
        let mut known = Vec::new();
        for subject in &subjects {
            known.push(dead.get_last_raw_message_by_subject(subject).await.unwrap().sequence);
        }
        for letter in &letters {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Orderd-Taken-In-By", "3");
            let note = format!("dead.ORDERS.TESTING.{}.taken_in", key_of(letter));
            context.publish_with_headers(note, headers, "".into()).await.unwrap().await.unwrap();
        }
        stack.postgres.psql("UPDATE orderd_position SET seq = 0").unwrap();
        let service = stack.serve(&[]).await;
        stack.wait_settled(2).await;
        for (subject, known) in subjects.iter().zip(&known) {
            let stored = dead.get_last_raw_message_by_subject(subject).await.unwrap();
            assert!(stored.sequence > *known, "{subject}, {has_room_for_two}");
            assert!(
                dead.get_raw_message(*known).await.is_err(),
                "the copy that was there is gone: {subject}"
            );
        }
        let again = listed(&stack, &[]).await;
        assert_eq!(
            again.iter().map(key_of).collect::<Vec<_>>(),
            letters.iter().map(key_of).collect::<Vec<_>>()
        );
        assert_eq!(again[0]["reason"], letters[0]["reason"]);
        let shown = stack.run(&["dead-letters", "show", "--json", &key_of(&letters[1])], "").await;
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(shown["payload"], huge, "{has_room_for_two}");
        let waiting = async || (service.metric("orderd_dead_letters_waiting").await == 2.0).then_some(());
        eventually("both are counted once", waiting).await;
    }
}

/// Whether the table shows the row, by the number of the question; the note of the drop; whether the newer copy stays.
const ANSWERS: [(&str, &str, bool); 3] =
    [("question > 1", "taken_in", false), ("question = 1", "dropped", false), ("true", "taken_in", true)];

/// While a dead letter is dropped, its row comes or goes, and a process that refuses its message stores another copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_drop_notes_what_the_table_says_last_and_leaves_a_copy_that_is_stored_meanwhile() {
    for (answer, noted, is_kept) in ANSWERS {
        let (stack, _service) = Stack::started().await;
        stack.publish(&["{".to_owned(), order("a")]).await;
        let key = key_of(&wait_for_dead(&stack, 1).await[0]);
        stack.wait_settled(2).await;
        stack.postgres.psql(&format!("INSERT INTO orders2 SELECT '{key}', data FROM orders2")).unwrap();
        // The second question waits for a lock.
        let policy = format!(
            "CREATE ROLE clerk LOGIN; GRANT SELECT ON orders2 TO clerk;
            CREATE SEQUENCE questions; GRANT USAGE ON questions TO clerk;
            CREATE FUNCTION answer() RETURNS boolean LANGUAGE plpgsql AS $$
                DECLARE question bigint := nextval('questions');
                BEGIN
                    IF question = 2 THEN PERFORM pg_advisory_xact_lock(1); END IF;
                    RETURN {answer};
                END $$;
            CREATE POLICY answers ON orders2 TO clerk USING (answer());
            ALTER TABLE orders2 ENABLE ROW LEVEL SECURITY"
        );
        stack.postgres.psql(&policy).unwrap();
        let sql = stack.sql().await;
        sql.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();

        let drop = ["dead-letters", "drop", &key, "--yes", "--pg-user", "clerk"];
        let meanwhile = async {
            let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
            let waits = async || (stack.postgres.psql(waiting).unwrap().trim() == "1").then_some(());
            eventually("the table is asked again", waits).await;
            let context = stack.jetstream().await;
            let dead = context.get_stream(DEAD).await.unwrap();
            let subject = format!("dead.ORDERS.TESTING.{key}");
            let mut copy = dead.get_last_raw_message_by_subject(&subject).await.unwrap();
            copy.headers.insert("Nats-Expected-Last-Subject-Sequence", copy.sequence.to_string().as_str());
            let stored = context.publish_with_headers(subject, copy.headers, copy.payload).await;
            stored.unwrap().await.unwrap();
            sql.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
        };
        let (dropped, ()) = tokio::join!(stack.run(&drop, ""), meanwhile);
        assert!(dropped.status.success(), "{answer}: {}", String::from_utf8_lossy(&dropped.stderr));
        assert_eq!(listed(&stack, &[]).await.len(), usize::from(is_kept), "{answer}");
        let dead = stack.jetstream().await.get_stream(DEAD).await.unwrap();
        for note in ["taken_in", "dropped"] {
            let subject = format!("dead.ORDERS.TESTING.{key}.{note}");
            let is_there = dead.get_last_raw_message_by_subject(&subject).await.is_ok();
            // A row that was there before the table went back leaves its note.
            let is_expected = note == noted || (note == "taken_in" && answer == "question = 1");
            assert_eq!(is_there, is_expected, "{answer}: {note}");
        }
    }
}

/// A NATS server behind which something else happens: a proxy to it that delays the first message published on `subject`
/// until `meanwhile` has happened. Returns its port.
async fn delayed(
    stack: &Stack,
    subject: String,
    meanwhile: impl Future<Output = ()> + Send + 'static,
) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (port, server) = (listener.local_addr().unwrap().port(), stack.nats.port());
    let command = format!("PUB {subject} ").into_bytes();
    let meanwhile = Arc::new(Mutex::new(Some(Box::pin(meanwhile))));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (command, meanwhile) = (command.clone(), meanwhile.clone());
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", server)).await?;
                let ((mut requests, mut answers), (mut from, mut to)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut from, &mut answers).await });
                let mut read = Vec::new();
                while requests.read_buf(&mut read).await? > 0 {
                    // No command is cut in two.
                    if !read.ends_with(b"\r\n") {
                        continue;
                    }
                    if read.windows(command.len()).any(|window| window == command) {
                        let first = meanwhile.lock().unwrap().take();
                        if let Some(first) = first {
                            first.await;
                        }
                    }
                    to.write_all(&read).await?;
                    read.clear();
                }
                std::io::Result::Ok(())
            });
        }
    });
    port.to_string()
}

/// Whether the dead letter is noted as accepted, so that a new copy is stored; whether the drop has removed the copy that
/// was there.
const MEETINGS: [(bool, bool); 3] = [(false, true), (true, true), (true, false)];

/// The table has gone back. The service looks for the note of a drop, the drop stores it, and the service stores a copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_dropped_while_its_message_is_refused_again_does_not_come_back() {
    for (is_noted, is_removed) in MEETINGS {
        let (stack, mut service) = Stack::started().await;
        let context = stack.jetstream().await;
        // The second one has two parts.
        let huge = "x".repeat(stack.client().await.server_info().max_payload);
        stack.publish(&["{", &huge]).await;
        let keys: Vec<_> = wait_for_dead(&stack, 2).await.iter().map(key_of).collect();
        stack.wait_settled(2).await;
        // One of two parts is stored again only where it is noted.
        for key in &keys[..if is_noted { 2 } else { 1 }] {
            assert_eq!(service.stop(), Some(0));
            let subject = format!("dead.ORDERS.TESTING.{key}");
            if is_noted {
                let mut headers = async_nats::HeaderMap::new();
                headers.insert("Orderd-Taken-In-By", "3");
                let note = format!("{subject}.taken_in");
                context.publish_with_headers(note, headers, "".into()).await.unwrap().await.unwrap();
            }
            let (dead, of_letter) = (context.get_stream(DEAD).await.unwrap(), subject.clone());
            let (context, has_met) = (context.clone(), Arc::new(AtomicBool::new(false)));
            let met = has_met.clone();
            let dropping = async move {
                let note = format!("{of_letter}.dropped");
                context.publish(note, "".into()).await.unwrap().await.unwrap();
                for part in [of_letter.clone(), format!("{of_letter}.rest")] {
                    let copy = dead.get_last_raw_message_by_subject(&part).await;
                    if let Ok(copy) = copy
                        && is_removed
                    {
                        dead.delete_message(copy.sequence).await.unwrap();
                    }
                }
                met.store(true, Ordering::Relaxed);
            };
            let port = delayed(&stack, subject.clone(), dropping).await;
            stack.postgres.psql("UPDATE orderd_position SET seq = 0").unwrap();
            service = stack.serve(&[("NATS_PORT", &port)]).await;
            stack.wait_settled(2).await;
            assert!(has_met.load(Ordering::Relaxed), "the dead letter was stored again");
            let dead = stack.jetstream().await.get_stream(DEAD).await.unwrap();
            for part in [subject.clone(), format!("{subject}.rest")] {
                let found = dead.get_last_raw_message_by_subject(&part).await;
                assert!(found.is_err(), "{part}, {is_noted}, {is_removed}: {found:?}");
            }
        }
    }
}

/// Another process stores a new copy just before the drop is noted, and passes the message.
#[tokio::test(flavor = "multi_thread")]
async fn a_drop_removes_a_copy_that_is_stored_before_its_note() {
    let (stack, _service) = Stack::started().await;
    stack.publish(&["{"]).await;
    let key = key_of(&wait_for_dead(&stack, 1).await[0]);
    let subject = format!("dead.ORDERS.TESTING.{key}");
    let (context, of_letter) = (stack.jetstream().await, subject.clone());
    let renewing = async move {
        let dead = context.get_stream(DEAD).await.unwrap();
        let mut copy = dead.get_last_raw_message_by_subject(&of_letter).await.unwrap();
        copy.headers.insert("Nats-Expected-Last-Subject-Sequence", copy.sequence.to_string().as_str());
        let stored = context.publish_with_headers(of_letter, copy.headers, copy.payload).await;
        stored.unwrap().await.unwrap();
    };
    let port = delayed(&stack, format!("{subject}.dropped"), renewing).await;
    let dropped = stack.run(&["dead-letters", "drop", &key, "--yes", "--nats-port", &port], "").await;
    assert!(dropped.status.success(), "{}", String::from_utf8_lossy(&dropped.stderr));
    let dead = stack.jetstream().await.get_stream(DEAD).await.unwrap();
    assert!(dead.get_last_raw_message_by_subject(&format!("{subject}.dropped")).await.is_ok());
    assert_eq!(listed(&stack, &[]).await, [Value::Null; 0]);
}

/// The row is there, by an import for instance, so the operator drops the dead letter, and no message.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_dead_letter_is_dropped_beside_its_row_becomes_a_row_again_after_a_restore() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&[r#"{"track_number":"A"}"#, r#"{"track_number":"B"}"#, &order("c")]).await;
    let keys: Vec<_> = wait_for_dead(&stack, 2).await.iter().map(key_of).collect();
    service.wait_len(1).await;
    for key in &keys {
        let import = format!("INSERT INTO orders2 SELECT '{key}', data FROM orders2 LIMIT 1");
        stack.postgres.psql(&import).unwrap();
    }
    let replay = ["dead-letters", "replay", &keys[0], "--with", "-"];
    let replayed = stack.run(&replay, &order("corrected")).await;
    let said = String::from_utf8_lossy(&replayed.stderr).into_owned();
    assert!(said.contains("key_taken"), "{said}");
    let dropped = stack.run(&["dead-letters", "drop", "--all", "--yes"], "").await;
    let said = String::from_utf8_lossy(&dropped.stderr).into_owned();
    assert!(dropped.status.success() && !said.contains("without asking the table"), "{said}");
    assert_eq!(listed(&stack, &[]).await, [Value::Null; 0]);
    assert_eq!(service.stop(), Some(0));
    stack.postgres.psql("TRUNCATE orders2; UPDATE orderd_position SET seq = 0, last_row = NULL").unwrap();
    let service = stack.serve(&[("REQUIRE", "none")]).await;
    stack.wait_settled(4).await;
    assert_eq!(stack.rows(), 3, "memory may have them before the writer has looked at the notes");
    for (key, track) in keys.iter().zip(["A", "B"]) {
        assert_eq!(service.get(&format!("/order/{key}")).await.json()["track_number"], track);
    }
    stack.verify(&service, &["--require", "none"]).await;
}

/// Without the note, a restore would make an order of the original.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_cannot_be_noted_is_not_stored() {
    let stack = Stack::new();
    let context = stack.jetstream().await;
    let mut config = jetstream::stream::Config {
        name: DEAD.into(),
        subjects: vec!["dead.ORDERS.>".into()],
        max_messages: 2,
        discard: jetstream::stream::DiscardPolicy::New,
        allow_direct: true,
        ..Default::default()
    };
    context.create_stream(&config).await.unwrap();
    let service = stack.serve(&[]).await;
    stack
        .publish(&[r#"{"track_number":"A"}"#.to_owned(), r#"{"track_number":"B"}"#.to_owned(), order("c")])
        .await;
    let mut letters = wait_for_dead(&stack, 2).await;
    stack.wait_settled(3).await;
    // The note that there is a row has room once the dead letter is gone.
    let taken = key_of(&letters.remove(1));
    stack.postgres.psql(&format!("INSERT INTO orders2 SELECT '{taken}', data FROM orders2")).unwrap();
    assert!(stack.run(&["dead-letters", "drop", &taken, "--yes"], "").await.status.success());
    let key = key_of(&letters[0]);
    let replay = ["dead-letters", "replay", &key, "--with", "-"];
    let said = stack.run(&replay, &order("corrected")).await;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("refused again: no_room: "), "{said}");
    assert_eq!((stack.rows(), listed(&stack, &[]).await), (2, letters));
    config.max_messages = 10;
    context.update_stream(&config).await.unwrap();
    assert!(stack.run(&replay, &order("corrected")).await.status.success());
    assert_eq!(service.get(&format!("/order/{key}")).await.json()["order_uid"], "corrected");
    assert_eq!(listed(&stack, &[]).await, [Value::Null; 0]);
}

/// A process noted the replay as its order, and was killed before the commit; the next one refused it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_noted_and_no_row_stays_dropped_after_a_restore() {
    let (stack, mut service) = Stack::started().await;
    let document = r#"{"track_number":"A"}"#;
    stack.publish(&[document]).await;
    let key = key_of(&wait_for_dead(&stack, 1).await[0]);
    stack.wait_settled(1).await;
    let context = stack.jetstream().await;
    let headers = |name: &'static str, value: &str| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(name, value);
        headers
    };
    let note = format!("dead.ORDERS.TESTING.{key}.taken_in");
    let noted = context.publish_with_headers(note, headers("Orderd-Taken-In-By", "2"), "".into()).await;
    noted.unwrap().await.unwrap();
    let sent = context.publish_with_headers("TESTING", headers("Orderd-Key", &key), document.into()).await;
    sent.unwrap().await.unwrap();
    stack.wait_settled(2).await;
    assert!(stack.run(&["dead-letters", "drop", &key, "--yes"], "").await.status.success());
    assert_eq!(service.stop(), Some(0));
    stack.postgres.psql("UPDATE orderd_position SET seq = 0").unwrap();
    let service = stack.serve(&[("REQUIRE", "none")]).await;
    stack.wait_settled(2).await;
    assert_eq!((stack.rows(), listed(&stack, &[]).await), (0, vec![]));
    stack.verify(&service, &["--require", "none"]).await;
}

/// The stream was restored to before the correction, and the table too.
#[tokio::test(flavor = "multi_thread")]
async fn a_correction_that_the_stream_lacks_does_not_keep_its_message_from_the_table() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&[r#"{"track_number":"A"}"#]).await;
    let key = key_of(&wait_for_dead(&stack, 1).await[0]);
    let replay = ["dead-letters", "replay", &key, "--with", "-"];
    assert!(stack.run(&replay, &order("corrected")).await.status.success());
    stack.publish(&[order("b")]).await;
    stack.wait_settled(3).await;
    assert_eq!(service.stop(), Some(0));
    let orders = stack.jetstream().await.get_stream("ORDERS").await.unwrap();
    orders.delete_message(2).await.unwrap();
    stack.postgres.psql("TRUNCATE orders2; UPDATE orderd_position SET seq = 0, last_row = NULL").unwrap();
    let service = stack.serve(&[("REQUIRE", "none")]).await;
    stack.wait_settled(3).await;
    assert_eq!(service.get(&format!("/order/{key}")).await.json()["track_number"], "A");
}

/// PostgreSQL has refused its replay: that is not noted as its order.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_was_replayed_in_vain_and_dropped_stays_dropped_after_a_restore() {
    let (stack, mut service) = Stack::started().await;
    stack.refuse_rows_with("bad-one");
    stack.publish(&[r#"{"track_number":"A"}"#]).await;
    let key = key_of(&wait_for_dead(&stack, 1).await[0]);
    let replay = ["dead-letters", "replay", &key, "--with", "-"];
    let said = stack.run(&replay, &order("bad-one")).await;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("refused_by_database"), "{said}");
    assert!(stack.run(&["dead-letters", "drop", &key, "--yes"], "").await.status.success());
    stack.wait_settled(2).await;
    assert_eq!(service.stop(), Some(0));
    stack
        .postgres
        .psql("ALTER TABLE orders2 DROP CONSTRAINT bad; UPDATE orderd_position SET seq = 0")
        .unwrap();
    let service = stack.serve(&[("REQUIRE", "none")]).await;
    stack.wait_settled(2).await;
    assert_eq!((stack.rows(), listed(&stack, &[]).await), (0, vec![]));
    stack.verify(&service, &["--require", "none"]).await;
}

/// It is killed after the commit, and before it removes the dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_a_killed_process_has_left_goes_at_the_next_start() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&[r#"{"track_number":"A"}"#, "{"]).await;
    let letters = wait_for_dead(&stack, 2).await;
    let key = key_of(&letters[0]);
    let context = stack.jetstream().await;
    let dead = context.get_stream(DEAD).await.unwrap();
    let stored = dead.get_last_raw_message_by_subject(&format!("dead.ORDERS.TESTING.{key}")).await.unwrap();
    let replay = ["dead-letters", "replay", &key, "--with", "-"];
    assert!(stack.run(&replay, &order("corrected")).await.status.success());
    stack.wait_settled(3).await;
    assert_eq!(service.stop(), Some(0));
    let left = context.publish_with_headers(stored.subject, stored.headers, stored.payload).await;
    left.unwrap().await.unwrap();
    let service = stack.serve(&[]).await;
    eventually("it is gone", async || (listed(&stack, &[]).await.len() == 1).then_some(())).await;
    assert_eq!(key_of(&listed(&stack, &[]).await[0]), key_of(&letters[1]));
    assert_eq!(service.get(&format!("/order/{key}")).await.json()["order_uid"], "corrected");
    stack.verify(&service, &[]).await;
}

/// Both in one batch. The second gets the key, because no row has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_after_one_that_postgres_refuses_is_taken_in() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&[r#"{"track_number":"A"}"#]).await;
    let key = key_of(&wait_for_dead(&stack, 1).await[0]);
    stack.wait_settled(1).await;
    assert_eq!(service.stop(), Some(0));
    stack.refuse_rows_with("bad-one");
    let context = stack.jetstream().await;
    let mut receipts = stack.client().await.subscribe("_INBOX.test.*").await.unwrap();
    for (number, uid) in ["bad-one", "good"].into_iter().enumerate() {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Orderd-Key", key.as_str());
        headers.insert("Orderd-Receipt", format!("_INBOX.test.{number}"));
        let sent = context.publish_with_headers("TESTING", headers, order(uid).into()).await;
        sent.unwrap().await.unwrap();
    }
    let service = stack.serve(&[]).await;
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let receipt = in_time("a receipt", receipts.next()).await.unwrap();
        let said: Value = serde_json::from_slice(&receipt.payload).unwrap();
        outcomes.push((receipt.subject.to_string(), said["refused"].clone()));
    }
    outcomes.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        ("_INBOX.test.0".to_owned(), "refused_by_database".into()),
        ("_INBOX.test.1".to_owned(), Value::Null),
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(service.get(&format!("/order/{key}")).await.json()["order_uid"], "good");
    assert_eq!(listed(&stack, &[]).await, [Value::Null; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replays_at_once_only_the_one_that_is_stored_is_said_to_be() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_REPLAY_TOKEN", "replaying-token-of-a-test")]).await;
    stack.publish(&[r#"{"track_number":"A"}"#]).await;
    let key = key_of(&wait_for_dead(&stack, 1).await[0]);
    let send = async |uid: &str| {
        let path = format!("/dead_letters/{key}/replay");
        let request = Request::post(path).header("authorization", "Bearer replaying-token-of-a-test");
        service.send_body(request, &order(uid)).await
    };
    // The second is read while the first is being written.
    let lock = stack.sql().await;
    lock.batch_execute("BEGIN; LOCK TABLE orders2 IN SHARE MODE").await.unwrap();
    let second = async {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        eventually("the first is written", async || {
            (stack.postgres.psql(waits).unwrap().trim() == "1").then_some(())
        })
        .await;
        send("second").await
    };
    let released = async {
        let context = stack.jetstream().await;
        eventually("both are in the stream", async || {
            let mut stream = context.get_stream("ORDERS").await.ok()?;
            (stream.info().await.ok()?.state.last_sequence == 3).then_some(())
        })
        .await;
        lock.batch_execute("COMMIT").await.unwrap();
    };
    let (first, second, ()) = tokio::join!(send("first"), second, released);
    service.wait_len(1).await;
    let stored = service.get(&format!("/order/{key}")).await.json()["order_uid"].clone();
    for (answer, uid) in [(first, "first"), (second, "second")] {
        // Gone, if the other was accepted before this one was sent.
        let is_taken_in = answer.status == 200 && answer.json()["outcome"] == "taken_in";
        assert_eq!(is_taken_in, stored == uid, "{uid}: {} {}, stored: {stored}", answer.status, answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_refused_by_postgres_is_taken_in_after_a_correction() {
    let (stack, service) = Stack::started().await;
    stack.refuse_rows_with("order-1");
    stack.publish(&orders(3)).await;
    let letters = wait_for_dead(&stack, 1).await;
    assert_eq!(letters[0]["reason"], "refused_by_database");
    service.wait_len(2).await;
    stack.postgres.psql("ALTER TABLE orders2 DROP CONSTRAINT bad").unwrap();
    let key = letters[0]["key"].as_str().unwrap();
    assert!(stack.run(&["dead-letters", "replay", key], "").await.status.success());
    service.wait_len(3).await;
    assert_eq!(service.ids().await[1], key);
    eventually("it is in the table", async || (stack.rows() == 3).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drop_asks_and_says_what_it_takes() {
    let (stack, _service) = Stack::started().await;
    stack.publish(&["{"]).await;
    wait_for_dead(&stack, 1).await;
    let unasked = stack.run(&["dead-letters", "drop", "--all"], "yes\n").await;
    assert_eq!(unasked.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unasked.stderr).contains("--yes"));
    assert_eq!(stack.run(&["dead-letters", "drop"], "").await.status.code(), Some(2));
    // A replay can be undone, so it needs no confirmation.
    assert_eq!(stack.run(&["dead-letters", "replay", "--all", "--yes"], "").await.status.code(), Some(2));
    assert_eq!(listed(&stack, &[]).await.len(), 1);
    let dropped = stack.run(&["dead-letters", "drop", "--all", "--yes"], "").await;
    assert_eq!(String::from_utf8_lossy(&dropped.stdout), "1 dead letter dropped\n");
    assert_eq!(listed(&stack, &[]).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_reason_is_an_error_that_names_those_that_are() {
    let (stack, _service) = Stack::started().await;
    stack.publish(&["{"]).await;
    wait_for_dead(&stack, 1).await;
    for command in [&["list"][..], &["replay"], &["drop", "--yes"]] {
        let refused = stack.run(&[&["dead-letters"], command, &["--reason", "bogus"]].concat(), "").await;
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{errors}");
        for reason in order::Reason::ALL {
            assert!(errors.contains(reason.as_str()), "{reason:?} in {errors}");
        }
    }
    // A valid reason without dead letters finds nothing.
    let none = stack.run(&["dead-letters", "replay", "--reason", "wrong_type"], "").await;
    assert!(none.status.success() && String::from_utf8_lossy(&none.stdout).starts_with("0 dead letters"));
    assert_eq!(listed(&stack, &[]).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_without_a_token_on_loopback_shows_dead_letters_but_does_not_replay_them() {
    let (stack, service) = Stack::started().await;
    let bad = r#"{"order_uid":"a","sm_id":"much"}"#;
    stack.publish(&["\u{7f}", bad]).await;
    let letters = wait_for_dead(&stack, 2).await;
    let listed = service.get("/dead_letters").await;
    assert_eq!(listed.headers["cache-control"], "no-store");
    let mut newest_first = letters.clone();
    newest_first.sort_by_key(|letter| std::cmp::Reverse(letter["number"].as_u64()));
    assert_eq!(listed.json(), Value::from(newest_first));
    let path = format!("/dead_letters/{}", letters[1]["key"].as_str().unwrap());
    let shown = service.get(&path).await.json();
    assert_eq!((&shown["reason"], &shown["payload"]), (&"wrong_type".into(), &bad.into()));
    for refused in [Request::post(format!("{path}/replay")), Request::delete(&path)] {
        let refused = service.send(refused).await;
        assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(refused.headers.contains_key("allow"));
    }
    for missing in ["1-1", "x", "*", "1-1.%3E", "%20"] {
        assert_eq!(service.get(&format!("/dead_letters/{missing}")).await.status, StatusCode::NOT_FOUND);
    }
    for before in ["x", "-1", "9007199254740992", "99999999999999999999"] {
        let refused = service.get(&format!("/dead_letters?before={before}")).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_replays_dead_letters_with_a_token_and_for_no_other_origin() {
    let (stack, mut service, letters) = two_dead_letters().await;
    assert_eq!(service.stop(), Some(0));
    let service = stack.serve(&[("REQUIRE", "none"), ("HTTP_REPLAY_TOKEN", "secret")]).await;
    let key = letters[0]["key"].as_str().unwrap();
    let replay = || Request::post(format!("/dead_letters/{key}/replay"));
    assert_eq!(service.send(replay()).await.status, StatusCode::UNAUTHORIZED);
    let with_token = || replay().header("authorization", "Bearer secret");
    for (name, value) in
        [("sec-fetch-site", "same-site"), ("origin", "http://localhost:1"), ("origin", "null")]
    {
        let refused = service.send(with_token().header(name, value)).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{name}: {value}");
    }
    let sent = service.send(with_token().header("sec-fetch-site", "same-origin")).await;
    assert_eq!(sent.status, StatusCode::OK, "{}", sent.body);
    assert_eq!(sent.json(), serde_json::json!({ "key": key, "outcome": "taken_in" }));
    // The response is sent after the change.
    assert_eq!(listed(&stack, &[]).await, letters[1..]);
    let taken = Request::get(format!("/order/{key}")).header("authorization", "Bearer secret");
    assert_eq!(service.send(taken).await.json()["track_number"], "A");
    assert_eq!(service.send(with_token()).await.status, StatusCode::NOT_FOUND);
}

const DROPPER: [(&str, &str); 2] = [("HTTP_TOKEN", "reader"), ("HTTP_REPLAY_TOKEN", "dropper")];

fn drop_of(key: &str) -> hyper::http::request::Builder {
    Request::delete(format!("/dead_letters/{key}")).header("authorization", "Bearer dropper")
}

/// What the table would be after a restore to before its first row; the messages are read again, and accepted.
async fn after_a_restore(stack: &Stack, mut service: Service, last: u64) -> Service {
    assert_eq!(service.stop(), Some(0));
    stack.postgres.psql("TRUNCATE orders2; UPDATE orderd_position SET seq = 0, last_row = NULL").unwrap();
    let service = stack.serve(&[("REQUIRE", "none")]).await;
    stack.wait_settled(last).await;
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn http_drops_dead_letters_with_a_token_and_for_no_other_origin() {
    let stack = Stack::new();
    let service = stack.serve(&DROPPER).await;
    stack.publish(&[r#"{"track_number":"A"}"#, r#"{"track_number":"B"}"#]).await;
    let letters = wait_for_dead(&stack, 2).await;
    stack.wait_settled(2).await;
    let key = key_of(&letters[0]);
    for (token, status) in [(None, 401), (Some("unknown"), 401), (Some("reader"), 403)] {
        let mut request = Request::delete(format!("/dead_letters/{key}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let refused = service.send(request).await;
        assert_eq!(refused.status.as_u16(), status, "{token:?}");
        assert!(refused.headers.contains_key("www-authenticate"));
    }
    for (name, value) in
        [("sec-fetch-site", "same-site"), ("origin", "http://localhost:1"), ("origin", "null")]
    {
        let refused = service.send(drop_of(&key).header(name, value)).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{name}: {value}");
    }
    for missing in ["1-1", "x", "*", "1-1.%3E", "%20", "%00"] {
        assert_eq!(service.send(drop_of(missing)).await.status, StatusCode::NOT_FOUND, "{missing}");
    }
    assert_eq!(listed(&stack, &[]).await, letters);
    let dropped = service.send(drop_of(&key).header("sec-fetch-site", "same-origin")).await;
    assert_eq!((dropped.status, dropped.body.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(dropped.headers["cache-control"], "no-store");
    // The response is sent after the change.
    assert_eq!(listed(&stack, &[]).await, letters[1..]);
    assert_eq!(service.send(drop_of(&key)).await.status, StatusCode::NOT_FOUND);
    let service = after_a_restore(&stack, service, 2).await;
    // Memory has both until the writer has looked at the notes.
    service.wait_len(1).await;
    assert_eq!(service.ids().await, [key_of(&letters[1])], "the dropped message does not come back");
    assert_eq!(stack.rows(), 1);
    assert_eq!(listed(&stack, &[]).await, [Value::Null; 0]);
}

/// The row is from elsewhere, by an import for instance: that the dead letter is dropped says nothing about its order.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_http_drops_beside_its_row_keeps_its_message() {
    let stack = Stack::new();
    let service = stack.serve(&DROPPER).await;
    stack.publish(&[r#"{"track_number":"A"}"#, &order("b")]).await;
    let key = key_of(&wait_for_dead(&stack, 1).await[0]);
    eventually("the other one is a row", async || (stack.rows() == 1).then_some(())).await;
    stack.postgres.psql(&format!("INSERT INTO orders2 SELECT '{key}', data FROM orders2")).unwrap();
    assert_eq!(service.send(drop_of(&key)).await.status, StatusCode::NO_CONTENT);
    assert!(!service.process.log().contains("without asking the table"));
    let service = after_a_restore(&stack, service, 2).await;
    assert_eq!(service.get(&format!("/order/{key}")).await.json()["track_number"], "A");
    assert_eq!(stack.rows(), 2, "memory may have it before the writer has looked at the notes");
    stack.verify(&service, &["--require", "none"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_drops_dead_letters_without_postgres_and_not_without_nats() {
    let mut stack = Stack::new();
    let service = stack.serve(&DROPPER).await;
    stack.publish(&["{", "{"]).await;
    let keys: Vec<_> = wait_for_dead(&stack, 2).await.iter().map(key_of).collect();
    stack.wait_settled(2).await;
    stack.postgres.stop();
    assert_eq!(service.send(drop_of(&keys[0])).await.status, StatusCode::NO_CONTENT);
    assert!(service.process.log().contains("without asking the table"), "{}", service.process.log());
    assert_eq!(listed(&stack, &[]).await.iter().map(key_of).collect::<Vec<_>>(), keys[1..]);
    stack.nats.stop();
    let answer = service.send(drop_of(&keys[1])).await;
    assert_eq!(
        (answer.status, &answer.headers["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_in_the_order_of_their_messages() {
    let (stack, _service) = Stack::started().await;
    let context = jetstream::new(stack.client().await);
    eventually("their stream", async || context.get_stream(DEAD).await.ok()).await;
    for key in ["1-10", "1-2", "2-1", "1-1"] {
        let stored = context.publish(format!("dead.ORDERS.TESTING.{key}"), "{".into()).await.unwrap();
        stored.await.unwrap();
    }
    let keys: Vec<_> = listed(&stack, &[]).await.iter().map(|letter| letter["key"].clone()).collect();
    assert_eq!(keys, ["1-1", "1-2", "1-10", "2-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_are_found_across_gaps_without_reading_them_all() {
    let (stack, service) = Stack::started().await;
    let context = jetstream::new(stack.client().await);
    let mut stream = eventually("their stream", async || context.get_stream(DEAD).await.ok()).await;
    for number in 1..=4000 {
        context.client().publish(format!("dead.ORDERS.TESTING.1-{number}"), "{".into()).await.unwrap();
    }
    eventually("all are stored", async || {
        (stream.info().await.unwrap().state.messages == 4000).then_some(())
    })
    .await;
    for number in 2001..=3990 {
        stream.delete_message(number).await.unwrap();
    }
    let listed = async |query: &str| -> Vec<u64> {
        let answer = eventually("they are listed", async || {
            let answer = service.get(&format!("/dead_letters{query}")).await;
            (answer.status == StatusCode::OK).then_some(answer)
        })
        .await;
        answer.json().as_array().unwrap().iter().map(|letter| letter["number"].as_u64().unwrap()).collect()
    };
    let expected: Vec<_> = (3991..=4000).rev().chain((1961..=2000).rev()).collect();
    assert_eq!(listed("").await, expected);
    assert_eq!(listed("?before=1961").await, (1911..=1960).rev().collect::<Vec<_>>());
    assert_eq!(listed("?before=3").await, [2, 1]);
    assert_eq!(listed("?before=1").await, [0_u64; 0]);
    assert_eq!(listed("?before=9007199254740991").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_over_http_are_503_without_nats() {
    let (mut stack, service) = Stack::started().await;
    stack.nats.stop();
    let answer = service.get("/dead_letters").await;
    assert_eq!(
        (answer.status, &answer.headers["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
}
