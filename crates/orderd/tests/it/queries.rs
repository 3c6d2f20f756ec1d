//! `/order?MEMBER=VALUE` and `/orders`: queries by values and times, page by page, for ids or documents.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use devstack::breaker::{Breaker, Mode};
use futures_util::future::join_all;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::live::Reader;
use crate::support::{Answer, LIMIT, Service, Stack, eventually, in_time, order, orders};

const TRACK: &str = "WBILMTESTTRACK";

/// The address of the next page.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.headers.get("link")?.to_str().unwrap();
    let (address, rest) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
    assert_eq!(rest, "; rel=\"next\"");
    Some(address.to_owned())
}

/// The elements of all pages from this one on.
async fn pages(service: &Service, first: &str) -> Vec<Value> {
    let (mut all, mut path) = (Vec::new(), Some(first.to_owned()));
    while let Some(asked) = path {
        let answer = service.get(&asked).await;
        assert_eq!(answer.status, StatusCode::OK, "{asked}: {}", answer.body);
        all.extend(answer.json().as_array().unwrap().iter().cloned());
        path = next(&answer);
    }
    all
}

async fn list(service: &Service, path: &str) -> Vec<String> {
    let answer = service.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
    serde_json::from_value(answer.json()).unwrap()
}

/// A request that takes the routes, not the fast path.
fn the_long_way(path: &str) -> hyper::http::request::Builder {
    Request::get(path).header("expect", "nothing")
}

