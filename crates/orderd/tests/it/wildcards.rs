//! A topic with wildcards: orders on many subjects, and streams that have all or some of them.

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::{self, stream};
use serde_json::Value;

use crate::support::{LIMIT, Stack, eventually, order};

const TOPIC: (&str, &str) = ("PUB_TOPIC", "orders.>");
const FLAG: [&str; 2] = ["--pub-topic", "orders.>"];

async fn publish(stack: &Stack, subject: &str, payload: &str) {
    let context = stack.jetstream().await;
    let sent = context.publish(subject.to_owned(), payload.to_owned().into()).await;
    sent.unwrap().await.unwrap();
}

async fn letters(stack: &Stack, count: usize) -> Vec<Value> {
    eventually(&format!("{count} dead letters"), async || {
        let listed = stack.run(&["dead-letters", "list", "--json", FLAG[0], FLAG[1]], "").await.stdout;
        let lines = String::from_utf8(listed).unwrap();
        let letters: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (letters.len() == count).then_some(letters)
    })
    .await
}

async fn make_stream(stack: &Stack, name: &str, subjects: &[&str], ours: bool) {
    let metadata = ours.then(|| ("made-by".to_owned(), "orderd".to_owned())).into_iter().collect();
    let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
    let config = stream::Config { name: name.into(), subjects, metadata, ..Default::default() };
    stack.jetstream().await.create_stream(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_on_many_subjects_come_in_once_each_and_to_every_process() {
    let stack = Stack::new();
    let mut services = vec![stack.serve(&[TOPIC]).await, stack.serve(&[TOPIC]).await];
    for number in 0..90 {
        let subject = ["orders.new", "orders.eu.new", "orders.a.b.c.d"][number % 3];
        publish(&stack, subject, &order(&format!("order-{number}"))).await;
        if number == 45 {
            services[1].kill();
        }
    }
    services[1] = stack.serve(&[TOPIC]).await;
    stack.wait_same(&services, 90).await;
    let of_ours = stack.run(&["publish", "--count", "10", "--subject", "orders.by.us", FLAG[0], FLAG[1]], "");
    assert!(of_ours.await.status.success());
    stack.wait_same(&services, 100).await;
    stack.verify(&services[1], &FLAG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_goes_back_to_its_own_subject_and_is_erased_by_its_key() {
    let stack = Stack::new();
    let services = vec![stack.serve(&[TOPIC]).await, stack.serve(&[TOPIC]).await];
    stack.refuse_rows_with("order-1");
    publish(&stack, "orders.eu.new", &order("order-0")).await;
    publish(&stack, "orders.us.new", &order("order-1")).await;
    publish(&stack, "orders.b", "{").await;
    let found = letters(&stack, 2).await;
    let of = |subject: &str| found.iter().find(|letter| letter["subject"] == subject).unwrap();
    assert_eq!(of("orders.b")["reason"], "invalid_json");
    let key = of("orders.us.new")["key"].as_str().unwrap();
    stack.postgres.psql("ALTER TABLE orders2 DROP CONSTRAINT bad").unwrap();
    for (taken_in, refused) in [(1, 1), (0, 1)] {
        let replayed = stack.run(&[&["dead-letters", "replay", "--all"], &FLAG[..]].concat(), "").await;
        let said = String::from_utf8(replayed.stdout).unwrap();
        assert!(said.contains(&format!("{taken_in} accepted, {refused} refused again")), "{said}");
    }
    stack.wait_same(&services, 2).await;
    assert_eq!(services[0].ids().await[1], key);
    letters(&stack, 1).await;
    let stream = stack.jetstream().await.get_stream("ORDERS").await.unwrap();
    let again = stream.get_last_raw_message_by_subject("orders.us.new").await.unwrap();
    assert_eq!(again.headers.get("Orderd-Key").unwrap().as_str(), key);
    stack.verify(&services[0], &FLAG).await;

    assert!(stack.run(&["erase", "--yes", key, FLAG[0], FLAG[1]], "").await.status.success());
    stack.wait_same(&services, 1).await;
    assert!(stream.get_last_raw_message_by_subject("orders.us.new").await.is_err(), "it is in the stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_wider_stream_only_the_topic_is_taken() {
    let stack = Stack::new();
    make_stream(&stack, "ALL", &["orders.>"], false).await;
    let services = vec![
        stack.serve(&[("PUB_TOPIC", "orders.*.new")]).await,
        stack.serve(&[("PUB_TOPIC", "orders.*.new")]).await,
    ];
    for number in 0..30 {
        let subject = ["orders.eu.new", "orders.eu.old", "orders.us.new.late"][number % 3];
        publish(&stack, subject, &order(&format!("order-{number}"))).await;
    }
    publish(&stack, "orders.us.new", &order("last")).await;
    stack.wait_same(&services, 11).await;
    let mut stream = stack.jetstream().await.get_stream("ALL").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 31);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_matching_streams_are_refused_until_one_is_named() {
    let stack = Stack::new();
    make_stream(&stack, "EU", &["orders.eu"], false).await;
    make_stream(&stack, "US", &["orders.us"], false).await;
    let args = ["serve", FLAG[0], FLAG[1]];
    let refused = tokio::time::timeout(LIMIT, stack.run(&args, "")).await.expect("it serves");
    assert_eq!(refused.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("EU, US") && errors.contains("NATS_STREAM"), "{errors}");
    let service = stack.serve(&[TOPIC, ("NATS_STREAM", "US")]).await;
    publish(&stack, "orders.eu", &order("eu")).await;
    publish(&stack, "orders.us", &order("us")).await;
    service.wait_len(1).await;
    assert_eq!(service.get("/orders?order_uid=us").await.json().as_array().unwrap().len(), 1);
    assert!(service.process.log().contains("takes only a part of the topic"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_does_not_fit_is_named() {
    let stack = Stack::new();
    for (args, word) in [
        (&["publish", "--pub-topic", "orders.>"][..], "--subject"),
        (&["publish", "--pub-topic", "orders.>", "--subject", "orders.*"], "without wildcards"),
        (&["publish", "--pub-topic", "orders.>", "--subject", "others.new"], "outside PUB_TOPIC"),
        (&["publish", "--subject", "OTHER"], "outside PUB_TOPIC"),
        (&["serve", "--pub-topic", "orders.>.new"], "PUB_TOPIC"),
        (&["serve", "--pub-topic", "*.new"], "dead.>"),
        (&["serve", "--pub-topic", ">"], "dead.>"),
    ] {
        let refused = stack.run(args, "").await;
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.contains(word), "{args:?}: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn message_on_a_wildcard_subject_blocks_no_others() {
    let stack = Stack::new();
    let service = stack.serve(&[TOPIC]).await;
    let client = stack.client().await;
    for subject in ["orders.*", "orders.>"] {
        for payload in ["{", &order(subject)] {
            client.publish(subject, payload.to_owned().into()).await.unwrap();
        }
    }
    client.flush().await.unwrap();
    publish(&stack, "orders.new", &order("after")).await;
    eventually("later orders are ingested", async || {
        let found = service.get("/orders?order_uid=after").await.json();
        (found.as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    stack.wait_settled(5).await;
}

/// More messages than a purge keeps, plus its minimum batch.
const MANY: u64 = 130_000;

async fn publish_many(stack: &Stack) {
    let client = stack.client().await;
    let jetstream = jetstream::new(client.clone());
    for _ in 0..MANY / 1000 {
        for _ in 1..1000 {
            client.publish("orders.x", "".into()).await.unwrap();
        }
        // The server drops messages beyond some ten thousand waiting ones. An answer means that none waits.
        jetstream.publish("orders.x", "".into()).await.unwrap().await.unwrap();
    }
    let stream = stack.jetstream().await.get_stream("ORDERS").await.unwrap();
    eventually("all are in the stream", async || {
        (stream.get_info().await.unwrap().state.last_sequence == 10 + MANY).then_some(())
    })
    .await;
}

/// Another team's consumer of a kind that the client library doesn't know. It has acknowledged everything.
async fn make_prioritized(stack: &Stack) {
    let request = serde_json::json!({
        "stream_name": "ORDERS",
        "config": {
            "durable_name": "prioritized",
            "ack_policy": "explicit",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": 10 + MANY + 1,
            "priority_policy": "prioritized",
            "priority_groups": ["a"],
        },
    });
    let client = stack.client().await;
    let subject = "$JS.API.CONSUMER.CREATE.ORDERS.prioritized";
    let answer = client.request(subject, request.to_string().into()).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["config"]["priority_policy"], "prioritized", "{answer}");
    let stream = stack.jetstream().await.get_stream("ORDERS").await.unwrap();
    assert!(stream.consumer_info("prioritized").await.is_err(), "the client knows it: take another kind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_takes_nothing_that_another_consumer_needs_or_that_is_not_of_the_topic() {
    let stack = Stack::new();
    make_stream(&stack, "ORDERS", &["orders.>", "other.>"], true).await;
    for number in 0..10 {
        publish(&stack, "other.x", &number.to_string()).await;
    }
    let stream = stack.jetstream().await.get_stream("ORDERS").await.unwrap();
    // Another consumer has acknowledged this many messages.
    let slow = pull::Config {
        durable_name: Some("slow".into()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: 115_000 },
        ..Default::default()
    };
    stream.create_consumer(slow).await.unwrap();
    let _service = stack.serve(&[TOPIC, ("STREAM_KEEP", "0")]).await;
    make_prioritized(&stack).await;
    publish_many(&stack).await;
    let left = async || stream.get_info().await.unwrap().state.messages;
    // 10 of the other topic, and all from 100,000 below the slow consumer's acknowledgements; in several steps if the
    // service itself is behind that.
    let purged = 10 + (MANY + 10 - 14_999 + 1);
    eventually("it is purged", async || (left().await == purged).then_some(())).await;
    stream.delete_consumer("slow").await.unwrap();
    eventually("the rest is purged", async || (left().await == 10 + 100_001).then_some(())).await;
    for sequence in 1..=10 {
        assert!(stream.get_raw_message(sequence).await.is_ok(), "{sequence}");
    }
}
