//! `/events`: orders as they arrive.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{LIMIT, Service, Stack, in_three_tries, in_time, order, orders};

/// A client of `/events`.
pub(crate) struct Reader {
    body: Incoming,
    text: String,
    last_id: String,
}

/// An event's name and data.
pub(crate) type Event = (String, Value);

impl Reader {
    pub(crate) async fn new(service: &Service, last_id: Option<&str>) -> Self {
        Self::of(service, "/events", last_id).await
    }

    /// A reader with a filter, or with documents.
    pub(crate) async fn of(service: &Service, path: &str, last_id: Option<&str>) -> Self {
        let stream = TcpStream::connect(service.addr).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        let mut request = Request::get(path).header("host", "localhost");
        if let Some(last_id) = last_id {
            request = request.header("last-event-id", last_id);
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new(), last_id: String::new() }
    }

    /// The next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(event) = self.read(&block) {
                    return Some(event);
                }
            }
            let frame = tokio::time::timeout(LIMIT, self.body.frame()).await.unwrap()?;
            let data = frame.ok()?.into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    fn read(&mut self, block: &str) -> Option<Event> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        // As some clients do, a block without data is skipped, with its id.
        let data = field("data")?;
        if let Some(id) = field("id") {
            self.last_id = id.to_owned();
        }
        Some((field("event")?.to_owned(), serde_json::from_str(data).unwrap()))
    }

    /// The next event other than `stats`.
    pub(crate) async fn notable(&mut self) -> Event {
        let next = async {
            loop {
                let event = self.next().await.expect("the stream continues");
                if event.0 != "stats" {
                    return event;
                }
            }
        };
        in_time("an order comes", next).await
    }

    /// The first `stats` for which the condition holds.
    pub(crate) async fn until(&mut self, is_so: impl Fn(&Value) -> bool) -> Value {
        let said = async {
            loop {
                let (name, stats) = self.next().await.expect("the stream continues");
                if name == "stats" && is_so(&stats) {
                    return stats;
                }
            }
        };
        in_time("it is said", said).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_shown_as_they_come_and_a_reader_goes_on_where_it_left() {
    let (stack, mut service) = Stack::started().await;
    let mut reader = Reader::new(&service, None).await;
    let (name, stats) = reader.next().await.unwrap();
    assert_eq!((name.as_str(), &stats["mem_len"]), ("stats", &0.into()));
    // Disconnected before the first event.
    let at_start = reader.last_id.clone();
    stack.publish(&[order("one"), order("two")]).await;
    for uid in ["one", "two"] {
        let (name, data) = reader.notable().await;
        assert_eq!(name, "order");
        assert_eq!(
            (&data["members"]["order_uid"], &data["members"]["track_number"]),
            (&uid.into(), &"WBILMTESTTRACK".into())
        );
        let order = service.get(&format!("/order/{}", data["id"].as_str().unwrap())).await;
        assert_eq!(order.json()["order_uid"], uid);
    }
    let left_at = std::mem::take(&mut reader.last_id);
    drop(reader);
    stack.publish(&[order("three")]).await;
    service.wait_len(3).await;
    let mut again = Reader::new(&service, Some(&left_at)).await;
    assert_eq!(again.notable().await.1["members"]["order_uid"], "three");
    let mut all = Reader::new(&service, Some(&at_start)).await;
    assert_eq!(all.notable().await.1["members"]["order_uid"], "one");

    // Orders of the table are not new, and a new run of the service does not know ids of the old one.
    assert_eq!(service.stop(), Some(0));
    let service = stack.serve(&[]).await;
    let mut reader = Reader::new(&service, Some(&left_at)).await;
    assert_eq!(reader.notable().await.0, "reset");
    stack.publish(&[order("four")]).await;
    assert_eq!(reader.notable().await.1["members"]["order_uid"], "four");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_stats_of_a_service_that_has_just_started_say_what_is_up_by_now() {
    in_three_tries(async || {
        let (_stack, service) = Stack::started().await;
        let (name, stats) = Reader::new(&service, None).await.next().await.unwrap();
        assert_eq!(name, "stats");
        let is_up = |part: &str| stats["parts"][part]["up"] == true;
        let all = ["nats", "postgres", "intake", "fill"].into_iter().all(is_up);
        all.then_some(()).ok_or(stats.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_say_how_the_parts_are() {
    let (mut stack, service) = Stack::started().await;
    let mut reader = Reader::new(&service, None).await;
    let mut until = async |part: &str, up: bool| {
        reader.until(|stats| stats["parts"][part]["up"] == up).await["parts"][part].clone()
    };
    for part in ["nats", "postgres", "intake", "fill"] {
        until(part, true).await;
    }
    stack.nats.stop();
    assert!(until("nats", false).await["reason"].is_string());
    until("intake", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn above_a_hundred_a_second_what_is_not_shown_is_counted() {
    let (stack, service) = Stack::started().await;
    let mut reader = Reader::new(&service, None).await;
    let begun = Instant::now();
    assert!(stack.run(&["publish", "--count", "2000"], "").await.status.success());
    let (mut shown, mut skipped) = (0, 0);
    let all = async {
        while shown + skipped < 2000 {
            match reader.next().await.unwrap() {
                (name, _) if name == "order" => shown += 1,
                (_, stats) => skipped = stats["skipped"].as_u64().unwrap(),
            }
        }
    };
    in_time("all are shown or counted", all).await;
    assert_eq!(shown + skipped, 2000);
    let seconds = begun.elapsed().as_secs() + 1;
    assert!(shown >= 100 && shown <= 100 * seconds, "{shown} in {seconds} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_reader_is_disconnected_and_blocks_no_others() {
    const ORDERS: u64 = 600;
    let (stack, service) = Stack::started().await;
    let mut slow = silent(&service).await;
    let mut reader = Reader::new(&service, None).await;
    let quick = tokio::spawn(async move {
        for _ in 0..ORDERS {
            assert_eq!(reader.notable().await.0, "order");
        }
        reader
    });
    // Large, so that the buffers of kernel and ring fill soon; few enough to be all shown.
    let large = "x".repeat(60_000);
    for chunk in 0..ORDERS / 20 {
        let few: Vec<_> = (0..20).map(|number| order(&format!("{large}{chunk}-{number}"))).collect();
        stack.publish(&few).await;
        service.wait_len((chunk + 1) * 20).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut reader = quick.await.expect("the quick one has seen all of them");
    let mut received = Vec::new();
    let ended = tokio::time::timeout(LIMIT, slow.read_to_end(&mut received)).await;
    // Closed gracefully or not, but closed.
    drop(ended.expect("the slow one is dropped"));
    assert!(received.len() < 600 * large.len() / 2, "{} bytes were kept for it", received.len());
    reader.until(|stats| stats["readers"] == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_reader_that_stalls_does_not_delay_the_shutdown() {
    let (stack, mut service) = Stack::started().await;
    let _silent = silent(&service).await;
    let large = "x".repeat(60_000);
    for chunk in 0..10 {
        let few: Vec<_> = (0..10).map(|number| order(&format!("{large}{chunk}-{number}"))).collect();
        stack.publish(&few).await;
    }
    service.wait_len(100).await;
    let begun = Instant::now();
    assert_eq!(service.stop(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_a_reader_asks_for_are_shown_all_and_whole() {
    const COUNT: usize = 2000;
    let (stack, service) = Stack::started().await;
    let mut all = Reader::of(&service, "/events?full=true", None).await;
    let mut some = Reader::of(&service, "/events?order_uid=order-7&track_number=WBILMTESTTRACK", None).await;
    let mut none = Reader::of(&service, "/events?order_uid=nobody", None).await;
    // The first event with data has an id, whatever comes first.
    assert_eq!(some.next().await.unwrap().0, "stats");
    let at_start = some.last_id.clone();
    assert!(!at_start.is_empty());
    assert!(stack.run(&["publish", "--count", &COUNT.to_string()], "").await.status.success());
    stack.publish(&orders(10)).await;
    let mut ids = Vec::new();
    for _ in 0..COUNT + 10 {
        let (name, data) = all.notable().await;
        assert_eq!(name, "order");
        assert_eq!(data["members"]["order_uid"], data["order"]["order_uid"]);
        ids.push(data["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids, service.ids().await);
    let (name, data) = some.notable().await;
    assert_eq!((name.as_str(), &data["members"]["order_uid"]), ("order", &"order-7".into()));
    assert_eq!((&data["id"], &data["order"]), (&ids[COUNT + 7].as_str().into(), &Value::Null));
    // A disconnected reader resumes, unless its last event is unknown.
    let left_at = some.last_id.clone();
    stack.publish(&[order("order-7")]).await;
    let path = "/events?order_uid=order-7&full=true";
    for (from, count) in [(&left_at, 1), (&at_start, 2)] {
        let mut again = Reader::of(&service, path, Some(from)).await;
        for _ in 0..count {
            let (name, data) = again.notable().await;
            let whole = service.get(&format!("/order/{}", data["id"].as_str().unwrap())).await;
            assert_eq!((name.as_str(), &data["order"]), ("order", &whole.json()));
        }
    }
    let other = Reader::of(&service, path, Some("0123456789abcdef-1")).await.notable().await;
    assert_eq!(other.0, "reset");
    none.until(|stats| stats["mem_len"] == COUNT + 11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_erased_is_not_shown_to_one_who_comes_back() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    let mut readers = Vec::new();
    for path in ["/events", "/events?full=true", "/events?track_number=WBILMTESTTRACK"] {
        let mut reader = Reader::of(&service, path, None).await;
        while reader.last_id.is_empty() {
            reader.next().await.unwrap();
        }
        let at_start = reader.last_id.clone();
        readers.push((path, reader, at_start));
    }
    stack.publish(&[order("one"), order("two")]).await;
    let mut erased = String::new();
    for (_, reader, _) in &mut readers {
        erased = reader.notable().await.1["id"].as_str().unwrap().to_owned();
        reader.notable().await;
    }
    assert_eq!(service.erase(&erased, "eraser").await, StatusCode::NO_CONTENT);
    for (path, _, at_start) in &readers {
        let mut again = Reader::of(&service, path, Some(at_start)).await;
        assert_eq!(again.notable().await.1["members"]["order_uid"], "two", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_cannot_be_asked_for_are_refused() {
    let (_stack, service) = Stack::started().await;
    for (query, said) in [
        ("locale=en", "there are order_uid, track_number, full, last_event_id"),
        ("full=1", "true or false"),
        ("full=true&full=true", "more than once"),
        ("last_event_id=a&last_event_id=b", "more than once"),
    ] {
        let answer = service.get(&format!("/events?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(answer.body.contains(said), "{query}: {}", answer.body);
    }
}

/// A client that sends a request and does not read.
async fn silent(service: &Service) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut stream = socket.connect(service.addr).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_dont_hold_up_the_end() {
    in_three_tries(async || {
        let (stack, mut service) = Stack::started().await;
        let mut readers = Vec::new();
        for _ in 0..20 {
            readers.push(Reader::new(&service, None).await);
        }
        stack.publish(&orders(10)).await;
        let begun = Instant::now();
        assert_eq!(service.stop(), Some(0));
        let took = begun.elapsed();
        for mut reader in readers {
            while reader.next().await.is_some() {}
        }
        // Answers that don't end are waited for 3 s.
        let in_time = took < Duration::from_millis(2500);
        in_time.then_some(()).ok_or_else(|| format!("{took:?}: {}", service.process.log()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_need_a_token_where_one_is_set() {
    let stack = Stack::new();
    let service = stack.start(&[("HTTP_TOKEN", "secret")]).await;
    let refused = service.get("/events").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.headers.contains_key("www-authenticate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_ends_with_its_token() {
    let stack = Stack::new();
    let file = stack.temp_dir.path().join("tokens");
    std::fs::write(&file, "ending-0123456789\nstaying-0123456789\n").unwrap();
    let service = stack.start(&[("HTTP_TOKEN_FILE", file.to_str().unwrap())]).await;
    let open = async |token: &str| {
        let mut stream = TcpStream::connect(service.addr).await.unwrap();
        let request = format!(
            "GET /events?full=true HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             authorization: Bearer {token}-0123456789\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        stream
    };
    let (mut ending, mut staying) = (open("ending").await, open("staying").await);
    std::fs::write(&file, "staying-0123456789\n").unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(LIMIT, ending.read_to_end(&mut rest)).await.expect("the stream ends").unwrap();
    // The other one gets what comes after that.
    stack.publish(&orders(1)).await;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("order-0") {
        let read = tokio::time::timeout(LIMIT, staying.read_buf(&mut seen)).await.expect("the order comes");
        assert_ne!(read.unwrap(), 0, "this stream ended too");
    }
    assert!(!String::from_utf8_lossy(&rest).contains("order-0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_another_process_took_are_shown_too() {
    let (stack, service) = Stack::started().await;
    let other = stack.serve(&[]).await;
    let (mut here, mut there) = (Reader::new(&service, None).await, Reader::new(&other, None).await);
    stack.publish(&orders(40)).await;
    for reader in [&mut here, &mut there] {
        let mut shown = std::collections::BTreeSet::new();
        while shown.len() < 40 {
            let (name, data) = reader.notable().await;
            assert_eq!(name, "order");
            assert!(
                shown.insert(data["members"]["order_uid"].as_str().unwrap().to_owned()),
                "shown twice: {data}"
            );
        }
    }
}