/// A service with `count` orders.
async fn with_orders(count: usize, env: &[(&str, &str)]) -> (Stack, Service, Vec<String>) {
    let stack = Stack::new();
    let service = stack.serve(env).await;
    stack.publish(&orders(count)).await;
    service.wait_len(count as u64).await;
    let ids = service.ids().await;
    (stack, service, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_order_with_a_value_is_served_whole_on_both_ways() {
    let (stack, service, ids) = with_orders(3, &[]).await;
    stack.publish(&[order("order-1")]).await;
    service.wait_len(4).await;
    let newest = service.ids().await[3].clone();
    for (query, id) in [
        ("order_uid=order-2", &ids[2]),
        ("order_uid=order-1", &newest),
        (format!("track_number={TRACK}").as_str(), &newest),
        (format!("track_number={TRACK}&order_uid=order-0").as_str(), &ids[0]),
        ("order%5fuid=order-0", &ids[0]),
        ("$.order_uid=order-0", &ids[0]),
    ] {
        let path = format!("/order?{query}");
        let (short, long) = (service.get(&path).await, service.send(the_long_way(&path)).await);
        let whole = service.get(&format!("/order/{id}")).await;
        for answer in [&short, &long] {
            assert_eq!((answer.status, &answer.body), (StatusCode::OK, &whole.body), "{query}");
            assert_eq!(answer.headers["content-location"], format!("/order/{id}"), "{query}");
            assert_eq!(answer.headers["cache-control"], "no-store");
        }
        let names = |answer: &Answer| {
            answer.headers.keys().map(ToString::to_string).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(names(&short), names(&long));
        let head = service.send(Request::head(&path)).await;
        assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""));
        assert_eq!(head.headers["content-location"], format!("/order/{id}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_answered_say_why() {
    let (_stack, service, _) = with_orders(1, &[("SEARCH", "order_uid,sm_id,delivery_service")]).await;
    for (path, status, said) in [
        ("/order?order_uid=nobody", 404, "404 resource not found"),
        ("/order?order_uid=order-0&delivery_service=boat", 404, "404 resource not found"),
        ("/order", 400, "order_uid, sm_id, delivery_service"),
        ("/order?", 400, "order_uid, sm_id, delivery_service"),
        ("/order?locale=en", 400, "order_uid, sm_id, delivery_service"),
        ("/order?order_uid=order-0&limit=1", 400, "no parameter \"limit\""),
        ("/orders?locale=en", 400, "order_uid, sm_id, delivery_service, from, to, order, limit, after, full"),
        ("/orders?limit=0", 400, "1 to 1000"),
        ("/orders?limit=1&limit=2", 400, "more than once"),
        ("/orders?order=down", 400, "asc or desc"),
        ("/orders?full=1", 400, "true or false"),
        ("/orders?from=today", 400, "RFC 3339"),
        ("/orders?after=", 400, "takes an id"),
    ] {
        for answer in [service.get(path).await, service.send(the_long_way(path)).await] {
            assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.body);
            assert!(answer.body.contains(said), "{path}: {}", answer.body);
        }
    }
    for path in ["/order?order_uid=order-0", "/orders"] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let answer = service.send(Request::builder().method(&method).uri(path)).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(answer.headers["allow"], "GET,HEAD", "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_by_cursor_have_each_order_once_in_either_order() {
    let (_stack, service, ids) = with_orders(130, &[]).await;
    let newest: Vec<_> = ids.iter().rev().cloned().collect();
    assert_eq!(list(&service, "/orders").await, newest[..50]);
    for query in ["", &format!("track_number={TRACK}&")] {
        for limit in [1, 7, 65, 130, 1000] {
            let path = format!("/orders?{query}limit={limit}");
            assert_eq!(pages(&service, &path).await, newest);
            assert_eq!(pages(&service, &format!("{path}&order=asc")).await, ids);
        }
    }
    // An erased or unknown id also works as a cursor.
    let beside = format!("{}0", ids[40]);
    assert_eq!(list(&service, &format!("/orders?after={beside}&limit=1")).await, ids[40..41]);
    assert_eq!(list(&service, &format!("/orders?after={beside}&limit=1&order=asc")).await, ids[41..42]);
    assert_eq!(list(&service, "/orders?after=zzz&limit=1").await, newest[..1]);
    assert_eq!(list(&service, "/orders?after=zzz&order=asc").await, [""; 0]);
    // The link keeps the query, with any characters.
    let answer = service.get("/orders?limit=1&%24.track_number=WBILMTESTTRACK&order=desc").await;
    let expected = format!("/orders?limit=1&%24.track_number=WBILMTESTTRACK&order=desc&after={}", newest[0]);
    assert_eq!(next(&answer), Some(expected));
    assert_eq!(next(&service.get("/orders?limit=130").await), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_neither_repeats_nor_misses_while_orders_arrive() {
    let (stack, service, before) = with_orders(200, &[]).await;
    let publisher = async {
        for number in 0..10 {
            stack.publish_numbers(200 + number * 20..220 + number * 20).await;
        }
    };
    let down_path = format!("/orders?track_number={TRACK}&limit=9");
    let (down, up, ()) = tokio::join!(
        pages(&service, &down_path),
        pages(&service, "/orders?order=asc&limit=9&full=true"),
        publisher
    );
    service.wait_len(400).await;
    let ids = service.ids().await;
    // From the newest at the first page on, all; oldest first, all that were there when it came to the end.
    let newest = ids.iter().position(|id| *id == down[0]).unwrap();
    assert_eq!(down, ids[..=newest].iter().rev().cloned().collect::<Vec<_>>());
    assert!(up.len() >= before.len());
    let up: Vec<_> = up.iter().map(|document| document["id"].clone()).collect();
    assert_eq!(up, ids[..up.len()]);
    // A client that continues after the last id gets the rest.
    let rest = format!("/orders?order=asc&after={}&limit=9", up[up.len() - 1].as_str().unwrap());
    assert_eq!(pages(&service, &rest).await, ids[up.len()..]);
}

/// The ids on all pages from this one on. Documents are only scanned for ids: parsing them would take most of the time.
async fn ids_on_pages(service: &Service, first: &str) -> Vec<String> {
    let (mut all, mut path) = (Vec::new(), Some(first.to_owned()));
    while let Some(asked) = path {
        let answer = service.get(&asked).await;
        assert_eq!(answer.status, StatusCode::OK, "{asked}: {}", answer.body);
        if asked.contains("full=true") {
            let mut parts: Vec<&str> = answer.body.split("\",\"order\":{").collect();
            parts.pop();
            all.extend(parts.iter().map(|part| part.rsplit_once("{\"id\":\"").unwrap().1.to_owned()));
        } else {
            all.extend(serde_json::from_str::<Vec<String>>(&answer.body).unwrap());
        }
        path = next(&answer);
    }
    all
}

/// Many orders, paged in both orders as ids and as documents while a thousand a second arrive, with all of them in
/// memory and with room for few.
#[tokio::test(flavor = "multi_thread")]
async fn no_page_of_many_repeats_or_misses_an_order_while_a_thousand_a_second_arrive() {
    no_page_repeats_or_misses_an_order(30_000, 8_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: .ci/nightly runs it"]
async fn no_page_of_100_000_repeats_or_misses_an_order_while_a_thousand_a_second_arrive() {
    no_page_repeats_or_misses_an_order(100_000, 30_000).await;
}

async fn no_page_repeats_or_misses_an_order(stored: usize, arriving: usize) {
    let stack = Stack::new();
    let first = stack.serve(&[]).await;
    stack.publish(&[order("first")]).await;
    eventually("it is committed", async || (stack.rows() == 1).then_some(())).await;
    drop(first);
    let more = format!(
        "INSERT INTO orders2 SELECT (1600000000000000000 + n)::text || '-' || n, data
         FROM orders2, generate_series(1, {}) AS n",
        stored - 1
    );
    stack.postgres.psql(&more).unwrap();
    let services = [stack.serve(&[]).await, stack.serve(&[("CACHE_MAX_BYTES", "4MiB")]).await];
    for service in &services {
        service.wait_len(stored as u64).await;
    }
    let count = arriving.to_string();
    let publish = ["publish", "--count", &count, "--rate", "1000"];
    let publisher = stack.run(&publish, "");
    let asc = ["/orders?order=asc&limit=1000", "/orders?order=asc&limit=1000&full=true"];
    let desc = ["/orders?limit=1000", "/orders?limit=1000&full=true"];
    let paging = async |path: &str| {
        let paged = tokio::join!(ids_on_pages(&services[0], path), ids_on_pages(&services[1], path));
        [paged.0, paged.1]
    };
    let (published, up, up_full, down, down_full) =
        tokio::join!(publisher, paging(asc[0]), paging(asc[1]), paging(desc[0]), paging(desc[1]));
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    eventually("all are committed", async || (stack.rows() == stored + arriving).then_some(())).await;
    let table = stack.postgres.psql("SELECT id FROM orders2 ORDER BY id COLLATE \"C\"").unwrap();
    let ids: Vec<&str> = table.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(ids.len(), stored + arriving);
    for paged in up.iter().chain(&up_full) {
        assert!(paged.len() >= stored && *paged == ids[..paged.len()], "{} oldest first", paged.len());
    }
    for paged in down.iter().chain(&down_full) {
        let newest = ids.iter().position(|id| *id == paged[0]).unwrap();
        let is_whole = paged.iter().eq(ids[..=newest].iter().rev());
        assert!(newest + 1 >= stored && is_whole, "{} newest first", paged.len());
    }
    // All of them, once nothing arrives.
    for service in &services {
        service.wait_len(ids.len() as u64).await;
        assert_eq!(ids_on_pages(service, asc[0]).await, ids);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_found_by_their_times() {
    let stack = Stack::new();
    let mut service = stack.serve(&[]).await;
    stack.publish(&orders(3)).await;
    eventually("rows are committed", async || (stack.rows() == 3).then_some(())).await;
    service.stop();
    let named = [
        "1699999999999999999-3",
        "1700000000000000000",
        "1700000000000000000-7",
        "1700000000999999999-8",
        "1700000001000000000-9",
        "1700000000500000000-1-1",
        "late",
        "17",
    ];
    let rows = named.map(|id| format!("('{id}')")).join(",");
    let insert = format!(
        "INSERT INTO orders2 SELECT new.id, data FROM (VALUES {rows}) AS new (id), (SELECT data FROM orders2 LIMIT 1) AS one"
    );
    stack.postgres.psql(&insert).unwrap();
    let service = stack.serve(&[]).await;
    service.wait_len(11).await;
    let second = ["1700000000000000000", "1700000000000000000-7", "1700000000999999999-8"];
    let (from, to) = ("2023-11-14T22:13:20Z", "2023-11-14T22:13:21Z");
    for (from, to) in [
        (from, to),
        ("1700000000000000000", "1700000001000000000"),
        ("2023-11-15T01:13:20%2B03:00", "2023-11-15T01:13:21+03:00"),
        ("2023-11-14T22:13:20.000000000Z", "2023-11-14T22:13:20.999999999999Z"),
    ] {
        let path = format!("/orders?from={from}&to={to}&order=asc");
        let found = list(&service, &path).await;
        let expected = if to.contains("999") { &second[..2] } else { &second[..] };
        assert_eq!(found, expected, "{path}");
        assert_eq!(pages(&service, &format!("{path}&limit=1")).await, expected);
    }
    let newest_first = list(&service, &format!("/orders?from={from}&to={to}")).await;
    assert_eq!(newest_first, second.iter().rev().copied().collect::<Vec<_>>());
    let after = list(&service, &format!("/orders?from={from}&to={to}&after={}", second[2])).await;
    assert_eq!(after, [second[1], second[0]]);
    // Those without a time match neither.
    let ids = service.ids().await;
    let timed: Vec<_> = ids
        .iter()
        .filter(|id| !["1700000000500000000-1-1", "late", "17"].contains(&id.as_str()))
        .cloned()
        .collect();
    assert_eq!(list(&service, "/orders?from=0&order=asc").await, timed);
    assert_eq!(list(&service, "/orders?to=2200-01-01T00:00:00Z&order=asc").await, timed);
    assert_eq!(list(&service, "/orders?order=asc").await, ids);
    assert_eq!(list(&service, &format!("/orders?from={to}&to={from}")).await, [""; 0]);
    assert_eq!(list(&service, "/orders?to=1969-01-01T00:00:00Z").await, [""; 0]);
    assert_eq!(list(&service, "/orders?from=9999-01-01T00:00:00Z").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_those_that_each_id_has() {
    let (_stack, service, ids) = with_orders(300, &[]).await;
    let answer = service.get("/orders?full=true&limit=300").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    // More than one piece.
    assert!(answer.body.len() > 200_000);
    let mut expected = Vec::new();
    for id in ids.iter().rev() {
        let order = service.get(&format!("/order/{id}")).await.body;
        expected.push(format!("{{\"id\":\"{id}\",\"order\":{order}}}"));
    }
    assert_eq!(answer.body, format!("[{}]", expected.join(",")));
    assert_eq!(service.get("/orders?full=true&limit=1").await.body, format!("[{}]", expected[0]));
    assert_eq!(service.get("/orders?full=true&order_uid=nobody").await.body, "[]");
    let short = service.get("/orders?full=false&limit=2").await;
    assert_eq!(short.json(), json!([ids[299], ids[298]]));
}

/// No response contains an erased order or a row that can't be decoded.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_or_can_t_be_decoded_is_not_found() {
    for bound in [("CACHE_MAX_BYTES", ""), ("CACHE_MAX_BYTES", "1")] {
        let (stack, mut service, ids) = with_orders(6, &[bound, ("HTTP_ERASE_TOKEN", "eraser")]).await;
        eventually("rows are committed", async || (stack.rows() == 6).then_some(())).await;
        service.stop();
        stack.postgres.psql(&format!("UPDATE orders2 SET data = '[]' WHERE id = '{}'", ids[5])).unwrap();
        let service = stack.serve(&[bound, ("HTTP_ERASE_TOKEN", "eraser")]).await;
        assert_eq!(service.erase(&ids[4], "eraser").await, StatusCode::NO_CONTENT);
        // While it runs; with a memory limit, the bodies are evicted.
        stack.postgres.psql(&format!("UPDATE orders2 SET data = '[]' WHERE id = '{}'", ids[3])).unwrap();
        let left = if bound.1.is_empty() { &ids[..4] } else { &ids[..3] };
        let left: Vec<_> = left.iter().rev().cloned().collect();
        let by_track = format!("/orders?track_number={TRACK}");
        assert_eq!(list(&service, &by_track).await, left);
        let documents = service.get(&format!("{by_track}&full=true")).await.json();
        let shown: Vec<_> = documents.as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
        assert_eq!(shown, left);
        let all = service.get("/orders?full=true").await.json();
        assert_eq!(all.as_array().unwrap().len(), left.len());
        let newest = service.get(&format!("/order?track_number={TRACK}")).await;
        assert_eq!(newest.headers["content-location"], format!("/order/{}", left[0]));
        assert_eq!(service.get("/order?order_uid=order-4").await.status, StatusCode::NOT_FOUND);
        assert_eq!(service.get("/order?order_uid=order-5").await.status, StatusCode::NOT_FOUND);
    }
}

/// A connection on which the response of a list of documents has begun, and that response so far.
async fn begun_list(service: &Service, version: &str, limit: usize) -> (TcpStream, Vec<u8>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut stream = socket.connect(service.addr).await.unwrap();
    let request = format!("GET /orders?full=true&limit={limit} HTTP/{version}\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = vec![0; 1000];
    stream.read_exact(&mut received).await.unwrap();
    assert!(received.starts_with(format!("HTTP/{version} 200 OK").as_bytes()));
    (stream, received)
}

/// A client that reads too slowly is cut off when the service stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_documents_that_the_end_of_the_service_cuts_is_not_taken_for_complete() {
    let (stack, mut service) = Stack::started().await;
    let large = "x".repeat(100_000);
    stack.publish(&(0..300).map(|number| order(&format!("{number}{large}"))).collect::<Vec<_>>()).await;
    service.wait_len(300).await;
    let (mut stream, mut received) = begun_list(&service, "1.0", 300).await;
    assert_eq!(service.stop(), Some(0));
    let ended = in_time("the connection ends", stream.read_to_end(&mut received)).await;
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_documents_that_fails_breaks_the_connection() {
    const COUNT: usize = 300;
    let stack = Stack::new();
    let service = stack.serve(&[("CACHE_MAX_BYTES", "1")]).await;
    let large = "x".repeat(100_000);
    stack.publish(&(0..COUNT).map(|number| order(&format!("{number}{large}"))).collect::<Vec<_>>()).await;
    eventually("rows are committed", async || (stack.rows() == COUNT).then_some(())).await;
    let mut stack = stack;
    let mut streams = Vec::new();
    // To a client of HTTP/1.0 a connection that is closed in good order says that the response is complete.
    for version in ["1.1", "1.0"] {
        streams.push(begun_list(&service, version, COUNT).await);
    }
    stack.postgres.stop();
    for (mut stream, mut received) in streams {
        let ended = in_time("the connection ends", stream.read_to_end(&mut received)).await;
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        assert!(received.len() < COUNT * large.len(), "{} bytes", received.len());
        assert!(!received.ends_with(b"0\r\n\r\n"));
    }
    // If nothing is available from the start, the status says so.
    let answer = service.get_once("/orders?full=true").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key("retry-after"));
}

/// During the fill, memory can't answer for the table; orders from the stream are newer than all of the table.
#[tokio::test(flavor = "multi_thread")]
async fn while_memory_fills_no_part_is_taken_for_the_whole() {
    const COUNT: usize = 2000;
    let stack = Stack::new();
    let mut service = stack.serve(&[]).await;
    assert!(stack.run(&["publish", "--count", &COUNT.to_string()], "").await.status.success());
    stack.publish(&[order("old")]).await;
    eventually("rows are committed", async || (stack.rows() == COUNT + 1).then_some(())).await;
    service.stop();
    let slow = Breaker::start((Ipv4Addr::LOCALHOST, stack.postgres.port()).into()).unwrap();
    slow.set(Mode::Slow { bytes_per_second: 50_000 });
    let port = slow.addr().port().to_string();
    let service = stack.start(&[("PG_PORT", &port)]).await;
    stack.publish(&[order("new-1"), order("new-2")]).await;
    let newest = eventually("the new order is found", async || {
        let answer = service.get_once("/order?order_uid=new-2").await;
        (answer.status == StatusCode::OK).then_some(answer)
    })
    .await;
    assert_eq!(newest.json()["order_uid"], "new-2");
    let by_track = format!("track_number={TRACK}");
    let found = service.get_once(&format!("/order?{by_track}")).await;
    assert_eq!(found.headers["content-location"], newest.headers["content-location"]);
    let one = service.get_once(&format!("/orders?{by_track}&limit=1")).await;
    assert_eq!(one.status, StatusCode::OK);
    let since = one.json()[0].as_str().unwrap().to_owned();
    assert!(next(&one).is_some());
    let rest = service.get_once(&format!("/orders?order=asc&from={}", &since[..19])).await;
    assert_eq!(rest.json(), json!([since]));
    let paths = [
        "/order?order_uid=old".to_owned(),
        "/order?order_uid=nobody".into(),
        format!("/orders?{by_track}"),
        "/orders?order_uid=old".into(),
        "/orders?order_uid=new-1".into(),
        "/orders?order=asc&limit=1".into(),
        "/orders?full=true".into(),
    ];
    let timed = async |path| {
        let begun = Instant::now();
        (service.get_once(path).await, begun.elapsed())
    };
    let answers = join_all(paths.iter().map(|path| timed(path))).await;
    for (path, (answer, elapsed)) in paths.iter().zip(answers) {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {}", answer.body);
        assert!(answer.headers.contains_key("retry-after"));
        assert!(elapsed >= Duration::from_secs(2), "{path} does not wait for a table that is read soon");
    }
    let ready = service.get("/readyz").await.json();
    assert_eq!(ready["fill"]["up"], false, "the table was read sooner than the requests were answered");
    slow.set(Mode::Pass);
    service.wait_ready().await;
    assert_eq!(service.get("/order?order_uid=old").await.status, StatusCode::OK);
    assert_eq!(service.get("/order?order_uid=nobody").await.status, StatusCode::NOT_FOUND);
    assert_eq!(pages(&service, "/orders?order=asc&limit=999").await, service.ids().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_hosts_are_those_of_other_reads() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_TOKEN", "token")]).await;
    for path in ["/order?order_uid=x", "/orders", "/orders?full=true"] {
        for request in [Request::get(path), the_long_way(path)] {
            let refused = service.send(request).await;
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{path}");
            assert!(refused.headers.contains_key("www-authenticate"));
        }
        let let_in = service.send(Request::get(path).header("authorization", "Bearer token")).await;
        assert_ne!(let_in.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let open = stack.start(&[]).await;
    for path in ["/order?order_uid=x", "/orders"] {
        let mut stream = TcpStream::connect(open.addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    }
}

/// A document with members of each kind and depth, some of which are called as parameters or have a dot in their names.
fn parcel(number: usize) -> Value {
    json!({
        "id": format!("p-{number}"),
        "from": if number.is_multiple_of(2) { "here" } else { "there" },
        "weight": number as f64 / 2.0,
        "n": 9_007_199_254_740_993_u64 + number as u64,
        "paid": number.is_multiple_of(3),
        "a.b": format!("dot-{number}"),
        "to": { "city": format!("city-{}", number / 2), "tags": [format!("tag-{number}"), "same"] },
        "items": (0..number).map(|item| json!({ "nm_id": item, "sizes": [{ "s": if item.is_multiple_of(2) { "S" } else { "L" } }] })).collect::<Vec<_>>(),
    })
}

/// The results of queries among the first eight parcels, however memory was filled.
const OF_PARCELS: [(&str, &[usize]); 19] = [
    ("id=p-3", &[3]),
    ("$.from=there&limit=2", &[7, 5]),
    ("weight=1.5", &[3]),
    ("weight=15e-1", &[3]),
    ("weight=3", &[6]),
    ("weight=-0", &[0]),
    ("n=9007199254740993", &[0]),
    ("n=9007199254740994.0", &[1]),
    ("n=1e30", &[]),
    ("paid=true&order=asc", &[0, 3, 6]),
    ("paid=false&$.from=here", &[4, 2]),
    ("a%5C.b=dot-2", &[2]),
    ("a.b=dot-2", &[2]),
    ("to.city=city-1", &[3, 2]),
    ("items.nm_id=5", &[7, 6]),
    ("items.nm_id=6.0", &[7]),
    ("items.nm_id=2&items.nm_id=4&order=asc", &[5, 6, 7]),
    ("items.nm_id=0&to.city=city-0", &[1]),
    ("items.nm_id=7", &[]),
];

/// Through more than one array, and elements that are not objects.
const OF_ARRAYS: [(&str, &[usize]); 4] = [
    ("to.tags=tag-3", &[3]),
    ("to.tags=same", &[7, 6, 5, 4, 3, 2, 1, 0]),
    ("items.sizes.s=L", &[7, 6, 5, 4, 3, 2]),
    ("items.sizes.s=M", &[]),
];

async fn assert_finds(service: &Service, queries: &[(&str, &[usize])]) {
    let ids = service.ids().await;
    for (query, found) in queries {
        let expected: Vec<_> = found.iter().map(|&number| ids[number].clone()).collect();
        assert_eq!(list(service, &format!("/orders?{query}")).await, expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_members_are_found_by_value_however_memory_was_filled() {
    let stack = Stack::new();
    let model = stack.temp_dir.path().join("parcel.json");
    std::fs::write(&model, parcel(3).to_string()).unwrap();
    let model = ("MODEL", model.to_str().unwrap());
    let search = ("SEARCH", r"id,from,weight,n,paid,a\.b,to.city,items.nm_id");
    let mut service = stack.serve(&[model, search]).await;
    stack.publish(&(0..8).map(|number| parcel(number).to_string()).collect::<Vec<_>>()).await;
    service.wait_len(8).await;
    assert_finds(&service, &OF_PARCELS).await;
    for (query, status) in [
        ("items.nm_id=5", 200),
        ("from=there", 200),
        ("n=9007199254740993.0", 200),
        ("n=x", 400),
        ("n=1.5", 400),
        ("paid=yes", 400),
        ("to.name=x", 400),
        ("to.city=nowhere", 404),
    ] {
        let path = format!("/order?{query}");
        for answer in [service.get(&path).await, service.send(the_long_way(&path)).await] {
            assert_eq!(answer.status.as_u16(), status, "{query}: {}", answer.body);
        }
    }
    eventually("rows are committed", async || (stack.rows() == 8).then_some(())).await;
    service.stop();
    for bound in ["", "1"] {
        let bound = ("CACHE_MAX_BYTES", bound);
        let mut service = stack.serve(&[model, search, bound]).await;
        service.wait_len(8).await;
        assert_finds(&service, &OF_PARCELS).await;
        service.stop();
        let mut service = stack.serve(&[model, ("SEARCH", "to.tags,items.sizes.s"), bound]).await;
        service.wait_len(8).await;
        assert_finds(&service, &OF_ARRAYS).await;
        service.stop();
    }
    for (search, said) in [
        ("items", "\"items\" is an object"),
        ("to.street", "no member \"street\"; it has city, tags"),
        ("a.b", r#"written "a\\.b""#),
        ("id.x", "is not an object"),
    ] {
        let output = stack.run(&["serve", "--model", model.1, "--search", search], "").await;
        assert_eq!(output.status.code(), Some(2), "{search}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("SEARCH") && error.contains(said), "{search}: {error}");
    }
    let none = stack.serve(&[model, ("SEARCH", "none")]).await;
    none.wait_len(8).await;
    assert_eq!(list(&none, "/orders?limit=3").await.len(), 3);
    assert_eq!(none.get("/order?id=p-1").await.status, StatusCode::BAD_REQUEST);
}

/// gob has neither `null` nor missing members; documents keep both, and no value finds them.
#[tokio::test(flavor = "multi_thread")]
async fn orders_without_a_value_are_found_alike_by_lists_single_orders_and_events() {
    let documents = [
        r#"{"s":"","n":0,"f":0,"b":false,"l":[],"i":[{"t":""}]}"#,
        r#"{"s":null,"n":null,"f":null,"b":null,"l":null,"i":[{"t":null}]}"#,
        r#"{"l":[null],"i":[{}]}"#,
        r#"{"s":"x","n":1,"f":0.5,"b":true,"l":["x"],"i":[{"t":"x"}]}"#,
        // All find this one, so that it ends what is read of the events.
        r#"{"s":"","n":0,"f":0,"b":false,"l":[""],"i":[{"t":""}]}"#,
    ];
    let stack = Stack::new();
    let sample = stack.temp_dir.path().join("odd.json");
    std::fs::write(&sample, documents[3]).unwrap();
    let sample = sample.to_str().unwrap();
    let (empty, zero) = (&[0, 4][..], &[0, 1, 2, 4][..]);
    let queries = ["s=", "n=0", "f=-0", "b=false", "l=", "i.t="];
    let cases = [
        (sample, "gob", [zero, zero, zero, zero, &[2, 4], zero]),
        (sample, "json", [empty, empty, empty, empty, &[4], empty]),
        (sample, "jsonb", [empty, empty, empty, empty, &[4], empty]),
        ("any", "json", [empty, empty, empty, empty, &[4], empty]),
    ];
    let mut running = Vec::new();
    for (number, (model, format, finds)) in cases.into_iter().enumerate() {
        let settings = [
            ("MODEL", model.to_owned()),
            ("PG_FORMAT", format.to_owned()),
            ("PG_TABLE", format!("odd{number}")),
            ("SEARCH", "s,n,f,b,l,i.t".to_owned()),
        ];
        let service = stack.serve(&settings.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
        let mut readers = Vec::new();
        for query in queries {
            readers.push(Reader::of(&service, &format!("/events?{query}"), None).await);
        }
        running.push((settings, service, readers, finds));
    }
    stack.publish(&documents).await;
    for (settings, mut service, readers, finds) in running {
        service.wait_len(5).await;
        let ids = service.ids().await;
        let id_of = |found: &[usize]| found.iter().map(|number| ids[*number].clone()).collect::<Vec<_>>();
        for (mut reader, (query, found)) in readers.into_iter().zip(queries.into_iter().zip(finds)) {
            let mut shown = Vec::new();
            while shown.last() != Some(&ids[4]) {
                shown.push(reader.notable().await.1["id"].as_str().unwrap().to_owned());
            }
            assert_eq!(shown, id_of(found), "/events?{query} {settings:?}");
        }
        let count = format!("SELECT count(*) FROM {}", settings[2].1);
        eventually("rows are committed", async || {
            (stack.postgres.psql(&count).unwrap().trim() == "5").then_some(())
        })
        .await;
        // As they arrived, as rows that were read, and evicted.
        for bound in ["", "", "1"] {
            for (query, found) in queries.into_iter().zip(finds) {
                let listed = list(&service, &format!("/orders?{query}&order=asc")).await;
                assert_eq!(listed, id_of(found), "/orders?{query} {settings:?} {bound}");
                let newest = service.get(&format!("/order?{query}")).await;
                assert_eq!(newest.headers["content-location"], format!("/order/{}", ids[4]), "{query}");
            }
            for (path, said) in [("n=", "n takes"), ("f=", "f takes"), ("b=", "b takes")] {
                // Without a model, any value may be text.
                for route in ["orders", "order", "events"].iter().filter(|_| settings[0].1 != "any") {
                    let answer = service.get(&format!("/{route}?{path}")).await;
                    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "/{route}?{path}");
                    let is_said = answer.body.contains(said) && answer.body.contains("not an empty value");
                    assert!(is_said, "/{route}?{path}: {}", answer.body);
                }
            }
            assert_eq!(service.stop(), Some(0));
            let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
            service = stack.serve(&[&settings[..], &[("CACHE_MAX_BYTES", bound)]].concat()).await;
            service.wait_len(5).await;
        }
    }
}
