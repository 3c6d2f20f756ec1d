//! Several processes on one stream and one table: each serves and finds all orders.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use devstack::Signal;
use hyper::StatusCode;

use crate::support::{Service, Stack, eventually, order};

async fn fleet(stack: &Stack, count: usize) -> Vec<Service> {
    let mut services = Vec::new();
    for _ in 0..count {
        services.push(stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await);
    }
    services
}

/// Waits until the table has this number of rows, and each process the same orders, in pages and in searches.
async fn wait_same(stack: &Stack, services: &[Service], count: usize) {
    eventually(&format!("{count} rows"), async || (stack.rows() == count).then_some(())).await;
    let table = stack.postgres.psql("SELECT id FROM public.orders2 ORDER BY id COLLATE \"C\"").unwrap();
    let table: Vec<_> = table.lines().map(str::trim).filter(|id| !id.is_empty()).collect();
    for service in services {
        service.wait_len(count as u64).await;
        eventually("the pages are the table", async || (service.ids().await == table).then_some(())).await;
    }
    for number in (0..count).step_by(count.div_ceil(10).max(1)) {
        let path = format!("/orders?order_uid=order-{number}");
        let found = services[0].get(&path).await.body;
        for service in services {
            assert_eq!(service.get(&path).await.body, found);
        }
    }
}

async fn stream(stack: &Stack) -> stream::Stream {
    jetstream::new(stack.client().await).get_stream("ORDERS").await.unwrap()
}

