//! Installations have separate dead letters, and listing them leaves no consumers behind.

use async_nats::jetstream::stream;
use hyper::{Request, StatusCode};
use serde_json::Value;

use crate::support::{DEAD, Service, Stack, eventually, order};

/// A service, the flags of commands for it, and a subject of its topic.
struct Installation {
    service: Service,
    flags: Vec<&'static str>,
    subject: &'static str,
}

impl Installation {
    async fn new(stack: &Stack, settings: &[(&'static str, &'static str)], subject: &'static str) -> Self {
        let service = stack.serve(settings).await;
        let flags = settings.iter().filter_map(|&(name, value)| {
            let flag = match name {
                "PUB_TOPIC" => "--pub-topic",
                "NATS_STREAM" => "--nats-stream",
                "NATS_DEAD_STREAM" => "--nats-dead-stream",
                _ => return None,
            };
            Some([flag, value])
        });
        Self { service, flags: flags.flatten().collect(), subject }
    }

    async fn run(&self, stack: &Stack, args: &[&str]) -> std::process::Output {
        stack.run(&[&["dead-letters"], args, &self.flags[..]].concat(), "").await
    }

    /// The payload of each, by the command and over HTTP, sorted: several are stored at once.
    async fn payloads(&self, stack: &Stack) -> Vec<String> {
        let listed = self.run(stack, &["list", "--json"]).await;
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let listed = String::from_utf8(listed.stdout).unwrap();
        let mut listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        listed.sort_by_key(|letter| std::cmp::Reverse(letter["number"].as_u64()));
        assert_eq!(Value::from(listed.clone()), self.service.get("/dead_letters").await.json());
        let mut payloads = Vec::new();
        for letter in listed {
            assert_eq!(letter["subject"], self.subject);
            let path = format!("/dead_letters/{}", letter["key"].as_str().unwrap());
            payloads.push(self.service.get(&path).await.json()["payload"].as_str().unwrap().to_owned());
        }
        payloads.sort();
        payloads
    }

    async fn waiting(&self, count: f64) {
        eventually("they are counted", async || {
            (self.service.metric("orderd_dead_letters_waiting").await == count).then_some(())
        })
        .await;
    }
}

async fn publish(stack: &Stack, subject: &str, payload: &str) {
    let context = stack.jetstream().await;
    context.publish(subject.to_owned(), payload.to_owned().into()).await.unwrap().await.unwrap();
}

async fn make_stream(stack: &Stack, name: &str, subject: &str) -> stream::Stream {
    let config = stream::Config { name: name.into(), subjects: vec![subject.into()], ..Default::default() };
    stack.jetstream().await.create_stream(config).await.unwrap()
}

