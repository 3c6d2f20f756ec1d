//! Erasing: an order is gone everywhere, and nothing brings it back.

use futures_util::StreamExt;
use hyper::{Request, StatusCode};

use crate::support::{DEAD, Service, Stack, eventually, in_time, order, orders};

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_order_is_gone_everywhere_and_stays_away() {
    let stack = Stack::new();
    let mut service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    stack.publish(&orders(5)).await;
    eventually("all rows are committed", async || (stack.rows() == 5).then_some(())).await;
    let exported = String::from_utf8(stack.run(&["export"], "").await.stdout).unwrap();
    let ids = service.ids().await;
    // Read again and again, so that its JSON is kept.
    for _ in 0..3 {
        assert_eq!(service.get(&format!("/order/{}", ids[2])).await.status, StatusCode::OK);
    }
    assert_eq!(service.erase(&ids[2], "wrong").await, StatusCode::UNAUTHORIZED);
    assert_eq!(service.erase(&ids[2], "eraser").await, StatusCode::NO_CONTENT);
    assert_eq!(service.get(&format!("/order/{}", ids[2])).await.status, StatusCode::NOT_FOUND);
    assert_eq!(service.get("/orders?order_uid=order-2").await.body, "[]");
    assert_eq!((service.mem_len().await, stack.rows()), (4, 4));
    let stream = async_nats::jetstream::new(stack.client().await).get_stream("ORDERS").await.unwrap();
    assert!(stream.get_raw_message(3).await.is_err(), "the message is still in the stream");
    // Another order reuses its slot, and is the one that is served.
    stack.publish(&[order("another")]).await;
    service.wait_len(5).await;
    eventually("all rows are committed", async || (stack.rows() == 5).then_some(())).await;
    let another = service.get(&format!("/order/{}", service.ids().await[4])).await;
    assert_eq!(another.json()["order_uid"], "another");

    // By an import, by the whole stream read again, and by a restart.
    assert!(stack.run(&["import"], &exported).await.status.success());
    assert_eq!(stack.rows(), 5);
    service.stop();
    stack.postgres.psql("DELETE FROM orderd_position").unwrap();
    let service = stack.serve(&[]).await;
    stack.publish(&[order("order-2")]).await;
    service.wait_len(6).await;
    assert_eq!(service.get(&format!("/order/{}", ids[2])).await.status, StatusCode::NOT_FOUND);
    // A new message with the same number is a new order.
    assert_eq!(service.get("/orders?order_uid=order-2").await.json().as_array().unwrap().len(), 1);
    let refused = service.send(Request::delete(format!("/order/{}", ids[0]))).await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED, "without a token for it nobody can erase");
}

