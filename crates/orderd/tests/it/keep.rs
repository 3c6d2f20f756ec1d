//! Orders older than `KEEP` leave. No test waits for an hour: the database's clock is put forward instead.

use async_nats::jetstream::consumer::pull;
use hyper::StatusCode;

use crate::support::{DEAD, Service, Stack, eventually, order, orders};

/// With refills, so that rows of other programs are in memory, too.
const SETTINGS: [(&str, &str); 2] = [("KEEP", "1h"), ("REFILL_EVERY", "1s")];

/// A clock of the database that [`put_clock`] shifts: a function that hides `pg_catalog.now`.
const CLOCK: &str = "CREATE SCHEMA clock;
    CREATE TABLE clock.shift AS SELECT interval '0' AS shift;
    CREATE FUNCTION clock.now() RETURNS timestamptz STABLE LANGUAGE sql
        AS 'SELECT pg_catalog.now() + shift FROM clock.shift';
    DO $$ BEGIN
        EXECUTE format('ALTER ROLE %I SET search_path = clock, pg_catalog, public', current_user);
    END $$";

fn put_clock(stack: &Stack, shift: &str) {
    stack.postgres.psql(&format!("UPDATE clock.shift SET shift = '{shift}'")).unwrap();
}

/// Three ids of 2017, beside what the table has.
fn insert_old(stack: &Stack) {
    let insert = "INSERT INTO public.orders2
        SELECT id, data FROM unnest(ARRAY['1500000000000000000', '1500000000000000001-7', '1500000000000000002-9']) id,
            (SELECT data FROM public.orders2 ORDER BY id DESC LIMIT 1) one";
    stack.postgres.psql(insert).unwrap();
}

async fn dead_letters(service: &Service) -> usize {
    service.get("/dead_letters").await.json().as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_older_than_keep_leave_table_memory_dead_letters_and_stream() {
    let stack = Stack::new();
    stack.postgres.psql(CLOCK).unwrap();
    let services = [stack.serve(&SETTINGS).await, stack.serve(&SETTINGS).await];
    stack.publish(&[&orders(20)[..], &["{".to_owned()]].concat()).await;
    stack.wait_same(&services, 20).await;
    stack.wait_settled(21).await;
    let timeless = "INSERT INTO public.orders2 SELECT 'mine', data FROM public.orders2 LIMIT 1";
    stack.postgres.psql(timeless).unwrap();
    insert_old(&stack);
    eventually("only old rows leave", async || (stack.rows() == 21).then_some(())).await;
    let stream = stack.jetstream().await.get_stream("ORDERS").await.unwrap();
    let messages = async || stream.get_info().await.unwrap().state.messages;
    let other = pull::Config { durable_name: Some("other".into()), ..Default::default() };
    stream.create_consumer(other).await.unwrap();
    let ids = services[1].ids().await;

    put_clock(&stack, "2 hours");
    eventually("old rows leave", async || (stack.rows() == 1).then_some(())).await;
    for service in &services {
        service.wait_len(1).await;
        eventually("old dead letters leave", async || (dead_letters(service).await == 0).then_some(())).await;
        assert_eq!(service.get(&format!("/order/{}", ids[3])).await.status, StatusCode::NOT_FOUND);
        assert_eq!(service.get("/order/mine").await.status, StatusCode::OK);
    }
    assert_eq!(messages().await, 21, "another durable consumer needs them");
    stream.delete_consumer("other").await.unwrap();
    // The last one shows that it is the same stream.
    eventually("old messages leave", async || (messages().await == 1).then_some(())).await;

    put_clock(&stack, "0");
    stack.publish(&[order("young")]).await;
    for service in &services {
        service.wait_len(2).await;
        assert_eq!(service.metric("orderd_rereads_total").await, 0.0);
        assert_eq!(service.metric("orderd_lost_messages_total").await, 0.0);
    }
    eventually("the young one has a row", async || (stack.rows() == 2).then_some(())).await;
    let expired =
        services[0].metric("orderd_expired_total").await + services[1].metric("orderd_expired_total").await;
    assert_eq!(expired, 23.0);
    // A start reads what is there.
    let third = stack.serve(&SETTINGS).await;
    third.wait_len(2).await;
    assert_eq!(stack.jetstream().await.get_stream(DEAD).await.unwrap().cached_info().state.messages, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_counts_no_order_older_than_keep_as_a_difference() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(3)).await;
    stack.wait_settled(3).await;
    service.wait_len(3).await;
    stack.verify(&service, &[]).await;
    insert_old(&stack);
    let addr = service.addr.to_string();
    let verify = async |flags: &[&str]| {
        let args = [&["verify", "--http-addr", &addr], flags].concat();
        stack.run(&args, "").await.status.code()
    };
    assert_eq!(verify(&["--keep", "1h"]).await, Some(0));
    assert_eq!(verify(&[]).await, Some(1), "they are in the table and not in memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_older_than_a_time_are_counted_and_erased() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(3)).await;
    stack.wait_settled(3).await;
    insert_old(&stack);
    let said = async |args: &[&str]| {
        let output = stack.run(&[&["erase", "--older-than", "400d"], args].concat(), "").await;
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let counted = "would erase 3 orders older than 400d; nothing is changed\n".to_owned();
    assert_eq!(said(&["--dry-run"]).await, (Some(0), counted));
    assert_eq!(stack.rows(), 6);
    let erased = "3 orders erased: 3 rows, 0 messages, 0 dead letters\n".to_owned();
    assert_eq!(said(&["--yes"]).await, (Some(0), erased));
    assert_eq!((stack.rows(), service.mem_len().await), (3, 3));
    assert_eq!(said(&["--yes"]).await, (Some(1), String::new()));
    let id = &service.ids().await[0];
    let dry = stack.run(&["erase", "--dry-run", id], "").await;
    let would = "would erase 1 order (1 row, 1 message, 0 dead letters); nothing is changed\n";
    assert_eq!(String::from_utf8(dry.stdout).unwrap(), would);
    assert_eq!(stack.rows(), 3);
}
