//! The flow: from published messages to rows and responses.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde_json::Value;

use crate::support::{Stack, eventually, order, orders};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_in_memory_in_the_table_and_served() {
    let (stack, service) = Stack::started().await;
    stack.publish(&[order("one")]).await;
    service.wait_len(1).await;
    let ids = service.ids().await;
    let answer = service.get(&format!("/order/{}", ids[0])).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.json(), serde_json::from_str::<Value>(&order("one")).unwrap());
    eventually("the row is committed", async || (stack.rows() == 1).then_some(())).await;
    assert_eq!(stack.postgres.psql("SELECT id FROM public.orders2").unwrap().trim(), ids[0]);
}

/// The writer and the fill both look for the table at the start.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_says_once_what_it_makes() {
    let (stack, service) = Stack::started().await;
    stack.publish(&[order("one")]).await;
    service.wait_len(1).await;
    eventually("the row is committed", async || (stack.rows() == 1).then_some(())).await;
    let log = service.process.log();
    for made in ["table made", "stream made"] {
        assert_eq!(log.matches(made).count(), 1, "{made}: {log}");
    }
}

/// The service connects for misses before the first start has created the table. That attempt fails, and the first
/// reader must not get its error.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_miss_on_a_new_table_is_a_404() {
    let (_stack, service) = Stack::started().await;
    let begun = Instant::now();
    let answer = service.get_once("/order/nobody").await;
    // On a stalled machine, PostgreSQL may not answer in time.
    let is_late =
        answer.status == StatusCode::SERVICE_UNAVAILABLE && begun.elapsed() >= Duration::from_secs(2);
    assert!(answer.status == StatusCode::NOT_FOUND || is_late, "{} {}", answer.status, answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_client_can_send() {
    let (stack, service) = Stack::started().await;
    let client = stack.client().await;
    client.publish("TESTING", order("core").into()).await.unwrap();
    client.flush().await.unwrap();
    stack.publish(&[order("jetstream")]).await;
    service.wait_len(2).await;
    assert_eq!(service.metric("myapp_orders_handled_total").await, 2.0);
    assert_eq!(service.metric("myapp_orders_inmemcache").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_taken_in_small_pages() {
    let (_stack, service) = Stack::started().await;
    assert_eq!(service.status("THP_enabled:"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_of_http_have_shorter_turns_than_others() {
    let (_stack, service) = Stack::started().await;
    let (http, others) = (service.turns("http"), service.turns("tokio-rt-worker"));
    assert!(!http.is_empty() && !others.is_empty());
    // Linux supports time slices from 6.12 on, and may be built without reporting them.
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut version = release.split(['.', '-']).map(|number| number.trim().parse::<u32>().unwrap_or(0));
    if (version.next(), version.next()) >= (Some(6), Some(12)) && others.iter().all(Option::is_some) {
        assert!(http.iter().all(|turn| *turn == Some(100_000)), "{http:?}");
        assert!(others.iter().all(|turn| *turn > Some(100_000)), "{others:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_sent_while_it_was_down_appear() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(10)).await;
    service.wait_len(10).await;
    assert_eq!(service.stop(), Some(0));
    stack.publish(&orders(7)).await;
    let service = stack.serve(&[]).await;
    service.wait_len(17).await;
    eventually("all rows are committed", async || (stack.rows() == 17).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_changes_no_page_and_no_byte() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(120)).await;
    service.wait_len(120).await;
    let before = everything(&service).await;
    assert_eq!(service.stop(), Some(0));
    let service = stack.serve(&[]).await;
    assert_eq!(service.metric("myapp_orders_read_db").await, 120.0);
    assert_eq!(everything(&service).await, before);
}

/// Each id with its body, in the order of the pages.
async fn everything(service: &crate::support::Service) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for id in service.ids().await {
        let body = service.get(&format!("/order/{id}")).await.body;
        all.push((id, body));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn message_that_is_delivered_again_is_one_order() {
    let (stack, mut service) = Stack::started().await;
    // No write can finish, so that nothing is acknowledged when it is killed.
    let lock = stack.sql().await;
    lock.batch_execute("BEGIN; LOCK TABLE public.orders2 IN EXCLUSIVE MODE").await.unwrap();
    stack.publish(&orders(500)).await;
    service.wait_len(500).await;
    let keys = service.ids().await;
    service.kill();
    lock.batch_execute("ROLLBACK").await.unwrap();
    let mut again = stack.serve(&[]).await;
    again.wait_len(500).await;
    eventually("all rows are committed", async || (stack.rows() == 500).then_some(())).await;
    assert_eq!(again.ids().await, keys);
    assert_eq!(again.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_found_by_what_is_in_them() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(60)).await;
    service.wait_len(60).await;
    let ids = service.ids().await;
    assert_eq!(service.get("/orders?order_uid=order-7").await.json(), serde_json::json!([ids[7]]));
    let same_track: Vec<_> = ids.iter().rev().take(50).collect();
    assert_eq!(
        service.get("/orders?track_number=WBILMTESTTRACK").await.json(),
        serde_json::json!(same_track)
    );
    assert_eq!(
        service.get("/orders?track_number=WBILMTESTTRACK&order_uid=order-3").await.json(),
        serde_json::json!([ids[3]])
    );
    assert_eq!(service.get("/orders?order_uid=nobody").await.json(), serde_json::json!([]));
    for unusable in ["/orders?locale=en", "/orders?order_uid=order-3&locale=en"] {
        let answer = service.get(unusable).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{unusable}");
        assert!(answer.body.contains("order_uid, track_number"), "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_there_is_used_as_it_is() {
    use async_nats::jetstream::{self, stream};
    let stack = Stack::new();
    let context = jetstream::new(stack.client().await);
    let config = stream::Config {
        name: "MINE".into(),
        subjects: vec!["shop.>".into()],
        max_messages: 1000,
        ..stream::Config::default()
    };
    let before = context.create_stream(config).await.unwrap().cached_info().config.clone();
    let service = stack.serve(&[("PUB_TOPIC", "shop.orders.>")]).await;
    for (subject, payload) in
        [("shop.orders.a", order("a")), ("shop.orders.b.c", order("b")), ("shop.other", "no".into())]
    {
        context.publish(subject, payload.into()).await.unwrap().await.unwrap();
    }
    service.wait_len(2).await;
    let after = context.get_stream("MINE").await.unwrap();
    assert_eq!(after.cached_info().config, before);
    assert!(context.get_stream("ORDERS").await.is_err());
    // A refused message keeps its subject.
    context.publish("shop.orders.a", "{".into()).await.unwrap().await.unwrap();
    // In a stream named after that of the orders, under the topic as one token.
    eventually("it is a dead letter", async || {
        let dead = context.get_stream("MINE_DEAD").await.ok()?;
        let info = dead.info_with_subjects("dead.MINE.shop%2Eorders%2E%3E.*").await.ok()?;
        (info.info.state.subjects_count == 1).then_some(())
    })
    .await;
}