/// Each of two installations lists, replays and drops only its own.
async fn are_apart(stack: &Stack, one: &Installation, other: &Installation) {
    for (installation, payload) in [(one, "[1]"), (other, "[2]"), (one, "[3]"), (other, "[4]"), (one, "[5]")]
    {
        publish(stack, installation.subject, payload).await;
    }
    one.waiting(3.0).await;
    other.waiting(2.0).await;
    assert_eq!(one.payloads(stack).await, ["[1]", "[3]", "[5]"]);
    assert_eq!(other.payloads(stack).await, ["[2]", "[4]"]);
    let key = one.service.get("/dead_letters").await.json()[0]["key"].as_str().unwrap().to_owned();
    assert_eq!(other.service.get(&format!("/dead_letters/{key}")).await.status, StatusCode::NOT_FOUND);
    for command in [&["show", &key][..], &["replay", &key], &["drop", "--yes", &key]] {
        let refused = other.run(stack, command).await;
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{errors}");
        assert!(errors.contains("there is no dead letter"), "{errors}");
    }
    let replayed = other.run(stack, &["replay", "--all"]).await;
    assert!(
        String::from_utf8_lossy(&replayed.stdout).contains("2 dead letters replayed: 0 accepted, 2 refused")
    );
    // Nor can a message of the other get that key.
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Orderd-Key", key.as_str());
    let context = stack.jetstream().await;
    let forged = context.publish_with_headers(other.subject, headers, order("forged").into());
    forged.await.unwrap().await.unwrap();
    publish(stack, other.subject, &order("good")).await;
    other.service.wait_len(1).await;
    assert_eq!(other.service.get("/orders?order_uid=forged").await.body, "[]");
    let dropped = other.run(stack, &["drop", "--all", "--yes"]).await;
    assert_eq!(String::from_utf8_lossy(&dropped.stdout), "2 dead letters dropped\n");
    assert_eq!(one.payloads(stack).await, ["[1]", "[3]", "[5]"]);
    assert_eq!(other.payloads(stack).await, [""; 0]);
    other.waiting(0.0).await;
    assert_eq!(one.service.metric("orderd_dead_letters_waiting").await, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn installations_on_two_streams_of_one_server_see_only_their_own() {
    let stack = Stack::new();
    let orders = Installation::new(&stack, &[], "TESTING").await;
    let parcels = [("NATS_STREAM", "PARCELS"), ("PUB_TOPIC", "parcels.>"), ("PG_TABLE", "parcels")];
    let parcels = Installation::new(&stack, &parcels, "parcels.new").await;
    are_apart(&stack, &orders, &parcels).await;
    for (name, subject) in [(DEAD, "dead.ORDERS.>"), ("PARCELS_DEAD", "dead.PARCELS.>")] {
        let made = stack.jetstream().await.get_stream(name).await.unwrap();
        assert_eq!(made.cached_info().config.subjects, [subject]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_with_two_topics_of_one_stream_see_only_their_own() {
    let stack = Stack::new();
    make_stream(&stack, "SHOP", "shop.>").await;
    let orders = [("PUB_TOPIC", "shop.orders")];
    let orders = Installation::new(&stack, &orders, "shop.orders").await;
    let parcels = [("PUB_TOPIC", "shop.parcels.*"), ("PG_TABLE", "parcels")];
    let parcels = Installation::new(&stack, &parcels, "shop.parcels.new").await;
    are_apart(&stack, &orders, &parcels).await;
    let dead = stack.jetstream().await.get_stream("SHOP_DEAD").await.unwrap();
    let subjects = dead.info_with_subjects("dead.SHOP.shop%2Eorders.*").await.unwrap();
    let subjects: Vec<_> = futures_util::TryStreamExt::try_collect(subjects).await.unwrap();
    assert_eq!(subjects.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn installations_that_keep_them_in_one_stream_see_only_their_own() {
    let stack = Stack::new();
    make_stream(&stack, "ALL_DEAD", "dead.>").await;
    let orders = Installation::new(&stack, &[("NATS_DEAD_STREAM", "ALL_DEAD")], "TESTING").await;
    let parcels = [
        ("NATS_STREAM", "PARCELS"),
        ("PUB_TOPIC", "parcels.>"),
        ("PG_TABLE", "parcels"),
        ("NATS_DEAD_STREAM", "ALL_DEAD"),
    ];
    let parcels = Installation::new(&stack, &parcels, "parcels.new").await;
    are_apart(&stack, &orders, &parcels).await;
    assert!(stack.jetstream().await.get_stream(DEAD).await.is_err(), "made, and not needed");
    // Far behind those of the other.
    for number in 0..600 {
        publish(&stack, &format!("dead.PARCELS.parcels%2E%3E.1-{}", number + 1), "{").await;
    }
    assert_eq!(orders.payloads(&stack).await, ["[1]", "[3]", "[5]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_an_earlier_version_stay_and_are_named_at_the_start() {
    let stack = Stack::new();
    let mut dead = make_stream(&stack, DEAD, "dead.>").await;
    for subject in
        ["dead.TESTING.1700000000000000000-1", "dead.TESTING.1700000000000000000-2", "dead.other.1-3"]
    {
        publish(&stack, subject, "{").await;
    }
    let tried = stack.run(&["check", "--settings"], "").await;
    let found = String::from_utf8_lossy(&tried.stdout).into_owned() + &String::from_utf8_lossy(&tried.stderr);
    let orders = Installation::new(&stack, &[], "TESTING").await;
    let log = eventually("it warns", async || {
        Some(orders.service.process.log()).filter(|log| log.contains("of an earlier version"))
    })
    .await;
    for said in [found, log] {
        let words =
            ["ORDERS_DEAD holds 2 dead letters of an earlier version", "dead.TESTING.*", "nats stream view"];
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
    publish(&stack, "TESTING", "[1]").await;
    orders.waiting(1.0).await;
    assert_eq!(orders.payloads(&stack).await, ["[1]"]);
    let dropped = orders.run(&stack, &["drop", "--all", "--yes"]).await;
    assert!(dropped.status.success());
    // Two dead letters, one other message, and the note of the dropped one.
    assert_eq!(dead.info().await.unwrap().state.messages, 4);
    // It takes the subjects of every other installation, which `check` reports, and may keep its own there.
    let parcels = [("NATS_STREAM", "PARCELS"), ("PUB_TOPIC", "parcels"), ("PG_TABLE", "parcels")];
    let mut refused = stack.start(&parcels).await;
    eventually("it says why it takes nothing in", async || {
        let reason = refused.get("/readyz").await.json()["intake"]["reason"].to_string();
        let words =
            ["can't create the stream PARCELS_DEAD", "ORDERS_DEAD takes", "NATS_DEAD_STREAM=ORDERS_DEAD"];
        words.iter().all(|word| reason.contains(word)).then_some(())
    })
    .await;
    refused.stop();
    let there = [&parcels[..], &[("NATS_DEAD_STREAM", DEAD)]].concat();
    let parcels = Installation::new(&stack, &there, "parcels").await;
    are_apart(&stack, &orders, &parcels).await;
}

async fn consumers(stack: &Stack, names: &[&str]) -> Vec<usize> {
    let context = stack.jetstream().await;
    let mut counts = Vec::new();
    for name in names {
        counts.push(context.get_stream(name).await.unwrap().cached_info().state.consumer_count);
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_leaves_no_consumers_behind() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser"), ("HTTP_TOKEN", "reader")]).await;
    let bad = r#"{"track_number":"A"}"#;
    stack.publish(&["{".to_owned(), bad.to_owned(), order("a"), order("b"), order("c")]).await;
    stack.wait_settled(5).await;
    let streams = ["ORDERS", DEAD];
    // One consumer for orders, and one for dead letters.
    let before = eventually("the service has its own", async || {
        let there = consumers(&stack, &streams).await;
        (there == [1, 1]).then_some(there)
    })
    .await;
    let get = |path: &str| Request::get(path.to_owned()).header("authorization", "Bearer reader");
    for number in 0..400 {
        let path = ["/dead_letters", "/dead_letters?before=2"][number % 2];
        assert_eq!(service.send(get(path)).await.status, StatusCode::OK);
    }
    assert_eq!(consumers(&stack, &streams).await, before, "after looking over HTTP");
    let ids: Vec<String> = serde_json::from_str(&service.send(get("/order_pages/1")).await.body).unwrap();
    let addr = service.addr.to_string();
    let letters = service.send(get("/dead_letters")).await.json();
    let key = letters[0]["key"].as_str().unwrap();
    for args in [
        &["dead-letters", "list"][..],
        &["dead-letters", "show", key],
        &["dead-letters", "replay", "--all"],
        &["verify", "--http-addr", &addr, "--http-token", "reader"],
        &["erase", "--yes", &ids[0]],
        &["erase", "--yes", "no-such-order"],
        &["export"],
        &["check", "--settings"],
        &["dead-letters", "drop", "--yes", "--all"],
    ] {
        let output = stack.run(args, "").await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code < 2), "{args:?}: {errors}");
        assert_eq!(consumers(&stack, &streams).await, before, "after {args:?}");
    }
    assert_eq!(service.erase(&ids[1], "eraser").await, StatusCode::NO_CONTENT);
    assert_eq!(consumers(&stack, &streams).await, before, "after erasing over HTTP");
}
