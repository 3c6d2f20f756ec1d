//! Servers that accept connections and do not answer: commands end soon, with an error that names the server.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::support::{Stack, eventually, in_time, order, orders};

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

/// One after the other, their time limits would add up.
#[tokio::test(flavor = "multi_thread")]
async fn check_ends_soon_where_none_of_several_servers_answers() {
    let stack = Stack::new();
    // The kernel takes the connections.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let addrs: Vec<String> = silent.iter().map(|silent| silent.local_addr().unwrap().to_string()).collect();
    let (nats, postgres) = addrs.split_at(4);
    let (nats_url, database_url) = (nats.join(","), format!("postgres://u@{}/d", postgres.join(",")));
    let check = ["check", "--settings", "--nats-url", &nats_url, "--database-url", &database_url];
    let words: Vec<&str> = addrs.iter().map(String::as_str).chain(["does not answer"]).collect();
    fail_soon(&stack, &[&check], &words).await;
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

/// A NATS server that takes connections, answers pings, and nothing else. Its URL.
async fn mute_nats() -> String {
    const INFO: &[u8] = b"INFO {\"server_id\":\"mute\",\"version\":\"2.11.0\",\"proto\":1,\"headers\":true,\
        \"jetstream\":true,\"max_payload\":1048576}\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                write.write_all(INFO).await?;
                while let Some(line) = lines.next_line().await? {
                    if line == "PING" {
                        write.write_all(b"PONG\r\n").await?;
                    }
                }
                std::io::Result::Ok(())
            });
        }
    });
    format!("nats://{addr}")
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_end_soon_where_requests_have_no_answer() {
    let stack = Stack::new();
    let mute = mute_nats().await;
    let check: [&[&str]; 1] = [&["check", "--settings", "--nats-url", &mute]];
    let drain: [&[&str]; 1] = [&["drain-stan", "--client-id", "c", "--durable", "d", "--from", &mute]];
    tokio::join!(
        fail_soon(&stack, &check, &["JetStream at", "has not answered for 8 s"]),
        fail_soon(&stack, &drain, &["NATS Streaming does not answer", "set --cluster", "STAN_URL"]),
    );
}

/// A lock is not a server that does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn check_names_the_lock_for_which_its_queries_wait() {
    let (stack, _service) = Stack::started().await;
    let locks = stack.sql().await;
    locks.batch_execute("BEGIN; LOCK TABLE orders2").await.unwrap();
    let checked = tokio::time::timeout(WAIT_LIMIT, stack.run(&["check", "--settings"], "")).await.unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(said.contains("it waits for a lock on orders2 that another session holds"), "{said}");
    assert!(said.contains("in pg_stat_activity what holds a lock on the table"), "{said}");
    assert!(checked.status.success() && !said.contains("does not answer"), "{said}");
}

fn started(stack: &Stack, args: &[&str]) -> Child {
    let mut command = Command::new(&stack.program);
    command.args(args).envs(stack.env()).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn says_to_run_it_again(stack: &Stack, output: &Output, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let at = format!("PostgreSQL at 127.0.0.1:{} does not answer", stack.postgres.port());
    assert!(output.status.code() == Some(1) && said.contains(&at) && said.contains(words), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn export_ends_where_postgres_stops_in_the_middle() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(1)).await;
    stack.wait_settled(1).await;
    drop(service);
    let copies =
        "INSERT INTO orders2 SELECT id || '-' || n, data FROM orders2, generate_series(1, 50000) AS n";
    stack.postgres.psql(copies).unwrap();
    let mut export = started(&stack, &["export"]);
    // What fits into the pipe: the rest is still at the server.
    let mut line = [0; 100];
    export.stdout.as_mut().unwrap().read_exact(&mut line).await.unwrap();
    stack.postgres.pause();
    let output = in_time("the export ends", export.wait_with_output()).await.unwrap();
    stack.postgres.resume();
    says_to_run_it_again(&stack, &output, "the export is incomplete; run it again");
}

#[tokio::test(flavor = "multi_thread")]
async fn import_ends_where_postgres_stops_in_the_middle() {
    let stack = Stack::new();
    let lines = |ids: std::ops::Range<usize>| -> String {
        ids.map(|id| format!("{{\"id\":\"{id}\",\"order\":{}}}\n", order(&id.to_string()))).collect()
    };
    let mut import = started(&stack, &["import"]);
    let mut input = import.stdin.take().unwrap();
    input.write_all(lines(0..1000).as_bytes()).await.unwrap();
    eventually("the first lines are written", async || (stack.rows() == 1000).then_some(())).await;
    stack.postgres.pause();
    // Few, so that the server's kernel takes them.
    input.write_all(lines(1000..1010).as_bytes()).await.unwrap();
    drop(input);
    let output = in_time("the import ends", import.wait_with_output()).await.unwrap();
    stack.postgres.resume();
    says_to_run_it_again(&stack, &output, "lines from 1001 on may not be written; run this again");
    let again = stack.run(&["import"], &lines(0..1010)).await;
    assert!(again.status.success() && stack.rows() == 1010, "{again:?}");
}
