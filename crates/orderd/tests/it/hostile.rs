//! Clients that mean ill, or know no better: others are served meanwhile, and nothing stays open for ever.

use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Service, Stack, eventually, order, orders};

/// What the service answers to these bytes, until it closes the connection or nothing more comes.
async fn answer_to(service: &Service, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(service.addr).await.unwrap();
    // It may have closed already; that shows in the answer.
    drop(stream.write_all(bytes).await);
    let mut answer = Vec::new();
    drop(tokio::time::timeout(Duration::from_millis(500), stream.read_to_end(&mut answer)).await);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_get_an_answer_or_a_closed_connection() {
    let (stack, service) = Stack::started().await;
    stack.publish(&[order("one")]).await;
    service.wait_len(1).await;
    let huge_header = format!("GET /mem_len HTTP/1.1\r\nhost: x\r\nbig: {}\r\n\r\n", "x".repeat(100_000));
    let many_headers = format!("GET /mem_len HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(1000));
    for (request, status) in [
        ("GET /order/.. HTTP/1.1\r\nhost: x\r\n\r\n", "404"),
        ("GET /order/../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n", "404"),
        ("GET /order/%2e%2e%2f HTTP/1.1\r\nhost: x\r\n\r\n", "404"),
        ("GET /order/%zz HTTP/1.1\r\nhost: x\r\n\r\n", "404"),
        ("GET /order/%ff%fe HTTP/1.1\r\nhost: x\r\n\r\n", "400"),
        ("GET /order/%00 HTTP/1.1\r\nhost: x\r\n\r\n", "404"),
        ("GET /orders?order_uid=%ff HTTP/1.1\r\nhost: x\r\n\r\n", "200"),
        (&huge_header, "431"),
        (&many_headers, "431"),
        ("nonsense\r\n\r\n", "400"),
        ("GET /mem_len HTTP/1.0\r\n\r\n", "200"),
    ] {
        let answer = answer_to(&service, request.as_bytes()).await;
        let first = answer.lines().next().unwrap_or_default().to_owned();
        // A connection closed with unread bytes takes the answer with it.
        let closed = first.is_empty() && request.len() > 5_000;
        assert!(closed || first.contains(status), "{}: {first}", &request[..request.len().min(60)]);
    }
    let pipelined = "GET /mem_len HTTP/1.1\r\nhost: x\r\n\r\n".repeat(20);
    assert_eq!(answer_to(&service, pipelined.as_bytes()).await.matches("mem_len").count(), 20);
    assert_eq!(service.mem_len().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_silent_clients_keep_nobody_waiting_and_are_dropped() {
    let (stack, service) = Stack::started().await;
    stack.publish(&[order("one")]).await;
    service.wait_len(1).await;
    let mut held = Vec::new();
    for number in 0..2000 {
        let mut stream = TcpStream::connect(service.addr).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /mem_len HTTP/1.1\r\nhost: x\r\nslow: ").await.unwrap();
        }
        held.push(stream);
    }
    assert_eq!(service.get("/mem_len").await.status, StatusCode::OK);
    // Half closed: the answer still comes.
    let mut half = TcpStream::connect(service.addr).await.unwrap();
    half.write_all(b"GET /mem_len HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    half.shutdown().await.unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("mem_len"), "{answer}");
    eventually("the slow ones are dropped", async || {
        let mut byte = [0; 1];
        let closed = held.iter().filter(|stream| stream.try_read(&mut byte).is_ok()).count();
        (closed > 1900).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_among_good_orders_stalls_nobody() {
    let (stack, service) = Stack::started().await;
    let client = stack.client().await;
    for number in 0..10_000 {
        client.publish("TESTING", format!("junk {number}").into()).await.unwrap();
        if number % 100 == 0 {
            client.publish("TESTING", order(&format!("good-{number}")).into()).await.unwrap();
        }
    }
    client.flush().await.unwrap();
    service.wait_len(100).await;
    let context = async_nats::jetstream::new(client);
    eventually("all junk is kept", async || {
        let mut stream = context.get_stream("ORDERS_DEAD").await.ok()?;
        (stream.info().await.ok()?.state.messages == 10_000).then_some(())
    })
    .await;
    stack.publish(&orders(1)).await;
    service.wait_len(101).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_at_the_servers_limit_are_taken() {
    let (stack, service) = Stack::started().await;
    let client = stack.client().await;
    let limit = client.server_info().max_payload;
    let mut huge: serde_json::Value = serde_json::from_str(&order("huge")).unwrap();
    huge["locale"] = "".into();
    let room = limit - huge.to_string().len();
    huge["locale"] = "я".repeat(room / 2).into();
    stack.publish(&[huge.to_string()]).await;
    service.wait_len(1).await;
    let id = &service.ids().await[0];
    assert_eq!(service.get(&format!("/order/{id}")).await.json(), huge);
    eventually("the row is committed", async || (stack.rows() == 1).then_some(())).await;
}
