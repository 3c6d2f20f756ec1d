//! A table or database that would break a guarantee is refused at the start, with the statement that fixes it.

use futures_util::StreamExt;

use crate::support::{Service, Stack, eventually, in_time, order, orders};

/// A table `t`, the expected finding, and whether the suggested statement makes it usable.
const BROKEN: [(&str, &str, bool); 24] = [
    ("create table t (id text not null, data bytea)", "no unique key on id alone", true),
    ("create table t (id text, data bytea); create unique index on t (id)", "may be null", true),
    (
        "create table t (id text not null, data bytea); create unique index on t (id) where id > 'a'",
        "partial",
        true,
    ),
    (
        "create table t (id text not null, data bytea); create unique index on t (lower(id))",
        "on an expression",
        true,
    ),
    (
        "create table t (id text not null, data bytea, n int default 0, primary key (id, n))",
        "on more columns",
        true,
    ),
    (
        "create table t (id text not null, data bytea, n int default 0, primary key (n, id))",
        "on other columns",
        true,
    ),
    ("create table t (id text primary key deferrable, data bytea)", "deferrable", true),
    (
        "create table t (id text not null, data bytea, unique (id) deferrable initially deferred)",
        "deferrable",
        true,
    ),
    ("create unlogged table t (id text primary key, data bytea)", "UNLOGGED", true),
    ("create view t as select ''::text id, ''::bytea data", "is a view", false),
    ("create materialized view t as select ''::text id, ''::bytea data", "is a materialized view", false),
    ("create table t (id text primary key)", "no column data", true),
    ("create table t (id bigint primary key, data bytea)", "has the type bigint, not text", true),
    ("create table t (id varchar(20) primary key, data bytea)", "has the type character varying(20)", true),
    ("create table t (id text primary key, data text)", "column data of public.t has the type text", false),
    ("create table t (id text primary key, data bytea, who text not null)", "column who", true),
    (
        "create table t (id text primary key, data bytea generated always as (''::bytea) stored)",
        "is generated",
        false,
    ),
    (
        "create table t (id text, data bytea) partition by hash (data); create table p partition of t for values \
         with (modulus 1, remainder 0); alter table t alter id set not null",
        "not partitioned by id",
        false,
    ),
    (
        "create table t (id text primary key, data bytea); create table p () inherits (t)",
        "p, which inherits from public.t, has no unique key",
        true,
    ),
    (
        "create table t (id text primary key, data bytea); create table log (id text);
         create rule \"Audit\" as on insert to t do also insert into log values (new.id)",
        "the rule Audit on INSERT",
        true,
    ),
    (
        "create table t (id text primary key, data bytea); create rule r as on update to t do instead nothing;
         alter table t disable rule r",
        "the rule r on UPDATE",
        true,
    ),
    (
        "create table t (id text primary key, data bytea) partition by range (id)",
        "public.t is partitioned and has no partition",
        true,
    ),
    (
        "create table t (id text primary key, data bytea) partition by hash (id)",
        "public.t is partitioned and has no partition",
        true,
    ),
    (
        "create table t (id text primary key, data bytea) partition by range (id);
         create table p partition of t for values from ('1') to ('2') partition by list (id)",
        "public.t is partitioned and has no partition",
        true,
    ),
];

/// Tables that are used as they are.
const FINE: [&str; 7] = [
    "create table t (id text primary key, data bytea)",
    "create table t (id varchar(64) primary key, data bytea not null, at timestamptz not null default now())",
    "create table t (id text not null, data bytea); create unique index on t (id) include (data)",
    "create table t (n serial primary key, id text not null unique, data bytea)",
    "create table t (id text primary key, data bytea) partition by hash (id); \
     create table p partition of t for values with (modulus 1, remainder 0)",
    "create table t (id text primary key, data bytea); create table p (primary key (id)) inherits (t)",
    "create table t (id text primary key, data bytea); alter table t enable row level security; \
     create policy all_rows on t using (true)",
];

fn make(stack: &Stack, ddl: &str) {
    stack.postgres.psql("drop schema if exists public cascade; create schema public").unwrap();
    stack.postgres.psql(ddl).unwrap();
}

async fn run(stack: &Stack, command: &str, env: &[(&str, &str)]) -> std::process::Output {
    let mut program = tokio::process::Command::new(&stack.program);
    program.arg(command).envs(stack.env()).envs(env.iter().copied()).kill_on_drop(true);
    let output = program.stdin(std::process::Stdio::null()).output();
    in_time("it ends", output).await.unwrap()
}

/// The output of `orderd serve` when it does not start.
async fn refusal(stack: &Stack, env: &[(&str, &str)]) -> String {
    let output = run(stack, "serve", env).await;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    words
}