/// Dead letters would stay in the right stream, and nobody would notice.
#[tokio::test(flavor = "multi_thread")]
async fn erase_refuses_a_missing_stream_of_dead_letters_and_that_of_another_installation() {
    let (stack, service) = Stack::started().await;
    stack.publish(&["{"]).await;
    stack.wait_settled(1).await;
    let others = async_nats::jetstream::stream::Config {
        name: "OTHER_DEAD".into(),
        subjects: vec!["dead.OTHER.>".into()],
        ..Default::default()
    };
    stack.jetstream().await.create_stream(others).await.unwrap();
    let addr = service.addr.to_string();
    for (stream, words) in
        [("NONE", "NATS_DEAD_STREAM: there is no stream NONE"), ("OTHER_DEAD", "the stream OTHER_DEAD")]
    {
        let commands: [&[&str]; 3] = [
            &["--older-than", "400d", "--dry-run"],
            &["--yes", "1-1"],
            &["--yes", "--where", "order_uid=a", "--http-addr", &addr],
        ];
        for command in commands {
            let flags = ["erase", "--nats-dead-stream", stream];
            let output = stack.run(&[&flags, command].concat(), "").await;
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(output.status.code() == Some(1) && said.contains(words), "{command:?}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_order_stays_away_from_a_table_that_is_restored() {
    let stack = Stack::new();
    let mut service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    stack.publish(&orders(5)).await;
    eventually("all rows are committed", async || (stack.rows() == 5).then_some(())).await;
    let ids = service.ids().await;
    let copied = "CREATE TABLE kept AS SELECT * FROM orders2; CREATE TABLE kept_position AS SELECT * FROM orderd_position";
    stack.postgres.psql(copied).unwrap();
    for id in &ids[1..3] {
        assert_eq!(service.erase(id, "eraser").await, StatusCode::NO_CONTENT);
    }
    stack.publish(&[order("later")]).await;
    eventually("it is committed", async || (stack.rows() == 4).then_some(())).await;
    // While it runs, and while it is stopped.
    for is_running in [true, false] {
        if !is_running {
            service.stop();
        }
        let restore =
            "BEGIN; TRUNCATE orders2, orderd_position, orderd_erased; INSERT INTO orders2 SELECT * FROM kept;
                       INSERT INTO orderd_position SELECT * FROM kept_position; COMMIT";
        stack.postgres.psql(restore).unwrap();
        if !is_running {
            service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
        }
        // The row count is the same for a moment before the second one is erased and the later order is back.
        eventually("erased orders are gone", async || {
            (kept_keys(&stack) == 2 && stack.rows() == 4).then_some(())
        })
        .await;
        service.wait_len(4).await;
        for id in &ids[1..3] {
            let answer = service.get(&format!("/order/{id}")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.body);
        }
    }
}

/// Its message is gone from the stream, and the restored table does not know why.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_erased_since_the_backup_is_not_counted_as_lost() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    stack.publish(&orders(5)).await;
    eventually("all rows are committed", async || (stack.rows() == 5).then_some(())).await;
    let copied = "CREATE TABLE kept AS SELECT * FROM orders2; CREATE TABLE kept_position AS SELECT * FROM orderd_position";
    stack.postgres.psql(copied).unwrap();
    stack.publish(&orders(4)).await;
    eventually("they are committed", async || (stack.rows() == 9).then_some(())).await;
    let erased = service.ids().await[6].clone();
    assert_eq!(service.erase(&erased, "eraser").await, StatusCode::NO_CONTENT);
    let restore = "BEGIN; TRUNCATE orders2, orderd_position; DROP TABLE orderd_erased;
        INSERT INTO orders2 SELECT * FROM kept; INSERT INTO orderd_position SELECT * FROM kept_position; COMMIT";
    stack.postgres.psql(restore).unwrap();
    eventually("the others are back", async || (stack.rows() == 8).then_some(())).await;
    service.wait_len(8).await;
    stack.wait_settled(9).await;
    assert_eq!(stack.postgres.psql("SELECT max(lost) FROM orderd_position").unwrap().trim(), "0");
    assert_eq!(service.metric("orderd_lost_messages_total").await, 0.0);
    assert_eq!(service.get(&format!("/order/{erased}")).await.status, StatusCode::NOT_FOUND);
}

/// The message at the position is a replay, by which the service recognizes the stream.
#[tokio::test(flavor = "multi_thread")]
async fn an_erased_replay_at_the_position_is_no_other_stream() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(2)).await;
    stack.publish(&[r#"{"order_uid":7}"#]).await;
    stack.wait_settled(3).await;
    let letters = service.get("/dead_letters").await.json();
    let key = letters[0]["key"].as_str().unwrap().to_owned();
    let replay = ["dead-letters", "replay", &key, "--with", "-"];
    assert!(stack.run(&replay, &order("corrected")).await.status.success());
    stack.wait_settled(4).await;
    assert!(stack.run(&["erase", "--yes", &key], "").await.status.success());
    assert_eq!(service.stop(), Some(0));
    let service = stack.serve(&[]).await;
    service.wait_len(2).await;
    assert_eq!(stack.position(), 4);
    let log = service.process.log();
    assert!(!log.contains("reading the stream again"), "{log}");
    let verified = stack.run(&["verify", "--json", "--http-addr", &service.addr.to_string()], "").await;
    let report: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&report["verdict"], &report["in_flight"]), (&"all_there".into(), &0.into()), "{report}");
}

