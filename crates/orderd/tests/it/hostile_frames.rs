//! Messages of arbitrary bytes: headers, status lines, subjects and payloads that nats-server stores but no client
//! would send. Each becomes one row or one dead letter, and blocks no good order after it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Stack, eventually, in_time, order};

/// Frames in a run, and frames per connection.
const FRAMES: usize = 600;
const BATCH: usize = 50;

/// Time limit for good orders to pass the messages before them.
const SECONDS: Duration = Duration::from_secs(20);

/// A generator that gives the same numbers for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Bytes of which some are those that parsers stumble over.
    fn bytes(&mut self, longest: usize) -> Vec<u8> {
        let length = self.below(longest + 1);
        let byte = |random: &mut Self| match random.below(4) {
            0 => random.pick(b"\0\r\t :\x0b\x0c\x1b\x7f\x85\xa0\xc3\xff"),
            1 => random.next() as u8,
            _ => b'a' + random.below(26) as u8,
        };
        (0..length).map(|_| byte(self)).collect()
    }

    fn line(&mut self) -> Vec<u8> {
        const NAMES: [&[u8]; 10] = [
            b"Foo",
            b"Status",
            b"Nats-Sequence",
            b"Nats-Stream",
            b"Nats-Subject",
            b"Nats-Time-Stamp",
            b"Nats-Last-Consumer",
            b"Nats-Consumer-Stalled",
            b"Nats-Pending-Messages",
            b"Nats-Pin-Id",
        ];
        match self.below(8) {
            0 => self.bytes(20),
            1 => [b" ".to_vec(), self.bytes(20)].concat(),
            2 => [self.bytes(10), b":".to_vec(), self.bytes(20)].concat(),
            3 => b"Foo: a\rb".to_vec(),
            4 => [b"Foo: ".to_vec(), self.pick(&[100, 2000]).to_string().into(), self.bytes(300)].concat(),
            _ => [
                self.pick(&NAMES).to_vec(),
                self.pick(&[&b":"[..], b": ", b" :", b""]).to_vec(),
                self.bytes(20),
            ]
            .concat(),
        }
    }

    fn headers(&mut self) -> Vec<u8> {
        const STATUS: [&[u8]; 8] = [
            b" 503",
            b" 100 Idle Heartbeat",
            b" 100 FlowControl Request",
            b" 404",
            b" 408",
            b" 409 ",
            b"503",
            b" 9",
        ];
        let mut headers = match self.below(6) {
            0 => self.bytes(12),
            1 => self.pick(&[&b"NATS/2.0"[..], b"NATS/1.0\r", b"nats/1.0", b"HTTP/1.1"]).to_vec(),
            2 | 3 => [b"NATS/1.0".to_vec(), self.pick(&STATUS).to_vec()].concat(),
            _ => b"NATS/1.0".to_vec(),
        };
        for _ in 0..self.below(5) {
            headers.extend(self.pick(&[&b"\r\n"[..], b"\r\n", b"\r\n", b"\n", b"\r"]));
            headers.extend(self.line());
        }
        headers.extend(self.pick(&[&b"\r\n\r\n"[..], b"\r\n\r\n", b"\r\n", b"\n\n", b" "]));
        headers
    }

    /// Below `orders.`, without bytes that end a protocol argument.
    fn subject(&mut self) -> Vec<u8> {
        let mut subject = b"orders.".to_vec();
        let odd = self.below(3) == 0;
        subject.extend(if odd { self.bytes(20) } else { b"a".to_vec() });
        subject.retain(|byte| !b" \t\r\n".contains(byte));
        if subject.ends_with(b".") {
            subject.push(b'a');
        }
        subject
    }

    fn frame(&mut self, payload: &[u8]) -> Vec<u8> {
        let (subject, headers) = (self.subject(), self.headers());
        let sizes = format!(" {} {}\r\n", headers.len(), headers.len() + payload.len());
        [b"HPUB ", &subject[..], sizes.as_bytes(), &headers, payload, b"\r\n"].concat()
    }
}

