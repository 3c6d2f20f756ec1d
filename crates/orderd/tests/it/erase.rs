//! Erasing: gone everywhere, and nothing brings it back.

use hyper::{Request, StatusCode};

use crate::support::{Service, Stack, eventually, order, orders};

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_order_is_gone_everywhere_and_stays_away() {
    let stack = Stack::new();
    let mut service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    stack.publish(&orders(5)).await;
    eventually("all rows are committed", async || (stack.rows() == 5).then_some(())).await;
    let exported = String::from_utf8(stack.run(&["export"], "").await.stdout).unwrap();
    let ids = service.ids().await;
    // Read again and again, so that its JSON is kept.
    for _ in 0..3 {
        assert_eq!(service.get(&format!("/order/{}", ids[2])).await.status, StatusCode::OK);
    }
    assert_eq!(service.erase(&ids[2], "wrong").await, StatusCode::UNAUTHORIZED);
    assert_eq!(service.erase(&ids[2], "eraser").await, StatusCode::NO_CONTENT);
    assert_eq!(service.get(&format!("/order/{}", ids[2])).await.status, StatusCode::NOT_FOUND);
    assert_eq!(service.get("/orders?order_uid=order-2").await.body, "[]");
    assert_eq!((service.mem_len().await, stack.rows()), (4, 4));
    let stream = async_nats::jetstream::new(stack.client().await).get_stream("ORDERS").await.unwrap();
    assert!(stream.get_raw_message(3).await.is_err(), "the message is still in the stream");
    // Another takes its place in memory, and shows itself.
    stack.publish(&[order("another")]).await;
    service.wait_len(5).await;
    eventually("all rows are committed", async || (stack.rows() == 5).then_some(())).await;
    let another = service.get(&format!("/order/{}", service.ids().await[4])).await;
    assert_eq!(another.json()["order_uid"], "another");

    // By an import, by the whole stream read again, and by a restart.
    assert!(stack.run(&["import"], &exported).await.status.success());
    assert_eq!(stack.rows(), 5);
    service.stop();
    let service = stack.serve(&[("NATS_DURABLE", "again")]).await;
    stack.publish(&[order("order-2")]).await;
    service.wait_len(6).await;
    assert_eq!(service.get(&format!("/order/{}", ids[2])).await.status, StatusCode::NOT_FOUND);
    // A new message with the same number is a new order.
    assert_eq!(service.get("/orders?order_uid=order-2").await.json().as_array().unwrap().len(), 1);
    let refused = service.send(Request::delete(format!("/order/{}", ids[0]))).await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED, "without a token for it nobody can erase");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_erases_by_number_and_in_every_process() {
    let (stack, service) = Stack::started().await;
    let other = stack.serve(&[]).await;
    stack.publish(&[order("twice"), order("twice"), order("once"), "{".into()]).await;
    stack.wait_settled(4).await;
    other.process.signal(devstack::Signal::USR1);
    other.wait_len(3).await;
    let addr = other.addr.to_string();
    let erased = stack.run(&["erase", "--order-uid", "twice", "--http-addr", &addr], "").await;
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    for process in [&service, &other] {
        process.wait_len(1).await;
    }
    assert_eq!(stack.rows(), 1);
    let unknown = stack.run(&["erase", "--order-uid", "nobody", "--http-addr", &addr], "").await;
    assert_eq!(unknown.status.code(), Some(1));
    // A dead letter is erased by its key.
    let listed = stack.run(&["dead-letters", "list", "--json"], "").await;
    let letter: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert!(stack.run(&["erase", letter["key"].as_str().unwrap()], "").await.status.success());
    assert!(stack.run(&["dead-letters", "list", "--json"], "").await.stdout.is_empty());
}

/// What is in no stream, or in no table, is gone already.
#[tokio::test(flavor = "multi_thread")]
async fn ids_that_nothing_can_have_are_erased_too() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    for id in
        ["2023-0", "2023-01", "x%00y", "1-18446744073709551615", "1-99999999999999999999", "%20", "a%2Fb"]
    {
        assert_eq!(service.erase(id, "eraser").await, StatusCode::NO_CONTENT, "{id}");
    }
    let erased = stack.run(&["erase", "2023-0", "1-18446744073709551615"], "").await;
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
}

