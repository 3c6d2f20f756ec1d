//! `orderd dead-letters`, and what replay does.

use serde_json::Value;

use crate::support::{Service, Stack, eventually, order, orders};

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
async fn each_says_what_where_and_when() {
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
    let mut stream = async_nats::jetstream::new(client).get_stream("ORDERS_DEAD").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 0, "the second part is dropped with the first");
}

/// Two orders without a number, taken in once REQUIRE allows it.
async fn two_dead_letters() -> (Stack, Service, Vec<Value>) {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&[r#"{"track_number":"A"}"#, r#"{"track_number":"B"}"#]).await;
    let letters = wait_for_dead(&stack, 2).await;
    assert_eq!(service.stop(), Some(0));
    let mended = stack.serve(&[("REQUIRE", "")]).await;
    (stack, mended, letters)
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_makes_each_the_order_of_its_key_however_often_it_is_run() {
    let (stack, service, letters) = two_dead_letters().await;
    for _ in 0..3 {
        assert!(stack.run(&["dead-letters", "replay", "--all"], "").await.status.success());
    }
    service.wait_len(2).await;
    wait_for_dead(&stack, 0).await;
    let keys: Vec<_> = letters.iter().map(|letter| letter["key"].as_str().unwrap()).collect();
    assert_eq!(service.ids().await, keys);
    assert_eq!(stack.rows(), 2);
    // One that is still refused stays what it is.
    stack.publish(&["{"]).await;
    let letters = wait_for_dead(&stack, 1).await;
    assert!(stack.run(&["dead-letters", "replay", "--reason", "invalid_json"], "").await.status.success());
    stack.publish(&[order("after")]).await;
    service.wait_len(3).await;
    assert_eq!(listed(&stack, &[]).await, letters);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_refused_by_postgres_comes_back_after_a_mend() {
    let (stack, service) = Stack::started().await;
    stack
        .postgres
        .psql("ALTER TABLE orders2 ADD CONSTRAINT bad CHECK (position('order-1'::bytea in data) = 0)")
        .unwrap();
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
    assert_eq!(unasked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unasked.stderr).contains("--yes"));
    assert_eq!(stack.run(&["dead-letters", "drop"], "").await.status.code(), Some(2));
    assert_eq!(listed(&stack, &[]).await.len(), 1);
}
