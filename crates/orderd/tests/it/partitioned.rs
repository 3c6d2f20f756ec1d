//! A partitioned table, by hash and by range of the id.

use crate::support::{Service, Stack, eventually, order, orders};

const BY_HASH: &str =
    "CREATE TABLE public.orders2 (id text NOT NULL PRIMARY KEY, data bytea) PARTITION BY HASH (id);
    CREATE TABLE p0 PARTITION OF orders2 FOR VALUES WITH (MODULUS 3, REMAINDER 0);
    CREATE TABLE p1 PARTITION OF orders2 FOR VALUES WITH (MODULUS 3, REMAINDER 1);
    CREATE TABLE p2 PARTITION OF orders2 FOR VALUES WITH (MODULUS 3, REMAINDER 2);";

/// The keys begin with the time in nanoseconds: 17 is 2023-11-14 to 2027-01-15.
const BY_RANGE: &str =
    "CREATE TABLE public.orders2 (id text COLLATE \"C\" NOT NULL PRIMARY KEY, data bytea) PARTITION BY RANGE (id);
    CREATE TABLE p0 PARTITION OF orders2 FOR VALUES FROM (MINVALUE) TO ('17');
    CREATE TABLE p1 PARTITION OF orders2 FOR VALUES FROM ('17') TO ('18');
    CREATE TABLE p2 PARTITION OF orders2 DEFAULT;";

async fn exported(stack: &Stack) -> String {
    String::from_utf8(stack.run(&["export"], "").await.stdout).unwrap()
}

async fn everything_works(table: &str) {
    let stack = Stack::new();
    stack.postgres.psql(table).unwrap();
    let mut services = vec![stack.serve(&[]).await, stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await];
    stack.publish(&orders(100)).await;
    wait_same(&stack, &services, 100).await;
    eventually("each row is written by one of them", async || {
        let mut written = 0.0;
        for service in &services {
            written += service.metric("myapp_orders_write_db").await;
        }
        (written == 100.0).then_some(())
    })
    .await;

    // Messages are reread after a kill, and the whole stream after the position is deleted: nothing is written twice.
    services[0].kill();
    stack.publish(&[order("late")]).await;
    services[0] = stack.serve(&[]).await;
    wait_same(&stack, &services, 101).await;
    services.iter_mut().for_each(Service::kill);
    stack.postgres.psql("DELETE FROM orderd_position").unwrap();
    services = vec![stack.serve(&[]).await, stack.serve(&[]).await];
    stack.wait_settled(101).await;
    assert_eq!(stack.rows(), 101);

    // Refused by one row, erased, exported and imported.
    let lines = exported(&stack).await;
    let ids = services[0].ids().await;
    assert!(stack.run(&["erase", "--yes", &ids[5]], "").await.status.success());
    wait_same(&stack, &services, 100).await;
    stack.postgres.psql(&format!("DELETE FROM orders2 WHERE id = '{}'", ids[9])).unwrap();
    assert!(stack.run(&["import"], &lines).await.status.success());
    assert_eq!(stack.rows(), 100);
    stack.verify(&services[1], &[]).await;

    // Each from its partition, in the order of the pages.
    let without = |id: &str| lines.lines().filter(|line| !line.contains(id)).collect::<Vec<_>>().join("\n");
    assert_eq!(exported(&stack).await.trim(), without(&ids[5]));
    services[0].stop();
    let restarted = stack.serve(&[]).await;
    restarted.wait_len(100).await;
    assert_eq!(restarted.ids().await, services[1].ids().await);
}

async fn wait_same(stack: &Stack, services: &[Service], count: usize) {
    eventually(&format!("{count} rows"), async || (stack.rows() == count).then_some(())).await;
    for service in services {
        service.wait_len(count as u64).await;
    }
    assert_eq!(services[0].ids().await, services[services.len() - 1].ids().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_hash_of_the_id_everything_works() {
    everything_works(BY_HASH).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_range_of_the_id_everything_works() {
    everything_works(BY_RANGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_no_partition_takes_is_a_dead_letter_until_there_is_one() {
    let stack = Stack::new();
    stack
        .postgres
        .psql(
            &BY_RANGE
                .replace("DEFAULT", "FOR VALUES FROM ('18') TO ('19')")
                .replace("('17') TO ('18')", "('16') TO ('17')")
                .replace("TO ('17');\n    CREATE TABLE p1", "TO ('16');\n    CREATE TABLE p1"),
        )
        .unwrap();
    let service = stack.serve(&[]).await;
    stack.publish(&orders(3)).await;
    let reason = ["dead-letters", "list", "--json", "--reason", "refused_by_database"];
    eventually("all are dead letters", async || {
        (stack.run(&reason, "").await.stdout.split(|byte| *byte == b'\n').count() == 4).then_some(())
    })
    .await;
    stack.postgres.psql("CREATE TABLE p3 PARTITION OF orders2 FOR VALUES FROM ('17') TO ('18')").unwrap();
    assert!(stack.run(&["dead-letters", "replay", "--all"], "").await.status.success());
    service.wait_len(3).await;
    eventually("3 rows", async || (stack.rows() == 3).then_some(())).await;
}
