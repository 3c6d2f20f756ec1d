//! A NATS client whose background task dies: the intake recreates its own client; if the other client dies, the service
//! exits and names it.

use std::path::PathBuf;

use crate::support::{LIMIT, Service, Stack, eventually, order};

/// A service one of whose NATS clients dies when it reconnects: the client named in that file.
async fn mortal() -> (Stack, Service, PathBuf) {
    let stack = Stack::new();
    let told = stack.temp_dir.path().join("dies");
    let service = stack.serve(&[("ORDERD_TEST_CLIENT_DIES", told.to_str().unwrap())]).await;
    stack.publish(&[order("before")]).await;
    service.wait_len(1).await;
    (stack, service, told)
}

async fn kill(stack: &mut Stack, told: &PathBuf, client: &str) {
    std::fs::write(told, client).unwrap();
    stack.nats.stop();
    eventually("the client dies", async || (!told.exists()).then_some(())).await;
    stack.nats.start_again().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn client_of_the_intake_that_dies_is_made_again() {
    let (mut stack, mut service, told) = mortal().await;
    kill(&mut stack, &told, "intake").await;
    eventually("orders come in again", async || {
        let client = stack.client().await;
        client.publish("TESTING", order("after").into()).await.ok()?;
        client.flush().await.ok()?;
        (service.mem_len().await > 1).then_some(())
    })
    .await;
    assert!(service.process.log().contains("panicked"), "nothing died");
    assert!(!service.process.has_ended());
    service.wait_ready().await;
    assert_eq!(service.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn service_whose_client_dies_ends_with_its_name() {
    let (mut stack, mut service, told) = mortal().await;
    kill(&mut stack, &told, "service").await;
    let status = service.process.wait(LIMIT).expect("it continues half dead");
    assert_eq!(status.code(), Some(1));
    let log = service.process.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("NATS client") && last.contains("its connection's task has ended"), "{log}");
    // Restarted, as a platform would, it continues.
    let service = stack.serve(&[]).await;
    stack.publish(&[order("after")]).await;
    service.wait_len(2).await;
}
