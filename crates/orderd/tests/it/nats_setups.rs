//! NATS servers with unusual configurations: transforms, account limits, nkeys, leaf nodes, conflicting streams.

use async_nats::jetstream::stream;
use devstack::{Nats, NatsOptions};

use crate::support::{DEAD, Stack, eventually, order};

fn stack(extra_config: &str) -> Stack {
    let options = NatsOptions { extra_config: extra_config.into(), ..NatsOptions::default() };
    Stack { nats: Nats::temporary(options).unwrap(), ..Stack::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_a_subject_transform_is_taken_from_by_what_it_stores() {
    let stack = Stack::new();
    let context = stack.jetstream().await;
    let subject_transform =
        Some(stream::SubjectTransform { source: "shop.>".into(), destination: "orders.>".into() });
    let config = stream::Config {
        name: "SHOP".into(),
        subjects: vec!["shop.>".into()],
        subject_transform,
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    let service = stack.serve(&[("NATS_STREAM", "SHOP"), ("PUB_TOPIC", "orders.>")]).await;
    context.publish("shop.new", order("a").into()).await.unwrap().await.unwrap();
    service.wait_len(1).await;
    let flags = ["serve", "--nats-stream", "SHOP", "--pub-topic", "elsewhere"];
    let refused = stack.run(&flags, "").await;
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{errors}");
    assert!(errors.contains("SHOP stores orders.>") && errors.contains("PUB_TOPIC elsewhere"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_account_refuses_comes_with_the_command_that_makes_it() {
    let stack = stack(
        "accounts { A { jetstream { max_file: 64MB, max_bytes_required: true }, users [{user: a, password: a}] } }\n\
         no_auth_user: a\n",
    );
    let service = stack.start(&[]).await;
    let reason = eventually("it says why", async || {
        let report = service.get("/readyz").await.json();
        let reason = report["intake"]["reason"].as_str()?.to_owned();
        reason.contains("nats stream add").then_some(reason)
    })
    .await;
    assert!(reason.contains("can't create the stream ORDERS for TESTING"), "{reason}");
    assert!(reason.contains("--subjects='TESTING'") && reason.contains("--max-bytes="), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_nkey_logs_in_and_a_failure_names_the_server() {
    let user = nkeys::KeyPair::new_user();
    let stack = stack(&format!("authorization {{ users [{{ nkey: {} }}] }}", user.public_key()));
    let (file, seed) = (stack.temp_dir.path().join("seed"), user.seed().unwrap());
    std::fs::write(&file, &seed).unwrap();
    let service = stack.serve(&[("NATS_NKEY_FILE", file.to_str().unwrap())]).await;
    let sent = stack.run(&["publish", "--nats-nkey", &seed], "").await;
    assert!(sent.status.success(), "{sent:?}");
    service.wait_len(1).await;
    assert!(!service.process.log().contains(&seed), "a secret in the log");
    let refused = stack.run(&["dead-letters", "list"], "").await;
    let errors = String::from_utf8_lossy(&refused.stderr);
    let server = format!("nats://127.0.0.1:{}", stack.nats.port());
    assert!(errors.contains(&server) && errors.contains("NATS_NKEY"), "{errors}");
}

/// The port that the hub has chosen for leaf nodes.
fn leaf_port(hub: &Nats) -> String {
    let log = hub.log();
    let line = log.lines().find(|line| line.contains("Listening for leafnode connections")).unwrap();
    line.rsplit(':').next().unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_node_without_jetstream_reaches_that_of_its_hub() {
    let temp_dir = devstack::TempDir::new().unwrap();
    let store = temp_dir.path().display();
    let without = |extra_config: String| {
        let options = NatsOptions { jetstream: false, extra_config, ..NatsOptions::default() };
        Nats::temporary(options).unwrap()
    };
    let hub = without(format!(
        "server_name: hub\njetstream {{ store_dir: \"{store}\", domain: hub }}\nleafnodes {{ listen: \"127.0.0.1:-1\" }}\n"
    ));
    let leaf = without(format!(
        "server_name: leaf\nleafnodes {{ remotes: [{{ url: \"nats://127.0.0.1:{}\" }}] }}\n",
        leaf_port(&hub)
    ));
    let stack = Stack { nats: leaf, ..Stack::new() };
    let service = stack.serve(&[("NATS_JS_DOMAIN", "hub")]).await;
    let sent = stack.run(&["publish", "--count", "3", "--nats-js-domain", "hub"], "").await;
    assert!(sent.status.success(), "{sent:?}");
    service.wait_len(3).await;
    for (flags, advice) in [
        (&["dead-letters", "list"][..], "set NATS_JS_DOMAIN"),
        (&["dead-letters", "list", "--nats-js-domain", "nowhere"][..], "check NATS_JS_DOMAIN"),
    ] {
        let refused = stack.run(flags, "").await;
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{errors}");
        assert!(errors.contains(advice), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_in_the_way_of_dead_letters_is_named() {
    for (name, subject, said) in [
        ("OTHER", "dead.ORDERS.x.y", "OTHER takes some of these subjects"),
        (DEAD, "elsewhere", "is there and does not store dead.ORDERS.>"),
    ] {
        let stack = Stack::new();
        let config =
            stream::Config { name: name.into(), subjects: vec![subject.into()], ..Default::default() };
        stack.jetstream().await.create_stream(config).await.unwrap();
        let service = stack.start(&[]).await;
        eventually("it says why it takes nothing in", async || {
            let reason = service.get("/readyz").await.json()["intake"]["reason"].to_string();
            let words = [said, "nats stream edit", "NATS_DEAD_STREAM"];
            words.iter().all(|word| reason.contains(word)).then_some(())
        })
        .await;
    }
    // A command could read no orders there.
    let stack = Stack::new();
    for (subjects, flags, said) in [
        (["elsewhere"], &["--nats-stream", "ORDERS"][..], "does not store dead.ORDERS.>"),
        (["x"], &["--nats-dead-stream", "TYPO"], "there is no stream TYPO"),
    ] {
        let subjects = subjects.map(str::to_owned).into();
        let config = stream::Config { name: DEAD.into(), subjects, ..Default::default() };
        stack.jetstream().await.create_or_update_stream(config).await.unwrap();
        let refused = stack.run(&[&["dead-letters", "list"], flags].concat(), "").await;
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{errors}");
        assert!(errors.contains(said), "{errors}");
    }
}

/// An administrator pauses all consumers of the stream, including ours.
#[tokio::test(flavor = "multi_thread")]
async fn paused_consumer_is_replaced() {
    let (stack, service) = Stack::started().await;
    stack.publish(&[order("before")]).await;
    service.wait_len(1).await;
    let client = stack.client().await;
    let ask = async |subject: String, request: serde_json::Value| {
        let answer = client.request(subject, request.to_string().into()).await.unwrap();
        serde_json::from_slice::<serde_json::Value>(&answer.payload).unwrap()
    };
    let names = ask("$JS.API.CONSUMER.NAMES.ORDERS".into(), serde_json::json!({})).await;
    let names = names["consumers"].as_array().unwrap();
    assert!(!names.is_empty(), "no consumer to pause");
    for name in names {
        let subject = format!("$JS.API.CONSUMER.PAUSE.ORDERS.{}", name.as_str().unwrap());
        let paused = ask(subject, serde_json::json!({ "pause_until": "2100-01-01T00:00:00Z" })).await;
        assert_eq!(paused["paused"], true, "{paused}");
    }
    stack.publish(&crate::support::orders(10)).await;
    service.wait_len(11).await;
    stack.wait_settled(11).await;
}
