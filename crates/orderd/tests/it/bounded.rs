//! More orders than memory holds: responses are the same, and evicted orders are read from the table.

use hyper::{Request, StatusCode};
use serde_json::Value;

use crate::support::{Answer, Service, Stack, eventually, order, orders, uid};

/// A limit for the index and some of the bodies of this number of orders.
const COUNT: usize = 2000;
const SOME: (&str, &str) = ("CACHE_MAX_BYTES", "768KiB");

/// Room for no body.
const NONE: (&str, &str) = ("CACHE_MAX_BYTES", "1");

const SEARCH: (&str, &str) = ("SEARCH", "order_uid,track_number,delivery_service");

/// Orders of which many share values.
fn shared(count: usize) -> Vec<String> {
    let order = |number: usize| {
        let mut order: Value = serde_json::from_str(&order(&format!("order-{number}"))).unwrap();
        order["track_number"] = format!("track-{}", number / 2).into();
        order["delivery_service"] = ["meest", "post", "boat"][number % 3].into();
        order.to_string()
    };
    (0..count).map(order).collect()
}

/// A stack whose table has orders that share values, and all that a service without a bound shows of them.
async fn filled(count: usize) -> (Stack, Shown) {
    let stack = Stack::new();
    let mut service = stack.serve(&[SEARCH]).await;
    stack.publish(&shared(count)).await;
    eventually("all rows are committed", async || (stack.rows() == count).then_some(())).await;
    service.wait_len(count as u64).await;
    let shown = Shown::of(&service).await;
    service.stop();
    (stack, shown)
}

/// The responses of a service.
#[derive(PartialEq, Debug)]
struct Shown {
    len: u64,
    ids: Vec<String>,
    orders: Vec<String>,
    found: Vec<String>,
}

