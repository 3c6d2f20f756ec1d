//! Draining at shutdown: `/readyz` fails first, everything else is still served, and each connection is closed without
//! losing a response.

use std::time::{Duration, Instant};

use devstack::Signal;
use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{LIMIT, Service, Stack, eventually, in_time, order, orders};

/// A connection on which a test controls every byte.
struct Wire(TcpStream);

impl Wire {
    async fn open(service: &Service) -> Self {
        Self(TcpStream::connect(service.addr).await.unwrap())
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads one response, by its length.
    async fn answer(&mut self) -> String {
        let mut read = String::new();
        loop {
            if let Some((head, body)) = read.split_once("\r\n\r\n") {
                let length = head.split_once("content-length: ").unwrap().1;
                let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
                if body.len() >= length {
                    return read;
                }
            }
            let mut piece = [0; 4096];
            let length = in_time("an answer", self.0.read(&mut piece)).await.unwrap();
            assert!(length > 0, "closed after {read}");
            read.push_str(std::str::from_utf8(&piece[..length]).unwrap());
        }
    }

    /// All that comes until the service closes the connection; a reset is a failure.
    async fn read_to_end(&mut self) -> String {
        let mut read = Vec::new();
        in_time("it is closed", self.0.read_to_end(&mut read)).await.unwrap();
        String::from_utf8_lossy(&read).into_owned()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

async fn is_draining(service: &Service) {
    eventually("it was told to stop", async || service.process.log().contains("draining").then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readyz_is_503_for_the_delay_while_everything_is_served_and_taken_in() {
    let stack = Stack::new();
    let service = stack.serve(&[("SHUTDOWN_DELAY", "20s")]).await;
    stack.publish(&orders(3)).await;
    service.wait_len(3).await;
    let id = service.ids().await.remove(0);
    let mut kept = Wire::open(&service).await;
    kept.send(&get("/mem_len")).await;
    assert!(!kept.answer().await.contains("connection: close"));
    let begun = Instant::now();
    service.process.signal(Signal::TERM);
    is_draining(&service).await;
    for path in ["/readyz", "/readyz?for=reads"] {
        let answer = service.get(path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!((&answer.json()["ready"], &answer.json()["draining"]), (&false.into(), &true.into()));
    }
    stack.publish(&[order("late")]).await;
    service.wait_len(4).await;
    eventually("it is committed", async || (stack.rows() == 4).then_some(())).await;
    // On the fast path and in the routes, an answer is the last of its connection.
    for path in [format!("/order/{id}"), "/orders?order_uid=late".into(), "/healthz".into()] {
        let answer = service.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.headers["connection"], "close", "{path}");
    }
    // A connection kept from before still serves one request.
    kept.send(&get("/mem_len")).await;
    let last = kept.read_to_end().await;
    assert!(last.contains("200 OK") && last.contains("connection: close"), "{last}");
    // Pipelined requests are answered together.
    let mut pipelined = Wire::open(&service).await;
    pipelined.send(&get(&format!("/order/{id}")).repeat(3)).await;
    let answers = pipelined.read_to_end().await;
    assert_eq!(answers.matches("200 OK").count(), 3, "{answers}");
    assert_eq!(answers.matches("connection: close").count(), 1, "{answers}");
    let spent = begun.elapsed();
    assert!(spent < Duration::from_secs(20), "too slow a machine: {spent:?}");
    let mut service = service;
    let status = service.process.wait(LIMIT);
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", service.process.log());
    assert!(begun.elapsed() >= Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_delay_and_the_process() {
    let stack = Stack::new();
    let mut service = stack.serve(&[("SHUTDOWN_DELAY", "1h")]).await;
    service.process.signal(Signal::TERM);
    is_draining(&service).await;
    assert_eq!(service.get("/healthz").await.status, StatusCode::OK);
    // Signals within 10 ms count as one.
    tokio::time::sleep(Duration::from_millis(50)).await;
    service.process.signal(Signal::TERM);
    assert_eq!(service.process.wait(LIMIT).and_then(|status| status.code()), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_in_while_it_stops_are_answered_and_idle_connections_closed() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(1)).await;
    service.wait_len(1).await;
    let id = service.ids().await.remove(0);
    let order = get(&format!("/order/{id}"));
    // Half a head: as the first of its connection, behind one on the fast path, and behind one in the routes.
    let mut halves = Vec::new();
    for before in ["", order.as_str(), get("/mem_len").as_str()] {
        for request in [order.as_str(), get("/mem_len").as_str()] {
            let mut wire = Wire::open(&service).await;
            if !before.is_empty() {
                wire.send(before).await;
                wire.answer().await;
            }
            let (first, second) = request.split_at(request.len() / 2);
            wire.send(first).await;
            halves.push((wire, second.to_owned()));
        }
    }
    let mut idle = Vec::new();
    for request in ["", order.as_str(), get("/mem_len").as_str()] {
        let mut wire = Wire::open(&service).await;
        if !request.is_empty() {
            wire.send(request).await;
            wire.answer().await;
        }
        idle.push(wire);
    }
    // So that the halves are read before SIGTERM.
    service.get("/healthz").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    service.process.signal(Signal::TERM);
    is_draining(&service).await;
    for (mut wire, second) in halves {
        wire.send(&second).await;
        let answer = wire.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    }
    for mut wire in idle {
        assert_eq!(wire.read_to_end().await, "");
    }
    let status = service.process.wait(LIMIT);
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", service.process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_after_its_time_and_not_before() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_IDLE_TIMEOUT", "2s")]).await;
    stack.publish(&orders(1)).await;
    service.wait_len(1).await;
    let order = get(&format!("/order/{}", service.ids().await[0]));
    for request in ["", order.as_str(), get("/mem_len").as_str()] {
        let mut wire = Wire::open(&service).await;
        for _ in 0..3 {
            if !request.is_empty() {
                wire.send(request).await;
                wire.answer().await;
            }
        }
        let begun = Instant::now();
        assert_eq!(wire.read_to_end().await, "");
        assert!(begun.elapsed() > Duration::from_millis(1900), "{request:?}: {:?}", begun.elapsed());
    }
    let (half, whole) = order.split_at(20);
    let mut slow = Wire::open(&service).await;
    slow.send(half).await;
    // Longer than a connection may be idle: this one is not.
    tokio::time::sleep(Duration::from_secs(3)).await;
    slow.send(whole).await;
    assert!(slow.answer().await.starts_with("HTTP/1.1 200"));
}

/// A refused client still gets the reason, however much of its request is unread.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_ends_the_connection_is_not_lost_to_a_reset() {
    let (_stack, service) = Stack::started().await;
    for _ in 0..20 {
        let mut wire = Wire::open(&service).await;
        wire.send(&format!(
            "GET / HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n{}",
            "x".repeat(1 << 16)
        ))
        .await;
        assert!(wire.read_to_end().await.starts_with("HTTP/1.1 400"));
    }
}
