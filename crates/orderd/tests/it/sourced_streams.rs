//! A stream that sources several others, and several streams into one table.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream};
use serde_json::Value;

use crate::support::{Stack, eventually, order};

const GATHERED: [(&str, &str); 2] = [("PUB_TOPIC", "orders.>"), ("NATS_STREAM", "ALL")];
const FLAGS: [&str; 4] = ["--pub-topic", "orders.>", "--nats-stream", "ALL"];

fn source(name: &str) -> stream::Source {
    stream::Source { name: name.into(), ..Default::default() }
}

/// EU and US, each with a separate subject.
async fn make_sources(stack: &Stack) {
    for (name, subject) in [("EU", "orders.eu"), ("US", "orders.us")] {
        let config =
            stream::Config { name: name.into(), subjects: vec![subject.into()], ..Default::default() };
        stack.jetstream().await.create_stream(config).await.unwrap();
    }
}

/// Creates ALL, which sources both.
async fn gather(stack: &Stack) {
    let sources = Some(vec![source("EU"), source("US")]);
    let config = stream::Config { name: "ALL".into(), sources, ..Default::default() };
    stack.jetstream().await.create_stream(config).await.unwrap();
}

/// With the same message ids in both streams, as from publishers that number their messages.
async fn publish(stack: &Stack, numbers: std::ops::Range<usize>) {
    let context = stack.jetstream().await;
    for number in numbers {
        let subject = ["orders.eu", "orders.us"][number % 2];
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", (number / 2).to_string());
        let payload = order(&format!("order-{number}"));
        let sent = context.publish_with_headers(subject, headers, payload.into()).await.unwrap();
        sent.await.unwrap();
    }
}