/// The table of erased keys goes back alone, and an erasure follows at once; then the table of orders goes back alone.
#[tokio::test(flavor = "multi_thread")]
async fn erased_keys_come_back_though_some_are_left() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    stack.publish(&orders(6)).await;
    eventually("all rows are committed", async || (stack.rows() == 6).then_some(())).await;
    let ids = service.ids().await;
    let keys = async |count: &str| {
        let counted = stack.postgres.psql("SELECT count(*) FROM public.orderd_erased").unwrap();
        (counted.trim() == count).then_some(())
    };
    assert_eq!(service.erase(&ids[0], "eraser").await, StatusCode::NO_CONTENT);
    stack.postgres.psql("CREATE TABLE kept AS SELECT * FROM orderd_erased").unwrap();
    stack.postgres.psql("CREATE TABLE kept_orders AS SELECT * FROM orders2").unwrap();
    // By another process, so that this one has seen the key once the order has left its memory.
    assert!(stack.run(&["erase", "--yes", &ids[1]], "").await.status.success());
    service.wait_len(4).await;
    stack
        .postgres
        .psql("BEGIN; TRUNCATE orderd_erased; INSERT INTO orderd_erased SELECT * FROM kept; COMMIT")
        .unwrap();
    eventually("the key is back", async || keys("2").await).await;
    stack.postgres.psql("DROP TABLE orderd_erased").unwrap();
    assert_eq!(service.erase(&ids[2], "eraser").await, StatusCode::NO_CONTENT);
    eventually("the keys are back", async || keys("3").await).await;
    stack
        .postgres
        .psql("BEGIN; TRUNCATE orders2; INSERT INTO orders2 SELECT * FROM kept_orders; COMMIT")
        .unwrap();
    for id in &ids[..3] {
        assert_eq!(service.get(&format!("/order/{id}")).await.status, StatusCode::NOT_FOUND);
    }
}

/// The position says that the later order is written, and NATS has the erased keys.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_from_orders_that_are_restored_alone_after_an_erasure_comes_back() {
    let stack = Stack::new();
    let mut service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    stack.publish(&orders(5)).await;
    eventually("all rows are committed", async || (stack.rows() == 5).then_some(())).await;
    let ids = service.ids().await;
    stack.postgres.psql("CREATE TABLE kept AS SELECT * FROM orders2").unwrap();
    stack.publish(&[order("later"), order("last")]).await;
    eventually("they are committed", async || (stack.rows() == 7).then_some(())).await;
    let last = service.ids().await[6].clone();
    // Among them the row that was written last: the one before it shows the loss.
    for id in [&ids[1], &ids[2], &last] {
        assert_eq!(service.erase(id, "eraser").await, StatusCode::NO_CONTENT);
    }
    for (is_running, erased) in [
        (true, "DROP TABLE orderd_erased"),
        (true, "TRUNCATE orderd_erased"),
        (false, "TRUNCATE orderd_erased"),
        (false, "DROP TABLE orderd_erased"),
    ] {
        // A new process each time: rows that are gone again within ten minutes are taken for deleted ones.
        service.stop();
        if is_running {
            service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
        }
        let restore =
            format!("BEGIN; {erased}; TRUNCATE orders2; INSERT INTO orders2 SELECT * FROM kept; COMMIT");
        stack.postgres.psql(&restore).unwrap();
        if !is_running {
            service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
        }
        eventually("the later order is back, and the erased ones are gone", async || {
            let kept = stack.postgres.psql("SELECT count(*) FROM public.orderd_erased").ok()?;
            (kept.trim() == "3" && stack.rows() == 4).then_some(())
        })
        .await;
        service.wait_len(4).await;
        for id in [&ids[1], &ids[2], &last] {
            let answer = service.get(&format!("/order/{id}")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{erased}: {}", answer.body);
        }
        assert_eq!(service.metric("orderd_lost_messages_total").await, 0.0, "{erased}");
    }
}

