//! Warnings about configurations that work now and will fail later.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use serde_json::Value;

use crate::support::{Service, Stack, eventually, order, orders};

/// Waits until exactly these kinds of warnings are shown, in `/readyz` and in the metric; returns their texts.
async fn wait_warnings(service: &Service, kinds: &[&str]) -> Vec<String> {
    let what = format!("warnings {kinds:?}");
    let warnings = eventually(&what, async || {
        let report = service.get("/readyz").await.json();
        // Not before the first answer of NATS.
        report["position"]["seq"].as_u64()?;
        let warnings = report["warnings"].as_array()?.clone();
        let shown: Vec<&str> = warnings.iter().filter_map(|warning| warning["what"].as_str()).collect();
        (shown == kinds).then_some(warnings)
    })
    .await;
    let metrics = service.get("/metrics").await.body;
    for kind in kinds {
        assert!(metrics.contains(&format!("orderd_warning{{what=\"{kind}\"}} 1")), "{kind}: {metrics}");
    }
    let text = |warning: &Value| warning["text"].as_str().unwrap().to_owned();
    warnings.iter().map(text).collect()
}

fn stream() -> Config {
    Config {
        name: "MINE".into(),
        subjects: vec!["TESTING".into()],
        storage: StorageType::File,
        ..Default::default()
    }
}

#[tokio::test]
async fn stream_that_may_drop_unread_orders_is_a_warning_until_it_is_changed() {
    let stack = Stack::new();
    let context = stack.jetstream().await;
    let bounded = Config { max_messages: 1000, max_age: Duration::from_secs(3600), ..stream() };
    context.create_stream(bounded).await.unwrap();
    let service = stack.serve(&[]).await;
    let texts = wait_warnings(&service, &["stream_may_drop"]).await;
    assert!(texts[0].contains("max_msgs, max_age with discard old"), "{texts:?}");
    assert!(service.process.log().contains("may drop unread messages"));
    context.update_stream(stream()).await.unwrap();
    wait_warnings(&service, &[]).await;
    assert!(service.process.log().contains("resolved: "));
}

#[tokio::test]
async fn stream_that_refuses_publishers_is_a_warning() {
    let stack = Stack::new();
    let context = stack.jetstream().await;
    let full = Config { max_messages: 10, discard: DiscardPolicy::New, ..stream() };
    context.create_stream(full).await.unwrap();
    let service = stack.serve(&[]).await;
    wait_warnings(&service, &[]).await;
    stack.publish(&orders(10)).await;
    service.wait_len(10).await;
    wait_warnings(&service, &["stream_full"]).await;
    context
        .update_stream(Config { sealed: true, max_messages: 10, discard: DiscardPolicy::New, ..stream() })
        .await
        .unwrap();
    // A sealed stream is refused for ever, full or not.
    wait_warnings(&service, &["stream_sealed"]).await;
    assert!(service.get("/readyz").await.json()["ready"] == true, "what is there is still served");
}

#[tokio::test]
async fn position_lag_shows_messages_that_wait() {
    let stack = Stack::new();
    let service = stack.serve(&[]).await;
    stack.publish(&orders(1)).await;
    stack.wait_settled(1).await;
    let position = async || service.get("/readyz").await.json()["position"].clone();
    eventually("nothing waits", async || {
        (position().await == serde_json::json!({"seq": 1, "behind": 0})).then_some(())
    })
    .await;
    let lock = stack.sql().await;
    lock.batch_execute("BEGIN; LOCK TABLE orders2 IN EXCLUSIVE MODE").await.unwrap();
    for number in 0..10 {
        stack.publish(&[order(&format!("waits-{number}"))]).await;
    }
    eventually("10 wait", async || {
        (position().await == serde_json::json!({"seq": 1, "behind": 10})).then_some(())
    })
    .await;
    lock.batch_execute("ROLLBACK").await.unwrap();
    eventually("nothing waits any more", async || (position().await["behind"] == 0).then_some(())).await;
}
