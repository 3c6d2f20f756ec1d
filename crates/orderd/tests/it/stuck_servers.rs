//! Servers that accept connections and do not answer: commands end soon, with an error that names the server.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::support::{Stack, orders};

/// A user waits 10 s at most; the rest is for a busy machine.
const WAIT_LIMIT: Duration = Duration::from_secs(15);

/// Runs the commands at the same time. Each fails with these words.
async fn fail_soon(stack: &Stack, commands: &[&[&str]], words: &[&str]) {
    let run = async |command: &&[&str]| {
        let begun = Instant::now();
        let ended = tokio::time::timeout(WAIT_LIMIT, stack.run(command, "")).await;
        let output = ended.unwrap_or_else(|_| panic!("{command:?} runs for {:?}", begun.elapsed()));
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{command:?}: no {word} in {said}");
        }
    };
    join_all(commands.iter().map(run)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_end_soon_where_postgres_does_not_answer() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(2)).await;
    stack.wait_settled(2).await;
    let addr = service.addr.to_string();
    stack.postgres.pause();
    let commands: [&[&str]; 8] = [
        &["verify", "--http-addr", &addr],
        &["export"],
        &["import"],
        &["model", "check"],
        &["erase", "--yes", "1-1"],
        &["erase", "--yes", "--older-than", "400d"],
        &["erase", "--dry-run", "1-1"],
        &["check", "--settings"],
    ];
    let at = format!("PostgreSQL at 127.0.0.1:{}", stack.postgres.port());
    fail_soon(&stack, &commands, &[&at, "does not answer"]).await;
    stack.postgres.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_end_soon_where_nats_does_not_answer() {
    let (stack, service) = Stack::started().await;
    let addr = service.addr.to_string();
    stack.nats.pause();
    let commands: [&[&str]; 8] = [
        &["verify", "--http-addr", &addr],
        &["publish", "--count", "1"],
        &["publish", "--core", "--count", "1"],
        &["dead-letters", "list"],
        &["dead-letters", "replay", "--all"],
        &["dead-letters", "drop", "--all", "--yes"],
        &["erase", "--yes", "1-1"],
        &["check", "--settings"],
    ];
    let at = format!("nats://127.0.0.1:{}", stack.nats.port());
    fail_soon(&stack, &commands, &[&at, "does not answer"]).await;
    stack.nats.resume();
}

/// The old server has its own setting.
#[tokio::test(flavor = "multi_thread")]
async fn drain_stan_advises_on_the_setting_of_the_server_that_it_can_not_reach() {
    let stack = Stack::new();
    let silent = devstack::Nats::temporary(devstack::NatsOptions::default()).unwrap();
    silent.pause();
    let silent = silent.url();
    for (from, words) in [("nats://127.0.0.1:1", "nothing listens there"), (&silent, "does not answer")] {
        let command = ["drain-stan", "--client-id", "c", "--durable", "d", "--from", from];
        let output = stack.run(&command, "").await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(from) && said.contains(words) && said.contains("STAN_URL or --from"), "{said}");
        assert!(!said.contains("NATS_"), "{said}");
    }
}
