//! Connection errors: `/readyz` and the log name the server, its response, and the setting to change.

use devstack::{Nats, NatsOptions, Postgres, PostgresOptions};

use crate::support::{Stack, eventually};

type Env<'e> = &'e [(&'e str, &'e str)];
type Words<'w> = &'w [&'w str];

/// The reason of a part, once it has all of these words.
async fn wait_reason(stack: &Stack, env: Env<'_>, part: &str, words: Words<'_>) {
    let service = stack.start(env).await;
    let mut last = String::new();
    let begun = std::time::Instant::now();
    loop {
        let report = service.get("/readyz").await.json();
        last = report[part]["reason"].as_str().map_or(last, ToOwned::to_owned);
        if words.iter().all(|word| last.contains(word)) {
            break;
        }
        assert!(begun.elapsed() < crate::support::LIMIT, "{env:?}: no {words:?} in {last}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for secret in ["s-e-c-r-e-t", "r-i-g-h-t"] {
        assert!(!last.contains(secret) && !service.process.log().contains(secret), "{env:?}: {last}");
    }
    eventually("the log says it too", async || service.process.log().contains(words[0]).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_that_cannot_be_reached_is_named_with_cause_and_setting() {
    let options = PostgresOptions { password: Some("r-i-g-h-t".into()), ..PostgresOptions::quick() };
    let stack = Stack { postgres: Postgres::temporary(options).unwrap(), ..Stack::new() };
    let at = format!("PostgreSQL at 127.0.0.1:{}", stack.postgres.port());
    let url =
        |more: &str| format!("postgresql://postgres:r-i-g-h-t@127.0.0.1:{}/{more}", stack.postgres.port());
    let (tls, nowhere, bound) =
        (url("demo1?sslmode=require"), url("elsewhere"), url("demo1?channel_binding=require"));
    let cases: [(Env, Words); 8] = [
        (&[("PG_PORT", "1")], &["PostgreSQL at 127.0.0.1:1", "onnection refused", "PG_HOST and PG_PORT"]),
        (&[("PG_HOST", "db.invalid")], &["PostgreSQL at db.invalid:", "host's name"]),
        (&[("PG_PASSWORD", "s-e-c-r-e-t")], &[&at, "password authentication failed", "set PG_PASSWORD"]),
        (&[], &[&at, "password missing", "PG_PASSWORD or PG_PASSWORD_FILE"]),
        (&[("DATABASE_URL", &nowhere)], &[&at, "does not exist", "CREATE DATABASE \"elsewhere\""]),
        (&[("DATABASE_URL", &tls)], &[&at, "does not support TLS", "ssl = on"]),
        (&[("DATABASE_URL", &bound)], &[&at, "channel binding", "channel_binding=prefer"]),
        (&[("PG_HOST", "/nowhere")], &["PostgreSQL at /nowhere:", "No such file", "PG_HOST"]),
    ];
    for (env, words) in cases {
        wait_reason(&stack, env, "postgres", words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_that_cannot_be_reached_is_named_with_cause_and_setting() {
    let extra_config = "authorization { user: orderd, password: r-i-g-h-t }".to_owned();
    let nats = Nats::temporary(NatsOptions { extra_config, ..NatsOptions::default() }).unwrap();
    let stack = Stack { nats, ..Stack::new() };
    let port = stack.nats.port();
    let at = format!("NATS at nats://127.0.0.1:{port}");
    let wrong = format!("nats://orderd:s-e-c-r-e-t@127.0.0.1:{port}");
    let tls = format!("tls://orderd:r-i-g-h-t@127.0.0.1:{port}");
    let cases: [(Env, Words); 5] = [
        (
            &[("NATS_PORT", "1")],
            &["NATS at nats://127.0.0.1:1", "onnection refused", "NATS_HOST and NATS_PORT"],
        ),
        (&[("NATS_HOST", "nats.invalid")], &["NATS at nats://nats.invalid:", "no address", "NATS_HOST"]),
        (&[], &[&at, "uthorization", "NATS_CREDS"]),
        (&[("NATS_URL", &wrong)], &[&at, "uthorization", "NATS_URL"]),
        (&[("NATS_URL", &tls)], &["NATS at tls://127.0.0.1:", "does not answer with TLS"]),
    ];
    for (env, words) in cases {
        wait_reason(&stack, env, "nats", words).await;
    }
}

/// The service needs a separate connection for reading, and an account with JetStream.
#[tokio::test(flavor = "multi_thread")]
async fn nats_that_gives_too_little_is_named_by_the_intake() {
    let started = |extra_config: &str| {
        let nats = NatsOptions { extra_config: extra_config.to_owned(), ..NatsOptions::default() };
        Stack { nats: Nats::temporary(nats).unwrap(), ..Stack::new() }
    };
    let stack = started("max_connections: 1");
    wait_reason(&stack, &[], "intake", &["connections exceeded", "two connections", "max_connections"]).await;
    let stack = started("accounts { A { users [{user: a, password: a}] } }\nno_auth_user: a\n");
    wait_reason(&stack, &[], "intake", &["account has no JetStream", "jetstream: enabled", "NATS_CREDS"])
        .await;
}
