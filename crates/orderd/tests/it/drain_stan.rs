//! Draining a real NATS Streaming server: each message of a channel arrives once, whatever happens meanwhile.

use std::collections::HashSet;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use devstack::breaker::{Breaker, Mode};
use devstack::{Stan, tools};

use crate::support::{Stack, eventually, orders};

const CLIENT: &str = "old-service";
const DURABLE: &str = "my-durable";

/// A NATS Streaming server with a channel, and a contemporary client.
struct Old {
    stan: Stan,
    program: PathBuf,
}

/// `None` without Go: the test then passes with a message; in CI it fails.
pub(crate) fn go() -> Option<PathBuf> {
    let go = tools::find_go();
    if go.is_none() {
        assert!(std::env::var_os("CI").is_none(), "Go is needed in CI");
        eprintln!("skipped: there is no `go` here");
    }
    go
}

impl Old {
    /// `None` without Go.
    fn new(stack: &Stack) -> Option<Self> {
        let go = go()?;
        let program = stack.temp_dir.path().join("stan-client");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stan");
        let built = Command::new(go)
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(source)
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Some(Self { stan: Stan::temporary().unwrap(), program })
    }

    fn publish(&self, payloads: &[String]) {
        let mut child = self.client("publish", &[]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(payloads.join("\n").as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Receives this number like the old service, and leaves the last two unacknowledged.
    fn take(&self, count: usize) {
        let status = self
            .client("take", &[CLIENT, DURABLE, &count.to_string()])
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn client(&self, action: &str, more: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args([action, &self.stan.url(), Stan::CLUSTER, "TESTING"]).args(more);
        command
    }

    fn drain(&self, stack: &Stack, url: &str) -> Child {
        let mut command = Command::new(&stack.program);
        command.args(["drain-stan", "--from", url, "--client-id", CLIENT, "--durable", DURABLE]);
        command.envs(stack.env()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs it to its end.
    async fn drained(&self, stack: &Stack) -> Output {
        let child = self.drain(stack, &self.stan.url());
        tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// A stream without a deduplication window.
async fn forgetful_stream(stack: &Stack) -> stream::Stream {
    let context = jetstream::new(stack.client().await);
    let config = stream::Config {
        name: "ORDERS".into(),
        subjects: vec!["TESTING".into()],
        duplicate_window: Duration::from_millis(100),
        ..Default::default()
    };
    context.create_stream(config).await.unwrap()
}

async fn messages(stream: &stream::Stream) -> u64 {
    stream.get_info().await.unwrap().state.messages
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_comes_once_however_often_it_is_killed() {
    let stack = Stack::new();
    let Some(old) = Old::new(&stack) else { return };
    let stream = forgetful_stream(&stack).await;
    let all = orders(3000);
    old.publish(&all);
    old.take(100);
    let slow = Breaker::start((Ipv4Addr::LOCALHOST, old.stan.port()).into()).unwrap();
    slow.set(Mode::Slow { bytes_per_second: 1_000_000 });
    for part in [500, 1000] {
        let mut child = old.drain(&stack, &format!("nats://{}", slow.addr()));
        eventually("a part is drained", async || (messages(&stream).await >= part).then_some(())).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let rest = messages(&stream).await;
    assert!(rest < 2000, "{rest} were drained before the last kill: nothing is shown");
    let output = old.drained(&stack).await;
    assert!(output.status.success(), "{}", said(&output));
    assert!(!said(&output).contains("; 0 more"), "no kill left anything unacknowledged: {}", said(&output));
    let output = old.drained(&stack).await;
    assert!(
        said(&output).starts_with("0 messages") && said(&output).contains("; 0 more"),
        "{}",
        said(&output)
    );
    assert_eq!(messages(&stream).await, 2902);
    let service = stack.serve(&[]).await;
    service.wait_len(2902).await;
    eventually("all rows are committed", async || (stack.rows() == 2902).then_some(())).await;
    let exported = String::from_utf8(stack.run(&["export"], "").await.stdout).unwrap();
    let numbers: HashSet<_> = exported
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["order"]["order_uid"].to_string()
        })
        .collect();
    let expected: HashSet<_> = (98..3000).map(|number| format!("\"order-{number}\"")).collect();
    assert_eq!(numbers, expected);
    assert_eq!(stack.rows(), 2902);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_know_any_more_is_said() {
    let stack = Stack::new();
    let Some(old) = Old::new(&stack) else { return };
    let stream = forgetful_stream(&stack).await;
    old.publish(&orders(10));
    let output = old.drained(&stack).await;
    assert!(output.status.success() && said(&output).contains("10 messages in"), "{}", said(&output));
    // Whether it was drained before is unknown: the messages that would show it are gone.
    old.publish(&orders(10));
    old.take(10);
    stream.purge().await.unwrap();
    let output = old.drained(&stack).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("message 19 of the channel may have been drained before"),
        "{}",
        said(&output)
    );
    assert_eq!(messages(&stream).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_nats_streaming_is_named() {
    let stack = Stack::new();
    let url = stack.nats.url();
    let args = ["drain-stan", "--from", &url, "--client-id", CLIENT, "--durable", DURABLE];
    let output = stack.run(&args, "").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("no NATS Streaming server of cluster TESTCLUSTER answers"),
        "{}",
        said(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_streaming_server_is_refused_by_serve() {
    if go().is_none() {
        return;
    }
    let (stack, stan) = (Stack::new(), Stan::temporary().unwrap());
    let output = stack.run(&["serve", "--nats-url", &stan.url()], "").await;
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    let last = said.lines().last().unwrap();
    assert!(last.contains("2.10 or newer (a server of NATS Streaming can't be used)"), "{said}");
}
