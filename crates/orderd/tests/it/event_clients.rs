//! Many clients of `/events` at once.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::live::Reader;
use crate::support::{Service, Stack, eventually, in_three_tries, in_time, orders};

const READERS: usize = 1000;

/// Number of clients that never read.
const SILENT: usize = 100;

/// Maximum memory per reader, for its connection and data in flight.
const BYTES: f64 = 128.0 * 1024.0;

async fn connected(service: &Service) -> TcpStream {
    let mut stream = TcpStream::connect(service.addr).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    stream
}

/// Time from publishing the first order until the last one is in memory.
async fn taken_in(stack: &Stack, service: &Service, count: u64) -> Duration {
    let (before, begun) = (service.mem_len().await, Instant::now());
    assert!(stack.run(&["publish", "--count", &count.to_string()], "").await.status.success());
    service.wait_len(before + count).await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_readers_dont_hold_up_the_intake_and_cost_little_memory() {
    const ORDERS: u64 = 10_000;
    let (stack, service) = Stack::started().await;
    let alone = taken_in(&stack, &service, ORDERS).await;
    let before = service.metric("orderd_memory_bytes").await;

    let mut reading = JoinSet::new();
    let mut silent = Vec::new();
    for number in 0..READERS {
        let mut stream = connected(&service).await;
        if number < SILENT {
            silent.push(stream);
            continue;
        }
        reading.spawn(async move {
            let (mut buffer, mut text) = (vec![0; 16 << 10], Vec::new());
            while !text.windows(12).any(|part| part == b"event: order") {
                let count = stream.read(&mut buffer).await.unwrap();
                assert!(count > 0, "the stream continues");
                text.extend_from_slice(&buffer[..count]);
            }
            stream
        });
    }
    let mut one = Reader::new(&service, None).await;
    in_time("all are connected", one.until(|stats| stats["readers"] == READERS + 1)).await;
    let crowded = taken_in(&stack, &service, ORDERS).await;
    let after = service.metric("orderd_memory_bytes").await;
    // A loaded machine is slow for both, and may stall for one.
    let crowded = crowded.min(taken_in(&stack, &service, ORDERS).await);
    let streams = in_time("each sees an order", reading.join_all()).await;
    assert_eq!(streams.len(), READERS - SILENT, "each has seen an order");

    let orders_themselves = ORDERS as f64 * 1024.0;
    let each = (after - before - orders_themselves).max(0.0) / READERS as f64;
    assert!(each < BYTES, "{each:.0} bytes for each reader");
    assert!(crowded < alone * 10 + Duration::from_secs(5), "{crowded:?}, and {alone:?} without readers");
}

#[tokio::test(flavor = "multi_thread")]
async fn event_reader_beyond_the_limit_gets_503() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_EVENT_READERS", "2")]).await;
    let _first = Reader::new(&service, None).await;
    let second = Reader::new(&service, None).await;
    let refused = service.get("/events").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers.contains_key("retry-after"));
    drop(second);
    // Noticed when the next statistics can't be sent.
    eventually("there is room again", async || {
        let mut stream = connected(&service).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        answer.ends_with(b"200").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_shown_under_load_are_spread_over_the_second() {
    in_three_tries(async || {
        let longest = in_time("orders are shown", longest_pause()).await;
        (longest < Duration::from_millis(700))
            .then_some(())
            .ok_or(format!("nothing was shown for {longest:?}"))
    })
    .await;
}

/// The longest time without an event while many orders arrive.
async fn longest_pause() -> Duration {
    let (stack, service) = Stack::started().await;
    let mut reader = Reader::new(&service, None).await;
    let publishing = stack.run(&["publish", "--count", "6000", "--rate", "1500"], "");
    let watching = async {
        // The first second shows the first hundred.
        for _ in 0..100 {
            while reader.next().await.unwrap().0 != "order" {}
        }
        let mut longest = Duration::ZERO;
        let mut last = Instant::now();
        for shown in 0..200 {
            while reader.next().await.unwrap().0 != "order" {}
            // Then there is a pause until that second is over.
            if shown > 0 {
                longest = longest.max(last.elapsed());
            }
            last = Instant::now();
        }
        longest
    };
    let (published, longest) = tokio::join!(publishing, watching);
    assert!(published.status.success());
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_of_open_files_is_raised_to_the_hard_limit() {
    let mut stack = Stack::new();
    let script = stack.temp_dir.path().join("with-few-files");
    let program = stack.program.display();
    std::fs::write(&script, format!("#!/bin/sh\nulimit -Sn 96\nexec {program} \"$@\"\n")).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    stack.program = script;
    let service = stack.serve(&[]).await;
    let mut streams = Vec::new();
    for _ in 0..120 {
        streams.push(connected(&service).await);
    }
    let mut reader = Reader::new(&service, None).await;
    in_time("all are connected", reader.until(|stats| stats["readers"] == 121)).await;
    stack.publish(&orders(1)).await;
    service.wait_len(1).await;
}
