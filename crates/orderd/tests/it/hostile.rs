//! Malicious or broken clients: others are served meanwhile, and no connection stays open for ever.

use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{DEAD, LIMIT, Service, Stack, eventually, in_time, order, orders};

/// The response to these bytes, until the service closes the connection or nothing more arrives.
async fn answer_to(service: &Service, bytes: &[u8]) -> String {
    loop {
        let answer = answer_once(service, bytes).await;
        // A timeout, with Retry-After.
        if !answer.contains("503 PostgreSQL can't be reached now") {
            return answer;
        }
    }
}

async fn answer_once(service: &Service, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(service.addr).await.unwrap();
    // It may have closed already; that shows in the answer.
    drop(stream.write_all(bytes).await);
    let (mut answer, mut buffer) = (Vec::new(), [0; 16 << 10]);
    let mut patience = LIMIT;
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout(patience, stream.read(&mut buffer)).await {
        answer.extend_from_slice(&buffer[..count]);
        patience = Duration::from_millis(500);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_get_an_answer_or_a_closed_connection() {
    let (stack, service) = Stack::started().await;
    stack.publish(&[order("one")]).await;
    service.wait_len(1).await;
    let huge_header =
        format!("GET /mem_len HTTP/1.1\r\nhost: localhost\r\nbig: {}\r\n\r\n", "x".repeat(100_000));
    let many_headers = format!("GET /mem_len HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "a: b\r\n".repeat(1000));
    for (request, status) in [
        ("GET /order/.. HTTP/1.1\r\nhost: localhost\r\n\r\n", "404"),
        ("GET /order/../../etc/passwd HTTP/1.1\r\nhost: localhost\r\n\r\n", "404"),
        ("GET /order/%2e%2e%2f HTTP/1.1\r\nhost: localhost\r\n\r\n", "404"),
        ("GET /order/%zz HTTP/1.1\r\nhost: localhost\r\n\r\n", "404"),
        ("GET /order/%ff%fe HTTP/1.1\r\nhost: localhost\r\n\r\n", "404"),
        ("GET /order/%00 HTTP/1.1\r\nhost: localhost\r\n\r\n", "404"),
        ("GET /orders?order_uid=%ff HTTP/1.1\r\nhost: localhost\r\n\r\n", "200"),
        (&huge_header, "431"),
        (&many_headers, "431"),
        ("nonsense\r\n\r\n", "400"),
        ("GET /mem_len HTTP/1.0\r\n\r\n", "200"),
    ] {
        let answer = answer_to(&service, request.as_bytes()).await;
        let first = answer.lines().next().unwrap_or_default().to_owned();
        // Closing a connection with unread bytes resets it, and the response is lost.
        let closed = first.is_empty() && request.len() > 5_000;
        assert!(closed || first.contains(status), "{}: {first}", &request[..request.len().min(60)]);
    }
    let mut stream = TcpStream::connect(service.addr).await.unwrap();
    let last = "GET /mem_len HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let pipelined = "GET /mem_len HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(19) + last;
    stream.write_all(pipelined.as_bytes()).await.unwrap();
    let mut answers = String::new();
    in_time("all are answered", stream.read_to_string(&mut answers)).await.unwrap();
    assert_eq!(answers.matches("mem_len").count(), 20);
    assert_eq!(service.mem_len().await, 1);
}

/// The simplest request takes the fast path; with a meaningless header it takes the routes.
#[tokio::test(flavor = "multi_thread")]
async fn fast_path_answers_as_the_routes_do() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_TOKEN", "token")]).await;
    stack.publish(&[order("one")]).await;
    let key = eventually("the order is in memory", async || {
        let page = hyper::Request::get("/order_pages/1").header("authorization", "Bearer token");
        let page = service.send(page).await;
        // The page is missing until the order is there.
        (page.status == StatusCode::OK).then(|| page.json()[0].as_str().unwrap().to_owned())
    })
    .await;
    let asked =
        |target: &str, header: &str| format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{header}\r\n");
    let without_date = |answer: String| {
        let lines = answer.lines().filter(|line| !line.starts_with("date: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (short, long) =
        ("authorization: Bearer token\r\n", "authorization: Bearer token\r\ncontent-length: 0\r\n");
    let (there, found, list) =
        (format!("/order/{key}"), "/orders?order_uid=one", format!("\r\n\r\n[\"{key}\"]"));
    for (target, part) in [
        (there.as_str(), " 200 "),
        ("/order/1-1", " 404 "),
        ("/order/%31-1", " 404 "),
        ("/order/", " 404 "),
        (found, &list),
        ("/orders?order_uid=%6fne", &list),
        ("/orders?order_uid=one&order_uid=one", &list),
        ("/orders?order_uid=one&track_number=x", "\r\n\r\n[]"),
        ("/orders?order_uid=two", "\r\n\r\n[]"),
        ("/orders?order_uid=", "\r\n\r\n[]"),
        ("/orders?order_uid", "\r\n\r\n[]"),
        ("/orders?order_uid=one+", "\r\n\r\n[]"),
        ("/orders?locale=en", " 400 "),
        ("/orders?=one", " 400 "),
        ("/orders?", &list),
        ("/orders", &list),
        ("/order?order_uid=one", "\r\n\r\n{\"order_uid\":\"one\""),
        ("/order?order_uid=%6fne", "\r\n\r\n{\"order_uid\":\"one\""),
        ("/order?order_uid=two", " 404 "),
        ("/order?order_uid=", " 404 "),
        ("/order?locale=en", " 400 "),
        ("/order?", " 400 "),
        ("/orders?limit=1", &list),
        ("/orders?limit=x", " 400 "),
        ("/ordersx?order_uid=one", " 404 "),
    ] {
        let short = answer_to(&service, asked(target, short).as_bytes()).await;
        assert!(short.contains(part), "{target}: {short}");
        assert!(short.contains("\r\ndate: "), "{short}");
        let long = answer_to(&service, asked(target, long).as_bytes()).await;
        assert_eq!(without_date(short), without_date(long), "{target}");
    }
    for wrong in ["", "authorization: Bearer other\r\n", "authorization: token\r\n"] {
        for target in [&there, found] {
            assert!(answer_to(&service, asked(target, wrong).as_bytes()).await.contains("401"), "{wrong}");
        }
    }
    // Pipelined requests are answered in order, on either path, wherever the bytes are cut.
    let both = [&there, found, "/order/1-1", &there].map(|target| asked(target, short)).concat();
    let first = asked(&there, short).len();
    let after_name = first + "GET /orders?order_uid".len();
    for cut in [1, 20, after_name, after_name + 1, both.len() / 2, both.len() - 1] {
        let mut stream = TcpStream::connect(service.addr).await.unwrap();
        stream.write_all(&both.as_bytes()[..cut]).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        if cut > first {
            // The beginning of the second request arrived before the first was answered.
            stream.read_buf(&mut answer).await.unwrap();
        }
        stream.write_all(&both.as_bytes()[cut..]).await.unwrap();
        stream.shutdown().await.unwrap();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let statuses: Vec<_> = answer.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect();
        assert_eq!(statuses, ["200", "200", "404", "200"], "cut at {cut}");
    }
}

/// A form that never comes.
const FORM: &[u8] =
    b"POST /session HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n\
    content-length: 100\r\n\r\ntok";

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_silent_clients_are_disconnected_and_delay_no_others() {
    let (stack, service) = Stack::started().await;
    stack.publish(&[order("one")]).await;
    service.wait_len(1).await;
    let mut held = Vec::new();
    for number in 0..2000 {
        let mut stream = TcpStream::connect(service.addr).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /mem_len HTTP/1.1\r\nhost: localhost\r\nslow: ").await.unwrap();
        }
        if number % 100 == 1 {
            stream.write_all(FORM).await.unwrap();
        }
        held.push(stream);
    }
    assert_eq!(service.get("/mem_len").await.status, StatusCode::OK);
    // Half closed: the answer still comes.
    let mut half = TcpStream::connect(service.addr).await.unwrap();
    half.write_all(b"GET /mem_len HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    half.shutdown().await.unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("mem_len"), "{answer}");
    eventually("the slow ones are dropped", async || {
        let mut byte = [0; 1];
        let closed = held.iter().filter(|stream| stream.try_read(&mut byte).is_ok()).count();
        (closed == held.len()).then_some(())
    })
    .await;
}

/// Header blocks as clients in other languages or with bugs send them.
const NO_HEADERS: [&[u8]; 9] = [
    b"NATS/1.0\r\nCustomer: caf\xe9\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\nA name: value\r\n\r\n",
    b"NATS/1.0\r\nName : value\r\n\r\n",
    b"NATS/1.0\r\n\xd0\x98\xd0\xbc\xd1\x8f: value\r\n\r\n",
    b"NATS/1.0\r\nName: one\nline\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/2.0\r\n\r\n",
    b"\0\r\n\r\n",
];

/// The server stores them and acknowledges them to their publisher.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_headers_cost_no_message() {
    let stack = Stack::new();
    let service = stack.serve(&[("PUB_TOPIC", "orders.>")]).await;
    let mut nats = TcpStream::connect(("127.0.0.1", stack.nats.port())).await.unwrap();
    nats.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n").await.unwrap();
    for (number, headers) in NO_HEADERS.iter().enumerate() {
        // The subject is not UTF-8 either, and has a Unicode space.
        let subject = if number == 0 { &b"orders.\xff\xc2\xa0"[..] } else { b"orders.a" };
        let payload = order(&format!("odd-{number}"));
        let sizes = format!(" {} {}\r\n", headers.len(), headers.len() + payload.len());
        let message = [b"HPUB ", subject, sizes.as_bytes(), headers, payload.as_bytes(), b"\r\n"].concat();
        nats.write_all(&message).await.unwrap();
    }
    // And a message that is refused.
    let junk = b"HPUB orders.\xc3 12 13\r\nNATS/2.0\r\n\r\n{\r\n";
    nats.write_all(junk).await.unwrap();
    nats.flush().await.unwrap();
    let count = NO_HEADERS.len();
    eventually("all rows are committed", async || (stack.rows() == count).then_some(())).await;
    stack.wait_settled(count as u64 + 1).await;
    for number in 0..count {
        let found = service.get(&format!("/orders?order_uid=odd-{number}")).await.json();
        assert_eq!(found.as_array().unwrap().len(), 1, "odd-{number}");
    }
    let listed = stack.run(&["dead-letters", "list", "--json", "--pub-topic", "orders.>"], "").await;
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), 1);
    stack.verify(&service, &["--pub-topic", "orders.>"]).await;
    // They can be erased as any other.
    let ids = service.ids().await;
    let erase = [
        &["erase", "--yes", "--pub-topic", "orders.>"],
        &ids.iter().map(String::as_str).collect::<Vec<_>>()[..],
    ];
    let erased = stack.run(&erase.concat(), "").await;
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    service.wait_len(0).await;
    let dropped = stack.run(&["dead-letters", "drop", "--all", "--yes", "--pub-topic", "orders.>"], "").await;
    assert!(dropped.status.success(), "{}", String::from_utf8_lossy(&dropped.stderr));
    assert!(!service.process.log().contains("away part=\"nats\""), "{}", service.process.log());
}

/// Junk of each kind: no JSON, a wrong type, invalid UTF-8, a key that nobody may choose.
async fn publish_junk(client: &async_nats::Client, number: usize) {
    let payload = match number % 4 {
        0 => format!("junk {number}").into_bytes(),
        1 => format!("{{\"order_uid\": {number}}}").into_bytes(),
        2 => [&number.to_be_bytes()[..], b"\xff"].concat(),
        _ => order(&format!("forged-{number}")).into_bytes(),
    };
    if number % 4 < 3 {
        return client.publish("TESTING", payload.into()).await.unwrap();
    }
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Orderd-Key", format!("1700000000000000000-{number}"));
    client.publish_with_headers("TESTING", headers, payload.into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_among_good_orders_does_not_delay_them() {
    const JUNK: usize = 100_000;
    let (stack, service) = Stack::started().await;
    let client = stack.client().await;
    let context = async_nats::jetstream::new(client.clone());
    let before = service.memory();
    for number in 0..JUNK {
        publish_junk(&client, number).await;
        if number % 1000 == 0 {
            // The server drops messages beyond some ten thousand waiting ones. An answer means that none waits.
            let good = order(&format!("good-{number}"));
            context.publish("TESTING", good.into()).await.unwrap().await.unwrap();
        }
    }
    client.flush().await.unwrap();
    service.wait_len(100).await;
    eventually("all junk is kept", async || {
        let mut stream = context.get_stream(DEAD).await.ok()?;
        (stream.info().await.ok()?.state.messages as usize == JUNK / 4 * 3).then_some(())
    })
    .await;
    stack.publish(&orders(1)).await;
    service.wait_len(101).await;
    eventually("rows are committed", async || (stack.rows() == 101).then_some(())).await;
    let grown = service.memory().saturating_sub(before) >> 20;
    assert!(grown < 96, "it has grown by {grown} MiB");
}

/// Each connection takes a file descriptor here and one there.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_are_served() {
    const CONNECTIONS: usize = 10_000;
    devstack::raise_file_limit().unwrap();
    let (stack, service) = Stack::started().await;
    stack.publish(&[order("one")]).await;
    service.wait_len(1).await;
    let before = service.memory();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(service.addr).await.unwrap();
        stream.write_all(b"GET /mem_len HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        held.push(stream);
    }
    for stream in &mut held {
        let mut answer = [0; 512];
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].ends_with(b"{\"mem_len\": 1}"));
    }
    assert_eq!(service.get("/mem_len").await.status, StatusCode::OK);
    stack.publish(&[order("two")]).await;
    service.wait_len(2).await;
    let each = service.memory().saturating_sub(before) / CONNECTIONS;
    assert!(each < 32 << 10, "{each} bytes a connection");
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

/// Each item is sent without members, and rendered with all of them.
#[tokio::test(flavor = "multi_thread")]
async fn large_orders_that_nobody_reads_dont_fill_memory() {
    for bound in ["64 MiB", "1"] {
        large_orders_within(bound).await;
    }
}

async fn large_orders_within(bound: &str) {
    let stack = Stack::new();
    let service = stack.serve(&[("CACHE_MAX_BYTES", bound)]).await;
    let items = vec!["{}"; 200_000].join(",");
    stack.publish(&[format!("{{\"order_uid\":\"large\",\"items\":[{items}]}}")]).await;
    service.wait_len(1).await;
    eventually("the row is committed", async || (stack.rows() == 1).then_some(())).await;
    let path = format!("/order/{}", service.ids().await[0]);
    let whole = service.get(&path).await;
    assert!(whole.body.len() > 20 << 20, "{} bytes", whole.body.len());
    let before = service.memory();
    let (mut held, mut statuses) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        let mut stream = TcpStream::connect(service.addr).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await.unwrap();
        statuses.push(String::from_utf8_lossy(&begin[9..]).into_owned());
        held.push(stream);
    }
    let count = |status: &str| statuses.iter().filter(|found| *found == status).count();
    assert!(count("200") >= 3 && count("503") >= 40 && count("200") + count("503") == 60, "{statuses:?}");
    let grown = service.memory().saturating_sub(before) >> 20;
    assert!(grown < 400, "it has grown by {grown} MiB");
    drop(held);
    eventually("there is room again", async || (service.get(&path).await.body == whole.body).then_some(()))
        .await;
}
