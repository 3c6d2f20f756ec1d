//! Expiry of orders older than `KEEP`. No test waits for an hour: the database's clock is set forward instead.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::pull;
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::support::{DEAD, Service, Stack, eventually, order, orders};

/// With refills, so that rows of other programs are in memory, too.
const SETTINGS: [(&str, &str); 2] = [("KEEP", "1h"), ("REFILL_EVERY", "1s")];

/// A clock of the database that [`put_clock`] shifts: a function that hides `pg_catalog.now`.
const CLOCK: &str = "CREATE SCHEMA clock;
    CREATE TABLE clock.shift AS SELECT interval '0' AS shift;
    CREATE FUNCTION clock.now() RETURNS timestamptz STABLE LANGUAGE sql
        AS 'SELECT pg_catalog.now() + shift FROM clock.shift';
    DO $$ BEGIN
        EXECUTE format('ALTER ROLE %I SET search_path = clock, pg_catalog, public', current_user);
    END $$";

fn put_clock(stack: &Stack, shift: &str) {
    stack.postgres.psql(&format!("UPDATE clock.shift SET shift = '{shift}'")).unwrap();
}

/// Sets the clock back, and waits until each round of expiry that read the later time is over: it would remove young
/// orders as old.
async fn put_clock_back(stack: &Stack) {
    put_clock(stack, "0");
    let rounds = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND
        query ~ 'extract\\(epoch FROM now\\(\\)\\)|pg_partition_tree|relkind = ''p''|FROM gone'";
    let is_over = async || (stack.postgres.psql(rounds).unwrap().trim() == "0").then_some(());
    eventually("the last round of expiry is over", is_over).await;
}

/// Inserts three ids of 2017.
fn insert_old(stack: &Stack) {
    let insert = "INSERT INTO public.orders2
        SELECT id, data FROM unnest(ARRAY['1500000000000000000', '1500000000000000001-7', '1500000000000000002-9']) id,
            (SELECT data FROM public.orders2 ORDER BY id DESC LIMIT 1) one";
    stack.postgres.psql(insert).unwrap();
}

/// Stores the second part of a dead letter of 2017, which a killed process has left.
async fn publish_old_part(stack: &Stack) {
    let subject = "dead.ORDERS.TESTING.1500000000000000000-9.rest";
    stack.jetstream().await.publish(subject, "{".into()).await.unwrap().await.unwrap();
}

