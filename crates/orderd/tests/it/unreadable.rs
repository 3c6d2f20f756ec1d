//! A message that breaks every connection: it becomes a dead letter, and the messages after it are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Stack, eventually, order};

/// Bytes that break every connection from the server to a client.
const MARKER: &[u8] = b"no-client-takes-this";

/// Time limit for good orders to pass it.
const SECONDS: Duration = Duration::from_secs(60);

/// A proxy in front of NATS that cuts a connection on which the server sends the marker. Returns its port, and the
/// number of cuts.
async fn cutter(upstream: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let cuts = Arc::new(AtomicUsize::new(0));
    let counted = cuts.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let cuts = counted.clone();
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)).await else { return };
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let up = async move { drop(tokio::io::copy(&mut from_client, &mut to_server).await) };
                let down = async move {
                    let mut seen = Vec::new();
                    loop {
                        let known = seen.len();
                        if from_server.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                            return;
                        }
                        if seen.windows(MARKER.len()).any(|bytes| bytes == MARKER) {
                            cuts.fetch_add(1, Ordering::Relaxed);
                            return;
                        }
                        if to_client.write_all(&seen[known..]).await.is_err() {
                            return;
                        }
                        seen.drain(..seen.len().saturating_sub(MARKER.len() - 1));
                    }
                };
                tokio::select! { () = up => {}, () = down => {} }
            });
        }
    });
    (port, cuts)
}

#[tokio::test(flavor = "multi_thread")]
async fn message_that_breaks_connections_becomes_a_dead_letter_and_blocks_no_others() {
    let stack = Stack::new();
    let (port, cuts) = cutter(stack.nats.port()).await;
    let mut service = stack.serve(&[("NATS_PORT", &port.to_string())]).await;
    stack.publish(&[order("before")]).await;
    service.wait_len(1).await;
    let marker = String::from_utf8_lossy(MARKER).into_owned();
    stack.publish(&[order(&marker), order("between"), order(&marker), order("behind")]).await;
    let begun = Instant::now();
    service.wait_len(3).await;
    assert!(begun.elapsed() < SECONDS, "it took {:?}: {}", begun.elapsed(), service.process.log());
    assert!(cuts.load(Ordering::Relaxed) > 2);
    eventually("3 rows", async || (stack.rows() == 3).then_some(())).await;
    let listed = ["dead-letters", "list", "--json", "--reason", "unreadable_message"];
    let letters = eventually("2 dead letters", async || {
        let output = stack.run(&listed, "").await;
        let letters = String::from_utf8(output.stdout).unwrap();
        (letters.lines().count() == 2).then_some(letters)
    })
    .await;
    let letter: serde_json::Value = serde_json::from_str(letters.lines().next().unwrap()).unwrap();
    let shown = stack.run(&["dead-letters", "show", letter["key"].as_str().unwrap()], "").await;
    assert!(String::from_utf8_lossy(&shown.stdout).contains(&marker), "{shown:?}");
    // A restart begins behind them.
    assert_eq!(service.stop(), Some(0));
    let cut = cuts.load(Ordering::Relaxed);
    let service = stack.serve(&[("NATS_PORT", &port.to_string())]).await;
    stack.publish(&[order("after")]).await;
    service.wait_len(4).await;
    assert_eq!(cuts.load(Ordering::Relaxed), cut);
}

/// The message is the stream's last one when the service starts, and the position is at it when the service restarts.
#[tokio::test(flavor = "multi_thread")]
async fn restart_with_the_position_on_such_a_message_reads_on() {
    let stack = Stack::new();
    let (port, cuts) = cutter(stack.nats.port()).await;
    let env = [("NATS_PORT", port.to_string())];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let marker = String::from_utf8_lossy(MARKER).into_owned();
    let mut service = stack.serve(&env).await;
    stack.publish(&[order("before")]).await;
    service.wait_len(1).await;
    service.kill();
    stack.publish(&[order(&marker)]).await;
    let mut service = stack.serve(&env).await;
    eventually("the position passes the message", async || {
        let ready = service.get("/readyz").await;
        (ready.status == 200 && ready.json()["position"]["seq"] == 2).then_some(())
    })
    .await;
    service.kill();
    let cut = cuts.load(Ordering::Relaxed);
    let service = stack.serve(&env).await;
    stack.publish(&[order("after")]).await;
    service.wait_len(2).await;
    assert_eq!(cuts.load(Ordering::Relaxed), cut, "the message is not read again");
}

/// Outages are not mistaken for such a message.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_end_at_other_places_cost_no_message() {
    let stack = Stack::new();
    let breaker = devstack::breaker::Breaker::start(([127, 0, 0, 1], stack.nats.port()).into()).unwrap();
    let service = stack.serve(&[("NATS_PORT", &breaker.addr().port().to_string())]).await;
    for number in 0..8 {
        breaker.set(devstack::breaker::Mode::CutAfter { bytes: 100 + 300 * number });
        stack.publish(&[order(&format!("order-{number}"))]).await;
        eventually("it was cut", async || (breaker.mode() == devstack::breaker::Mode::Pass).then_some(()))
            .await;
    }
    service.wait_len(8).await;
    let listed = stack.run(&["dead-letters", "list"], "").await;
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("unreadable_message"), "{listed:?}");
}
