//! The table's position in the stream: tables and streams that go back, writers that stall.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream};
use devstack::Signal;
use futures_util::StreamExt;
use hyper::StatusCode;
use serde_json::Value;

use crate::support::{Service, Stack, eventually, in_time, order, orders};

/// Keeps rows and position as they are now.
const KEEP: &str =
    "CREATE TABLE kept AS SELECT * FROM orders2; CREATE TABLE kept_position AS SELECT * FROM orderd_position";

/// Restores the copy of [`KEEP`], as a restore from a backup does.
const RESTORE: &str = "BEGIN;
    TRUNCATE orders2; INSERT INTO orders2 SELECT * FROM kept;
    TRUNCATE orderd_position; INSERT INTO orderd_position SELECT * FROM kept_position;
    COMMIT";

/// The same for the orders alone.
const RESTORE_ROWS: &str = "BEGIN; TRUNCATE orders2; INSERT INTO orders2 SELECT * FROM kept; COMMIT";

/// PostgreSQL ends one of two transactions that lock both tables in different orders: this one, or the writer's.
fn restore(stack: &Stack) {
    for _ in 0..3 {
        match stack.postgres.psql(RESTORE) {
            Err(error) if error.to_string().contains("deadlock detected") => {}
            restored => return drop(restored.unwrap()),
        }
    }
    panic!("each restore is ended by a deadlock");
}

async fn committed(stack: &Stack, count: usize) {
    eventually(&format!("{count} rows"), async || (stack.rows() == count).then_some(())).await;
}

async fn stream(stack: &Stack) -> stream::Stream {
    jetstream::new(stack.client().await).get_stream("ORDERS").await.unwrap()
}

async fn writes(service: &Service) -> bool {
    service.get("/readyz").await.json()["writer"]["self"] == true
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restored_table_lacks_comes_back_from_the_stream() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(300)).await;
    committed(&stack, 300).await;
    stack.postgres.psql(KEEP).unwrap();
    stack.publish_numbers(300..1_000).await;
    committed(&stack, 1_000).await;
    let ids = service.ids().await;
    restore(&stack);
    committed(&stack, 1_000).await;
    service.wait_len(1_000).await;
    assert_eq!(service.ids().await, ids);
    assert_eq!(service.metric("orderd_lost_messages_total").await, 0.0);
    stack.publish_numbers(1_000..1_010).await;
    committed(&stack, 1_010).await;
}

/// Neither by the process that wrote it before, nor by one that followed it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_written_again_after_a_restore_has_no_second_receipt() {
    let stack = Stack::new();
    let [writer, follower] = [stack.serve(&[]).await, stack.serve(&[]).await];
    eventually("the first is the writer", async || writes(&writer).await.then_some(())).await;
    let client = stack.client().await;
    let mut receipts = client.subscribe("_INBOX.me").await.unwrap();
    let publish = async |number: usize| {
        let mut headers = HeaderMap::new();
        headers.insert("Orderd-Receipt", "_INBOX.me");
        let payload =
            if number.is_multiple_of(3) { "{".to_owned() } else { order(&format!("order-{number}")) };
        client.publish_with_headers("TESTING", headers, payload.into()).await.unwrap();
    };
    let mut next = async || {
        let receipt = in_time("a receipt", receipts.next()).await.unwrap();
        serde_json::from_slice::<Value>(&receipt.payload).unwrap()["key"].as_str().unwrap().to_owned()
    };
    stack.postgres.psql(KEEP).unwrap();
    let mut answered = HashSet::new();
    for number in 0..6 {
        publish(number).await;
        assert!(answered.insert(next().await));
    }
    committed(&stack, 4).await;
    restore(&stack);
    committed(&stack, 4).await;
    publish(7).await;
    assert!(answered.insert(next().await), "{answered:?}");
    // The follower has seen the position.
    eventually("both have seen it", async || {
        let readyz = follower.get("/readyz").await.json();
        (readyz["position"] == writer.get("/readyz").await.json()["position"]).then_some(())
    })
    .await;
    drop(writer);
    restore(&stack);
    committed(&stack, 5).await;
    publish(8).await;
    assert!(answered.insert(next().await), "{answered:?}");
}