async fn dead_letters(service: &Service) -> usize {
    service.get("/dead_letters").await.json().as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_older_than_keep_leave_table_memory_dead_letters_and_stream() {
    let stack = Stack::new();
    stack.postgres.psql(CLOCK).unwrap();
    let services = [stack.serve(&SETTINGS).await, stack.serve(&SETTINGS).await];
    stack.publish(&[&orders(20)[..], &["{".to_owned()]].concat()).await;
    stack.wait_same(&services, 20).await;
    stack.wait_settled(21).await;
    let timeless = "INSERT INTO public.orders2 SELECT 'mine', data FROM public.orders2 LIMIT 1";
    stack.postgres.psql(timeless).unwrap();
    insert_old(&stack);
    publish_old_part(&stack).await;
    eventually("only old rows leave", async || (stack.rows() == 21).then_some(())).await;
    let stream = stack.jetstream().await.get_stream("ORDERS").await.unwrap();
    let messages = async || stream.get_info().await.unwrap().state.messages;
    let other = pull::Config { durable_name: Some("other".into()), ..Default::default() };
    stream.create_consumer(other).await.unwrap();
    let ids = services[1].ids().await;

    put_clock(&stack, "2 hours");
    eventually("old rows leave", async || (stack.rows() == 1).then_some(())).await;
    for service in &services {
        service.wait_len(1).await;
        eventually("old dead letters leave", async || (dead_letters(service).await == 0).then_some(())).await;
        assert_eq!(service.get(&format!("/order/{}", ids[3])).await.status, StatusCode::NOT_FOUND);
        assert_eq!(service.get("/order/mine").await.status, StatusCode::OK);
    }
    assert_eq!(messages().await, 21, "another durable consumer needs them");
    stream.delete_consumer("other").await.unwrap();
    // The last message identifies the stream.
    eventually("old messages leave", async || (messages().await == 1).then_some(())).await;

    put_clock_back(&stack).await;
    stack.publish(&[order("young")]).await;
    for service in &services {
        service.wait_len(2).await;
        assert_eq!(service.metric("orderd_rereads_total").await, 0.0);
        assert_eq!(service.metric("orderd_lost_messages_total").await, 0.0);
    }
    eventually("the young one has a row", async || (stack.rows() == 2).then_some(())).await;
    let sum = async |name| services[0].metric(name).await + services[1].metric(name).await;
    assert_eq!(sum("orderd_expired_total").await, 23.0);
    assert_eq!(sum("orderd_expired_dead_letters_total").await, 2.0);
    // A new process reads the table.
    let third = stack.serve(&SETTINGS).await;
    third.wait_len(2).await;
    assert_eq!(stack.jetstream().await.get_stream(DEAD).await.unwrap().cached_info().state.messages, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_counts_orders_older_than_keep_as_leaving() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(3)).await;
    stack.wait_settled(3).await;
    service.wait_len(3).await;
    stack.verify(&service, &[]).await;
    insert_old(&stack);
    let addr = service.addr.to_string();
    let verify = async |flags: &[&str]| {
        let args = [&["verify", "--json", "--http-addr", &addr], flags].concat();
        let output = stack.run(&args, "").await;
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report["verdict"].clone(), report["expiring"]["count"].clone())
    };
    assert_eq!(verify(&["--keep", "1h"]).await, (Some(0), "in_flight".into(), 3.into()));
    assert_eq!(verify(&[]).await, (Some(1), "differs".into(), 0.into()), "in the table and not in memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_older_than_a_time_are_counted_and_erased() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(3)).await;
    stack.wait_settled(3).await;
    insert_old(&stack);
    let said = async |args: &[&str]| {
        let output = stack.run(&[&["erase", "--older-than", "400d"], args].concat(), "").await;
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let counted = "would erase all orders older than 400d (3 rows, 0 dead letters) and their messages; nothing is \
                   changed\norderd serve with KEEP=400d would remove 0 messages of that age from the stream ORDERS\n";
    assert_eq!(said(&["--dry-run"]).await, (Some(0), counted.to_owned()));
    assert_eq!(stack.rows(), 6);
    let erased = "3 orders erased: 3 rows, 0 messages, 0 dead letters\n".to_owned();
    assert_eq!(said(&["--yes"]).await, (Some(0), erased));
    assert_eq!((stack.rows(), service.mem_len().await), (3, 3));
    assert_eq!(said(&["--yes"]).await, (Some(1), String::new()));
    let id = &service.ids().await[0];
    let dry = stack.run(&["erase", "--dry-run", id], "").await;
    let would = "would erase 1 order (1 row, 1 message, 0 dead letters); nothing is changed\n";
    assert_eq!(String::from_utf8(dry.stdout).unwrap(), would);
    assert_eq!(stack.rows(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_older_than_a_time_are_counted_and_erased_with_or_without_rows() {
    let stack = Stack::new();
    stack.postgres.psql(CLOCK).unwrap();
    let service = stack.serve(&[]).await;
    stack.publish(&["{", "["]).await;
    stack.wait_settled(2).await;
    publish_old_part(&stack).await;
    let said = async |args: &[&str]| {
        let output = stack.run(&[&["erase", "--older-than", "400d"], args].concat(), "").await;
        let [out, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), out, errors)
    };
    let would = |counts: &str, messages: &str| {
        format!(
            "would erase all orders older than 400d ({counts}) and their messages; nothing is changed\n\
             orderd serve with KEEP=400d would remove {messages} of that age from the stream ORDERS\n"
        )
    };
    let stored = async || {
        let context = stack.jetstream().await;
        let mut counts = [0; 2];
        for (count, stream) in counts.iter_mut().zip(["ORDERS", DEAD]) {
            *count = context.get_stream(stream).await.unwrap().cached_info().state.messages;
        }
        (stack.rows(), counts)
    };
    assert_eq!(said(&["--dry-run"]).await.1, would("0 rows, 1 dead letter", "0 messages"));
    assert_eq!(stored().await, (0, [2, 3]));
    let (code, out, _) = said(&["--yes"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "1 order erased: 0 rows, 0 messages, 1 dead letter\n"));
    // The two dead letters of today, and the note of the erased key.
    assert_eq!(stored().await, (0, [2, 3]));
    let (code, out, errors) = said(&["--dry-run"]).await;
    let none = "orderd serve with KEEP=400d would remove 0 messages of that age from the stream ORDERS\n";
    assert_eq!((code, out.as_str()), (Some(1), none));
    assert!(errors.contains("no row and no dead letter is older than 400d"), "{errors}");

    put_clock(&stack, "500 days");
    // The message at the position identifies the stream.
    assert_eq!(said(&["--dry-run"]).await.1, would("0 rows, 2 dead letters", "1 message"));
    stack.publish(&[order("valid")]).await;
    stack.wait_settled(3).await;
    assert_eq!(said(&["--dry-run"]).await.1, would("1 row, 2 dead letters", "2 messages"));
    assert_eq!((stored().await, service.mem_len().await), ((1, [3, 3]), 1));
    assert_eq!(dead_letters(&service).await, 2);
    let (code, out, _) = said(&["--yes"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "3 orders erased: 1 row, 3 messages, 2 dead letters\n"));
    // The notes of the erased keys.
    assert_eq!(stored().await, (0, [0, 4]));
    assert_eq!(dead_letters(&service).await, 0);
    service.wait_len(0).await;
    assert_eq!(stack.postgres.psql("SELECT count(*) FROM orderd_erased").unwrap().trim(), "4");
}

/// The sequences of their keys are those of another stream, beyond all that this one has.
#[tokio::test(flavor = "multi_thread")]
async fn imported_orders_older_than_keep_leave_memory_too() {
    let stack = Stack::new();
    stack.postgres.psql(CLOCK).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let lines: Vec<_> = (5..10)
        .map(|sequence| {
            let document: Value = serde_json::from_str(&order(&sequence.to_string())).unwrap();
            json!({ "id": format!("{now}-{sequence}"), "order": document }).to_string() + "\n"
        })
        .collect();
    assert!(stack.run(&["import"], &lines.concat()).await.status.success());
    let services = [stack.serve(&SETTINGS).await, stack.serve(&SETTINGS).await];
    for service in &services {
        service.wait_len(5).await;
    }
    put_clock(&stack, "2 hours");
    eventually("old rows leave", async || (stack.rows() == 0).then_some(())).await;
    for service in &services {
        service.wait_len(0).await;
        assert_eq!(service.get(&format!("/order/{now}-5")).await.status, StatusCode::NOT_FOUND);
    }
}

/// A dropped partition takes many rows at once, which memory must not show for long.
#[tokio::test(flavor = "multi_thread")]
async fn old_rows_are_deleted_in_bounded_steps_for_which_memory_does_not_wait() {
    const ROWS: usize = 9_500;
    let stack = Stack::new();
    stack.postgres.psql(CLOCK).unwrap();
    let mut service = stack.serve(&[]).await;
    stack.publish(&orders(1)).await;
    eventually("it has a row", async || (stack.rows() == 1).then_some(())).await;
    assert_eq!(service.stop(), Some(0));
    let insert = format!(
        "INSERT INTO public.orders2 SELECT split_part(id, '-', 1) || '-' || 1000 + number, data
             FROM public.orders2, generate_series(1, {ROWS} - 1) number;
         CREATE TABLE public.deletions (count bigint);
         CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.deletions SELECT count(*) FROM gone; RETURN NULL; END';
         CREATE TRIGGER note AFTER DELETE ON public.orders2 REFERENCING OLD TABLE AS gone
             FOR EACH STATEMENT EXECUTE FUNCTION public.note()"
    );
    stack.postgres.psql(&insert).unwrap();
    let service = stack.serve(&[("KEEP", "1h")]).await;
    service.wait_len(ROWS as u64).await;
    let client = stack.sql().await;
    client.batch_execute("BEGIN; LOCK TABLE public.orders2 IN SHARE MODE").await.unwrap();
    put_clock(&stack, "2 hours");
    service.wait_len(0).await;
    assert_eq!(stack.rows(), ROWS, "none can be deleted yet");
    client.batch_execute("ROLLBACK").await.unwrap();
    eventually("old rows leave", async || (stack.rows() == 0).then_some(())).await;
    let deletions = stack.postgres.psql("SELECT max(count), sum(count) FROM public.deletions").unwrap();
    assert_eq!(deletions.trim(), format!("1000|{ROWS}"));
}

/// Partitions by range: one up to half an hour from now, one of the past with an id without a time, and the caller's.
fn partitioned(stack: &Stack, others: &str) {
    let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + Duration::from_mins(30);
    let tables = format!(
        "CREATE TABLE public.orders2 (id text COLLATE \"C\" NOT NULL PRIMARY KEY, data bytea)
             PARTITION BY RANGE (id);
         CREATE TABLE public.odd PARTITION OF orders2 FOR VALUES FROM ('14') TO ('15');
         CREATE TABLE public.\"Now\" PARTITION OF orders2 FOR VALUES FROM ('16') TO ('{}');
         {others}",
        end.as_nanos()
    );
    stack.postgres.psql(&tables).unwrap();
}

/// The partitions of the table, by name.
fn partitions(stack: &Stack) -> String {
    let query =
        "SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY inhrelid::regclass::text COLLATE \"C\")
                 FROM pg_inherits WHERE inhparent = 'public.orders2'::regclass";
    stack.postgres.psql(query).unwrap().trim().to_owned()
}

const OTHERS: &str = "CREATE TABLE public.older PARTITION OF orders2 FOR VALUES FROM ('15') TO ('16');
    CREATE TABLE public.others PARTITION OF orders2 DEFAULT;";

/// An old row and one that stays, in the partition of both.
fn insert_odd(stack: &Stack) {
    let insert = "INSERT INTO orders2 SELECT id, data FROM unnest(ARRAY['1400000000000000000-5', '14']) id,
        (SELECT data FROM public.orders2 ORDER BY id DESC LIMIT 1) one";
    stack.postgres.psql(insert).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_wholly_older_than_keep_are_dropped() {
    let stack = Stack::new();
    stack.postgres.psql(CLOCK).unwrap();
    partitioned(&stack, OTHERS);
    let before = stack.serve(&[]).await;
    stack.publish(&[&orders(20)[..], &["{".to_owned()]].concat()).await;
    stack.wait_settled(21).await;
    insert_odd(&stack);
    insert_old(&stack);
    let dry = stack.run(&["erase", "--older-than", "400d", "--dry-run"], "").await;
    assert_eq!(
        String::from_utf8(dry.stdout).unwrap(),
        "would erase all orders older than 400d (4 rows, 0 dead letters) and their messages; nothing is changed\n\
         orderd serve with KEEP=400d would not drop the partition public.odd, but delete its old rows: it has rows \
         that stay: their ids have no time\n\
         orderd serve with KEEP=400d would drop the partition public.older, with 3 rows\n\
         orderd serve with KEEP=400d would remove 0 messages of that age from the stream ORDERS\n"
    );
    assert_eq!((partitions(&stack).as_str(), stack.rows()), ("\"Now\" odd older others", 25));
    drop(before);

    let services = [stack.serve(&SETTINGS).await, stack.serve(&SETTINGS).await];
    let sum = async |name| services[0].metric(name).await + services[1].metric(name).await;
    eventually("the old partition is dropped", async || {
        (partitions(&stack) == "\"Now\" odd others" && stack.rows() == 21).then_some(())
    })
    .await;
    eventually("it is counted", async || (sum("orderd_expired_total").await == 4.0).then_some(())).await;
    assert_eq!(sum("orderd_expired_partitions_total").await, 1.0);
    // The row that was written last is in the next one.
    put_clock(&stack, "2 hours");
    eventually("the next one is dropped", async || (partitions(&stack) == "odd others").then_some(())).await;
    assert_eq!(stack.rows(), 1);
    for service in &services {
        service.wait_len(1).await;
        eventually("old dead letters leave", async || (dead_letters(service).await == 0).then_some(())).await;
        assert_eq!(service.get("/order/14").await.status, StatusCode::OK);
    }
    assert_eq!(
        (sum("orderd_expired_total").await, sum("orderd_expired_partitions_total").await),
        (24.0, 2.0)
    );

    put_clock_back(&stack).await;
    stack.publish(&[order("young")]).await;
    stack.wait_same(&services, 2).await;
    for service in &services {
        assert_eq!(service.metric("orderd_rereads_total").await, 0.0);
        assert_eq!(service.metric("orderd_lost_messages_total").await, 0.0);
    }
    stack.verify(&services[0], &["--keep", "1h"]).await;
    stack.serve(&SETTINGS).await.wait_len(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_whose_partition_was_dropped_are_no_dead_letters() {
    let stack = Stack::new();
    stack.postgres.psql(CLOCK).unwrap();
    partitioned(&stack, "");
    let service = stack.serve(&SETTINGS).await;
    stack.publish(&orders(3)).await;
    stack.wait_settled(3).await;
    put_clock(&stack, "2 hours");
    eventually("both are dropped", async || partitions(&stack).is_empty().then_some(())).await;
    service.wait_len(0).await;
    // By the database's clock they are old, as messages are that are read again.
    stack.publish_numbers(3..300).await;
    stack.wait_settled(300).await;
    service.wait_len(0).await;
    assert_eq!(service.metric("myapp_orders_errors").await, 0.0);
    // Others are refused until there is a partition.
    put_clock_back(&stack).await;
    stack.publish(&[order("young")]).await;
    stack.wait_settled(301).await;
    eventually("it is a dead letter", async || (dead_letters(&service).await == 1).then_some(())).await;
    stack
        .postgres
        .psql("CREATE TABLE public.next PARTITION OF orders2 FOR VALUES FROM ('16') TO ('9')")
        .unwrap();
    assert!(stack.run(&["dead-letters", "replay", "--all"], "").await.status.success());
    service.wait_len(1).await;
    assert_eq!(service.metric("orderd_lost_messages_total").await, 0.0);
}

/// Obstacles to dropping a partition, and the logged reasons.
const HINDRANCES: [(&str, &str); 4] = [
    ("ALTER TABLE older OWNER TO postgres", "does not own it"),
    ("CREATE TRIGGER t AFTER DELETE ON orders2 FOR EACH ROW EXECUTE FUNCTION seen()", "a trigger must see"),
    ("CREATE PUBLICATION p FOR TABLE orders2", "a publication must send"),
    ("CREATE VIEW v AS SELECT * FROM older", "another object of the database depends"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_may_not_be_dropped_is_emptied_row_by_row() {
    for (sql, said) in HINDRANCES {
        let stack = Stack::new();
        partitioned(&stack, OTHERS);
        let rights = "CREATE ROLE clerk LOGIN; GRANT ALL ON SCHEMA public TO clerk;
            ALTER TABLE orders2 OWNER TO clerk; ALTER TABLE older OWNER TO clerk; ALTER TABLE \"Now\" OWNER TO clerk;
            ALTER TABLE odd OWNER TO clerk; ALTER TABLE others OWNER TO clerk;
            CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'";
        stack.postgres.psql(rights).unwrap();
        stack.postgres.psql(sql).unwrap();
        let clerk = ("PG_USER", "clerk");
        let before = stack.serve(&[clerk]).await;
        stack.publish(&orders(3)).await;
        stack.wait_settled(3).await;
        insert_old(&stack);
        drop(before);
        let service = stack.serve(&[SETTINGS[0], clerk]).await;
        eventually(sql, async || (stack.rows() == 3).then_some(())).await;
        assert!(partitions(&stack).contains(" older "), "{sql}");
        let log = service.process.log();
        let line = log.lines().find(|line| line.contains("public.older") && line.contains(said));
        assert!(line.is_some_and(|line| line.contains("row by row")), "{sql}: {log}");
        assert_eq!(service.metric("orderd_expired_total").await, 3.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_others_read_is_emptied_meanwhile() {
    let stack = Stack::new();
    partitioned(&stack, OTHERS);
    let before = stack.serve(&[]).await;
    stack.publish(&orders(3)).await;
    stack.wait_settled(3).await;
    insert_old(&stack);
    drop(before);
    let reader = stack.sql().await;
    reader.batch_execute("BEGIN; SELECT FROM orders2").await.unwrap();
    let service = stack.serve(&[("KEEP", "1h")]).await;
    eventually("its rows leave", async || (stack.rows() == 3).then_some(())).await;
    assert_eq!(partitions(&stack), "\"Now\" odd older others");
    reader.batch_execute("COMMIT").await.unwrap();
    eventually("it is dropped", async || (partitions(&stack) == "\"Now\" others").then_some(())).await;
    assert_eq!(service.metric("orderd_expired_total").await, 3.0);
}

/// Once, not in each round; and rows that may go do.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_can_not_be_deleted_are_named_and_keep_no_others() {
    let stack = Stack::new();
    stack
        .postgres
        .psql(
            "create table public.orders2 (id text primary key, data jsonb);
             insert into orders2 select '15000000000000' || (10000 + n), '{\"order_uid\": \"old\"}' from generate_series(1, 2500) n;
             create function keep() returns trigger language plpgsql as $$ begin
                 return case when old.id > '1500000000000012400' then old end; end $$;
             create trigger keep before delete on orders2 for each row execute function keep()",
        )
        .unwrap();
    let service = stack.serve(&SETTINGS).await;
    let warning = async || {
        let warnings = service.get("/readyz").await.json()["warnings"].clone();
        let text = warnings.as_array().unwrap().iter().find(|it| it["what"] == "rows_kept")?["text"].clone();
        text.as_str().map(str::to_owned)
    };
    let text = eventually("it warns", warning).await;
    assert!(text.contains("trigger keep BEFORE DELETE keeps rows of public.orders2"), "{text}");
    assert!(text.contains("DROP TRIGGER keep ON"), "{text}");
    eventually("others go", async || (stack.rows() == 2400).then_some(())).await;
    assert!(warning().await.is_some());
    let log = service.process.log();
    assert_eq!(log.matches("BEFORE DELETE").count(), 1, "{log}");
    stack.postgres.psql("drop trigger keep on orders2").unwrap();
    eventually("all go", async || (stack.rows() == 0).then_some(())).await;
    eventually("it warns no more", async || warning().await.is_none().then_some(())).await;
}