impl Shown {
    async fn of(service: &Service) -> Self {
        let (len, ids) = (service.mem_len().await, service.ids().await);
        let (mut orders, mut found) = (Vec::new(), Vec::new());
        for id in &ids {
            let answer = get(service, id).await;
            assert_eq!(answer.status, StatusCode::OK, "{id}: {}", answer.body);
            orders.push(answer.body);
        }
        let queries = [
            "order_uid=order-0",
            "order_uid=order-1",
            "order_uid=nobody",
            "track_number=track-7",
            "delivery_service=boat",
            "delivery_service=boat&track_number=track-8",
            "delivery_service=meest&order_uid=order-1",
            "delivery_service=post&limit=300&full=true",
            "delivery_service=boat&limit=7&order=asc&full=true",
            "limit=1000&full=true",
            "limit=1000&order=asc",
        ];
        for query in queries {
            let answer = service.get(&format!("/orders?{query}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.body);
            let link = answer.headers.get("link").map_or("", |link| link.to_str().unwrap());
            found.push(format!("{query}: {link} {}", answer.body));
        }
        for query in
            ["track_number=track-7", "delivery_service=boat&track_number=track-8", "delivery_service=post"]
        {
            let answer = service.get(&format!("/order?{query}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.body);
            found.push(format!("{query}: {}", answer.body));
        }
        Self { len, ids, orders, found }
    }
}

/// A service that has read the whole table.
async fn full(stack: &Stack, env: &[(&str, &str)]) -> Service {
    let service = stack.serve(env).await;
    service.wait_len(COUNT as u64).await;
    service
}

async fn get(service: &Service, id: &str) -> Answer {
    service.get(&format!("/order/{id}")).await
}

/// As [`get`], if PostgreSQL may be unreachable.
async fn get_once(service: &Service, id: &str) -> Answer {
    service.get_once(&format!("/order/{id}")).await
}

/// Requests through the routes, bypassing the fast path.
async fn get_the_long_way(service: &Service, id: &str) -> Answer {
    service.send(Request::get(format!("/order/{id}")).header("connection", "close")).await
}

fn assert_comes_again(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_same_with_and_without_a_memory_bound() {
    let (stack, shown) = filled(COUNT).await;
    for bound in [SOME, NONE] {
        let mut service = full(&stack, &[bound, SEARCH]).await;
        let evicted = async || (service.metric("orderd_cache_evictions_total").await > 0.0).then_some(());
        // Eviction happens after the orders are inserted and counted.
        eventually("some are evicted", evicted).await;
        // A second time, after other orders were evicted for them.
        for _ in 0..2 {
            assert_eq!(Shown::of(&service).await, shown);
        }
        for id in shown.ids.iter().step_by(100) {
            let (short, long) = (get(&service, id).await, get_the_long_way(&service, id).await);
            assert_eq!((short.status, short.body), (long.status, long.body));
        }
        let (held, max) =
            (service.metric("orderd_cache_bytes").await, service.metric("orderd_cache_max_bytes").await);
        assert!(held <= max || bound == NONE, "{held} bytes held, {max} allowed");
        service.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_orders_are_shown_and_served_at_once() {
    let (stack, shown) = filled(COUNT).await;
    let service = full(&stack, &[SOME, SEARCH]).await;
    stack.publish(&orders(300)).await;
    service.wait_len((COUNT + 300) as u64).await;
    eventually("all rows are committed", async || (stack.rows() == COUNT + 300).then_some(())).await;
    let ids = service.ids().await;
    assert_eq!(ids[..COUNT], shown.ids);
    for id in &ids[COUNT..] {
        assert_eq!(get(&service, id).await.status, StatusCode::OK);
    }
    let found = service.get("/orders?order_uid=order-299").await.json();
    assert_eq!(found.as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_memory_answers_and_the_rest_is_to_come_again() {
    let (mut stack, shown) = filled(COUNT).await;
    let service = full(&stack, &[SOME, SEARCH]).await;
    stack.postgres.stop();
    let (mut whole, mut evicted) = (0, Vec::new());
    for (id, order) in shown.ids.iter().zip(&shown.orders) {
        let answer = get_once(&service, id).await;
        if answer.status == StatusCode::OK {
            assert_eq!(answer.body, *order);
            whole += 1;
        } else {
            assert_comes_again(&answer);
            evicted.push(id);
        }
    }
    assert!(whole > 100 && evicted.len() > 100, "{whole} whole, {} evicted", evicted.len());
    assert_comes_again(&get_the_long_way(&service, evicted[0]).await);
    assert_comes_again(&service.get_once("/orders?order_uid=order-0").await);
    assert_comes_again(&service.get_once("/order?order_uid=order-0").await);
    assert_comes_again(&service.get_once("/orders?full=true&order=asc").await);
    // Orders in memory are found, and pages need no bodies.
    assert_eq!(service.get("/orders?order_uid=nobody").await.body, "[]");
    assert_eq!(service.ids().await, shown.ids);
    stack.postgres.start_again().unwrap();
    eventually("evicted orders are read again", async || {
        (get(&service, evicted[0]).await.status == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn order_that_is_not_committed_is_not_evicted() {
    let stack = Stack::new();
    let service = stack.serve(&[NONE]).await;
    let client = stack.sql().await;
    // The lock allows reads and blocks writes.
    client.batch_execute("BEGIN; LOCK TABLE orders2 IN SHARE MODE").await.unwrap();
    stack.publish(&orders(3)).await;
    service.wait_len(3).await;
    let ids = service.ids().await;
    for id in &ids {
        assert_eq!(get_once(&service, id).await.status, StatusCode::OK);
        assert_eq!(get_the_long_way(&service, id).await.status, StatusCode::OK);
    }
    assert_eq!(get(&service, "1-1").await.status, StatusCode::NOT_FOUND);
    // As without a bound, it is found before it is committed.
    assert_eq!(service.get("/orders?order_uid=order-1").await.json(), serde_json::json!([ids[1]]));
    assert_eq!(service.metric("orderd_cache_evictions_total").await, 0.0);
    client.batch_execute("ROLLBACK").await.unwrap();
    eventually("they are evicted", async || {
        (service.metric("orderd_cache_evictions_total").await == 3.0).then_some(())
    })
    .await;
    assert_eq!(get(&service, &ids[0]).await.status, StatusCode::OK);
    let warnings = service.process.log().matches("CACHE_MAX_BYTES is too small").count();
    assert_eq!(warnings, 1, "{}", service.process.log());
}

/// As if two values had the same hash: memory has only hashes, and the table another order under that id.
#[tokio::test(flavor = "multi_thread")]
async fn match_by_hash_alone_is_checked_in_the_table() {
    let (stack, shown) = filled(200).await;
    let service = stack.serve(&[NONE, SEARCH]).await;
    let boats: Vec<&String> = shown.ids.iter().skip(2).step_by(3).rev().collect();
    let others = boats[..10].iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",");
    let update = format!(
        "UPDATE orders2 SET data = (SELECT data FROM orders2 WHERE id = '{}') WHERE id IN ({others})",
        shown.ids[0]
    );
    stack.postgres.psql(&update).unwrap();
    let found = service.get("/orders?delivery_service=boat").await.json();
    let found: Vec<_> = found.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(found, boats[10..60]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_order_that_is_erased_stays_away() {
    let (stack, shown) = filled(COUNT).await;
    let service = full(&stack, &[SOME, SEARCH, ("HTTP_ERASE_TOKEN", "eraser")]).await;
    let erase = async |id: &str| {
        assert_eq!(service.erase(id, "eraser").await, StatusCode::NO_CONTENT);
    };
    // Three evicted orders, and one in memory.
    let erased = [0, 1, 2, COUNT - 1];
    for number in erased {
        erase(&shown.ids[number]).await;
    }
    let all_gone = async || {
        for number in erased {
            assert_eq!(get(&service, &shown.ids[number]).await.status, StatusCode::NOT_FOUND);
            assert_eq!(service.get(&format!("/orders?order_uid=order-{number}")).await.body, "[]");
        }
        assert_eq!(service.mem_len().await, (COUNT - erased.len()) as u64);
    };
    all_gone().await;
    let read = service.metric("myapp_orders_read_db").await;
    let held = service.metric("orderd_cache_bytes").await;
    // It may have read it twice, if it had to wait for NATS.
    let reads = || service.process.log().matches("table read").count();
    let before = reads();
    service.process.signal(devstack::Signal::USR1);
    eventually("the table is read again", async || (reads() > before).then_some(())).await;
    all_gone().await;
    // Known orders are not read into memory again, evicted or not.
    assert_eq!(service.metric("myapp_orders_read_db").await, read);
    assert_eq!(service.metric("orderd_cache_bytes").await, held);
    // Orders that reuse the slots of removed ones are served correctly.
    stack.publish(&orders(20)).await;
    service.wait_len((COUNT - erased.len() + 20) as u64).await;
    eventually("all rows are committed", async || (stack.rows() == COUNT - erased.len() + 20).then_some(()))
        .await;
    let now = Shown::of(&service).await;
    assert_eq!(now.ids[..3], shown.ids[3..6]);
    assert_eq!(now.orders[..3], shown.orders[3..6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn evicted_order_that_is_refused_leaves_and_is_taken_in_after_a_correction() {
    let stack = Stack::new();
    let service = stack.serve(&[NONE]).await;
    stack.postgres.psql("ALTER TABLE public.orders2 ADD CONSTRAINT no CHECK (data::text = '')").unwrap();
    stack.publish(&[order("refused")]).await;
    let letter = eventually("it is a dead letter", async || {
        let listed = stack.run(&["dead-letters", "list", "--json"], "").await;
        serde_json::from_slice::<Value>(&listed.stdout).ok()
    })
    .await;
    let key = letter["key"].as_str().unwrap();
    service.wait_len(0).await;
    assert_eq!(get(&service, key).await.status, StatusCode::NOT_FOUND);
    stack.postgres.psql("ALTER TABLE public.orders2 DROP CONSTRAINT no").unwrap();
    assert!(stack.run(&["dead-letters", "replay", key], "").await.status.success());
    eventually("it is accepted", async || (stack.rows() == 1).then_some(())).await;
    service.wait_len(1).await;
    assert_eq!(get(&service, key).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_within_the_bound_while_ever_more_come() {
    let stack = Stack::new();
    // The allocator returns freed memory at once, so that resident memory is used memory.
    let at_once = ("MIMALLOC_PURGE_DELAY", "0");
    let service = stack.serve(&[("CACHE_MAX_BYTES", "16 MiB"), at_once]).await;
    let other = stack.serve(&[at_once]).await;
    stack.publish(&orders(50)).await;
    eventually("all rows are committed", async || (stack.rows() == 50).then_some(())).await;
    let (mut count, bound) = (50, f64::from(16 << 20));
    for wave in 0..3 {
        let more = format!(
            "INSERT INTO orders2 SELECT id || '-{wave}-' || n, data FROM orders2, generate_series(1, 600) AS n
             WHERE id NOT LIKE '%-%-%'"
        );
        stack.postgres.psql(&more).unwrap();
        count += 50 * 600;
        for process in [&service, &other] {
            process.process.signal(devstack::Signal::USR1);
            process.wait_len(count).await;
        }
        let held = service.metric("orderd_cache_bytes").await;
        assert!(held <= bound, "{held} bytes held");
    }
    assert_eq!(service.metric("orderd_cache_max_bytes").await, bound);
    assert!(service.metric("orderd_cache_evictions_total").await > 10_000.0);
    // Without a limit, orders take 30 MiB more; the rest of a process of some 50 MiB varies.
    let (within, without) = (service.memory(), other.memory());
    assert!(within + (8 << 20) < without, "{within} bytes with a bound, {without} without");
}

#[tokio::test(flavor = "multi_thread")]
async fn order_that_is_read_often_is_not_evicted() {
    let (mut stack, shown) = filled(COUNT).await;
    let service = full(&stack, &[SOME, SEARCH]).await;
    let (hot, first) = (&shown.ids[COUNT / 2], &shown.ids[0]);
    for id in [first].into_iter().chain(&shown.ids) {
        for id in [id, hot] {
            assert_eq!(get(&service, id).await.status, StatusCode::OK);
        }
    }
    stack.postgres.stop();
    assert_eq!(get(&service, hot).await.status, StatusCode::OK);
    assert_comes_again(&get(&service, first).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn order_that_is_read_from_the_table_returns_to_memory_and_is_counted() {
    let (stack, shown) = filled(COUNT).await;
    let service = full(&stack, &[SOME, SEARCH]).await;
    let found = async || {
        let metrics = service.get("/metrics").await.body;
        let line =
            metrics.lines().find(|line| line.starts_with("orderd_read_through_total{answer=\"found\"}"));
        line.unwrap().rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    for _ in 0..10 {
        assert_eq!(get(&service, &shown.ids[0]).await.status, StatusCode::OK);
    }
    assert_eq!(found().await, 1);
    // An order that memory does not know is not added by that.
    let late = format!("INSERT INTO orders2 SELECT 'late-{}', data FROM orders2 LIMIT 1 RETURNING id", uid());
    let late = stack.postgres.psql(&late).unwrap();
    let late = late.lines().next().unwrap().trim();
    for _ in 0..2 {
        assert_eq!(get(&service, late).await.status, StatusCode::OK);
    }
    assert_eq!((found().await, service.mem_len().await), (3, COUNT as u64));
}