/// Sends frames as they are, and waits until the server has read them.
async fn send(port: u16, frames: &[Vec<u8>]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n").await.unwrap();
    stream.write_all(&frames.concat()).await.unwrap();
    stream.write_all(b"PING\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        while !answer.windows(6).any(|part| part == b"PONG\r\n") {
            let count = stream.read_buf(&mut answer).await.unwrap();
            assert!(count > 0, "the server closed: {}", String::from_utf8_lossy(&answer));
        }
    };
    in_time("the server has read the frames", read).await;
}

/// The expected result of each message, by key: whether it is a row.
async fn expected(stack: &Stack) -> BTreeMap<String, bool> {
    let mut stream = stack.jetstream().await.get_stream("ORDERS").await.unwrap();
    let last = stream.info().await.unwrap().state.last_sequence;
    let mut expected = BTreeMap::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let key = format!("{}-{sequence}", message.time.unix_timestamp_nanos());
        let order: Option<Value> = serde_json::from_slice(&message.payload).ok();
        expected.insert(key, order.is_some_and(|order| order["order_uid"].is_string()));
    }
    expected
}

async fn dead_letters(stack: &Stack) -> Vec<String> {
    let listed = stack.run(&["dead-letters", "list", "--json", "--pub-topic", "orders.>"], "").await;
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).unwrap();
    let key = |line: &str| serde_json::from_str::<Value>(line).unwrap()["key"].as_str().unwrap().to_owned();
    listed.lines().map(key).collect()
}

/// Other seeds by `FRAMES_SEED`.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_any_bytes_are_processed_once_and_block_no_others() {
    let seed = std::env::var("FRAMES_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(16);
    let mut random = Random(seed);
    let stack = Stack::new();
    let service = stack.serve(&[("PUB_TOPIC", "orders.>")]).await;
    let mut frames: Vec<Vec<u8>> = (0..FRAMES)
        .map(|number| {
            let payload = match random.below(3) {
                0 => [b"{".to_vec(), random.bytes(40)].concat(),
                _ => order(&format!("odd-{number}")).into_bytes(),
            };
            random.frame(&payload)
        })
        .collect();
    frames.insert(0, b"HPUB orders.a 22 24\r\nNATS/1.0\r\nFoo: a\rb\r\n\r\n{}\r\n".to_vec());
    for (number, batch) in frames.chunks(BATCH).enumerate() {
        send(stack.nats.port(), batch).await;
        let good = order(&format!("good-{number}"));
        send(stack.nats.port(), &[format!("PUB orders.a {}\r\n{good}\r\n", good.len()).into_bytes()]).await;
    }
    let begun = Instant::now();
    for number in 0..frames.len().div_ceil(BATCH) {
        eventually(&format!("seed {seed}: the good order {number} comes in"), async || {
            let found = service.get(&format!("/orders?order_uid=good-{number}")).await.json();
            (found.as_array()?.len() == 1).then_some(())
        })
        .await;
    }
    assert!(begun.elapsed() < SECONDS, "seed {seed}: good orders took {:?}", begun.elapsed());

    let expected = expected(&stack).await;
    // The server refuses only a few, which are requests to it.
    assert!(expected.len() > FRAMES / 2, "seed {seed}: only {} were stored", expected.len());
    let rows: BTreeSet<&String> = expected.iter().filter(|(_, row)| **row).map(|(key, _)| key).collect();
    let dead: BTreeSet<&String> = expected.iter().filter(|(_, row)| !**row).map(|(key, _)| key).collect();
    eventually(&format!("seed {seed}: {} rows", rows.len()), async || {
        (stack.rows() == rows.len()).then_some(())
    })
    .await;
    let listed = eventually(&format!("seed {seed}: {} dead letters", dead.len()), async || {
        let listed = dead_letters(&stack).await;
        (listed.len() == dead.len()).then_some(listed)
    })
    .await;
    assert_eq!(listed.iter().collect::<BTreeSet<_>>(), dead, "seed {seed}");
    let ids = service.ids().await;
    assert_eq!(ids.iter().collect::<BTreeSet<_>>(), rows, "seed {seed}");
    stack.verify(&service, &["--pub-topic", "orders.>"]).await;
    let log = service.process.log();
    assert!(!log.contains("away part=\"nats\"") && !log.contains("panicked"), "seed {seed}: {log}");
}
