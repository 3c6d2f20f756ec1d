//! `orderd verify`: silent when all is well, and each kind of difference.

use serde_json::Value;

use crate::support::{Service, Stack, eventually, orders};

async fn verified(stack: &Stack, service: &Service) -> (Option<i32>, Value) {
    let output = stack.run(&["verify", "--json", "--http-addr", &service.addr.to_string()], "").await;
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_what_differs_and_nothing_else() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(70)).await;
    stack.publish(&["{", ""]).await;
    stack.wait_settled(72).await;
    let (code, report) = verified(&stack, &service).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(
        (&report["table"], &report["memory"], &report["dead_letters"]),
        (&70.into(), &70.into(), &1.into())
    );

    let ids = service.ids().await;
    stack.postgres.psql(&format!("DELETE FROM orders2 WHERE id = '{}'", ids[3])).unwrap();
    // Neither gob nor a JSON object.
    stack.postgres.psql("INSERT INTO orders2 VALUES ('bad', '[]')").unwrap();
    stack
        .postgres
        .psql(&format!("INSERT INTO orders2 SELECT 'theirs', data FROM orders2 WHERE id = '{}'", ids[0]))
        .unwrap();
    let (code, report) = verified(&stack, &service).await;
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["lost"]["ids"], serde_json::json!([ids[3]]));
    assert_eq!(report["not_in_table"]["ids"], serde_json::json!([ids[3]]));
    assert_eq!(report["not_in_memory"]["ids"], serde_json::json!(["theirs"]));
    assert_eq!((&report["undecodable"], &report["verdict"]), (&1.into(), &"differs".into()));
    let text = stack.run(&["verify", "--http-addr", &service.addr.to_string()], "").await;
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.ends_with("something differs\n") && !text.contains("all there"), "{text}");
}

/// Messages count as in flight while the position moves. If it stands still for seconds, they are a difference.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_committed_is_not_all_there() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(5)).await;
    stack.wait_settled(5).await;
    let sql = stack.sql().await;
    // Reads continue, and writes wait.
    sql.batch_execute("BEGIN; LOCK TABLE orders2 IN SHARE MODE").await.unwrap();
    stack.publish_numbers(5..12).await;
    service.wait_len(12).await;
    let (code, report) = verified(&stack, &service).await;
    assert_eq!((code, &report["not_in_table"]["count"]), (Some(1), &7.into()), "{report}");
    assert_eq!(report["verdict"], "differs");
    sql.batch_execute("COMMIT").await.unwrap();
    eventually("all rows are committed", async || (stack.rows() == 12).then_some(())).await;
    let (code, report) = verified(&stack, &service).await;
    assert_eq!((code, &report["verdict"]), (Some(0), &"all_there".into()), "{report}");
}

/// Gaps in the stream, dead letters and erased orders are not differences; an erased order that still exists is one.
#[tokio::test(flavor = "multi_thread")]
async fn erased_orders_are_nowhere() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(6)).await;
    stack.publish(&["{"]).await;
    stack.wait_settled(7).await;
    let ids = service.ids().await;
    let stream = stack.jetstream().await.get_stream("ORDERS").await.unwrap();
    stream.delete_message(2).await.unwrap();
    assert!(stack.run(&["erase", "--yes", &ids[3], &ids[4]], "").await.status.success());
    let (code, report) = verified(&stack, &service).await;
    assert_eq!((code, &report["verdict"]), (Some(0), &"all_there".into()), "{report}");
    assert_eq!((&report["table"], &report["dead_letters"]), (&4.into(), &1.into()));

    // The message of an erased order remains, because the stream denies deletion.
    let mut config = stream.get_info().await.unwrap().config;
    config.deny_delete = true;
    stack.jetstream().await.update_stream(config).await.unwrap();
    let keep = format!("INSERT INTO orderd_erased (table_name, id) VALUES ('orders2', '{}')", ids[5]);
    stack.postgres.psql(&keep).unwrap();
    service.wait_len(3).await;
    let (code, report) = verified(&stack, &service).await;
    assert_eq!((code, &report["not_erased"]["ids"]), (Some(1), &serde_json::json!([ids[5]])), "{report}");
    assert_eq!(report["lost"]["count"], 0);
}

/// The stream no longer shows what it has lost; the count beside the position does.
#[tokio::test(flavor = "multi_thread")]
async fn messages_counted_as_lost_are_a_difference_until_their_count_is_cleared() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(3)).await;
    stack.wait_settled(3).await;
    service.stop();
    stack.publish_numbers(3..7).await;
    stack.jetstream().await.get_stream("ORDERS").await.unwrap().purge().await.unwrap();
    stack.publish_numbers(7..9).await;
    let service = stack.serve(&[]).await;
    stack.wait_settled(9).await;
    service.wait_len(5).await;
    let (code, report) = verified(&stack, &service).await;
    let lost = &report["messages_lost"];
    assert_eq!(
        (code, &lost["count"], &report["verdict"]),
        (Some(1), &4.into(), &"differs".into()),
        "{report}"
    );
    assert_eq!(report["lost"]["count"], 0, "{report}");
    let output = stack.run(&["verify", "--http-addr", &service.addr.to_string()], "").await;
    let (said, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("4 messages left the stream ORDERS before being read"), "{said}");
    assert!(output.status.code() == Some(1) && !said.contains("all there"), "{said}");
    let compared = "2 messages of the stream, 5 rows of the table and 5 documents in memory compared";
    assert!(progress.contains(compared), "{progress}");
    let fix = lost["fix"].as_str().unwrap();
    assert!(said.contains(fix), "{said}");
    stack.postgres.psql(&fix[fix.find("UPDATE").unwrap()..]).unwrap();
    let (code, report) = verified(&stack, &service).await;
    assert_eq!((code, &report["verdict"]), (Some(0), &"all_there".into()), "{report}");
    assert_eq!(report["messages_lost"]["count"], 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_ask_the_service_name_the_token_that_they_lack() {
    let stack = Stack::new();
    let tokens = [("HTTP_TOKEN", "reads"), ("HTTP_ERASE_TOKEN", "erases")];
    let service = stack.serve(&tokens).await;
    let addr = service.addr.to_string();
    let commands: [&[&str]; 2] = [&["verify"], &["erase", "--yes", "--where", "order_uid=a"]];
    for (token, words) in [
        (&[][..], "requires a token (401 "),
        (&["--http-token", "other"], "does not know the token in HTTP_TOKEN (401 "),
        (&["--http-token", "erases"], "does not let the token in HTTP_TOKEN read (403 "),
    ] {
        for command in commands {
            let output = stack.run(&[command, &["--http-addr", &addr], token].concat(), "").await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(words) && said.contains("set HTTP_TOKEN, or HTTP_TOKEN_FILE"), "{said}");
        }
    }
    stack.verify(&service, &["--http-token", "reads"]).await;
}