async fn messages(stack: &Stack, stream: &str) -> u64 {
    stack.jetstream().await.get_stream(stream).await.unwrap().cached_info().state.messages
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_streams_take_comes_in_once_each_by_the_one_that_gathers_them() {
    let mut stack = Stack::new();
    make_sources(&stack).await;
    publish(&stack, 0..20).await;
    gather(&stack).await;
    let mut services = vec![stack.serve(&GATHERED).await, stack.serve(&GATHERED).await];
    publish(&stack, 20..60).await;
    services[1].kill();
    publish(&stack, 60..80).await;
    stack.wait_same(&services[..1], 80).await;
    stack.nats.kill();
    stack.nats.start_again().unwrap();
    services[1] = stack.serve(&GATHERED).await;
    services[0].wait_ready().await;
    publish(&stack, 80..120).await;
    stack.wait_same(&services, 120).await;
    // Each once, by its sequence in the sourcing stream.
    let sequences: BTreeSet<u64> = services[0].ids().await.iter().map(|id| sequence(id)).collect();
    assert_eq!(sequences, (1..=120).collect());
    assert_eq!(messages(&stack, "ALL").await, 120);
    for number in (0..120).step_by(7) {
        let found = services[1].get(&format!("/orders?order_uid=order-{number}")).await.json();
        assert_eq!(found.as_array().unwrap().len(), 1, "order-{number}");
    }
    stack.verify(&services[1], &FLAGS).await;
}

fn sequence(id: &str) -> u64 {
    id.split_once('-').unwrap().1.parse().unwrap()
}

/// Each until it is acknowledged, by the same id: the stream takes it once.
async fn insist(client: async_nats::Client, numbers: std::ops::Range<usize>) {
    let mut context = jetstream::new(client);
    context.set_timeout(Duration::from_secs(1));
    for number in numbers {
        let payload = order(&format!("order-{number}"));
        let subject = ["orders.eu", "orders.us"][number % 2];
        let mut is_acknowledged = false;
        while !is_acknowledged {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("insisted-{number}"));
            let sent = context.publish_with_headers(subject, headers, payload.clone().into()).await;
            is_acknowledged = match sent {
                Ok(acknowledged) => acknowledged.await.is_ok(),
                Err(_) => false,
            };
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_killed_while_it_gathers_doubles_and_loses_nothing() {
    let mut stack = Stack::new();
    make_sources(&stack).await;
    gather(&stack).await;
    let services = vec![stack.serve(&GATHERED).await, stack.serve(&GATHERED).await];
    let load = tokio::spawn(insist(stack.client().await, 0..1500));
    for part in [200, 600, 1000] {
        eventually("a part is committed", async || (stack.rows() >= part).then_some(())).await;
        stack.nats.kill();
        stack.nats.start_again().unwrap();
    }
    load.await.unwrap();
    let published = messages(&stack, "EU").await + messages(&stack, "US").await;
    assert_eq!(published, 1500);
    stack.wait_same(&services, 1500).await;
    assert_eq!(messages(&stack, "ALL").await, 1500);
    stack.verify(&services[0], &FLAGS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_goes_back_by_the_stream_it_came_from_and_is_erased_in_both() {
    let stack = Stack::new();
    make_sources(&stack).await;
    gather(&stack).await;
    let services = vec![stack.serve(&GATHERED).await, stack.serve(&GATHERED).await];
    stack.refuse_rows_with("order-1");
    publish(&stack, 0..4).await;
    let letter: Value = eventually("it is a dead letter", async || {
        let listed = stack.run(&[&["dead-letters", "list", "--json"], &FLAGS[..]].concat(), "").await;
        serde_json::from_slice(&listed.stdout).ok()
    })
    .await;
    assert_eq!(letter["subject"], "orders.us");
    let key = letter["key"].as_str().unwrap();
    stack.postgres.psql("ALTER TABLE orders2 DROP CONSTRAINT bad").unwrap();
    assert!(stack.run(&[&["dead-letters", "replay", key], &FLAGS[..]].concat(), "").await.status.success());
    stack.wait_same(&services, 4).await;
    assert!(services[0].ids().await.contains(&key.to_owned()));
    stack.verify(&services[0], &FLAGS).await;

    // The message and its replay.
    assert_eq!((messages(&stack, "US").await, messages(&stack, "ALL").await), (3, 5));
    let erased = stack.run(&[&["erase", "--yes", key], &FLAGS[..]].concat(), "").await;
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    stack.wait_same(&services, 3).await;
    assert_eq!((messages(&stack, "US").await, messages(&stack, "ALL").await), (1, 3));
    assert_eq!(messages(&stack, "EU").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_gives_the_orders_of_its_origin_under_the_same_keys() {
    let stack = Stack::new();
    let origin =
        stream::Config { name: "EU".into(), subjects: vec!["orders.eu".into()], ..Default::default() };
    stack.jetstream().await.create_stream(origin).await.unwrap();
    let mirror = stream::Config { name: "ALL".into(), mirror: Some(source("EU")), ..Default::default() };
    stack.jetstream().await.create_stream(mirror).await.unwrap();
    // One reads the mirror, the other its origin: the same keys, and so the same rows.
    let of_mirror = stack.serve(&GATHERED).await;
    let of_origin = stack.serve(&[("PUB_TOPIC", "orders.eu")]).await;
    let context = stack.jetstream().await;
    for number in 0..20 {
        let sent = context.publish("orders.eu", order(&format!("order-{number}")).into()).await;
        sent.unwrap().await.unwrap();
    }
    stack.wait_same(&[of_mirror, of_origin], 20).await;
    let key = stack.postgres.psql("SELECT min(id) FROM orders2").unwrap();
    let erased = stack.run(&[&["erase", "--yes", key.trim()], &FLAGS[..]].concat(), "").await;
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    assert_eq!((messages(&stack, "EU").await, messages(&stack, "ALL").await), (19, 19));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_streams_into_one_table_each_serve_their_own_and_the_others_by_a_refill() {
    let stack = Stack::new();
    make_sources(&stack).await;
    let eu = [("PUB_TOPIC", "orders.eu"), ("REFILL_EVERY", "1s")];
    let us = [("PUB_TOPIC", "orders.us")];
    let (eu, us) = (stack.serve(&eu).await, stack.serve(&us).await);
    publish(&stack, 0..100).await;
    eventually("100 rows", async || (stack.rows() == 100).then_some(())).await;
    eu.wait_len(100).await;
    us.wait_len(50).await;
    us.process.signal(devstack::Signal::USR1);
    us.wait_len(100).await;
    assert_eq!(eu.ids().await, us.ids().await);
}
