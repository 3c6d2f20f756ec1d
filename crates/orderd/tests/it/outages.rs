//! Outages of PostgreSQL or NATS, at the start or later, short or long: reads continue, nothing is lost or stored
//! twice.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use devstack::breaker::{Breaker, Mode};
use devstack::{Nats, NatsOptions, Postgres, PostgresOptions, SmallDisk};
use hyper::StatusCode;

use crate::support::{Service, Stack, eventually, in_three_tries, order, orders};

async fn wait_down(service: &Service, part: &str) {
    eventually(&format!("{part} is known to be away"), async || {
        let report = service.get("/readyz").await;
        (report.status == StatusCode::SERVICE_UNAVAILABLE && report.json()[part]["up"] == false).then_some(())
    })
    .await;
}

/// Sends more; all must end in memory and in the table, once.
async fn assert_goes_on(stack: &Stack, service: &Service, before: u64) {
    service.wait_ready().await;
    stack.publish(&orders(20)).await;
    service.wait_len(before + 20).await;
    eventually("all rows are committed", async || (stack.rows() as u64 == before + 20).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_may_be_away_at_the_start() {
    let mut stack = Stack::new();
    stack.nats.stop();
    stack.postgres.stop();
    let service = stack.start(&[]).await;
    assert_eq!(service.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(service.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(service.get("/readyz?for=reads").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let unknown = service.get_once("/order/1-1").await;
    assert_eq!(unknown.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(unknown.headers.contains_key("retry-after"));
    stack.nats.start_again().unwrap();
    stack.postgres.start_again().unwrap();
    assert_goes_on(&stack, &service, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_away_longer_than_a_lease() {
    let (mut stack, service) = Stack::started().await;
    stack.publish(&orders(5)).await;
    eventually("rows are committed", async || (stack.rows() == 5).then_some(())).await;
    let id = service.ids().await[0].clone();
    stack.postgres.kill();
    wait_down(&service, "postgres").await;
    stack.publish(&["{"]).await;
    stack.publish(&orders(30)).await;
    // In memory before it is committed.
    service.wait_len(35).await;
    assert_eq!(service.get(&format!("/order/{id}")).await.status, StatusCode::OK);
    assert_eq!(service.get_once("/order/1-1").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(service.get("/readyz?for=reads").await.status, StatusCode::OK);
    tokio::time::sleep(Duration::from_secs(17)).await;
    stack.postgres.start_again().unwrap();
    eventually("all rows are committed", async || (stack.rows() == 35).then_some(())).await;
    let counted = ["myapp_orders_handled_total", "myapp_orders_errors"];
    for (name, count) in counted.into_iter().zip([36.0, 1.0]) {
        assert_eq!(service.metric(name).await, count, "{name}: what is read again counts once");
    }
    assert_goes_on(&stack, &service, 35).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_killed_and_started_again() {
    let (mut stack, service) = Stack::started().await;
    stack.publish(&orders(5)).await;
    service.wait_len(5).await;
    stack.nats.kill();
    wait_down(&service, "nats").await;
    assert_eq!(service.mem_len().await, 5);
    stack.nats.start_again().unwrap();
    assert_goes_on(&stack, &service, 5).await;
}

/// What it holds then can't be committed, and its lease ends.
#[tokio::test(flavor = "multi_thread")]
async fn nats_away_longer_than_a_lease_while_orders_are_held() {
    let (mut stack, service) = Stack::started().await;
    let client = stack.sql().await;
    client.batch_execute("BEGIN; LOCK TABLE orders2 IN ACCESS EXCLUSIVE MODE").await.unwrap();
    stack.publish(&orders(50)).await;
    service.wait_len(50).await;
    stack.nats.kill();
    wait_down(&service, "nats").await;
    assert_eq!(service.get("/readyz?for=reads").await.status, StatusCode::OK);
    tokio::time::sleep(Duration::from_secs(12)).await;
    stack.nats.start_again().unwrap();
    client.batch_execute("ROLLBACK").await.unwrap();
    eventually("all rows are committed", async || (stack.rows() == 50).then_some(())).await;
    assert_goes_on(&stack, &service, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_known_to_be_away_within_ten_seconds() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(5)).await;
    service.wait_len(5).await;
    for part in ["postgres", "nats"] {
        in_three_tries(async || {
            if part == "postgres" {
                stack.postgres.pause()
            } else {
                stack.nats.pause()
            }
            let begun = std::time::Instant::now();
            wait_down(&service, part).await;
            let known_after = begun.elapsed();
            if part == "postgres" {
                stack.postgres.resume()
            } else {
                stack.nats.resume()
            }
            service.wait_ready().await;
            let in_time = known_after < Duration::from_secs(10);
            in_time.then_some(()).ok_or(format!("{part}: {known_after:?}"))
        })
        .await;
    }
    assert_goes_on(&stack, &service, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_black_holed_and_broken_in_the_middle() {
    let stack = Stack::new();
    let upstream = |port| Breaker::start((std::net::Ipv4Addr::LOCALHOST, port).into()).unwrap();
    let (to_nats, to_postgres) = (upstream(stack.nats.port()), upstream(stack.postgres.port()));
    let (nats_port, pg_port) = (to_nats.addr().port().to_string(), to_postgres.addr().port().to_string());
    let service = stack.serve(&[("NATS_PORT", &nats_port), ("PG_PORT", &pg_port)]).await;
    let mut expected = 0;
    for breaker in [&to_postgres, &to_nats] {
        for mode in [Mode::Closed, Mode::Refused, Mode::BlackHole, Mode::CutAfter { bytes: 3000 }] {
            breaker.set(mode);
            stack.publish(&orders(10)).await;
            tokio::time::sleep(Duration::from_millis(1500)).await;
            breaker.set(Mode::Pass);
            expected += 10;
            eventually("all rows are committed", async || (stack.rows() == expected).then_some(())).await;
            service.wait_len(expected as u64).await;
        }
    }
}

/// As behind a gateway that has lost the connections, also those that were tried meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_connections_were_swallowed_is_reached_within_two_seconds_of_being_back() {
    let stack = Stack::new();
    let upstream = |port| Breaker::start((Ipv4Addr::LOCALHOST, port).into()).unwrap();
    let (to_nats, to_postgres) = (upstream(stack.nats.port()), upstream(stack.postgres.port()));
    let (nats_port, pg_port) = (to_nats.addr().port().to_string(), to_postgres.addr().port().to_string());
    let service = stack.serve(&[("NATS_PORT", &nats_port), ("PG_PORT", &pg_port)]).await;
    service.wait_ready().await;
    for (part, breaker) in [("nats", &to_nats), ("postgres", &to_postgres)] {
        in_three_tries(async || {
            // Cuts the connections, so that the service notices at once and its next attempts are swallowed.
            breaker.set(Mode::Closed);
            breaker.set(Mode::Swallow);
            wait_down(&service, part).await;
            let made = breaker.made();
            eventually("it is tried meanwhile", async || (breaker.made() > made).then_some(())).await;
            breaker.set(Mode::Pass);
            let back = std::time::Instant::now();
            service.wait_ready().await;
            let reached_after = back.elapsed();
            let in_time = reached_after < Duration::from_secs(2);
            in_time.then_some(()).ok_or(format!("{part}: {reached_after:?}"))
        })
        .await;
    }
    // A connection that goes silent without being closed is given up.
    in_three_tries(async || {
        to_nats.set(Mode::Swallow);
        wait_down(&service, "nats").await;
        to_nats.set(Mode::Pass);
        let back = std::time::Instant::now();
        service.wait_ready().await;
        let ready_after = back.elapsed();
        let in_time = ready_after < Duration::from_secs(3);
        in_time.then_some(()).ok_or(format!("ready after {ready_after:?}"))
    })
    .await;
    assert_goes_on(&stack, &service, 0).await;
}

/// As behind a gateway that drops connections without notice to either end.
#[tokio::test(flavor = "multi_thread")]
async fn connections_to_postgres_that_go_silent_are_given_up_within_two_seconds_of_the_network_being_back() {
    let stack = Stack::new();
    let breaker = Breaker::start((Ipv4Addr::LOCALHOST, stack.postgres.port()).into()).unwrap();
    let port = breaker.addr().port().to_string();
    let service = stack.serve(&[("PG_PORT", &port), ("CACHE_MAX_BYTES", "1")]).await;
    in_three_tries(async || {
        breaker.set(Mode::Swallow);
        wait_down(&service, "postgres").await;
        breaker.set(Mode::Pass);
        let back = Instant::now();
        service.wait_ready().await;
        let ready_after = back.elapsed();
        let in_time = ready_after < Duration::from_secs(2);
        in_time.then_some(()).ok_or(format!("ready after {ready_after:?}"))
    })
    .await;
    // Too short for anything else to notice; with a batch that needs COPY, and a reader.
    let mut expected = 0;
    in_three_tries(async || {
        breaker.set(Mode::Swallow);
        breaker.set(Mode::Pass);
        stack.publish(&orders(200)).await;
        expected += 200;
        let published = Instant::now();
        eventually("all rows are committed", async || (stack.rows() == expected).then_some(())).await;
        eventually("an unknown order is looked up", async || {
            (service.get_once("/order/1-1").await.status == StatusCode::NOT_FOUND).then_some(())
        })
        .await;
        let after = published.elapsed();
        let in_time = after < Duration::from_secs(3);
        in_time.then_some(()).ok_or(format!("committed after {after:?}"))
    })
    .await;
    // The server has released what the abandoned connections held.
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    eventually("no transaction is left", async || {
        (stack.postgres.psql(idle).unwrap().trim() == "0").then_some(())
    })
    .await;
    assert!(service.process.log().contains("was lost and not closed"));
    assert_goes_on(&stack, &service, expected as u64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_looked_up_where_a_connection_takes_longer_than_a_reader_waits() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(1)).await;
    eventually("it is committed", async || (stack.rows() == 1).then_some(())).await;
    service.wait_len(1).await;
    let id = service.ids().await[0].clone();
    service.stop();
    let breaker = Breaker::start((Ipv4Addr::LOCALHOST, stack.postgres.port()).into()).unwrap();
    breaker.set(Mode::Late(Duration::from_millis(2500)));
    let port = breaker.addr().port().to_string();
    // Room for no body: each is looked up.
    let service = stack.start(&[("PG_PORT", &port), ("CACHE_MAX_BYTES", "1")]).await;
    eventually("it is looked up", async || {
        (service.get_once(&format!("/order/{id}")).await.status == StatusCode::OK).then_some(())
    })
    .await;
    let misses = async || service.get_once("/order/1-1").await.status == StatusCode::NOT_FOUND;
    // And again where the connection is lost.
    stack.postgres.psql(END_OF_READERS).unwrap();
    eventually("an unknown one is looked up", async || misses().await.then_some(())).await;
}

/// Ends the sessions of all but the writer.
const END_OF_READERS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'orderd' \
    AND pid NOT IN (SELECT writer_pid FROM orderd_position WHERE writer_pid IS NOT NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn postgres_refuses_to_write_for_a_while() {
    let stack = Stack::new();
    let made = "CREATE TABLE public.orders2 (id text NOT NULL PRIMARY KEY, data bytea);
                CREATE ROLE clerk LOGIN;
                GRANT CREATE ON SCHEMA public TO clerk;
                GRANT SELECT, INSERT ON public.orders2 TO clerk";
    stack.postgres.psql(made).unwrap();
    let service = stack.serve(&[("PG_USER", "clerk")]).await;
    // It has created the table of positions.
    stack.postgres.psql("REVOKE CREATE ON SCHEMA public FROM clerk, PUBLIC").unwrap();
    let mut expected = 0;
    for (broken, mended) in [
        ("ALTER ROLE clerk SET default_transaction_read_only = on", "ALTER ROLE clerk RESET ALL"),
        ("ALTER TABLE orders2 RENAME TO away", "ALTER TABLE away RENAME TO orders2"),
        ("ALTER ROLE clerk CONNECTION LIMIT 0", "ALTER ROLE clerk CONNECTION LIMIT -1"),
        ("REVOKE INSERT ON orders2 FROM clerk", "GRANT INSERT ON orders2 TO clerk"),
    ] {
        stack.postgres.psql(broken).unwrap();
        // Each of its backends is ended too, as an administrator may.
        stack
            .postgres
            .psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'clerk'")
            .unwrap();
        stack.publish(&orders(10)).await;
        expected += 10;
        service.wait_len(expected).await;
        wait_down(&service, "postgres").await;
        stack.postgres.psql(mended).unwrap();
        eventually("all rows are committed", async || (stack.rows() as u64 == expected).then_some(())).await;
        service.wait_ready().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fill_that_stalls_is_started_again() {
    let (stack, mut first) = Stack::started().await;
    stack.publish(&orders(10)).await;
    first.wait_len(10).await;
    eventually("all rows are committed", async || (stack.rows() == 10).then_some(())).await;
    first.stop();
    // More than is in flight between a server and its reader.
    let more = "INSERT INTO public.orders2 SELECT (1700000000000000000 + row_number() OVER ())::text, data \
                FROM public.orders2, generate_series(1, 4000)";
    stack.postgres.psql(more).unwrap();
    let breaker = Breaker::start((Ipv4Addr::LOCALHOST, stack.postgres.port()).into()).unwrap();
    breaker.set(Mode::Slow { bytes_per_second: 50_000 });
    let port = breaker.addr().port().to_string();
    let service = stack.start(&[("PG_PORT", &port)]).await;
    eventually("some rows are read", async || (service.mem_len().await > 0).then_some(())).await;
    // Its connection stays open; the server answers new connections.
    let reading = "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query ILIKE 'copy%'";
    let reading = stack.postgres.psql(reading).unwrap();
    assert!(!reading.trim().is_empty(), "nothing was left to read");
    let stopped = std::process::Command::new("kill").arg("-STOP").args(reading.split_whitespace()).status();
    assert!(stopped.unwrap().success());
    breaker.set(Mode::Pass);
    assert!(service.mem_len().await < 40_010, "nothing was left to read");
    eventually("it is seen to be stuck", async || {
        let log = service.process.log();
        // It blocks while it sends or reads, and is abandoned after 40 seconds.
        let words = ["was lost and not closed", "a read of the table is not answered"];
        words.iter().any(|words| log.contains(words)).then_some(())
    })
    .await;
    service.wait_len(40_010).await;
}

/// Two passwords, of letters that no log line has by chance.
const OLD: &str = "pw-4f1dbe0a";
const NEW: &str = "pw-9c27a6d3";

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_changed_and_changed_back() {
    let options = PostgresOptions { password: Some(OLD.into()), ..PostgresOptions::quick() };
    let mut stack = Stack { postgres: Postgres::temporary(options).unwrap(), ..Stack::new() };
    let service = stack.serve(&[("PG_PASSWORD", OLD)]).await;
    stack.publish(&orders(3)).await;
    service.wait_len(3).await;
    stack.postgres.set_password(NEW).unwrap();
    stack
        .postgres
        .psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'orderd'")
        .unwrap();
    wait_down(&service, "postgres").await;
    assert!(!service.get("/readyz").await.body.contains(OLD), "a secret in /readyz");
    stack.publish(&orders(3)).await;
    service.wait_len(6).await;
    stack.postgres.set_password(OLD).unwrap();
    eventually("all rows are committed", async || (stack.rows() == 6).then_some(())).await;
    assert!(!service.process.log().contains(OLD), "a secret in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_nats_that_is_changed_and_changed_back() {
    let config = |password: &str| format!("authorization {{ user: orderd, password: {password} }}");
    let options = NatsOptions { extra_config: config(OLD), ..NatsOptions::default() };
    let mut stack = Stack { nats: Nats::temporary(options).unwrap(), ..Stack::new() };
    let url = format!("nats://orderd:{OLD}@127.0.0.1:{}", stack.nats.port());
    let service = stack.serve(&[("NATS_URL", &url)]).await;
    publish_with(&stack, OLD).await;
    service.wait_len(3).await;
    stack.nats.set_extra_config(&config(NEW));
    stack.nats.start_again().unwrap();
    wait_down(&service, "nats").await;
    publish_with(&stack, NEW).await;
    assert_eq!(service.mem_len().await, 3);
    let report = service.get("/readyz").await.body;
    assert!(!report.contains(OLD), "a secret in /readyz: {report}");
    stack.nats.set_extra_config(&config(OLD));
    stack.nats.start_again().unwrap();
    service.wait_len(6).await;
    eventually("all rows are committed", async || (stack.rows() == 6).then_some(())).await;
    assert!(!service.process.log().contains(OLD), "a secret in the log");
}

/// Publishes three orders with the password.
async fn publish_with(stack: &Stack, password: &str) {
    let options = async_nats::ConnectOptions::with_user_and_password("orderd".into(), password.into());
    let context = async_nats::jetstream::new(options.connect(stack.nats.url()).await.unwrap());
    for payload in orders(3) {
        context.publish("TESTING", payload.into()).await.unwrap().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_slows_the_intake_and_nothing_else() {
    let (stack, service) = Stack::started().await;
    let client = stack.sql().await;
    client.batch_execute("BEGIN; LOCK TABLE orders2 IN ACCESS EXCLUSIVE MODE").await.unwrap();
    stack.publish(&orders(50)).await;
    service.wait_len(50).await;
    let id = service.ids().await[7].clone();
    assert_eq!(service.get(&format!("/order/{id}")).await.status, StatusCode::OK);
    wait_down(&service, "postgres").await;
    // Abandoned connections must not keep waiting, or they would use up the server's connections.
    for _ in 0..8 {
        assert_eq!(service.get_once("/order/1-1").await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'orderd' AND wait_event_type = 'Lock'";
    let other = stack.sql().await;
    eventually("what is not waited for is cancelled", async || {
        let waiting: i64 = other.query_one(waiting, &[]).await.unwrap().get(0);
        (waiting <= 4).then_some(())
    })
    .await;
    let log = service.process.log();
    assert!(!log.contains("was lost and not closed"), "a session that waits for a lock was given up: {log}");
    client.batch_execute("ROLLBACK").await.unwrap();
    eventually("all rows are committed", async || (stack.rows() == 50).then_some(())).await;
    assert_goes_on(&stack, &service, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_locked_at_the_start_is_read_and_orders_come_into_memory() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(5)).await;
    eventually("rows are committed", async || (stack.rows() == 5).then_some(())).await;
    service.stop();
    let client = stack.sql().await;
    // As during CREATE INDEX.
    client.batch_execute("BEGIN; LOCK TABLE orders2 IN SHARE MODE").await.unwrap();
    stack.publish(&orders(50)).await;
    let service = stack.start(&[]).await;
    service.wait_len(55).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    eventually("all rows are committed", async || (stack.rows() == 55).then_some(())).await;
    assert_goes_on(&stack, &service, 55).await;
}

/// Until then the table is read, orders come into memory where the position can be read, and `/readyz` names the table.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_the_tables_beside_the_orders_at_the_start_is_named_and_memory_fills() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(5)).await;
    eventually("rows are committed", async || (stack.rows() == 5).then_some(())).await;
    service.stop();
    // As created at the first erasure.
    let made = "CREATE TABLE IF NOT EXISTS orderd_erased (table_name text NOT NULL, id text NOT NULL,
        erased_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (table_name, id))";
    stack.postgres.psql(made).unwrap();
    let client = stack.sql().await;
    let mut expected = 5;
    for (table, lock, reads_position) in [
        ("orderd_position", "SELECT FROM orderd_position FOR UPDATE", true),
        ("orderd_erased", "LOCK TABLE orderd_erased IN ACCESS EXCLUSIVE MODE", true),
        ("orderd_position", "LOCK TABLE orderd_position IN ACCESS EXCLUSIVE MODE", false),
    ] {
        client.batch_execute(&format!("BEGIN; {lock}")).await.unwrap();
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        stack.publish(&orders(10)).await;
        let mut service = stack.start(&[]).await;
        service.wait_len(expected + if reads_position { 10 } else { 0 }).await;
        expected += 10;
        eventually(&format!("the lock is named: {lock}"), async || {
            let report = service.get("/readyz").await.json();
            let reason = report["postgres"]["reason"].as_str().unwrap_or_default();
            (reason.contains(table) && reason.contains(&pid.to_string())).then_some(())
        })
        .await;
        client.batch_execute("ROLLBACK").await.unwrap();
        eventually("all rows are committed", async || (stack.rows() as u64 == expected).then_some(())).await;
        service.wait_ready().await;
        service.wait_len(expected).await;
        service.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_leaves_no_backend_that_waits_for_a_lock() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(5)).await;
    eventually("rows are committed", async || (stack.rows() == 5).then_some(())).await;
    let client = stack.sql().await;
    client.batch_execute("BEGIN; LOCK TABLE orders2 IN ACCESS EXCLUSIVE MODE").await.unwrap();
    stack.publish(&orders(5)).await;
    // Outside the transaction, which would keep its snapshot of this view.
    let other = stack.sql().await;
    let count = async |which: &str| -> i64 {
        let of = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'orderd' {which}");
        other.query_one(&of, &[]).await.unwrap().get(0)
    };
    eventually("it waits for the lock", async || {
        (count("AND wait_event_type = 'Lock'").await > 0).then_some(())
    })
    .await;
    assert_eq!(service.stop(), Some(0));
    eventually("none is left", async || (count("").await == 0).then_some(())).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    let service = stack.serve(&[]).await;
    service.wait_len(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_of_postgres_is_full() {
    let disk = SmallDisk::new(320).unwrap();
    let postgres = Postgres::start(&disk.path().join("postgres"), PostgresOptions::quick()).unwrap();
    let mut stack = Stack { postgres, ..Stack::new() };
    let service = stack.serve(&[]).await;
    stack.publish(&orders(5)).await;
    eventually("rows are committed", async || (stack.rows() == 5).then_some(())).await;
    let id = service.ids().await[0].clone();
    disk.fill().unwrap();
    // More than the pages that the table has already.
    stack.publish(&orders(2_000)).await;
    service.wait_len(2_005).await;
    wait_down(&service, "postgres").await;
    assert_eq!(service.get(&format!("/order/{id}")).await.status, StatusCode::OK);
    assert_eq!(service.metric("myapp_orders_errors").await, 0.0, "nothing is refused for want of room");
    disk.free().unwrap();
    if stack.postgres.psql("SELECT 1").is_err() {
        // Without room for its log it ends itself, and waits for an operator.
        stack.postgres.start_again().unwrap();
    }
    // One backend that had no room ends the others' connections too, even now.
    let counted = "SELECT count(*) = 2005 FROM public.orders2";
    eventually("all rows are committed", async || {
        stack.postgres.psql(counted).is_ok_and(|answer| answer.trim() == "t").then_some(())
    })
    .await;
    assert_goes_on(&stack, &service, 2_005).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_of_nats_is_full() {
    let disk = SmallDisk::new(64).unwrap();
    let nats = Nats::start(&disk.path().join("nats"), NatsOptions::default()).unwrap();
    let mut stack = Stack { nats, ..Stack::new() };
    let service = stack.serve(&[]).await;
    stack.publish(&orders(5)).await;
    service.wait_len(5).await;
    disk.fill().unwrap();
    let stored = publish_until_refused(&stack).await;
    assert_eq!(service.get("/mem_len").await.status, StatusCode::OK);
    disk.free().unwrap();
    // JetStream turns itself off where its disk is full, until the server is started again.
    stack.nats.start_again().unwrap();
    let kept = 5 + stored as usize;
    eventually("what was acknowledged is committed", async || (stack.rows() >= kept).then_some(())).await;
    let before = eventually("what is in memory is committed", async || {
        let before = service.mem_len().await;
        (stack.rows() as u64 == before).then_some(before)
    })
    .await;
    assert_goes_on(&stack, &service, before).await;
}

/// Publishes until the server has no space; returns the number of acknowledged orders.
async fn publish_until_refused(stack: &Stack) -> u64 {
    let context = async_nats::jetstream::new(stack.client().await);
    for number in 0..100_000 {
        let payload = order(&format!("full-{number}")).into();
        let stored = match context.publish("TESTING", payload).await {
            Ok(ack) => tokio::time::timeout(Duration::from_secs(2), ack.into_future()).await,
            Err(_) => return number,
        };
        if !matches!(stored, Ok(Ok(_))) {
            return number;
        }
    }
    panic!("the disk is not full");
}

/// The intake asks for the message at which it goes on, and the request is lost with its connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_the_intake_that_is_lost_is_not_waited_for() {
    let stack = Stack::new();
    let link = Breaker::start(([127, 0, 0, 1], stack.nats.port()).into()).unwrap();
    let _service = stack.serve(&[("NATS_PORT", &link.addr().port().to_string())]).await;
    stack.publish(&orders(5)).await;
    stack.wait_settled(5).await;
    link.set(Mode::Closed);
    link.set(Mode::CutAt { text: "$JS.API.STREAM.MSG.GET.ORDERS " });
    eventually("the request is lost", async || (link.mode() == Mode::Pass).then_some(())).await;
    let begun = Instant::now();
    stack.publish(&[order("later")]).await;
    stack.wait_settled(6).await;
    // The client library's own limit is ten seconds.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