/// A backup of the whole database lacks later erasures: the keys come from NATS.
#[tokio::test(flavor = "multi_thread")]
async fn an_erased_order_stays_away_from_a_whole_database_that_is_restored() {
    let mut stack = Stack::new();
    let mut service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    stack.publish(&orders(5)).await;
    eventually("all rows are committed", async || (stack.rows() == 5).then_some(())).await;
    let ids = service.ids().await;
    let sql = |stack: &Stack, statement: &str| stack.postgres.psql_on("postgres", statement).unwrap();
    service.stop();
    for backup in ["backup_1", "backup_2", "backup_3"] {
        eventually("nobody is connected", async || {
            stack.postgres.psql_on("postgres", &format!("CREATE DATABASE {backup} TEMPLATE demo1")).ok()
        })
        .await;
    }
    service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    service.wait_len(5).await;
    for id in &ids[1..3] {
        assert_eq!(service.erase(id, "eraser").await, StatusCode::NO_CONTENT);
    }
    stack.publish(&[order("later")]).await;
    eventually("it is committed", async || (stack.rows() == 4).then_some(())).await;
    // While it runs, while it is stopped, and while NATS, which has the erased keys, is stopped too.
    for (is_running, has_nats, backup) in
        [(true, true, "backup_1"), (false, true, "backup_2"), (false, false, "backup_3")]
    {
        if !is_running {
            service.stop();
        }
        sql(&stack, "DROP DATABASE demo1 WITH (FORCE)");
        sql(&stack, &format!("ALTER DATABASE {backup} RENAME TO demo1"));
        if !has_nats {
            stack.nats.stop();
        }
        if !is_running {
            service = stack.start(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
        }
        if !has_nats {
            let words = "documents that were erased since are served until this succeeds";
            eventually("the log warns", async || service.process.log().contains(words).then_some(())).await;
            assert_eq!(service.get(&format!("/order/{}", ids[1])).await.status, StatusCode::OK);
            stack.nats.start_again().unwrap();
        }
        eventually("erased orders are gone", async || {
            // Queried together with the keys: before the service sweeps, the backup has five rows, and none later.
            let kept = stack.postgres.psql("SELECT count(*) FROM public.orderd_erased").ok()?;
            (kept.trim() == "2" && stack.rows() == 4).then_some(())
        })
        .await;
        service.wait_len(4).await;
        for id in &ids[1..3] {
            let answer = service.get(&format!("/order/{id}")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_with_dead_letters_are_erased_with_one_search_for_replays() {
    const COUNT: usize = 20;
    let stack = Stack::new();
    let mut service = stack.serve(&[]).await;
    stack.publish(&["{"; COUNT]).await;
    stack.wait_settled(COUNT as u64).await;
    let listed = stack.run(&["dead-letters", "list", "--json"], "").await.stdout;
    let key = |line: &str| {
        let letter: serde_json::Value = serde_json::from_str(line).unwrap();
        letter["key"].as_str().unwrap().to_owned()
    };
    let keys: Vec<String> = String::from_utf8(listed).unwrap().lines().map(key).collect();
    assert_eq!(keys.len(), COUNT);
    service.stop();
    let client = stack.client().await;
    let mut searches = client.subscribe("$JS.API.STREAM.INFO.ORDERS").await.unwrap();
    client.flush().await.unwrap();
    let args: Vec<&str> = ["erase", "--yes"].into_iter().chain(keys.iter().map(String::as_str)).collect();
    let erased = stack.run(&args, "").await;
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    client.publish("$JS.API.STREAM.INFO.ORDERS", "end".into()).await.unwrap();
    let mut requests = 0;
    while in_time("a request", searches.next()).await.unwrap().payload != "end" {
        requests += 1;
    }
    assert!(requests > 0 && requests < COUNT, "{requests} requests for the stream's end");
}

#[tokio::test(flavor = "multi_thread")]
async fn erasing_the_newest_order_does_not_look_like_another_stream() {
    let stack = Stack::new();
    let mut service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    stack.publish(&orders(5)).await;
    stack.wait_settled(5).await;
    let newest = service.ids().await.pop().unwrap();
    assert_eq!(service.erase(&newest, "eraser").await, StatusCode::NO_CONTENT);
    service.stop();
    let service = stack.serve(&[]).await;
    service.wait_len(4).await;
    stack.publish(&[order("later")]).await;
    service.wait_len(5).await;
    assert_eq!(service.metric("orderd_rereads_total").await, 0.0, "{}", service.process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_erases_by_number_and_in_every_process() {
    let (stack, service) = Stack::started().await;
    let other = stack.serve(&[]).await;
    stack.publish(&[order("twice"), order("twice"), order("once"), "{".into()]).await;
    stack.wait_settled(4).await;
    other.process.signal(devstack::Signal::USR1);
    other.wait_len(3).await;
    let addr = other.addr.to_string();
    let erased = stack.run(&["erase", "--yes", "--where", "order_uid=twice", "--http-addr", &addr], "").await;
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    for process in [&service, &other] {
        process.wait_len(1).await;
    }
    assert_eq!(stack.rows(), 1);
    let unknown =
        stack.run(&["erase", "--yes", "--where", "order_uid=nobody", "--http-addr", &addr], "").await;
    assert_eq!(unknown.status.code(), Some(1));
    // A dead letter is erased by its key.
    let listed = stack.run(&["dead-letters", "list", "--json"], "").await;
    let letter: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert!(stack.run(&["erase", "--yes", letter["key"].as_str().unwrap()], "").await.status.success());
    assert!(stack.run(&["dead-letters", "list", "--json"], "").await.stdout.is_empty());
}

fn kept_keys(stack: &Stack) -> usize {
    stack.postgres.psql("SELECT count(*) FROM public.orderd_erased").unwrap().trim().parse().unwrap()
}

/// Both output streams of a command that ended with this code.
async fn erase(stack: &Stack, args: &[&str], code: i32) -> (String, String) {
    let output = stack.run(&[&["erase"], args].concat(), "").await;
    let [out, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{errors}");
    (out, errors)
}

#[tokio::test(flavor = "multi_thread")]
async fn erasing_an_unknown_id_erases_nothing_and_keeps_no_key() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    stack.publish(&orders(1)).await;
    let long = "x".repeat(5000);
    for id in [
        "nonsense",
        "12345",
        "2023-0",
        "2023-01",
        // The sequence of an order, with another time.
        "2023-1",
        "x%00y",
        "1-18446744073709551615",
        "1-99999999999999999999",
        "%20",
        "a%2Fb",
        &long,
    ] {
        assert_eq!(service.erase(id, "eraser").await, StatusCode::NOT_FOUND, "{id}");
    }
    let (out, errors) =
        erase(&stack, &["--yes", "12345", "2023-0", "1-18446744073709551615", "12345"], 1).await;
    assert_eq!(out, "");
    for id in ["12345", "2023-0", "1-18446744073709551615"] {
        assert_eq!(
            errors.matches(&format!("{id}: no row, no message and no dead letter")).count(),
            1,
            "{errors}"
        );
    }
    erase(&stack, &["--yes", &long], 1).await;
    assert_eq!(kept_keys(&stack), 0);
    assert_eq!(service.mem_len().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn erase_reports_each_trace_once() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    stack.publish(&[order("one"), order("two"), order("three"), "{".into()]).await;
    stack.wait_settled(4).await;
    let ids = service.ids().await;
    let letter = service.get("/dead_letters").await.json();
    let letter = letter.to_string();
    let key = letter.split("\"key\":\"").nth(1).unwrap().split('"').next().unwrap();
    // It did not ask for confirmation, and changed nothing.
    let (_, errors) = erase(&stack, &[&ids[0]], 2).await;
    assert!(errors.contains("--yes"), "{errors}");
    assert_eq!((stack.rows(), kept_keys(&stack)), (3, 0));
    let (out, errors) = erase(&stack, &["--yes", &ids[0], key, "never"], 1).await;
    assert_eq!(out, "2 orders erased: 1 row, 2 messages, 1 dead letter\n");
    assert!(errors.contains("never: no row"), "{errors}");
    assert_eq!(kept_keys(&stack), 2);
    // The second time there is nothing.
    let (out, _) = erase(&stack, &["--yes", &ids[0]], 1).await;
    assert_eq!(out, "");
    assert_eq!(service.erase(&ids[0], "eraser").await, StatusCode::NOT_FOUND);
    assert_eq!(service.erase(&ids[1], "eraser").await, StatusCode::NO_CONTENT);
    assert_eq!(service.erase(&ids[1], "eraser").await, StatusCode::NOT_FOUND);
    let (out, _) = erase(&stack, &["--yes", &ids[2]], 0).await;
    assert_eq!(out, "1 order erased: 1 row, 1 message, 0 dead letters\n");
}

/// A row of another program, without a message, and an order that only memory has.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_one_place_alone_is_erased_too() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    stack.publish(&orders(3)).await;
    stack.wait_settled(3).await;
    let ids = service.ids().await;
    let longest = "k".repeat(2600);
    // Longer than an index holds beside a table's name, and of characters that can't be compressed.
    let odd = "SELECT string_agg(md5(n::text), '') FROM generate_series(1, 84) AS n";
    let odd = stack.postgres.psql(odd).unwrap().trim().to_owned();
    for id in [&longest, &odd[..2680]] {
        let copied = format!("INSERT INTO orders2 SELECT '{id}', data FROM orders2 WHERE id = '{}'", ids[0]);
        stack.postgres.psql(&copied).unwrap();
        assert_eq!(service.erase(id, "eraser").await, StatusCode::NO_CONTENT);
        assert_eq!(service.erase(id, "eraser").await, StatusCode::NOT_FOUND);
    }
    let stream = stack.jetstream().await.get_stream("ORDERS").await.unwrap();
    stream.purge().await.unwrap();
    erase(&stack, &["--yes", &ids[0]], 0).await;
    stack.postgres.psql(&format!("DELETE FROM orders2 WHERE id = '{}'", ids[1])).unwrap();
    assert_eq!(service.erase(&ids[1], "eraser").await, StatusCode::NO_CONTENT);
    service.wait_len(1).await;
    assert_eq!(stack.rows(), 1);
}

/// Tables of one schema share the table of erased keys, but not its keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_erased_from_its_own_table_alone() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(1)).await;
    stack.wait_settled(1).await;
    let id = service.ids().await[0].clone();
    let exported = String::from_utf8(stack.run(&["export"], "").await.stdout).unwrap();
    let other = ["--pg-table", "public.it's \\ other"];
    for table in [&other[..], &[]] {
        assert!(stack.run(&[&["import"], table].concat(), &exported).await.status.success());
    }
    erase(&stack, &["--yes", &id], 0).await;
    let again = stack.run(&[&["import"], &other[..]].concat(), &exported.replace(&id, "another")).await;
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let rows = stack.postgres.psql("SELECT id FROM public.\"it's \\ other\" ORDER BY id").unwrap();
    assert_eq!(rows.split_whitespace().collect::<Vec<_>>(), [&id, "another"]);
    assert!(stack.run(&["import"], &exported).await.status.success());
    assert_eq!(stack.rows(), 0);
}

/// Killed after the key and before the message: a running service finishes the erasure, and so does one that starts.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_eraser_was_killed_over_is_finished() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(2)).await;
    stack.wait_settled(2).await;
    let ids = service.ids().await;
    let keep = |id: &str| format!("INSERT INTO orderd_erased (table_name, id) VALUES ('orders2', '{id}')");
    let left = async |count: usize| {
        eventually("its message is gone too", async || {
            (payloads(&stack, "ORDERS").await.len() == count && stack.rows() == count).then_some(())
        })
        .await;
    };
    stack.postgres.psql(&keep(&ids[0])).unwrap();
    left(1).await;
    service.stop();
    stack.postgres.psql(&keep(&ids[1])).unwrap();
    let service = stack.serve(&[]).await;
    left(0).await;
    service.wait_len(0).await;
}

/// A search shows fifty.
#[tokio::test(flavor = "multi_thread")]
async fn all_orders_of_a_number_are_erased_however_many() {
    let (stack, service) = Stack::started().await;
    stack.publish(&vec![order("many"); 120]).await;
    stack.publish(&[order("one")]).await;
    stack.wait_settled(121).await;
    let addr = service.addr.to_string();
    let erased = stack.run(&["erase", "--yes", "--where", "order_uid=many", "--http-addr", &addr], "").await;
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    assert_eq!(
        String::from_utf8_lossy(&erased.stdout),
        "120 orders erased: 120 rows, 120 messages, 0 dead letters\n"
    );
    assert_eq!(stack.rows(), 1);
    // The service may still show them.
    for consent in ["--yes", "--dry-run"] {
        let again = ["erase", consent, "--where", "order_uid=many", "--http-addr", &addr];
        let again = stack.run(&again, "").await;
        let said = String::from_utf8_lossy(&again.stderr);
        assert_eq!(again.status.code(), Some(1), "{consent}: {said}");
        assert!(said.contains("no order has order_uid = many"), "{consent}: {said}");
    }
    service.wait_len(1).await;
    // As from a variable that is not set: of those without a number it would be all.
    let empty = stack.run(&["erase", "--yes", "--where", "order_uid=", "--http-addr", &addr], "").await;
    assert_eq!(empty.status.code(), Some(2));
    let unknown = stack.run(&["erase", "--yes", "--where", "colour=red", "--http-addr", &addr], "").await;
    assert_eq!(unknown.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&unknown.stderr);
    assert!(errors.contains("--where") && errors.contains("order_uid"), "{errors}");
    // The member is written as for /orders, too, and named as it was written.
    for (criterion, named) in [("colour=red", "\"colour\""), ("$.colour=red", "\"$.colour\"")] {
        let unknown = stack.run(&["erase", "--yes", "--where", criterion, "--http-addr", &addr], "").await;
        let errors = String::from_utf8_lossy(&unknown.stderr);
        assert!(errors.contains(&format!("there is no parameter {named};")), "{errors}");
    }
    let one = stack.run(&["erase", "--yes", "--where", "$.order_uid=one", "--http-addr", &addr], "").await;
    assert!(one.status.success(), "{}", String::from_utf8_lossy(&one.stderr));
    assert_eq!(stack.rows(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_doesnt_know_all_orders_yet_says_so() {
    let (mut stack, mut service) = Stack::started().await;
    stack.publish(&[order("one")]).await;
    stack.wait_settled(1).await;
    service.stop();
    stack.postgres.stop();
    let service = stack.start(&[]).await;
    let asked = service.get("/orders?order_uid=one").await;
    assert_eq!(asked.status, StatusCode::SERVICE_UNAVAILABLE, "{}", asked.body);
    assert!(asked.headers.contains_key("retry-after"));
    stack.postgres.start_again().unwrap();
    service.wait_ready().await;
    assert_eq!(service.get("/orders?order_uid=one").await.json().as_array().unwrap().len(), 1);
    assert_eq!(service.get("/orders?order_uid=nobody").await.body, "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_denies_deletes_is_named() {
    use async_nats::jetstream::{self, stream};
    let stack = Stack::new();
    let context = jetstream::new(stack.client().await);
    let config = stream::Config {
        name: "KEPT".into(),
        subjects: vec!["TESTING".into()],
        deny_delete: true,
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    let service = stack.serve(&[]).await;
    stack.publish(&orders(1)).await;
    service.wait_len(1).await;
    eventually("the row is committed", async || (stack.rows() == 1).then_some(())).await;
    let refused = stack.run(&["erase", "--yes", &service.ids().await[0]], "").await;
    assert_eq!(refused.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("KEPT") && errors.contains("deny_delete"), "{errors}");
    // It is gone from table and memory nevertheless.
    service.wait_len(0).await;
    assert_eq!(stack.rows(), 0);
}

/// The payloads that a stream holds.
async fn payloads(stack: &Stack, stream: &str) -> Vec<String> {
    let stream = async_nats::jetstream::new(stack.client().await).get_stream(stream).await.unwrap();
    let state = stream.get_info().await.unwrap().state;
    let mut payloads = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        // The note of an erasure has no such header.
        if let Ok(message) = stream.get_raw_message(sequence).await
            && !message.payload.is_empty()
        {
            payloads.push(String::from_utf8_lossy(&message.payload).into_owned());
        }
    }
    payloads
}

/// An order that PostgreSQL refused is accepted after the table is corrected; returns its key.
async fn replayed(stack: &Stack, service: &Service, uid: &str) -> String {
    stack.postgres.psql("ALTER TABLE public.orders2 ADD CONSTRAINT no CHECK (data::text = '')").unwrap();
    stack.publish(&[order(uid)]).await;
    let letter = eventually("it is a dead letter", async || {
        let listed = stack.run(&["dead-letters", "list", "--json"], "").await;
        serde_json::from_slice::<serde_json::Value>(&listed.stdout).ok()
    })
    .await;
    stack.postgres.psql("ALTER TABLE public.orders2 DROP CONSTRAINT no").unwrap();
    let key = letter["key"].as_str().unwrap().to_owned();
    assert!(stack.run(&["dead-letters", "replay", &key], "").await.status.success());
    eventually("it is accepted", async || (stack.rows() == 1).then_some(())).await;
    service.wait_len(1).await;
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn the_message_by_which_an_order_was_sent_again_is_erased_too() {
    let (stack, service) = Stack::started().await;
    let key = replayed(&stack, &service, "sent-again").await;
    stack.publish(&[order("another")]).await;
    assert_eq!(payloads(&stack, "ORDERS").await.len(), 3);
    assert!(stack.run(&["erase", "--yes", &key], "").await.status.success());
    let left = payloads(&stack, "ORDERS").await;
    assert!(left.len() == 1 && left[0].contains("another"), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_after_its_order_was_erased_is_erased() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(1)).await;
    service.wait_len(1).await;
    let key = service.ids().await[0].clone();
    eventually("the row is committed", async || (stack.rows() == 1).then_some(())).await;
    stack.postgres.psql("CREATE TABLE kept AS SELECT * FROM public.orders2").unwrap();
    assert!(stack.run(&["erase", "--yes", &key], "").await.status.success());

    // A process that had a copy writes it again: while the service runs, and while it is down.
    let late = async || {
        stack.postgres.psql("INSERT INTO public.orders2 SELECT * FROM kept").unwrap();
        let context = async_nats::jetstream::new(stack.client().await);
        context.publish(format!("dead.ORDERS.TESTING.{key}"), "late".into()).await.unwrap().await.unwrap();
    };
    let gone = async || {
        eventually("all is erased again", async || {
            (stack.rows() == 0 && payloads(&stack, DEAD).await.is_empty()).then_some(())
        })
        .await;
    };
    late().await;
    gone().await;
    service.stop();
    late().await;
    let service = stack.serve(&[]).await;
    gone().await;
    service.wait_len(0).await;
}

/// Triggers and policies keep rows without an error.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_row_stays_is_not_called_erased() {
    for (keep, words, let_go) in [
        (
            "create function keep() returns trigger language plpgsql as $$ begin return null; end $$;
             create trigger \"Keep\" before delete on orders2 for each row execute function keep()",
            "the trigger Keep BEFORE DELETE keeps rows of public.orders2; to fix it: let its function return OLD",
            "drop trigger \"Keep\" on orders2",
        ),
        (
            "alter table orders2 enable row level security;
             create policy reading on orders2 for select using (true);
             create policy writing on orders2 for insert with check (true)",
            "row-level security of public.orders2 keeps rows from role clerk (DELETE: no policy allows it); to fix it: \
             CREATE POLICY",
            "create policy deleting on orders2 for delete using (true)",
        ),
    ] {
        let stack = Stack::new();
        stack
            .postgres
            .psql(&format!(
                "create role clerk login; grant create, usage on schema public to clerk;
                 create table orders2 (id text primary key, data bytea);
                 grant select, insert, delete on orders2 to clerk; {keep}"
            ))
            .unwrap();
        let env = [("PG_USER", "clerk"), ("HTTP_ERASE_TOKEN", "eraser")];
        let service = stack.serve(&env).await;
        stack.publish(&orders(2)).await;
        stack.wait_settled(2).await;
        service.wait_len(2).await;
        let ids = service.ids().await;
        let erase = async |id: &str| stack.run(&["erase", "--yes", id, "--pg-user", "clerk"], "").await;
        for _ in 0..2 {
            let erased = erase(&ids[0]).await;
            let errors = String::from_utf8_lossy(&erased.stderr);
            assert_eq!(erased.status.code(), Some(1), "{errors}");
            assert!(errors.contains("not everything is erased") && errors.contains(words), "{errors}");
            assert!(errors.contains("outcome=\"incomplete\""), "{errors}");
            assert_eq!(service.erase(&ids[1], "eraser").await, 503);
        }
        let log = service.process.log();
        assert!(log.contains(words) && log.contains("outcome=\"incomplete\""), "{log}");
        assert_eq!(stack.rows(), 2);
        stack.postgres.psql(let_go).unwrap();
        // The service may be sooner: it repeats erasures.
        let again = erase(&ids[0]).await;
        let errors = String::from_utf8_lossy(&again.stderr);
        assert!(
            again.status.success() || errors.contains("no row, no message and no dead letter"),
            "{errors}"
        );
        let again = service.erase(&ids[1], "eraser").await;
        assert!([StatusCode::NO_CONTENT, StatusCode::NOT_FOUND].contains(&again), "{again}");
        eventually("the rows are gone", async || (stack.rows() == 0).then_some(())).await;
        service.wait_len(0).await;
    }
}
