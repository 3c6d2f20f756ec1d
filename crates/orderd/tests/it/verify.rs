//! `orderd verify`: nothing to say when all is well, and each difference when not.

use serde_json::Value;

use crate::support::{Service, Stack, orders};

async fn verified(stack: &Stack, service: &Service) -> (Option<i32>, Value) {
    let output = stack.run(&["verify", "--json", "--http-addr", &service.addr.to_string()], "").await;
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_what_differs_and_nothing_else() {
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
    stack.postgres.psql("INSERT INTO orders2 VALUES ('bad', '\\x01')").unwrap();
    stack
        .postgres
        .psql(&format!("INSERT INTO orders2 SELECT 'theirs', data FROM orders2 WHERE id = '{}'", ids[0]))
        .unwrap();
    let (code, report) = verified(&stack, &service).await;
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["lost"]["ids"], serde_json::json!([ids[3]]));
    assert_eq!(report["not_in_table"]["ids"], serde_json::json!([ids[3]]));
    assert_eq!(report["not_in_memory"]["ids"], serde_json::json!(["theirs"]));
    assert_eq!(report["undecodable"], 1);
}