/// A search shows fifty.
#[tokio::test(flavor = "multi_thread")]
async fn all_orders_of_a_number_are_erased_however_many() {
    let (stack, service) = Stack::started().await;
    stack.publish(&vec![order("many"); 120]).await;
    stack.publish(&[order("one")]).await;
    stack.wait_settled(121).await;
    let addr = service.addr.to_string();
    let erased = stack.run(&["erase", "--order-uid", "many", "--http-addr", &addr], "").await;
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    assert!(String::from_utf8_lossy(&erased.stdout).starts_with("120 orders"));
    assert_eq!(stack.rows(), 1);
    service.wait_len(1).await;
    // As from a variable that is not set: of those without a number it would be all.
    let empty = stack.run(&["erase", "--order-uid", "", "--http-addr", &addr], "").await;
    assert_eq!(empty.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_doesnt_know_all_orders_yet_says_so() {
    let (mut stack, mut service) = Stack::started().await;
    stack.publish(&[order("one")]).await;
    stack.wait_settled(1).await;
    service.stop();
    stack.postgres.stop();
    let service = stack.start(&[]).await;
    let asked = service.get("/orders?order_uid=one").await;
    assert_eq!(asked.status, StatusCode::SERVICE_UNAVAILABLE, "{}", asked.body);
    assert!(asked.headers.contains_key("retry-after"));
    stack.postgres.start_again().unwrap();
    service.wait_ready().await;
    assert_eq!(service.get("/orders?order_uid=one").await.json().as_array().unwrap().len(), 1);
    assert_eq!(service.get("/orders?order_uid=nobody").await.body, "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_denies_deletes_is_named() {
    use async_nats::jetstream::{self, stream};
    let stack = Stack::new();
    let context = jetstream::new(stack.client().await);
    let config = stream::Config {
        name: "KEPT".into(),
        subjects: vec!["TESTING".into()],
        deny_delete: true,
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    let service = stack.serve(&[]).await;
    stack.publish(&orders(1)).await;
    service.wait_len(1).await;
    eventually("the row is committed", async || (stack.rows() == 1).then_some(())).await;
    let refused = stack.run(&["erase", &service.ids().await[0]], "").await;
    assert_eq!(refused.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("KEPT") && errors.contains("deny_delete"), "{errors}");
    // From table and memory it is gone all the same.
    service.wait_len(0).await;
    assert_eq!(stack.rows(), 0);
}

/// The payloads that a stream holds.
async fn payloads(stack: &Stack, stream: &str) -> Vec<String> {
    let stream = async_nats::jetstream::new(stack.client().await).get_stream(stream).await.unwrap();
    let state = stream.get_info().await.unwrap().state;
    let mut payloads = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        if let Ok(message) = stream.get_raw_message(sequence).await {
            payloads.push(String::from_utf8_lossy(&message.payload).into_owned());
        }
    }
    payloads
}

/// An order that PostgreSQL refused is taken in after a mend; gives back its key.
async fn replayed(stack: &Stack, service: &Service, uid: &str) -> String {
    stack.postgres.psql("ALTER TABLE public.orders2 ADD CONSTRAINT no CHECK (length(data) < 0)").unwrap();
    stack.publish(&[order(uid)]).await;
    let letter = eventually("it is a dead letter", async || {
        let listed = stack.run(&["dead-letters", "list", "--json"], "").await;
        serde_json::from_slice::<serde_json::Value>(&listed.stdout).ok()
    })
    .await;
    stack.postgres.psql("ALTER TABLE public.orders2 DROP CONSTRAINT no").unwrap();
    let key = letter["key"].as_str().unwrap().to_owned();
    assert!(stack.run(&["dead-letters", "replay", &key], "").await.status.success());
    eventually("it is taken in", async || (stack.rows() == 1).then_some(())).await;
    service.wait_len(1).await;
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn the_message_by_which_an_order_was_sent_again_is_erased_too() {
    let (stack, service) = Stack::started().await;
    let key = replayed(&stack, &service, "sent-again").await;
    stack.publish(&[order("another")]).await;
    assert_eq!(payloads(&stack, "ORDERS").await.len(), 3);
    assert!(stack.run(&["erase", &key], "").await.status.success());
    let left = payloads(&stack, "ORDERS").await;
    assert!(left.len() == 1 && left[0].contains("another"), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_after_its_order_was_erased_is_erased() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(1)).await;
    service.wait_len(1).await;
    let key = service.ids().await[0].clone();
    let row = eventually("the row is committed", async || {
        Some(stack.postgres.psql("SELECT encode(data, 'hex') FROM public.orders2").ok()?.trim().to_owned())
            .filter(|row| !row.is_empty())
    })
    .await;
    assert!(stack.run(&["erase", &key], "").await.status.success());

    // By somebody who held a copy of it: while the service runs, and while it is away.
    let late = async || {
        let insert = format!("INSERT INTO public.orders2 VALUES ('{key}', decode('{row}', 'hex'))");
        stack.postgres.psql(&insert).unwrap();
        let context = async_nats::jetstream::new(stack.client().await);
        context.publish(format!("dead.TESTING.{key}"), "late".into()).await.unwrap().await.unwrap();
    };
    let gone = async || {
        eventually("all is erased again", async || {
            (stack.rows() == 0 && payloads(&stack, "ORDERS_DEAD").await.is_empty()).then_some(())
        })
        .await;
    };
    late().await;
    gone().await;
    service.stop();
    late().await;
    let service = stack.serve(&[]).await;
    gone().await;
    service.wait_len(0).await;
}
