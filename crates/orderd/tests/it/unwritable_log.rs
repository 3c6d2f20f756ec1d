//! A log that can't be written: the service continues, and exits normally.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::support::{Stack, eventually, in_time, order};

/// More lines than a pipe and the service together hold.
const JUNK: usize = 6000;

/// A service whose stderr is this shell redirection of `to`.
fn serve(stack: &Stack, addr: SocketAddr, redirection: &str, to: Stdio) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec \"$0\" serve {redirection}")]).arg(&stack.program);
    command.envs(stack.env()).env("HTTP_ADDR", addr.to_string()).stderr(to).kill_on_drop(true);
    command.spawn().unwrap()
}

async fn goes_on(redirection: &str, to: Stdio, drop_reader: bool) {
    let stack = Stack::new();
    let addr = SocketAddr::from(([127, 0, 0, 1], devstack::free_port()));
    let mut child = serve(&stack, addr, redirection, to);
    let reader = child.stderr.take();
    let reader = if drop_reader { None } else { reader };
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    eventually("it is ready", async || {
        let asked = stack.run(&["check", "--http-addr", &addr.to_string()], "").await;
        asked.status.success().then_some(())
    })
    .await;
    let client = stack.client().await;
    for number in 0..JUNK {
        client.publish("TESTING", format!("junk {number}").into()).await.unwrap();
    }
    client.flush().await.unwrap();
    stack.publish(&[order("good")]).await;
    eventually("the good order is committed", async || (stack.rows() == 1).then_some(())).await;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = in_time("it stops", child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{redirection}");
    drop(reader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_lines_and_nothing_else() {
    goes_on("2>/dev/full", Stdio::null(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_stderr_loses_lines_and_nothing_else() {
    goes_on("2>&-", Stdio::null(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_without_a_reader_loses_lines_and_nothing_else() {
    goes_on("", Stdio::piped(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_nobody_reads_loses_lines_and_nothing_else() {
    goes_on("", Stdio::piped(), false).await;
}
