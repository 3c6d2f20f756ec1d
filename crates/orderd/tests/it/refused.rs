//! Refused messages: stored as dead letters, once, without blocking others.

use async_nats::jetstream;
use futures_util::StreamExt as _;

use crate::support::{DEAD, Stack, eventually, in_time, order, orders};

#[tokio::test(flavor = "multi_thread")]
async fn bad_payloads_are_kept_and_the_good_ones_pass() {
    let (stack, service) = Stack::started().await;
    let mut not_utf8 = order("x").into_bytes();
    not_utf8[20] = 0xff;
    let bad: [&[u8]; 8] = [
        b"no json",
        b"null",
        b"[1]",
        b"\"text\"",
        br#"{"order_uid":7}"#,
        br#"{"order_uid":"a","sm_id":99999999999999999999}"#,
        br#"{"track_number":"without a number"}"#,
        &not_utf8,
    ];
    for payload in bad {
        stack.publish(&[payload]).await;
        stack.publish(&[order("good")]).await;
    }
    stack.publish(&[b""]).await;
    service.wait_len(bad.len() as u64).await;
    let context = jetstream::new(stack.client().await);
    let stored = eventually("all are kept", async || {
        let mut stream = context.get_stream(DEAD).await.ok()?;
        let messages = stream.info().await.ok()?.state.messages;
        (messages == bad.len() as u64).then_some(messages)
    })
    .await;
    assert_eq!(stored, bad.len() as u64);
    assert!(service.metric("myapp_orders_errors").await >= bad.len() as f64);
    stack.wait_settled(2 * bad.len() as u64 + 1).await;
    assert_eq!(service.metric("orderd_empty_messages_total").await, 1.0);
    assert!(!service.process.log().contains("without a number"), "content in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_stream_of_dead_letters_has_no_room_for_waits() {
    let stack = Stack::new();
    let context = jetstream::new(stack.client().await);
    let mut full = jetstream::stream::Config {
        name: DEAD.into(),
        subjects: vec!["dead.>".into()],
        max_messages: 1,
        discard: jetstream::stream::DiscardPolicy::New,
        ..Default::default()
    };
    context.create_stream(&full).await.unwrap();
    let service = stack.serve(&[]).await;
    stack.publish(&["{", "[", "7"]).await;
    stack.publish(&orders(20)).await;
    service.wait_len(20).await;
    eventually("it says so", async || {
        service.process.log().contains("can't store a dead letter").then_some(())
    })
    .await;
    // The position must not pass a message that is stored nowhere; later orders are served from memory.
    assert_eq!(stack.rows(), 0);
    let reason = async || {
        let report = service.get("/readyz").await.json();
        report["intake"]["reason"].as_str()?.contains("dead letter").then_some(())
    };
    eventually("/readyz says so", reason).await;
    // The next consumer reads, and that does not hide it.
    let orders = context.get_stream("ORDERS").await.unwrap();
    let names = async || -> Vec<String> {
        use futures_util::TryStreamExt;
        orders.consumer_names().try_collect().await.unwrap_or_default()
    };
    let before = eventually("its consumer", async || names().await.pop()).await;
    orders.delete_consumer(&before).await.unwrap();
    eventually("another one", async || names().await.into_iter().find(|name| *name != before)).await;
    stack.publish(&[order("behind it")]).await;
    service.wait_len(21).await;
    assert!(reason().await.is_some(), "{}", service.get("/readyz").await.body);
    full.max_messages = -1;
    context.update_stream(&full).await.unwrap();
    eventually("all are committed", async || (stack.rows() == 21).then_some(())).await;
    service.wait_ready().await;
    let mut dead = context.get_stream(DEAD).await.unwrap();
    assert_eq!(dead.info().await.unwrap().state.messages, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_dead_letters_that_somebody_deletes_is_made_again() {
    let (stack, service) = Stack::started().await;
    let context = jetstream::new(stack.client().await);
    context.delete_stream(DEAD).await.unwrap();
    assert_eq!(service.get("/dead_letters").await.body, "[]");
    stack.publish(&["{".to_owned(), order("good")]).await;
    service.wait_len(1).await;
    eventually("it is kept", async || {
        let listed = service.get("/dead_letters").await.json();
        (listed.as_array()?.len() == 1).then_some(())
    })
    .await;
    assert!(context.get_stream(DEAD).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_postgres_refuses_leaves_memory_and_costs_the_others_nothing() {
    let (stack, service) = Stack::started().await;
    stack.refuse_rows_with("order-13");
    stack.publish(&orders(40)).await;
    eventually("the others are committed", async || (stack.rows() == 39).then_some(())).await;
    service.wait_len(39).await;
    let found = service.get("/orders?order_uid=order-13").await;
    assert_eq!(found.body, "[]");
    let context = jetstream::new(stack.client().await);
    eventually("it is a dead letter", async || {
        let mut stream = context.get_stream(DEAD).await.ok()?;
        (stream.info().await.ok()?.state.messages == 1).then_some(())
    })
    .await;
}

/// Several requests to NATS decide about it, each of which takes 0.5 s here.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_names_no_dead_letter_holds_up_nothing_over_a_slow_link() {
    let stack = Stack::new();
    let link = devstack::breaker::Breaker::start(([127, 0, 0, 1], stack.nats.port()).into()).unwrap();
    let service = stack.serve(&[("NATS_PORT", &link.addr().port().to_string())]).await;
    link.set(devstack::breaker::Mode::Distant(std::time::Duration::from_millis(250)));
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Orderd-Key", "1700000000000000000-42");
    let context = stack.jetstream().await;
    let sent = context.publish_with_headers("TESTING", headers, order("a").into()).await;
    sent.unwrap().await.unwrap();
    stack.publish(&[order("b")]).await;
    stack.wait_settled(2).await;
    assert_eq!(service.metric("orderd_foreign_keys_total").await, 1.0);
}

/// A term begins with a scan of the dead letters, of whose messages the last ones are lost with the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_is_cut_begins_again_at_once() {
    let stack = Stack::new();
    let link = devstack::breaker::Breaker::start(([127, 0, 0, 1], stack.nats.port()).into()).unwrap();
    let service = stack.serve(&[("NATS_PORT", &link.addr().port().to_string())]).await;
    let refused: Vec<_> = (0..500).map(|number| format!("{{{number}")).collect();
    stack.publish(&refused).await;
    stack.wait_settled(500).await;
    // The writer finds that its row has changed, and begins a new term.
    link.set(devstack::breaker::Mode::Slow { bytes_per_second: 40_000 });
    stack.postgres.psql("UPDATE orderd_position SET seq = 0").unwrap();
    let dead = stack.jetstream().await.get_stream(DEAD).await.unwrap();
    eventually("the dead letters are scanned", async || {
        let mut consumers = dead.consumers();
        while let Some(Ok(consumer)) = consumers.next().await {
            let is_scan = consumer.name.starts_with("orderd-look-") && consumer.num_pending < 400;
            if is_scan && consumer.config.filter_subjects == ["dead.ORDERS.TESTING.*"] {
                return Some(());
            }
        }
        None
    })
    .await;
    link.set(devstack::breaker::Mode::Closed);
    link.set(devstack::breaker::Mode::Pass);
    stack.publish(&[order("a")]).await;
    stack.wait_settled(501).await;
    let log = service.process.log();
    assert!(!log.contains("can't list all dead letters"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn publisher_can_not_choose_a_key() {
    let (stack, service) = Stack::started().await;
    let client = stack.client().await;
    // With a dead letter stored, which must stay.
    stack.publish(&["{"]).await;
    let context = jetstream::new(stack.client().await);
    let dead = async || {
        let mut stream = context.get_stream(DEAD).await.ok()?;
        (stream.info().await.ok()?.state.messages == 1).then_some(())
    };
    eventually("the dead letter is stored", dead).await;
    let mut receipts = client.subscribe("_INBOX.mine.>").await.unwrap();
    let keys = ["1-1", "*", ">", "", "1-1.rest", "\u{2a}"];
    for (number, key) in keys.into_iter().enumerate() {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Orderd-Key", key);
        headers.insert("Orderd-Receipt", format!("_INBOX.mine.{number}"));
        client.publish_with_headers("TESTING", headers, order("forged").into()).await.unwrap();
    }
    for key in ["", "1-1"] {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Orderd-Receipt", "_INBOX.mine.empty");
        if !key.is_empty() {
            headers.insert("Orderd-Key", key);
        }
        client.publish_with_headers("TESTING", headers, "".into()).await.unwrap();
    }
    client.flush().await.unwrap();
    stack.publish(&[order("real")]).await;
    service.wait_len(1).await;
    let mut empty = Vec::new();
    for _ in 0..8 {
        let receipt = in_time("their receipts", receipts.next()).await.unwrap();
        let said: serde_json::Value = serde_json::from_slice(&receipt.payload).unwrap();
        let detail = receipt.headers.unwrap().get("Orderd-Detail").unwrap().to_string();
        match receipt.subject.strip_prefix("_INBOX.mine.").unwrap().parse::<usize>() {
            Ok(number) => {
                assert_eq!(said, serde_json::json!({ "refused": "foreign_key", "key": keys[number] }));
                assert!(detail.contains("publish without that header"), "{detail}");
            }
            Err(_) => {
                assert!(said["refused"] == "empty" && detail.contains("is empty"), "{said} {detail}");
                empty.push(said["key"].clone());
            }
        }
    }
    assert!(empty[0].as_str().unwrap().len() > 20, "the key of the message itself: {empty:?}");
    assert_eq!(empty[1], "1-1", "the key that its header names");
    assert!(service.ids().await[0].len() > 20);
    assert!(dead().await.is_some(), "the dead letter is gone");
    assert_eq!(service.get("/orders?order_uid=forged").await.body, "[]");
    assert_eq!(service.metric("orderd_foreign_keys_total").await, 6.0);
    let log = service.process.log();
    assert_eq!(log.matches("there is no such dead letter").count(), 1, "{log}");
}
