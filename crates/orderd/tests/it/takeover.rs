//! A table written by another program is used unchanged.

use base64::Engine;
use hyper::StatusCode;

use crate::support::{Stack, in_time, orders};

/// Rows that Go wrote, from the corpus of the crate `order`.
fn rows_of_go() -> Vec<(Vec<u8>, serde_json::Value)> {
    let corpus =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../order/tests/corpus/rows.jsonl"))
            .unwrap();
    let lines = corpus.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    // Rows that Go can't read may be readable here or not.
    let lines = lines.filter(|line| !line["name"].as_str().unwrap().starts_with("beyond Go"));
    lines
        .map(|line| {
            let row =
                base64::prelude::BASE64_STANDARD.decode(line["row"].as_str().unwrap_or_default()).unwrap();
            (row, line["order"].clone())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_go_are_served_and_bad_ones_are_skipped() {
    let stack = Stack::new();
    let rows = rows_of_go();
    let client = stack.sql().await;
    client
        .batch_execute("CREATE TABLE public.orders2 (id text NOT NULL, data bytea, PRIMARY KEY (id))")
        .await
        .unwrap();
    for (number, (row, _)) in rows.iter().enumerate() {
        let id = format!("{}", 1_700_000_000_000_000_000_u64 + number as u64);
        client.execute("INSERT INTO orders2 VALUES ($1, $2)", &[&id, row]).await.unwrap();
    }
    client.batch_execute("INSERT INTO orders2 VALUES ('null', NULL), ('any/id ?%', '\\x00')").await.unwrap();
    let service = stack.serve(&[]).await;
    let good = rows.iter().filter(|(_, order)| !order.is_null()).count();
    assert!(good > 10 && good < rows.len(), "{good} good rows of {}", rows.len());
    assert_eq!(service.mem_len().await, good as u64);
    for (number, (_, order)) in rows.iter().enumerate() {
        let answer = service.get(&format!("/order/{}", 1_700_000_000_000_000_000_u64 + number as u64)).await;
        if order.is_null() {
            assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
            assert!(answer.body.contains("row can't be decoded"), "{}", answer.body);
        } else {
            assert_eq!(answer.json(), *order);
        }
    }
    assert_eq!(service.get("/order/null").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(service.process.log().contains("any/id ?%"), "the row is not named in the log");
    // New orders come after the Go service's own keys.
    stack.publish(&orders(1)).await;
    service.wait_len(good as u64 + 1).await;
    assert!(service.ids().await.last().unwrap().contains('-'));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_it_says_that_the_table_is_read_all_of_it_is_in_memory() {
    let stack = Stack::new();
    let row = rows_of_go().into_iter().find(|(_, order)| !order.is_null()).unwrap().0;
    let client = stack.sql().await;
    let made = "CREATE TABLE public.orders2 (id text NOT NULL PRIMARY KEY, data bytea)";
    client.batch_execute(made).await.unwrap();
    let filled = "INSERT INTO orders2 SELECT (1700000000000000000 + number)::text, $1
                  FROM generate_series(1, 20000) AS number";
    client.execute(filled, &[&row]).await.unwrap();
    // Indexing values that all orders share takes longer than reading.
    let search = "order_uid,track_number,entry,locale,customer_id,delivery_service,shardkey,oof_shard";
    let service = stack.start(&[("SEARCH", search)]).await;
    // Polls without a pause, to see it early.
    in_time("the table is read", async {
        while service.get("/readyz").await.json()["fill"]["up"] != true {}
    })
    .await;
    assert_eq!(service.mem_len().await, 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_others_write_come_by_a_refill() {
    let (stack, service) = Stack::started().await;
    let row = rows_of_go().into_iter().find(|(_, order)| !order.is_null()).unwrap().0;
    let client = stack.sql().await;
    client.execute("INSERT INTO orders2 VALUES ('theirs', $1)", &[&row]).await.unwrap();
    // It is not 404, even before it is in memory.
    assert_eq!(service.get("/order/theirs").await.status, StatusCode::OK);
    assert_eq!(service.mem_len().await, 0);
    service.process.signal(devstack::Signal::USR1);
    service.wait_len(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_make_the_table_can_use_it() {
    let stack = Stack::new();
    let made = "CREATE TABLE public.orders2 (id text NOT NULL PRIMARY KEY, data bytea);
                CREATE ROLE clerk LOGIN;
                REVOKE CREATE ON SCHEMA public FROM PUBLIC;
                GRANT SELECT, INSERT ON public.orders2 TO clerk";
    stack.postgres.psql(made).unwrap();
    // A second table is needed; the message has the statement that creates it.
    let output = stack.run(&["serve", "--pg-user", "clerk"], "").await;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && words.contains("orderd_position"), "{words}");
    stack.postgres.psql(words.split_once("to fix it: ").unwrap().1).unwrap();
    let service = stack.serve(&[("PG_USER", "clerk")]).await;
    stack.publish(&orders(3)).await;
    service.wait_len(3).await;
    crate::support::eventually("rows are written", async || (stack.rows() == 3).then_some(())).await;
}
