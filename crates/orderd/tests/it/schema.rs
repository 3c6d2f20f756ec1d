//! A table or database that would break a guarantee is refused at the start, with the statement that fixes it.

use crate::support::{Stack, eventually, in_time, order, orders};

/// A table `t`, the expected finding, and whether the suggested statement makes it usable.
const BROKEN: [(&str, &str, bool); 19] = [
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

#[tokio::test]
async fn a_trigger_that_routes_rows_to_a_child_turns_no_stored_order_into_a_dead_letter() {
    for child in [
        "create table child (primary key (id)) inherits (orders2)",
        "create table child (id text primary key, data bytea)",
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
        service.wait_len(10).await;
        let stored = "select count(*) from child";
        eventually("10 rows", async || (stack.postgres.psql(stored).unwrap().trim() == "10").then_some(()))
            .await;
        stack.wait_settled(10).await;
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