/// What a load balancer is told while memory fills: each status, and whether another process is the writer; `None` while
/// the process does not know the position.
async fn told_while_memory_fills(service: &Service) -> Vec<(StatusCode, Option<bool>)> {
    let mut told = Vec::new();
    loop {
        let answer = service.get("/readyz?for=reads").await;
        let report = answer.json();
        if report["fill"]["up"] == true {
            // The report is made after the status, so memory may have become full between the two.
            assert_eq!(service.get("/readyz?for=reads").await.status, StatusCode::OK, "{report}");
            return told;
        }
        if report["postgres"]["up"] == true {
            let knows_position = report["position"]["seq"].is_u64();
            let has_other = report["writer"]["name"].is_string() && report["writer"]["self"] == false;
            told.push((answer.status, knows_position.then_some(has_other)));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_the_whole_table_gets_requests_only_where_no_other_is_the_writer() {
    let stack = Stack::new();
    let mut writer = stack.serve(&[]).await;
    stack.publish_numbers(0..1).await;
    wait_same(&stack, std::slice::from_ref(&writer), 1).await;
    let more = "INSERT INTO orders2 SELECT n::text, data FROM orders2, generate_series(1, 20000) AS n";
    stack.postgres.psql(more).unwrap();
    let mut joining = stack.start(&[]).await;
    assert_told(&joining, StatusCode::SERVICE_UNAVAILABLE, true).await;
    joining.stop();
    writer.stop();
    assert_told(&stack.start(&[]).await, StatusCode::OK, false).await;
}

/// A load balancer is told 503 until the position is known, then this status.
async fn assert_told(service: &Service, status: StatusCode, has_other: bool) {
    let told = told_while_memory_fills(service).await;
    let (known, unknown): (Vec<_>, Vec<_>) = told.iter().partition(|(_, other)| other.is_some());
    // The position may have become known between the first of these statuses and its report.
    let known = known.get(1..).unwrap_or_default();
    assert!(!known.is_empty() && known.iter().all(|told| *told == (status, Some(has_other))), "{told:?}");
    assert!(unknown.first().is_none_or(|(status, _)| *status == StatusCode::SERVICE_UNAVAILABLE), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_under_load_and_kills_hold_the_same() {
    let stack = Stack::new();
    let mut services = fleet(&stack, 3).await;
    let mut published = 0;
    for round in 0..6 {
        stack.publish_numbers(published..published + 150).await;
        published += 150;
        // Killed twice in a row, it is killed while it still catches up.
        let hit = round / 2;
        if round % 2 == 0 {
            services[hit].process.signal(Signal::STOP);
            stack.publish_numbers(published..published + 150).await;
            published += 150;
            services[hit].process.signal(Signal::CONT);
        } else {
            services[hit].kill();
            services[hit] = stack.start(&[]).await;
        }
    }
    wait_same(&stack, &services, published).await;
    // The process killed last may have read everything from the table. All processes read these orders.
    stack.publish_numbers(published..published + 300).await;
    wait_same(&stack, &services, published + 300).await;
    eventually("one writes, and nobody is behind", async || {
        let mut writers = 0;
        for service in &services {
            let report = service.get("/readyz").await.json();
            writers += usize::from(report["writer"]["self"] == true);
            (report["position"]["behind"] == 0).then_some(())?;
        }
        (writers == 1).then_some(())
    })
    .await;
    let named: Vec<_> = writers(&services).await;
    assert!(named.iter().all(|name| *name == named[0]), "{named:?}");
}

/// The writer that each process reports.
async fn writers(services: &[Service]) -> Vec<serde_json::Value> {
    let mut names = Vec::new();
    for service in services {
        names.push(service.get("/readyz").await.json()["writer"]["name"].clone());
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn single_process_reads_nothing_twice() {
    let (stack, mut service) = Stack::started().await;
    for round in 1..=3 {
        stack.publish(&(0..100).map(|number| order(&format!("{round}-{number}"))).collect::<Vec<_>>()).await;
        stack.publish(&["{", ""]).await;
        service.wait_len(round * 100).await;
        stack.wait_settled(round * 102).await;
        if round == 2 {
            service.kill();
            service = stack.serve(&[]).await;
        }
    }
    assert_eq!(service.metric("orderd_rereads_total").await, 0.0);
    assert_eq!(service.metric("orderd_writer").await, 1.0);
    assert_eq!(service.metric("myapp_orders_write_db").await, 100.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn process_that_was_away_while_the_stream_was_trimmed_holds_the_same() {
    let stack = Stack::new();
    let mut services = fleet(&stack, 1).await;
    stack.publish_numbers(0..20).await;
    wait_same(&stack, &services, 20).await;
    stack.wait_settled(20).await;
    services[0].process.signal(Signal::STOP);
    services.push(stack.serve(&[]).await);
    stack.publish_numbers(20..60).await;
    // The stopped one was the writer.
    stack.wait_settled(60).await;
    stream(&stack).await.purge().await.unwrap();
    stack.publish_numbers(60..80).await;
    services[0].process.signal(Signal::CONT);
    wait_same(&stack, &services, 80).await;
    // And one that comes later.
    services.push(stack.serve(&[]).await);
    stack.publish_numbers(80..100).await;
    wait_same(&stack, &services, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn process_that_was_away_while_nats_was_killed_continues() {
    let mut stack = Stack::new();
    let services = fleet(&stack, 2).await;
    stack.publish_numbers(0..40).await;
    wait_same(&stack, &services, 40).await;
    services[1].process.signal(Signal::STOP);
    stack.nats.kill();
    stack.nats.start_again().unwrap();
    services[0].wait_ready().await;
    stack.publish_numbers(40..80).await;
    stack.wait_settled(80).await;
    services[1].process.signal(Signal::CONT);
    wait_same(&stack, &services, 80).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_order_is_in_no_process_and_replayed_order_is_in_all() {
    let stack = Stack::new();
    let services = fleet(&stack, 3).await;
    stack.refuse_rows_with("order-1");
    stack.publish_numbers(0..9).await;
    stack.publish(&["{"]).await;
    stack.wait_settled(10).await;
    wait_same(&stack, &services, 8).await;
    stack.postgres.psql("ALTER TABLE orders2 DROP CONSTRAINT bad").unwrap();
    for _ in 0..2 {
        let args = ["dead-letters", "replay", "--reason", "refused_by_database"];
        assert!(stack.run(&args, "").await.status.success());
    }
    wait_same(&stack, &services, 9).await;
    for service in &services {
        assert_eq!(service.get("/orders?order_uid=order-1").await.json().as_array().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_order_is_not_brought_back_by_one_that_was_away() {
    let stack = Stack::new();
    let mut services = fleet(&stack, 2).await;
    stack.publish_numbers(0..20).await;
    wait_same(&stack, &services, 20).await;
    let ids = services[0].ids().await;
    services[1].process.signal(Signal::STOP);
    stack.publish_numbers(20..60).await;
    stack.wait_settled(60).await;
    services[0].wait_len(60).await;
    let late = services[0].ids().await[40..].to_vec();
    for id in [&ids[3], &late[0], &late[1], &late[2]] {
        assert_eq!(services[0].erase(id, "eraser").await, StatusCode::NO_CONTENT);
    }
    // Longer ago than any process looks back.
    let long_ago = "UPDATE public.orderd_erased SET erased_at = now() - interval '10 minutes'";
    stack.postgres.psql(long_ago).unwrap();
    services[1].process.signal(Signal::CONT);
    wait_same(&stack, &services, 56).await;
    services.push(stack.serve(&[]).await);
    wait_same(&stack, &services, 56).await;
    for service in &services {
        assert_eq!(service.get(&format!("/order/{}", late[0])).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn process_that_receives_an_order_committed_by_a_dead_writer_has_it() {
    let (stack, service) = Stack::started().await;
    stack.publish_numbers(0..3).await;
    stack.publish(&["{"]).await;
    stack.wait_settled(4).await;
    let listed = stack.run(&["dead-letters", "list", "--json"], "").await;
    let letter: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let key = letter["key"].as_str().unwrap();
    // As a process leaves it that dies between the end of the dead letter and the acknowledgement.
    let written = format!("INSERT INTO public.orders2 SELECT '{key}', data FROM public.orders2 LIMIT 1");
    stack.postgres.psql(&written).unwrap();
    assert!(stack.run(&["dead-letters", "drop", key, "--yes"], "").await.status.success());
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Orderd-Key", key);
    let context = jetstream::new(stack.client().await);
    let sent = context.publish_with_headers("TESTING", headers, order("order-3").into()).await.unwrap();
    sent.await.unwrap();
    wait_same(&stack, &[service], 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn process_that_refused_an_order_takes_it_once_another_has_committed_it() {
    let stack = Stack::new();
    let mut services = fleet(&stack, 1).await;
    stack.refuse_rows_with("order-1");
    stack.publish_numbers(0..3).await;
    stack.wait_settled(3).await;
    stack.postgres.psql("ALTER TABLE orders2 DROP CONSTRAINT bad").unwrap();
    services[0].process.signal(Signal::STOP);
    services.push(stack.serve(&[]).await);
    assert!(stack.run(&["dead-letters", "replay", "--all"], "").await.status.success());
    stack.wait_settled(4).await;
    assert_eq!(stack.rows(), 3);
    services[0].process.signal(Signal::CONT);
    wait_same(&stack, &services, 3).await;
}