/// Notes each statement that has added rows.
const NOTE_STATEMENTS: &str = "CREATE TABLE noted (number serial, statement text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO noted (statement) VALUES (current_query()); RETURN NULL; END $$;
    CREATE TRIGGER note AFTER INSERT ON orders2 FOR EACH STATEMENT EXECUTE FUNCTION note()";

#[tokio::test(flavor = "multi_thread")]
async fn restored_table_without_newer_rows_is_filled_by_copy_after_one_insert() {
    const ORDERS: usize = 30_000;
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(10)).await;
    committed(&stack, 10).await;
    stack.postgres.psql(KEEP).unwrap();
    stack.publish_numbers(10..ORDERS).await;
    committed(&stack, ORDERS).await;
    stack.postgres.psql(&format!("{NOTE_STATEMENTS}; {RESTORE}; TRUNCATE noted")).unwrap();
    committed(&stack, ORDERS).await;
    let noted = stack.postgres.psql("SELECT left(statement, 4) FROM noted ORDER BY number").unwrap();
    let (first, others) = noted.trim().split_once('\n').expect("a batch has fewer orders than were missing");
    assert_eq!(first, "WITH", "the table might have had the next rows");
    assert!(others.contains("COPY"), "{noted}");
    service.wait_len(ORDERS as u64).await;
    assert_eq!(service.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_table_lacks_that_was_restored_while_it_was_down_comes_back_too() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(50)).await;
    committed(&stack, 50).await;
    stack.postgres.psql(KEEP).unwrap();
    stack.publish_numbers(50..200).await;
    committed(&stack, 200).await;
    // The position too, and then the orders alone, beside a position that is newer than they are.
    for restore in [RESTORE, RESTORE_ROWS] {
        service.stop();
        stack.postgres.psql(restore).unwrap();
        assert_eq!(stack.rows(), 50);
        service = stack.serve(&[]).await;
        committed(&stack, 200).await;
        service.wait_len(200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_were_restored_without_their_position_come_back_while_it_runs() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(50)).await;
    committed(&stack, 50).await;
    stack.postgres.psql(KEEP).unwrap();
    stack.publish_numbers(50..200).await;
    committed(&stack, 200).await;
    stack.postgres.psql(RESTORE_ROWS).unwrap();
    // The next order also reveals it, not only an idle writer.
    stack.publish_numbers(200..210).await;
    committed(&stack, 210).await;
    service.wait_len(210).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_rows_that_a_trigger_deletes_are_written_a_bounded_number_of_times() {
    let (stack, service) = Stack::started().await;
    let delete = "CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN DELETE FROM orders2; RETURN NULL; END';
        CREATE TRIGGER gone AFTER INSERT ON orders2 FOR EACH STATEMENT EXECUTE FUNCTION gone()";
    stack.postgres.psql(delete).unwrap();
    for number in 0..5 {
        stack.publish_numbers(number..number + 1).await;
        eventually("it is passed", async || {
            let position = stack.postgres.psql("SELECT seq FROM orderd_position").unwrap();
            (position.trim().parse() == Ok(number + 1)).then_some(())
        })
        .await;
    }
    eventually("it says so", async || {
        service.process.log().contains("something deletes new rows").then_some(())
    })
    .await;
    assert!(service.metric("orderd_rereads_total").await < 3.0, "{}", service.process.log());
    stack.publish_numbers(5..6).await;
    eventually("it is passed", async || {
        let position = stack.postgres.psql("SELECT seq FROM orderd_position").unwrap();
        (position.trim() == "6").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_an_earlier_version_gets_the_columns_that_it_lacks() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(5)).await;
    committed(&stack, 5).await;
    service.stop();
    stack.postgres.psql("ALTER TABLE orderd_position DROP COLUMN lost, DROP COLUMN dead_created").unwrap();
    let service = stack.serve(&[]).await;
    stack.publish_numbers(5..10).await;
    committed(&stack, 10).await;
    assert_eq!(service.metric("orderd_rereads_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_processes_hold_what_a_table_has_that_went_back() {
    let stack = Stack::new();
    let services = [stack.serve(&[]).await, stack.serve(&[]).await, stack.serve(&[]).await];
    stack.publish(&orders(100)).await;
    committed(&stack, 100).await;
    stack.postgres.psql(KEEP).unwrap();
    stack.publish_numbers(100..200).await;
    stack.wait_same(&services, 200).await;
    // The stream has lost some of the orders that the table loses: they no longer exist.
    stream(&stack).await.purge().sequence(151).await.unwrap();
    restore(&stack);
    stack.wait_same(&services, 150).await;
    for service in &services {
        // Its memory may be complete before it has reread the position's row.
        eventually("it knows how many are lost", async || {
            (service.metric("orderd_lost_messages_total").await == 50.0).then_some(())
        })
        .await;
        for id in ["order-100", "order-149"] {
            let found = service.get(&format!("/orders?order_uid={id}")).await;
            assert_eq!(found.body.trim(), "[]", "{id}");
        }
    }
}

/// Makes taking the lease fail, and counts the attempts.
const REFUSE_LEASE: &str = "CREATE SEQUENCE tries;
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM nextval('tries'); RAISE EXCEPTION 'not now'; END $$;
    CREATE TRIGGER refuse BEFORE UPDATE ON orderd_position FOR EACH ROW
        WHEN (NEW.session IS DISTINCT FROM OLD.session) EXECUTE FUNCTION refuse()";

/// Memory is filled from the table that went back, and the process reads the stream only after another process has
/// moved the position.
#[tokio::test(flavor = "multi_thread")]
async fn memory_has_what_another_process_wrote_between_a_restore_and_the_next_run() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(50)).await;
    committed(&stack, 50).await;
    stack.postgres.psql(KEEP).unwrap();
    stack.publish_numbers(50..100).await;
    committed(&stack, 100).await;
    let ids = service.ids().await;
    let whole = "CREATE TABLE whole AS SELECT * FROM orders2;
        CREATE TABLE whole_position AS SELECT * FROM orderd_position;
        UPDATE whole_position SET writer = 'another', session = session + 1";
    stack.postgres.psql(&format!("{whole}; {REFUSE_LEASE}; {RESTORE}")).unwrap();
    eventually("the lease is refused again and again", async || {
        let tries = stack.postgres.psql("SELECT last_value FROM tries").unwrap();
        (tries.trim().parse::<u32>().unwrap() >= 3).then_some(())
    })
    .await;
    let write_as_another = RESTORE.replace("kept", "whole");
    stack.postgres.psql(&format!("DROP TRIGGER refuse ON orderd_position; {write_as_another}")).unwrap();
    service.wait_len(100).await;
    assert_eq!(service.ids().await, ids);
}

/// PostgreSQL writes commits to its disk only every ten seconds.
fn with_asynchronous_commits() -> Stack {
    let options = devstack::PostgresOptions {
        settings: vec![
            ("synchronous_commit".into(), "off".into()),
            ("wal_writer_delay".into(), "10s".into()),
        ],
        ..devstack::PostgresOptions::quick()
    };
    Stack { postgres: devstack::Postgres::temporary(options).unwrap(), ..Stack::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn order_with_a_receipt_survives_a_crash_of_postgres() {
    let mut stack = with_asynchronous_commits();
    let client = stack.client().await;
    let mut receipts = client.subscribe("_INBOX.me").await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Orderd-Receipt", "_INBOX.me");
    for round in 1..=3 {
        let service = stack.serve(&[]).await;
        for number in 0..10 {
            let payload = order(&format!("order-{round}-{number}"));
            client.publish_with_headers("TESTING", headers.clone(), payload.into()).await.unwrap();
            in_time("a receipt", receipts.next()).await.unwrap();
        }
        drop(service);
        stack.postgres.kill();
        stack.postgres.start_again().unwrap();
        let count = stack.postgres.psql("SELECT count(*) FROM orders2").unwrap();
        assert_eq!(count.trim(), (10 * round).to_string());
    }
}

/// A refusal is answered once the position has passed it: until then, a writer with another model may accept the message.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_next_writer_accepts_has_one_receipt() {
    let stack = Stack::new();
    let strict = stack.serve(&[("REQUIRE", "order_uid,track_number")]).await;
    let client = stack.client().await;
    let mut receipts = client.subscribe("_INBOX.me").await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Orderd-Receipt", "_INBOX.me");
    let publish = async |number: usize| {
        let payload = format!(r#"{{"order_uid":"order-{number}"}}"#);
        client.publish_with_headers("TESTING", headers.clone(), payload.into()).await.unwrap();
    };
    let lock = stack.sql().await;
    lock.batch_execute("BEGIN; LOCK TABLE orderd_position IN EXCLUSIVE MODE").await.unwrap();
    publish(1).await;
    let dead = stack.jetstream().await.get_stream("ORDERS_DEAD").await.unwrap();
    eventually("the dead letter is stored", async || {
        (dead.get_info().await.ok()?.state.messages == 1).then_some(())
    })
    .await;
    drop(strict);
    lock.batch_execute("ROLLBACK").await.unwrap();
    let _lax = stack.serve(&[]).await;
    committed(&stack, 1).await;
    publish(2).await;
    for number in 1..=2 {
        let receipt = in_time("a receipt", receipts.next()).await.unwrap();
        let receipt: Value = serde_json::from_slice(&receipt.payload).unwrap();
        assert!(receipt["refused"].is_null(), "{receipt}");
        assert!(receipt["key"].as_str().unwrap().ends_with(&format!("-{number}")), "{receipt}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_that_loses_its_last_commits_has_them_again() {
    let mut stack = with_asynchronous_commits();
    let service = stack.serve(&[]).await;
    let mut published = 0;
    for _ in 0..3 {
        stack.publish_numbers(published..published + 200).await;
        published += 200;
        committed(&stack, published).await;
        stack.postgres.kill();
        stack.postgres.start_again().unwrap();
    }
    committed(&stack, published).await;
    service.wait_len(published as u64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_stalls_is_replaced_and_changes_nothing_when_it_comes_back() {
    let stack = Stack::new();
    let services = [stack.serve(&[]).await, stack.serve(&[]).await];
    let writer = if writes(&services[0]).await { 0 } else { 1 };
    stack.publish_numbers(0..50).await;
    stack.wait_same(&services, 50).await;
    // In the middle of its COPY, the row of the position is locked.
    let lock = stack.sql().await;
    lock.batch_execute("BEGIN; LOCK TABLE orders2 IN EXCLUSIVE MODE").await.unwrap();
    stack.publish_numbers(50..250).await;
    eventually("it waits for the lock", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        (stack.postgres.psql(waiting).unwrap().trim() != "0").then_some(())
    })
    .await;
    services[writer].process.signal(Signal::STOP);
    lock.batch_execute("ROLLBACK").await.unwrap();
    // More than its connection buffers: it finds the position far beyond its memory.
    stack.publish_numbers(250..7_000).await;
    committed(&stack, 7_000).await;
    let other = &services[1 - writer];
    eventually("the other one writes", async || writes(other).await.then_some(())).await;
    services[writer].process.signal(Signal::CONT);
    stack.wait_same(&services, 7_000).await;
    stack.publish_numbers(7_000..7_020).await;
    stack.wait_same(&services, 7_020).await;
    assert_eq!(services[writer].metric("orderd_rereads_total").await, 0.0, "memory continues");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_in_the_position_that_no_server_had_stop_nothing() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(5)).await;
    eventually("rows are committed", async || (stack.rows() == 5).then_some(())).await;
    let mut expected = 5;
    for set in [
        "seq_time = 'infinity', dead_created = '-infinity'",
        "seq_time = '294276-12-31', dead_created = '294276-12-31'",
        "stream_created = 'infinity'",
    ] {
        service.stop();
        stack.postgres.psql(&format!("UPDATE orderd_position SET {set}")).unwrap();
        service = stack.serve(&[]).await;
        stack.publish(&orders(5)).await;
        expected += 5;
        service.wait_len(expected as u64).await;
        eventually(&format!("rows are committed: {set}"), async || (stack.rows() == expected).then_some(()))
            .await;
        service.wait_ready().await;
    }
    assert_eq!(service.metric("orderd_lost_messages_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_stops_hands_over_and_one_that_is_killed_is_replaced() {
    let stack = Stack::new();
    let mut services = vec![stack.serve(&[]).await, stack.serve(&[]).await, stack.serve(&[]).await];
    for is_killed in [false, true] {
        let mut writer = None;
        for (number, service) in services.iter().enumerate() {
            if writes(service).await {
                writer = Some(number);
            }
        }
        let mut gone = services.remove(writer.unwrap());
        if is_killed {
            gone.kill();
        } else {
            gone.stop();
        }
        let begun = Instant::now();
        let before = stack.rows();
        stack.publish_numbers(before..before + 10).await;
        stack.wait_same(&services, before + 10).await;
        // Limits of the contract are measured by the bench; this is against a wait for something that never comes.
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recreated_stream_is_read_from_its_beginning() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(30)).await;
    committed(&stack, 30).await;
    let context = jetstream::new(stack.client().await);
    let config = stream(&stack).await.cached_info().config.clone();
    context.delete_stream("ORDERS").await.unwrap();
    context.create_stream(config).await.unwrap();
    stack.publish_numbers(30..50).await;
    committed(&stack, 50).await;
    service.wait_len(50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_the_stream_unread_is_counted_and_shown() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(10)).await;
    committed(&stack, 10).await;
    service.stop();
    stack.publish_numbers(10..40).await;
    stream(&stack).await.purge().sequence(31).await.unwrap();
    let service = stack.serve(&[]).await;
    committed(&stack, 20).await;
    service.wait_len(20).await;
    assert_eq!(service.metric("orderd_lost_messages_total").await, 20.0);
    // It stays until it is cleared, and each process reports it.
    let (service, other) = (stack.serve(&[]).await, service);
    let text = async |service: &Service| {
        let warnings = service.get("/readyz").await.json()["warnings"].clone();
        let lost = warnings.as_array().unwrap().iter().find(|warning| warning["what"] == "messages_lost");
        lost.map(|warning| warning["text"].as_str().unwrap().to_owned())
    };
    let warned = async |service: &Service| text(service).await.is_some();
    for service in [&service, &other] {
        eventually("it is warned of", async || warned(service).await.then_some(())).await;
        assert_eq!(service.metric("orderd_lost_messages_total").await, 20.0);
    }
    // The count of another installation stays.
    let others = "INSERT INTO orderd_position (table_name, stream, topic, stream_created, seq, nonce, session, session_began, lost)
        SELECT table_name, stream, 'another', stream_created, seq, nonce, session, session_began, 7 FROM orderd_position LIMIT 1";
    stack.postgres.psql(others).unwrap();
    let advice = text(&service).await.unwrap();
    stack.postgres.psql(&advice[advice.find("UPDATE").unwrap()..]).unwrap();
    let left = stack.postgres.psql("SELECT lost FROM orderd_position WHERE topic = 'another'").unwrap();
    assert_eq!(left.trim(), "7", "{advice}");
    for service in [&service, &other] {
        eventually("it is dealt with", async || (!warned(service).await).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_from_the_middle_of_the_stream_unread_is_counted() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(10)).await;
    committed(&stack, 10).await;
    let erased = service.ids().await.pop().unwrap();
    service.stop();
    stack.publish_numbers(10..20).await;
    let stream = stream(&stack).await;
    for sequence in [12, 13, 15] {
        stream.delete_message(sequence).await.unwrap();
    }
    // Except an erased order.
    let erase = stack.run(&["erase", &erased, "--yes"], "").await;
    assert!(erase.status.success(), "{}", String::from_utf8_lossy(&erase.stderr));
    let service = stack.serve(&[]).await;
    committed(&stack, 16).await;
    service.wait_len(16).await;
    assert_eq!(service.metric("orderd_lost_messages_total").await, 3.0);
    assert!(service.process.log().contains("left the stream before they were read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_and_a_table_that_both_went_back_have_lost_is_counted() {
    let (mut stack, service) = Stack::started().await;
    let services = [service, stack.serve(&[]).await];
    stack.publish_numbers(0..30).await;
    committed(&stack, 30).await;
    stack.postgres.psql(KEEP).unwrap();
    let (store, copied) = (stack.nats.store_dir(), stack.temp_dir.path().join("copy"));
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        assert!(std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    };
    stack.publish_numbers(30..40).await;
    committed(&stack, 40).await;
    stack.nats.stop();
    copy(&store, &copied);
    stack.nats.start_again().unwrap();
    stack.publish_numbers(40..60).await;
    committed(&stack, 60).await;
    stack.wait_same(&services, 60).await;
    stack.nats.stop();
    std::fs::remove_dir_all(&store).unwrap();
    copy(&copied, &store);
    restore(&stack);
    stack.nats.start_again().unwrap();
    committed(&stack, 40).await;
    stack.wait_same(&services, 40).await;
    for service in &services {
        eventually("20 are lost", async || {
            (service.metric("orderd_lost_messages_total").await == 20.0).then_some(())
        })
        .await;
    }
    // Once, although both have read them.
    stack.publish_numbers(60..65).await;
    committed(&stack, 45).await;
    stack.wait_same(&services, 45).await;
    assert_eq!(stack.postgres.psql("SELECT lost FROM orderd_position").unwrap().trim(), "20");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_another_process_lists_is_never_unknown() {
    let stack = Stack::new();
    let services = [stack.serve(&[]).await, stack.serve(&[]).await];
    let lock = stack.sql().await;
    lock.batch_execute("BEGIN; LOCK TABLE orders2 IN EXCLUSIVE MODE").await.unwrap();
    services[1].process.signal(Signal::STOP);
    stack.publish(&orders(40)).await;
    services[0].wait_len(40).await;
    let ids = services[0].ids().await;
    services[1].process.signal(Signal::CONT);
    for id in &ids {
        let answer = services[1].get_once(&format!("/order/{id}")).await;
        assert!(
            [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status),
            "{}",
            answer.status
        );
    }
    // An id that does not exist is 404, also while nothing can be committed.
    let (time, sequence) = ids[39].split_once('-').unwrap();
    let beyond = format!("{time}-{}", sequence.parse::<u64>().unwrap() + 1);
    for unknown in [beyond.as_str(), "nonsense"] {
        assert_eq!(services[1].get(&format!("/order/{unknown}")).await.status, StatusCode::NOT_FOUND);
    }
    lock.batch_execute("ROLLBACK").await.unwrap();
    stack.wait_same(&services, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_queue_is_refused_with_the_stream_that_can_be_used() {
    let stack = Stack::new();
    let config = stream::Config {
        name: "QUEUE".into(),
        subjects: vec!["TESTING".into()],
        retention: stream::RetentionPolicy::WorkQueue,
        ..Default::default()
    };
    jetstream::new(stack.client().await).create_stream(config).await.unwrap();
    let output = stack.run(&["serve"], "").await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("QUEUE") && said.contains("NATS_STREAM=QUEUE_LOG"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_may_take_only_so_long_are_made_small_enough() {
    let stack = Stack::new();
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_sleep(0.0002); RETURN NEW; END';
        CREATE TABLE orders2 (id text NOT NULL PRIMARY KEY, data bytea);
        CREATE TRIGGER slow BEFORE INSERT ON orders2 FOR EACH ROW EXECUTE FUNCTION slow();
        ALTER ROLE postgres SET statement_timeout = '200ms'";
    stack.postgres.psql(slow).unwrap();
    let service = stack.serve(&[]).await;
    stack.publish(&orders(3_000)).await;
    committed(&stack, 3_000).await;
    assert_eq!(service.metric("myapp_orders_errors").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ack_floor_of_a_former_durable_consumer_is_where_reading_begins() {
    let stack = Stack::new();
    let context = jetstream::new(stack.client().await);
    let config =
        stream::Config { name: "ORDERS".into(), subjects: vec!["TESTING".into()], ..Default::default() };
    let orders_stream = context.create_stream(config).await.unwrap();
    stack.publish(&orders(10)).await;
    let durable = jetstream::consumer::pull::Config {
        durable_name: Some("orderd".into()),
        filter_subject: "TESTING".into(),
        ..Default::default()
    };
    let consumer = orders_stream.create_consumer(durable).await.unwrap();
    let mut messages = futures_util::StreamExt::take(consumer.messages().await.unwrap(), 6);
    while let Some(message) = futures_util::StreamExt::next(&mut messages).await {
        message.unwrap().double_ack().await.unwrap();
    }
    let service = stack.serve(&[]).await;
    committed(&stack, 4).await;
    service.wait_len(4).await;
}

/// The keys of dead letters that are listed, sorted.
async fn listed(stack: &Stack) -> Vec<String> {
    let listed = stack.run(&["dead-letters", "list", "--json"], "").await;
    let lines = String::from_utf8(listed.stdout).unwrap();
    let key = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].as_str().unwrap().to_owned()
    };
    // In the order of their messages: several are stored at once.
    let mut keys: Vec<_> = lines.lines().map(key).collect();
    keys.sort_unstable();
    keys
}

async fn publish_with_key(stack: &Stack, key: &str, payload: String) {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Orderd-Key", key);
    let context = jetstream::new(stack.client().await);
    context.publish_with_headers("TESTING", headers, payload.into()).await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_dead_letter_stays_away_from_a_table_that_is_restored() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(3)).await;
    committed(&stack, 3).await;
    stack.postgres.psql(KEEP).unwrap();
    stack.publish(&["{", "["]).await;
    stack.publish_numbers(3..6).await;
    stack.wait_settled(8).await;
    let keys = listed(&stack).await;
    assert_eq!(keys.len(), 2);
    assert!(stack.run(&["dead-letters", "drop", &keys[0], "--yes"], "").await.status.success());
    restore(&stack);
    committed(&stack, 6).await;
    stack.wait_settled(8).await;
    assert_eq!(listed(&stack).await, keys[1..]);
    service.wait_len(6).await;
}

/// A drop has failed after its note, and the dead letter was replayed: the note is gone once the order is a row, or once
/// another process becomes the writer.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_a_replay_that_met_with_a_drop_comes_back_after_a_restore() {
    for is_killed in [false, true] {
        let (stack, mut service) = Stack::started().await;
        stack.publish(&["{"]).await;
        stack.wait_settled(1).await;
        stack.postgres.psql(KEEP).unwrap();
        let key = listed(&stack).await.remove(0);
        let context = jetstream::new(stack.client().await);
        let drop_in_vain = async || {
            let note = format!("dead.ORDERS.TESTING.{key}.dropped");
            context.publish(note, "".into()).await.unwrap().await.unwrap();
        };
        if !is_killed {
            drop_in_vain().await;
        }
        publish_with_key(&stack, &key, order("corrected")).await;
        committed(&stack, 1).await;
        eventually("the dead letter is gone", async || listed(&stack).await.is_empty().then_some(())).await;
        if is_killed {
            // As if the process had been killed after the commit.
            drop_in_vain().await;
            assert_eq!(service.stop(), Some(0));
            service = stack.serve(&[]).await;
            eventually("it is the writer", async || writes(&service).await.then_some(())).await;
        }
        let dropped = async || {
            let stream = context.get_stream("ORDERS_DEAD").await.unwrap();
            stream.get_last_raw_message_by_subject(&format!("dead.ORDERS.TESTING.{key}.dropped")).await
        };
        eventually("the note is gone", async || dropped().await.is_err().then_some(())).await;
        restore(&stack);
        committed(&stack, 1).await;
        let found = service.get(&format!("/order/{key}")).await;
        assert!(found.body.contains("\"corrected\""), "{}", found.body);
    }
}

/// The copy is of a process that had refused the messages; meanwhile the table was older, and another process has made
/// rows of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_before_a_restore_to_a_later_copy_is_a_dead_letter_again() {
    let (stack, mut refusing) = Stack::started().await;
    stack.publish(&[r#"{"track_number":"A"}"#.to_owned(), order("b")]).await;
    stack.wait_settled(2).await;
    let dead = async || {
        let listed = stack.run(&["dead-letters", "list", "--json"], "").await;
        String::from_utf8(listed.stdout).unwrap().lines().count()
    };
    assert_eq!(dead().await, 1);
    assert_eq!(refusing.stop(), Some(0));
    stack.postgres.psql(KEEP).unwrap();
    stack.postgres.psql("TRUNCATE orders2; UPDATE orderd_position SET seq = 0, last_row = NULL").unwrap();
    let mut accepting = stack.serve(&[("REQUIRE", "none")]).await;
    committed(&stack, 2).await;
    assert_eq!((accepting.stop(), dead().await), (Some(0), 0));
    restore(&stack);
    let refusing = stack.serve(&[]).await;
    eventually("it is a dead letter", async || (dead().await == 1).then_some(())).await;
    stack.wait_settled(2).await;
    assert_eq!(stack.rows(), 1);
    stack.verify(&refusing, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_replay_that_was_taken_in_is_the_order_again_after_a_restore() {
    let (stack, service) = Stack::started().await;
    // Refused by PostgreSQL, refused as a document, accepted, one too many.
    stack.refuse_rows_with("order-7");
    stack.publish(&["{"]).await;
    stack.wait_settled(1).await;
    let key = listed(&stack).await.remove(0);
    stack.postgres.psql(KEEP).unwrap();
    for payload in [order("order-7"), "[".into(), order("first"), order("second")] {
        publish_with_key(&stack, &key, payload).await;
    }
    stack.wait_settled(5).await;
    let order = async || service.get(&format!("/order/{key}")).await.body;
    eventually("it is accepted", async || order().await.contains("\"first\"").then_some(())).await;
    assert_eq!(listed(&stack).await, [""; 0]);
    restore(&stack);
    committed(&stack, 1).await;
    stack.wait_settled(5).await;
    eventually("it is accepted again", async || order().await.contains("\"first\"").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_whose_stream_was_deleted_come_back_from_the_stream_of_orders() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    stack.publish(&["{", "["]).await;
    stack.publish(&orders(3)).await;
    stack.wait_settled(5).await;
    let (keys, erased) = (listed(&stack).await, service.ids().await.remove(1));
    assert_eq!(service.erase(&erased, "eraser").await, StatusCode::NO_CONTENT);
    let context = jetstream::new(stack.client().await);
    context.delete_stream(crate::support::DEAD).await.unwrap();
    eventually("they are back", async || {
        let found = listed(&stack).await;
        (found == keys).then_some(())
    })
    .await;
    service.wait_len(2).await;
    // And so is the key of the erased order.
    eventually("its key is noted", async || {
        let mut stream = context.get_stream(crate::support::DEAD).await.ok()?;
        (stream.info().await.ok()?.state.messages == 3).then_some(())
    })
    .await;
    assert_eq!(stack.rows(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_beyond_the_stream_s_end_loses_nothing() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(20)).await;
    committed(&stack, 20).await;
    stack.postgres.psql("UPDATE orderd_position SET seq = seq + 2000").unwrap();
    stack.publish(&orders(10)).await;
    committed(&stack, 30).await;
    service.wait_ready().await;
    stack.wait_settled(30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_at_the_beginning_that_has_a_time_is_read_from() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(5)).await;
    committed(&stack, 5).await;
    service.stop();
    stack.postgres.psql("UPDATE orderd_position SET seq = 0").unwrap();
    let service = stack.serve(&[]).await;
    stack.publish(&orders(5)).await;
    committed(&stack, 10).await;
    service.wait_ready().await;
}
