//! Schemathesis against the service: responses to valid and invalid requests match the description.

use std::process::Stdio;

use devstack::TempDir;

use crate::openapi::AS_THEY_CAME;
use crate::support::{Service, Stack, orders};

/// For each operation.
const SOME: [&str; 2] = ["--max-examples", "50"];

/// Runs it against the service; with a failure, its report is the test's.
async fn finds_nothing(service: &Service, more: &[&str], first: &[&str]) {
    let program = devstack::tools::find_schemathesis().expect("schemathesis: `cargo xtask test` installs it");
    let addr = service.addr;
    let temp_dir = TempDir::new().unwrap();
    let mut command = tokio::process::Command::new(program);
    command.args(first).args([
        "run",
        &format!("http://{addr}/openapi.json"),
        "--url",
        &format!("http://{addr}"),
    ]);
    command.args(["--no-color", "--checks", "all", "--phases", "examples,coverage,fuzzing"]);
    command.args(["--seed", "1", "--request-timeout", "60", "--workers", "1"]);
    command.env("SCHEMATHESIS_HOOKS", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis_hooks.py"));
    command.args(more).current_dir(temp_dir.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
    let generated = report.lines().find_map(|line| line.trim().split_once(" generated, "));
    let (generated, outcome) = generated.unwrap_or_else(|| panic!("{report}"));
    assert!(outcome.starts_with(&format!("{generated} passed")), "{report}");
    assert!(generated.parse::<usize>().unwrap() >= 20, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn finds_nothing_where_all_is_open() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(60)).await;
    stack.publish(&["{", "[]"]).await;
    service.wait_len(60).await;
    finds_nothing(&service, &SOME, &[]).await;
    let orders = ["--include-path-regex", "^/orders?$", "--max-examples", "300"];
    finds_nothing(&service, &orders, &[]).await;
    // It invents ids that do not exist; responses for existing ones must also be as described.
    let dead = service.get("/dead_letters").await.json()[0]["key"].clone();
    let config = stack.temp_dir.path().join("schemathesis.toml");
    let ids = format!("[parameters]\n\"path.id\" = \"{}\"\n\"path.key\" = {dead}\n", service.ids().await[0]);
    std::fs::write(&config, ids).unwrap();
    let config = config.to_str().unwrap();
    let more = [&SOME[..], &["--include-path-regex", "^/(order|dead_letters)/"]].concat();
    finds_nothing(&service, &more, &["--config-file", config]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finds_nothing_where_documents_are_served_as_they_came() {
    for settings in [("PG_FORMAT", "jsonb"), ("MODEL", "any")] {
        let stack = Stack::new();
        let service = stack.serve(&[settings, ("SEARCH", "order_uid")]).await;
        stack.publish(&AS_THEY_CAME).await;
        service.wait_len(AS_THEY_CAME.len() as u64).await;
        let config = stack.temp_dir.path().join("schemathesis.toml");
        let id = service.ids().await[1].clone();
        std::fs::write(&config, format!("[parameters]\n\"path.id\" = \"{id}\"\n")).unwrap();
        let more = [&SOME[..], &["--include-path-regex", "^/orders?(/|$)"]].concat();
        finds_nothing(&service, &more, &["--config-file", config.to_str().unwrap()]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn finds_nothing_where_tokens_are_needed() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(60)).await;
    stack.publish(&["{", "[]"]).await;
    service.wait_len(60).await;
    service.stop();
    let tokens = [("HTTP_TOKEN", "secret"), ("HTTP_REPLAY_TOKEN", "secret"), ("HTTP_ERASE_TOKEN", "eraser")];
    let service = stack.serve(&tokens).await;
    let more = [&SOME[..], &["--header", "Authorization: Bearer secret"]].concat();
    finds_nothing(&service, &more, &[]).await;
}
