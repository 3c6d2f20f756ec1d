//! Databases whose encoding is not UTF-8: one client's id never fails another's request, and no stored id stops the
//! fill.

use hyper::StatusCode;

use crate::support::{Service, Stack, eventually, orders};

/// Encodings; an id that each can represent, an id that it can't, and bytes that are not text, as SQL.
const ENCODINGS: [(&str, &str, Option<&str>, Option<&str>); 4] = [
    ("LATIN1", "chr(233)", Some("%D1%8B"), None),
    ("WIN1251", "chr(251)", Some("%C3%A9"), Some("chr(152)")),
    ("SQL_ASCII", "chr(209) || chr(139)", None, Some("chr(255)")),
    (
        "EUC_JP",
        "convert_from('\\xa4a2'::bytea, 'EUC_JP')",
        Some("%D9%81"),
        Some("convert_from('\\xa4a2a9a1'::bytea, 'EUC_JP')"),
    ),
];

async fn ask_beside(service: &Service, path: &str, number: usize) {
    let other = format!("/order/nobody-{number}");
    let (odd, plain) = tokio::join!(service.get_once(path), service.get_once(&other));
    assert_eq!(odd.status, StatusCode::NOT_FOUND, "{path}: {}", odd.body);
    assert_eq!(plain.status, StatusCode::NOT_FOUND, "{}", plain.body);
}

async fn command(stack: &Stack, service: &Service, args: &[&str], stdin: &str) -> std::process::Output {
    let addr = service.addr.to_string();
    let args = match args[0] {
        "verify" => [args, &["--pg-dbname", "other", "--http-addr", &addr]].concat(),
        _ => [args, &["--pg-dbname", "other"]].concat(),
    };
    stack.run(&args, stdin).await
}