async fn is_accepted(stack: &Stack, env: &[(&str, &str)]) {
    let output = run(stack, "import", env).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The statement that a refusal gives.
fn statement(words: &str) -> String {
    let (_, fix) = words.split_once("to fix it: ").unwrap();
    fix.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_table_that_breaks_a_promise_is_refused_with_the_statement_that_fixes_it() {
    let stack = Stack::new();
    let env = [("PG_TABLE", "public.t")];
    for (ddl, problem, can_be_fixed) in BROKEN {
        make(&stack, ddl);
        let words = refusal(&stack, &env).await;
        assert!(words.contains(problem), "{ddl}: {words}");
        if can_be_fixed {
            stack.postgres.psql(&statement(&words)).unwrap_or_else(|error| panic!("{ddl}: {words}: {error}"));
            is_accepted(&stack, &env).await;
        }
    }
    for ddl in FINE {
        make(&stack, ddl);
        is_accepted(&stack, &env).await;
    }
}

#[tokio::test]
async fn a_table_in_another_case_or_schema_is_named_before_a_new_one_is_made() {
    let stack = Stack::new();
    stack.postgres.psql("create table orders2 (id text primary key, data bytea)").unwrap();
    for table in ["public.Orders2", "Public.orders2"] {
        let words = refusal(&stack, &[("PG_TABLE", table)]).await;
        assert!(words.contains("there is public.orders2"), "{words}");
        assert!(words.contains("PG_TABLE=public.orders2"), "{words}");
    }
    let words = refusal(&stack, &[("PG_TABLE", "shop.orders2")]).await;
    assert!(words.contains("there is public.orders2"), "{words}");
    stack.postgres.psql(&statement(words.split_once("Also").map_or(&words, |(_, also)| also))).unwrap();
    let service = stack.serve(&[("PG_TABLE", "shop.orders2")]).await;
    let log = service.process.log();
    assert!(log.contains("there is public.orders2"), "{log}");
    assert_eq!(stack.postgres.psql("select count(*) from shop.orders2").unwrap().trim(), "0");
}

#[tokio::test]
async fn rights_that_are_missing_are_named_with_the_grant() {
    let stack = Stack::new();
    stack
        .postgres
        .psql("create table orders2 (id text primary key, data bytea); create role clerk login; revoke all on schema public from public")
        .unwrap();
    let env = [("PG_USER", "clerk")];
    // First the schema and the table, then further findings, and the table of positions.
    let mut named = String::new();
    for _ in 0..2 {
        let words = refusal(&stack, &env).await;
        assert!(words.contains("role clerk"), "{words}");
        for fix in words.split("to fix it: ").skip(1) {
            stack.postgres.psql(fix.split(". Also: ").next().unwrap()).unwrap();
        }
        named += &words;
        let rights = "select has_table_privilege('clerk', 'orders2', 'INSERT') and has_schema_privilege('clerk', 'public', 'USAGE')";
        if stack.postgres.psql(rights).unwrap().trim() == "t" {
            break;
        }
    }
    assert!(named.contains("orderd_position") && named.contains("may not create it"), "{named}");
    is_accepted(&stack, &env).await;
    stack
        .postgres
        .psql("revoke update on orderd_position from clerk; alter table orderd_position owner to postgres")
        .unwrap();
    let words = refusal(&stack, &env).await;
    assert!(words.contains("orderd_position") && words.contains("GRANT"), "{words}");
    stack.postgres.psql(&statement(&words)).unwrap();
    is_accepted(&stack, &env).await;
    stack.postgres.psql("grant create on schema public to clerk").unwrap();
    is_accepted(&stack, &env).await;
    for (broken, words_of_it) in [
        ("alter table orderd_erased owner to postgres", "may not read public.orderd_erased"),
        ("alter table orderd_erased set unlogged", "public.orderd_erased is UNLOGGED"),
        ("alter table orderd_erased enable row level security", "row-level security of public.orderd_erased"),
        (
            "alter table orderd_position enable row level security",
            "row-level security of public.orderd_position",
        ),
        ("revoke select on orders2 from clerk", "lacks SELECT on public.orders2"),
        ("revoke insert on orders2 from clerk", "lacks INSERT on public.orders2"),
    ] {
        stack.postgres.psql(broken).unwrap();
        let words = refusal(&stack, &env).await;
        assert!(words.contains(words_of_it), "{broken}: {words}");
        stack.postgres.psql(&statement(&words)).unwrap_or_else(|error| panic!("{words}: {error}"));
        is_accepted(&stack, &env).await;
    }
    // Only erasing needs this right: the start reports it with the statement, and the service runs.
    stack.postgres.psql("revoke insert on orderd_erased from clerk").unwrap();
    let service = stack.serve(&env).await;
    let log = service.process.log();
    assert!(log.contains("GRANT INSERT ON") && log.contains("nothing can be erased"), "{log}");
    drop(service);
    stack.postgres.psql("drop table orderd_erased; revoke create on schema public from clerk").unwrap();
    let service = stack.serve(&env).await;
    let log = service.process.log();
    let (_, fix) = log.split_once("CREATE TABLE IF NOT EXISTS").unwrap();
    assert!(fix.contains("GRANT SELECT, INSERT"), "{log}");
    drop(service);
    stack.postgres.psql("alter role clerk connection limit 3").unwrap();
    let words = refusal(&stack, &env).await;
    assert!(words.contains("limited to 3 connections"), "{words}");
    stack.postgres.psql(&statement(&words)).unwrap();
    is_accepted(&stack, &env).await;
    let words = refusal(&stack, &[("PG_USER", "clerk"), ("PG_TABLE", "public.other")]).await;
    assert!(words.contains("may not create it"), "{words}");
}

#[tokio::test]
async fn policies_that_hide_rows_are_refused_and_policies_that_allow_all_cost_nothing() {
    let stack = Stack::new();
    let table = "create table orders2 (id text primary key, data bytea); create role clerk login; \
                 grant create on schema public to clerk; grant select, insert, delete on orders2 to clerk; \
                 alter table orders2 enable row level security";
    stack.postgres.psql(table).unwrap();
    let env = [("PG_USER", "clerk")];
    for policy in [
        "create policy p on orders2 using (id > 'a') with check (true)",
        "create policy p on orders2 using (true) with check (id > 'a')",
        "create policy p on orders2 for insert with check (true)",
    ] {
        stack
            .postgres
            .psql(&format!(
                "drop policy if exists p on orders2; drop policy if exists orderd on orders2; {policy}"
            ))
            .unwrap();
        let words = refusal(&stack, &env).await;
        assert!(words.contains("row-level security of public.orders2"), "{policy}: {words}");
        stack.postgres.psql(&statement(&words)).unwrap();
        is_accepted(&stack, &env).await;
    }
    stack.postgres.psql("create policy r on orders2 as restrictive using (id > 'a')").unwrap();
    let words = refusal(&stack, &env).await;
    assert!(words.contains("restrictive policy r"), "{words}");
    stack.postgres.psql("drop policy r on orders2").unwrap();

    let service = stack.serve(&env).await;
    let pids = || stack.postgres.psql("select pid from pg_stat_activity where usename = 'clerk'").unwrap();
    stack.publish(&[order("first")]).await;
    eventually("a row is there", async || (stack.rows() == 1).then_some(())).await;
    let before = pids();
    for number in 1..20 {
        stack.publish(&[order(&format!("order-{number}"))]).await;
        eventually("the row is there", async || (stack.rows() == number + 1).then_some(())).await;
    }
    let after = pids();
    let new = after.lines().filter(|pid| !before.lines().any(|known| known == *pid)).count();
    assert!(new <= 1, "{new} new connections: {}", service.process.log());
}

/// PostgreSQL refuses to write, with a reason that is not a row's.
#[tokio::test]
async fn what_postgresql_does_not_support_is_named_by_readyz_until_it_is_gone() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(1)).await;
    stack.wait_settled(1).await;
    for (number, (make, words, drop)) in [
        (
            "create rule audit as on insert to orders2 do also notify orders2",
            "to fix it: DROP RULE \"audit\" ON \"public\".\"orders2\";",
            "drop rule audit on orders2",
        ),
        (
            "create function no() returns trigger language plpgsql as
             $$ begin raise 'not on this server' using errcode = 'feature_not_supported'; end $$;
             create trigger no before insert on orders2 for each row execute function no()",
            "not on this server (SQLSTATE 0A000)",
            "drop trigger no on orders2",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        stack.postgres.psql(make).unwrap();
        stack.publish(&[order(&format!("waits-{number}"))]).await;
        eventually(words, async || {
            let readyz = service.get("/readyz").await;
            let reason = readyz.json()["postgres"]["reason"].as_str()?.to_owned();
            (readyz.status == 503 && reason.contains(words)).then_some(())
        })
        .await;
        let log = service.process.log();
        assert!(log.contains(&words.replace('"', "\\\"")) || log.contains(words), "{log}");
        stack.postgres.psql(drop).unwrap();
        stack.wait_settled(number as u64 + 2).await;
        assert_eq!(stack.rows(), number + 2);
        eventually("it is ready", async || (service.get("/readyz").await.status == 200).then_some(())).await;
    }
}

/// `CREATE TRIGGER`s that keep rows out of the table, and what they do.
const KEEPERS: [&str; 3] = [
    "begin return null; end",
    "begin new.id = 'other-' || new.id; return new; end",
    "begin insert into elsewhere values (new.id, new.data); return null; end",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_a_trigger_keeps_out_is_not_called_committed() {
    for (body, while_it_runs) in KEEPERS.into_iter().flat_map(|body| [(body, false), (body, true)]) {
        // The number of rows is right: that the last one is missing shows a trigger that was made meanwhile, a moment later.
        let is_noticed_late = while_it_runs && body.contains("other-");
        let stack = Stack::new();
        stack
            .postgres
            .psql(&format!(
                "create table orders2 (id text primary key, data bytea);
                 create table elsewhere (id text primary key, data bytea);
                 create function keep() returns trigger language plpgsql as $$ {body} $$"
            ))
            .unwrap();
        let trigger = "create trigger \"Keep\" before insert on orders2 for each row execute function keep()";
        let make = || stack.postgres.psql(trigger).unwrap();
        if !while_it_runs {
            make();
        }
        let services = [stack.serve(&[]).await, stack.serve(&[]).await];
        if while_it_runs {
            make();
        }
        let sum = async |name| services[0].metric(name).await + services[1].metric(name).await;
        let client = stack.client().await;
        let mut receipts = client.subscribe("_INBOX.mine").await.unwrap();
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Orderd-Receipt", "_INBOX.mine");
        client.publish_with_headers("TESTING", headers, order("kept-out").into()).await.unwrap();
        let receipt = in_time("the receipt", receipts.next()).await.unwrap();
        let said: serde_json::Value = serde_json::from_slice(&receipt.payload).unwrap();
        let key = said["key"].as_str().unwrap().to_owned();
        if is_noticed_late {
            assert_eq!(said.get("refused"), None, "{said}");
            eventually("it is noticed", async || {
                (sum("orderd_rows_not_stored_total").await == 1.0).then_some(())
            })
            .await;
        } else {
            assert_eq!(said["refused"], "not_stored", "{body}: {said}");
        }
        // By COPY.
        stack.publish_numbers(0..500).await;
        stack.wait_settled(501).await;
        eventually("all are counted", async || {
            (sum("orderd_rows_not_stored_total").await == 501.0).then_some(())
        })
        .await;
        let warned = async |service: &Service| {
            let warnings = service.get("/readyz").await.json()["warnings"].clone();
            let is_it = |warning: &&serde_json::Value| warning["what"] == "rows_not_stored";
            let text = warnings.as_array().unwrap().iter().find(is_it).map(|it| it["text"].to_string());
            text.filter(|text| text.contains(&key) && text.contains("DROP TRIGGER") && text.contains("Keep"))
        };
        eventually("the writer warns", async || {
            (warned(&services[0]).await.is_some() || warned(&services[1]).await.is_some()).then_some(())
        })
        .await;
        let logs: String = services.iter().map(|service| service.process.log()).collect();
        assert_eq!(logs.matches("keeps rows out of").count(), 1, "{logs}");
        assert_eq!(services[0].get("/dead_letters").await.json().as_array().unwrap().len(), 0);
        assert_eq!(sum("orderd_rereads_total").await > 0.0, is_noticed_late, "{body}");
        stack.postgres.psql("drop trigger \"Keep\" on orders2").unwrap();
        stack.publish(&[order("stored")]).await;
        stack.wait_settled(502).await;
        assert_eq!(sum("orderd_rows_not_stored_total").await, 501.0);
    }
}

#[tokio::test]
async fn a_trigger_that_routes_rows_to_a_child_turns_no_stored_order_into_a_dead_letter() {
    // A table that does not inherit from this one may keep them, too, but this one has no rows then.
    for (child, not_stored) in [
        ("create table child (primary key (id)) inherits (orders2)", 0.0),
        ("create table child (id text primary key, data bytea)", 10.0),
    ] {
        let stack = Stack::new();
        stack
            .postgres
            .psql(&format!(
                "create table orders2 (id text primary key, data bytea); {child}; \
             create function route() returns trigger language plpgsql as \
             $$ begin insert into child values (new.id, new.data); return null; end $$; \
             create trigger route before insert on orders2 for each row execute function route()"
            ))
            .unwrap();
        let mut service = stack.serve(&[]).await;
        stack.publish(&orders(10)).await;
        let stored = "select count(*) from child";
        eventually("10 rows", async || (stack.postgres.psql(stored).unwrap().trim() == "10").then_some(()))
            .await;
        stack.wait_settled(10).await;
        service.wait_len(10).await;
        assert_eq!(service.metric("orderd_rows_not_stored_total").await, not_stored);
        service.kill();
        // The stream is reread, as for a table without a position.
        stack.postgres.psql("DELETE FROM orderd_position").unwrap();
        let service = stack.serve(&[]).await;
        stack.wait_settled(10).await;
        service.wait_len(10).await;
        assert_eq!(stack.postgres.psql(stored).unwrap().trim(), "10");
        assert_eq!(service.get("/dead_letters").await.json().as_array().unwrap().len(), 0);
    }
}
