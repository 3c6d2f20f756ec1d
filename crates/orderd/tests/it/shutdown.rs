//! Shutdown: signals, time limits and exit codes.

use std::time::Duration;

use devstack::{Nats, NatsOptions, Signal};

use crate::support::{LIMIT, Stack, eventually, orders};

#[tokio::test(flavor = "multi_thread")]
async fn orders_in_flight_are_committed_before_the_service_ends() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(2000)).await;
    assert_eq!(service.stop(), Some(0));
    // Every received order is in the table, and the position has passed it.
    assert_eq!(stack.position(), stack.rows() as u64);
    // The lease is handed over.
    let lease = "SELECT writer IS NULL AND lease_until IS NULL FROM orderd_position";
    assert_eq!(stack.postgres.psql(lease).unwrap().trim(), "t");
    let again = stack.serve(&[]).await;
    again.wait_len(2000).await;
    eventually("all rows are committed", async || (stack.rows() == 2000).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_can_not_be_committed_stay_in_the_stream() {
    let (mut stack, mut service) = Stack::started().await;
    stack.postgres.stop();
    stack.publish(&orders(100)).await;
    service.wait_len(100).await;
    assert_eq!(service.stop(), Some(0));
    stack.postgres.start_again().unwrap();
    assert_eq!((stack.rows(), stack.position()), (0, 0));
    let again = stack.serve(&[]).await;
    again.wait_len(100).await;
    eventually("all rows are committed", async || (stack.rows() == 100).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_named() {
    let stack = Stack::new();
    for (name, value) in [
        ("REQUIRE", "no_such_member"),
        ("SEARCH", "items"),
        ("HTTP_ADDR", "0.0.0.0:0"),
        ("HTTP_CORS_ORIGIN", "https://example.com/page"),
        ("REFILL_EVERY", "soon"),
        ("CACHE_MAX_BYTES", "0"),
        ("CACHE_MAX_BYTES", "1 GB"),
        ("PUB_TOPIC", "a b"),
        ("PG_TABLE", "a.b.c"),
        ("DATABASE_URL", "postgresql://u:secret@h/db?no_such_option=1"),
        ("LOG", "orderd=loud"),
        ("LOG", "information"),
        ("LOG", "warn,bad"),
        ("HTTP_TOKEN", " , "),
        ("NATS_DEAD_STREAM", "ORDERS"),
        ("NATS_DEAD_STREAM", "a.b"),
        ("RECEIPT_SUBJECTS", "done..a"),
        ("RECEIPT_SUBJECTS", ","),
        ("NATS_CREDS", "/no/such/file"),
        ("DATABASE_URL", "mysql://root:secret@127.0.0.1/orders"),
        ("NATS_URL", "nats://me:secret@nats:42x2"),
        ("NATS_URL", "nats://me:secret@nats:4222?tls=true"),
        ("NATS_URL", "http://me:secret@nats:4222"),
        ("NATS_URL", "a secret"),
    ] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_orderd"));
        let output = command.envs(stack.env()).env(name, value).output().await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}={value}: {errors}");
        let is_quoted = name != "NATS_URL" || value == "a secret" || errors.contains("://***@nats:");
        assert!(errors.contains(name) && is_quoted && !errors.contains("secret"), "{name}={value}: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let (stack, mut service) = Stack::started().await;
    // Suspended, so that draining takes its whole time.
    stack.postgres.pause();
    stack.publish(&orders(10)).await;
    service.wait_len(10).await;
    service.process.signal(Signal::TERM);
    eventually("it drains", async || service.process.log().contains("draining").then_some(())).await;
    // Signals within 10 ms count as one.
    tokio::time::sleep(Duration::from_millis(50)).await;
    service.process.signal(Signal::INT);
    let status = service.process.wait(LIMIT);
    stack.postgres.resume();
    // Drained, it would be 0.
    assert_eq!(status.and_then(|status| status.code()), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_jetstream_is_refused() {
    let nats = Nats::temporary(NatsOptions { jetstream: false, ..NatsOptions::default() }).unwrap();
    let stack = Stack { nats, ..Stack::new() };
    for command in [&["serve"][..], &["publish", "--count", "1"]] {
        let refused = stack.run(command, "").await;
        assert_eq!(refused.status.code(), Some(1));
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert!(errors.lines().last().unwrap().contains("without JetStream"), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_named() {
    let (stack, service) = Stack::started().await;
    let addr = service.addr.to_string();
    let refused = stack.run(&["serve", "--http-addr", &addr], "").await;
    assert_eq!(refused.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("HTTP_ADDR") && errors.contains(&addr), "{errors}");
}

/// As `timeout` sends it to a process and to its group.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_comes_twice_at_once_is_one() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(10)).await;
    service.wait_len(10).await;
    service.process.signal(Signal::TERM);
    service.process.signal(Signal::INT);
    let status = service.process.wait(LIMIT);
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", service.process.log());
    assert_eq!(stack.rows(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_is_logged_with_its_duration() {
    let (_stack, mut service) = Stack::started().await;
    assert_eq!(service.stop(), Some(0));
    let log = service.process.log();
    let stopped: Vec<_> = log.lines().filter(|line| line.contains("stopped")).collect();
    assert!(stopped.len() == 1 && stopped[0].contains("seconds="), "{log}");
}