/// There are three orders of the stream, one with another id, and perhaps a row whose id is not valid text.
async fn commands_see_every_id(stack: &Stack, service: &Service, encoding: &str, has_bytes: bool) {
    let verified = command(stack, service, &["verify", "--json"], "").await;
    let words = String::from_utf8_lossy(&verified.stderr);
    assert_eq!(verified.status.code(), Some(0), "{encoding}: {words}");
    let report: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    let found = (&report["table"], &report["memory"], &report["undecodable"], &report["verdict"]);
    assert_eq!(
        found,
        (&4.into(), &4.into(), &i32::from(has_bytes).into(), &"all_there".into()),
        "{encoding}"
    );

    let exported = command(stack, service, &["export"], "").await;
    let words = String::from_utf8_lossy(&exported.stderr).into_owned();
    assert_eq!(words.contains("its id can't be converted to UTF-8"), has_bytes, "{encoding}: {words}");
    let lines = String::from_utf8(exported.stdout).unwrap();
    assert_eq!(lines.lines().count(), 4, "{encoding}: {lines}");
    let imported = command(stack, service, &["import"], &lines).await;
    let words = String::from_utf8_lossy(&imported.stderr);
    assert!(imported.status.success() && words.contains("0 of them new"), "{encoding}: {words}");
    // An id that the database can't hold is named by its line; those before it are written.
    if encoding.starts_with("LATIN") {
        let first = lines.lines().next().unwrap();
        let order = first.split_once("\"order\":").unwrap().1;
        let foreign = format!("{first}\n{{\"id\":\"я\",\"order\":{order}\n");
        let refused = command(stack, service, &["import"], &foreign).await;
        let words = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && words.contains("line 2"), "{encoding}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_the_database_cannot_hold_is_not_found_and_fails_no_other() {
    for (encoding, letters, lacking, bytes) in ENCODINGS {
        let stack = Stack::new();
        let made = format!("create database other encoding '{encoding}' locale 'C' template template0");
        stack.postgres.psql(&made).unwrap();
        let url = stack.postgres.url().replace("/demo1", "/other");
        let (sql, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let env = [("PG_DBNAME", "other")];
        let mut service = stack.serve(&env).await;
        stack.publish(&orders(3)).await;
        eventually("three rows", async || {
            let count = sql.query_one("select count(*) from orders2", &[]).await.ok()?;
            (count.get::<_, i64>(0) == 3).then_some(())
        })
        .await;
        service.kill();
        for id in [Some(letters), bytes].into_iter().flatten() {
            let row =
                format!("insert into orders2 select {id}, data from orders2 where id ~ '^[0-9-]+$' limit 1");
            sql.batch_execute(&row).await.unwrap();
        }
        let service = stack.serve(&env).await;
        service.wait_len(4).await;
        commands_see_every_id(&stack, &service, encoding, bytes.is_some()).await;
        let checked = stack.run(&["check", "--settings", "--pg-dbname", "other"], "").await;
        let words = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success() && words.contains("PostgreSQL"), "{encoding}: {words}");
        let ids = service.ids().await;
        let odd = ids.iter().find(|id| !id.is_ascii()).unwrap();
        let path: String = odd.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = service.get(&format!("/order/{path}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{encoding}: {}", answer.body);
        assert!(command(&stack, &service, &["erase", "--yes", odd], "").await.status.success());
        eventually("the erased order has left memory", async || {
            let answer = service.get(&format!("/order/{path}")).await;
            (answer.status == StatusCode::NOT_FOUND).then_some(())
        })
        .await;
        let lines = command(&stack, &service, &["export"], "").await;
        assert!(!String::from_utf8_lossy(&lines.stdout).contains(odd.as_str()), "{encoding}: {lines:?}");
        for number in 0..200 {
            // SQL_ASCII can represent all.
            ask_beside(&service, &format!("/order/{}", lacking.unwrap_or("%C3%BC")), number).await;
        }
    }
}

#[tokio::test]
async fn the_writer_and_readers_share_what_other_clients_leave_of_a_role_with_four_connections() {
    let stack = Stack::new();
    let role = "create role clerk login; grant create on schema public to clerk";
    stack.postgres.psql(role).unwrap();
    let service = stack.serve(&[("PG_USER", "clerk"), ("CACHE_MAX_BYTES", "1")]).await;
    eventually("readers have their connections", async || {
        drop(service.get_once("/order/1-1").await);
        let own = "select count(*) >= 3 from pg_stat_activity where usename = 'clerk'";
        (stack.postgres.psql(own).unwrap().trim() == "t").then_some(())
    })
    .await;
    let url = stack.postgres.url().replacen("postgres@", "clerk@", 1);
    let mut others = Vec::new();
    for _ in 0..2 {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        others.push(client);
    }
    let in_writer_s_place = "alter role clerk connection limit 4;
        select pg_terminate_backend(writer_pid) from orderd_position";
    stack.postgres.psql(in_writer_s_place).unwrap();
    stack.publish(&orders(3)).await;
    eventually("orders are committed", async || (stack.rows() == 3).then_some(())).await;
    let ids = service.ids().await;
    for path in [format!("/order/{}", ids[0]), "/order/1-1".to_owned()] {
        eventually("readers get in too", async || {
            [200, 404].contains(&service.get_once(&path).await.status.as_u16()).then_some(())
        })
        .await;
    }
    drop(others);
}

#[tokio::test]
async fn a_role_with_four_connections_fills_memory_once() {
    let stack = Stack::new();
    let mut service = stack.serve(&[]).await;
    stack.publish(&orders(1)).await;
    stack.wait_settled(1).await;
    service.kill();
    // More than one range: above 8 MiB.
    let rows = "insert into orders2 select 'copy-' || n, data from orders2, generate_series(1, 15000) as n; analyze orders2; \
                create role clerk login connection limit 4; grant select, insert, update, delete on orders2, orderd_erased, orderd_position to clerk";
    stack.postgres.psql(rows).unwrap();
    let service = stack.serve(&[("PG_USER", "clerk")]).await;
    service.wait_len(15_001).await;
    let read = service.metric("myapp_orders_read_db").await;
    assert!(read <= 15_001.0, "{read} rows were read");
    eventually("an order is written too", async || {
        stack.publish(&orders(1)).await;
        (stack.rows() > 15_001).then_some(())
    })
    .await;
}
