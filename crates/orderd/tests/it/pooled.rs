//! Behind a pooler in transaction mode: the service works, or refuses the pooler at the start and says what to change.

use std::net::Ipv4Addr;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use devstack::breaker::{Breaker, Mode};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::pooler::Pooler;
use crate::support::{Stack, eventually, in_time, order};

/// Connections of the pooler to the server: fewer than the service has to the pooler.
const SIZE: usize = 4;

async fn run(stack: &Stack, args: &[&str], port: u16) -> Output {
    let mut program = tokio::process::Command::new(&stack.program);
    program.args(args).envs(stack.env()).env("PG_PORT", port.to_string()).kill_on_drop(true);
    in_time("it ends", program.stdin(std::process::Stdio::null()).output()).await.unwrap()
}

/// The finding of `serve` and `check --settings` about a refused pooler, which is the same.
async fn refusal(stack: &Stack, port: u16) -> String {
    let served = run(stack, &["serve"], port).await;
    let words = String::from_utf8_lossy(&served.stderr).into_owned();
    assert_eq!(served.status.code(), Some(1), "{words}");
    let checked = run(stack, &["check", "--settings", "--json"], port).await;
    let found: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let findings = found["postgres"]["findings"].as_array().unwrap();
    assert_eq!((checked.status.code(), findings.len()), (Some(1), 1), "{found}");
    for part in ["problem", "fix"] {
        let part = findings[0][part].as_str().unwrap();
        assert!(words.contains(part), "no {part} in {words}");
    }
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_does_not_know_prepared_statements_is_refused_with_the_setting_to_change() {
    let stack = Stack::new();
    let pooler = Pooler::start(stack.postgres.port(), SIZE, false).await;
    for _ in 0..2 {
        let words = refusal(&stack, pooler.port).await;
        for word in [
            "pooler in transaction mode",
            "PgBouncer 1.22.1",
            "max_prepared_statements",
            "pool_mode = session",
        ] {
            assert!(words.contains(word), "no {word} in {words}");
        }
    }
}

/// Queries take so long that the session of the connection is looked up, which shows another client's behind a pooler.
#[tokio::test(flavor = "multi_thread")]
async fn settings_behind_a_pooler_of_a_distant_server_are_usable() {
    let stack = Stack::new();
    let distant = Breaker::start((Ipv4Addr::LOCALHOST, stack.postgres.port()).into()).unwrap();
    distant.set(Mode::Distant(Duration::from_millis(80)));
    let pooler = Pooler::start(distant.addr().port(), SIZE, true).await;
    let checked = run(&stack, &["check", "--settings"], pooler.port).await;
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_with_one_connection_is_named_with_the_setting_to_change() {
    let stack = Stack::new();
    let pooler = Pooler::start(stack.postgres.port(), 1, true).await;
    let checked = run(&stack, &["check", "--settings"], pooler.port).await;
    let words = String::from_utf8_lossy(&checked.stdout);
    assert_eq!(checked.status.code(), Some(1), "{words}");
    assert!(words.contains("default_pool_size in PgBouncer to 4"), "{words}");
    let service = stack.start(&[("PG_PORT", &pooler.port.to_string())]).await;
    eventually("the log names it", async || {
        service.process.log().contains("default_pool_size").then_some(())
    })
    .await;
}

/// A pooler in session mode: further connections wait until others close.
async fn in_session_mode(upstream: u16, size: usize) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (port, servers) = (listener.local_addr().unwrap().port(), Arc::new(Semaphore::new(size)));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let servers = servers.clone();
            tokio::spawn(async move {
                let _server = servers.acquire().await.unwrap();
                let mut server = TcpStream::connect(("127.0.0.1", upstream)).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_session_mode_with_too_few_connections_is_named_with_the_setting_to_change() {
    let stack = Stack::new();
    let port = in_session_mode(stack.postgres.port(), 3).await;
    let checked = run(&stack, &["check", "--settings"], port).await;
    let words = String::from_utf8_lossy(&checked.stdout);
    assert_eq!(checked.status.code(), Some(1), "{words}");
    assert!(
        words.contains("waits for 3 others") && words.contains("default_pool_size in PgBouncer to 4"),
        "{words}"
    );
    let fewer = in_session_mode(stack.postgres.port(), 2).await;
    let service = stack.start(&[("PG_PORT", &fewer.to_string())]).await;
    eventually("the log names it", async || {
        service.process.log().contains("default_pool_size").then_some(())
    })
    .await;
    let enough = in_session_mode(stack.postgres.port(), 4).await;
    let checked = run(&stack, &["check", "--settings"], enough).await;
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_behind_a_pooler_that_knows_prepared_statements() {
    let stack = Stack::new();
    let pooler = Pooler::start(stack.postgres.port(), SIZE, true).await;
    let port = pooler.port.to_string();
    let env = [
        ("PG_PORT", port.as_str()),
        ("HTTP_ERASE_TOKEN", "erasing-token-of-a-test"),
        ("CACHE_MAX_BYTES", "4KiB"),
    ];
    let mut service = stack.serve(&env).await;
    for number in 0..30 {
        stack.publish(&[order(&format!("single-{number}"))]).await;
        eventually("the row is there", async || (stack.rows() == number + 1).then_some(())).await;
    }
    stack.publish_numbers(0..300).await;
    service.wait_len(330).await;
    eventually("all rows are there", async || (stack.rows() == 330).then_some(())).await;
    // If each transaction may get another session, looking up the session shows nothing.
    let client = stack.sql().await;
    client.batch_execute("BEGIN; LOCK TABLE orders2 IN EXCLUSIVE MODE").await.unwrap();
    stack.publish_numbers(300..310).await;
    eventually("it is seen that nothing is written", async || {
        (service.get("/readyz").await.status == 503).then_some(())
    })
    .await;
    client.batch_execute("ROLLBACK").await.unwrap();
    eventually("all rows are there", async || (stack.rows() == 340).then_some(())).await;
    assert!(!service.process.log().contains("was lost"), "{}", service.process.log());
    let ids = service.ids().await;
    // Most of them are read through: memory is bounded.
    for id in &ids {
        assert_eq!(service.get(&format!("/order/{id}")).await.status, 200, "{}", service.process.log());
    }
    assert_eq!(service.erase(&ids[0], "erasing-token-of-a-test").await, 204);
    assert_eq!(service.stop(), Some(0));

    let service = stack.serve(&env).await;
    service.wait_len(339).await;
    let exported = run(&stack, &["export"], pooler.port).await;
    assert_eq!(String::from_utf8_lossy(&exported.stdout).lines().count(), 339);
    let checked = run(&stack, &["check", "--settings"], pooler.port).await;
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    assert!(pooler.moves() > 20, "it gave the same connection each time: {}", pooler.moves());
    let log = service.process.log();
    assert!(!log.contains("away part") && !log.contains("pooler"), "{log}");
}
