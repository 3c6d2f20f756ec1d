//! `orderd check --settings` against real servers: it says what to change, and changes nothing.

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, SubjectTransform};
use devstack::{Nats, NatsOptions, Postgres, PostgresOptions};
use futures_util::TryStreamExt;
use serde_json::Value;

use crate::support::{Stack, eventually, in_time, order};

/// The findings by component, and whether the settings are usable.
struct Found {
    code: Option<i32>,
    json: Value,
}

impl Found {
    /// The findings of a component, as one text.
    fn of(&self, part: &str) -> String {
        self.json[part]["findings"].to_string()
    }

    /// Exactly one finding with these words, and none of the other components.
    fn is_only(&self, what: &str, part: &str, severity: &str, words: &[&str]) {
        for other in ["nats", "postgres", "http"] {
            let count = self.json[other]["findings"].as_array().map(Vec::len);
            assert_eq!(count, Some(usize::from(other == part)), "{what}: {}", self.json);
        }
        let finding = &self.json[part]["findings"][0];
        assert_eq!(finding["severity"], severity, "{what}: {finding}");
        assert_ne!(finding["fix"], "see the server's log", "{what}: {finding}");
        for word in words {
            assert!(finding.to_string().contains(word), "{what}: no {word} in {finding}");
        }
        let is_usable = severity == "warning";
        assert_eq!(
            (&self.json["usable"], self.code),
            (&is_usable.into(), Some(i32::from(!is_usable))),
            "{what}"
        );
    }
}

async fn run(stack: &Stack, flags: &[&str], env: &[(&str, &str)]) -> std::process::Output {
    let mut program = tokio::process::Command::new(&stack.program);
    program.args(["check", "--settings"]).args(flags).envs(stack.env()).envs(env.iter().copied());
    let output = program.kill_on_drop(true).stdin(std::process::Stdio::null()).output();
    in_time("the check ends", output).await.unwrap()
}

async fn check(stack: &Stack, env: &[(&str, &str)]) -> Found {
    let output = run(stack, &["--json"], env).await;
    let words = String::from_utf8_lossy(&output.stdout);
    let json = serde_json::from_str(&words).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    Found { code: output.status.code(), json }
}

fn nats(options: NatsOptions) -> Stack {
    Stack { nats: Nats::temporary(options).unwrap(), ..Stack::new() }
}

fn configured(extra_config: &str) -> Stack {
    nats(NatsOptions { extra_config: extra_config.into(), ..NatsOptions::default() })
}

/// All that is on both servers.
async fn all_there(stack: &Stack) -> String {
    let relations = "select string_agg(concat_ws(' ', oid, relname, relowner, relacl), ',' order by oid) from pg_class where oid >= 16384";
    let roles = "select string_agg(rolname, ',' order by rolname) from pg_roles";
    let mut all = stack.postgres.psql(relations).unwrap() + &stack.postgres.psql(roles).unwrap();
    let context = stack.jetstream().await;
    let mut streams: Vec<_> = context.streams().try_collect().await.unwrap();
    streams.sort_by(|one, other| one.config.name.cmp(&other.config.name));
    for mut info in streams {
        let mut metadata: Vec<_> = info.config.metadata.drain().collect();
        metadata.sort();
        let stream = context.get_stream(&info.config.name).await.unwrap();
        let consumers: Vec<_> = stream.consumers().try_collect().await.unwrap();
        let consumers: Vec<_> = consumers
            .iter()
            .map(|info| (&info.name, &info.config, info.delivered.consumer_sequence))
            .collect();
        all += &format!("{:?} {metadata:?} {:?} {consumers:?}\n", info.config, info.state);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reports_usable_servers_in_one_line_each_and_leaves_nothing_behind() {
    let stack = Stack::new();
    for is_used in [false, true] {
        if is_used {
            let mut service = stack.serve(&[]).await;
            stack.publish_numbers(0..3).await;
            service.wait_len(3).await;
            stack.wait_settled(3).await;
            assert_eq!(service.stop(), Some(0));
        }
        let before = all_there(&stack).await;
        let found = check(&stack, &[]).await;
        assert_eq!((found.code, &found.json["usable"]), (Some(0), &true.into()), "{}", found.json);
        let output = run(&stack, &[], &[]).await;
        let words = String::from_utf8_lossy(&output.stdout);
        assert_eq!((output.status.code(), words.lines().count()), (Some(0), 1), "{words}");
        let (nats, pg) = (stack.nats.port(), stack.postgres.port());
        let wanted =
            [format!("at nats://127.0.0.1:{nats}"), format!("at 127.0.0.1:{pg}"), "role postgres".into()];
        let there = [
            "stream ORDERS for TESTING (3 messages)",
            "table public.orders2, key orders2_pkey, rights: SELECT, INSERT",
        ];
        let missing = ["ORDERS will be created", "no table public.orders2 yet"];
        let words_of = if is_used { there } else { missing };
        for word in wanted.iter().map(String::as_str).chain(words_of).chain([
            "all is well",
            "PostgreSQL 1",
            "NATS 2.",
        ]) {
            assert!(words.contains(word), "no {word} in {words}");
        }
        assert_eq!(all_there(&stack).await, before);
    }
}

/// Setup, settings, expected finding, and whether the fix makes it usable.
type Case =
    (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static [&'static str], bool);

const T: &str = "create table public.orders2 (id text primary key, data bytea);";
const BLOCKED: &str = "blocked";
const REFUSAL: &str = "refusal";
const WARNING: &str = "warning";

const TABLES: [Case; 12] = [
    (
        "create table orders2 (id text not null, data bytea)",
        &[],
        REFUSAL,
        &["no unique key on id alone"],
        true,
    ),
    ("create unlogged table orders2 (id text primary key, data bytea)", &[], REFUSAL, &["UNLOGGED"], true),
    ("create view orders2 as select ''::text id, ''::bytea data", &[], REFUSAL, &["is a view"], false),
    (T, &[("PG_TABLE", "public.Orders2")], REFUSAL, &["there is public.orders2"], false),
    ("", &[("PG_TABLE", "shop.orders2")], REFUSAL, &["no schema shop"], true),
    (
        "create table orders2 (id text primary key, data bytea); grant select on orders2 to clerk",
        &[("PG_USER", "clerk")],
        REFUSAL,
        &["role clerk", "INSERT"],
        false,
    ),
    ("", &[("PG_USER", "clerk")], REFUSAL, &["may not create it", "GRANT USAGE, CREATE ON SCHEMA"], true),
    (
        "create table orders2 (id text primary key, data bytea); create table orderd_erased (table_name text, id text); \
      grant select, insert, delete on orders2 to clerk",
        &[("PG_USER", "clerk")],
        REFUSAL,
        &["may not read", "orderd_erased", "GRANT SELECT, INSERT"],
        true,
    ),
    (
        "alter role reader set default_transaction_read_only = on",
        &[("PG_USER", "reader")],
        BLOCKED,
        &["read-only"],
        true,
    ),
    (T, &[("PG_USER", "nobody")], BLOCKED, &["nobody", "CREATE ROLE"], false),
    (T, &[("PG_DBNAME", "elsewhere")], BLOCKED, &["elsewhere", "PG_DBNAME", "CREATE DATABASE"], false),
    (T, &[("PG_HOST", "db.invalid")], BLOCKED, &["db.invalid", "host's name"], false),
];

/// Tables that work, and will not for each order.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_take_no_new_ids_and_rules_on_delete_are_warnings() {
    let stack = Stack::new();
    let parts = "create table orders2 (id text primary key, data bytea) partition by";
    for (table, words) in [
        (
            format!(
                "{parts} range (id); create table old partition of orders2 for values from ('15') to ('16')"
            ),
            &["no partition for new ids", "CREATE TABLE", "PARTITION OF", "DEFAULT;"][..],
        ),
        (
            format!(
                "{parts} hash (id); create table p partition of orders2 for values with (modulus 2, remainder 1)"
            ),
            &["no partition for new ids", "remainders that have none"],
        ),
        (
            "create table orders2 (id text primary key, data bytea);
             create rule keep as on delete to orders2 do instead nothing"
                .to_owned(),
            &["the rule keep on DELETE", "DROP RULE"],
        ),
        (format!("{parts} range (id); create table p partition of orders2 default"), &[]),
        (
            format!(
                "{parts} range (id); create table p partition of orders2 for values from (minvalue) to ('5')"
            ),
            &[],
        ),
        (
            format!(
                "{parts} hash (id); create table p partition of orders2 for values with (modulus 1, remainder 0)"
            ),
            &[],
        ),
    ] {
        stack.postgres.psql("drop schema public cascade; create schema public").unwrap();
        stack.postgres.psql(&table).unwrap();
        let found = check(&stack, &[]).await;
        if words.is_empty() {
            assert!(!found.of("postgres").contains("partition"), "{table}: {}", found.json);
        } else {
            found.is_only(&table, "postgres", WARNING, words);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_and_a_role_that_do_not_fit_are_named_with_what_fixes_them() {
    let stack = Stack::new();
    stack.postgres.psql("create role clerk login; create role reader login superuser").unwrap();
    for (sql, env, severity, words, can_be_fixed) in TABLES {
        stack
            .postgres
            .psql("drop schema public cascade; create schema public; grant usage on schema public to public")
            .unwrap();
        stack.postgres.psql(sql).unwrap();
        if sql.contains("to clerk") {
            let positions = "create table orderd_position (seq int8); grant select, insert, update on orderd_position to clerk";
            stack.postgres.psql(positions).unwrap();
        }
        let before = all_there(&stack).await;
        let found = check(&stack, env).await;
        assert_eq!(all_there(&stack).await, before, "{sql}");
        let errors: Vec<&Value> = found.json["postgres"]["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| finding["severity"] != WARNING)
            .collect();
        assert_eq!((errors.len(), found.code), (1, Some(1)), "{sql} {env:?}: {}", found.json);
        assert_eq!(errors[0]["severity"], severity, "{}", errors[0]);
        for word in words {
            assert!(errors[0].to_string().contains(word), "{sql}: no {word} in {}", errors[0]);
        }
        if can_be_fixed {
            let fix = errors[0]["fix"].as_str().unwrap();
            stack
                .postgres
                .psql(fix.split(';').next().unwrap())
                .unwrap_or_else(|error| panic!("{fix}: {error}"));
            let found = check(&stack, env).await;
            assert_eq!(found.code, Some(0), "{sql}, after {fix}: {}", found.json);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_wrong_or_missing_is_named_with_its_setting() {
    let options = PostgresOptions { password: Some("right".into()), ..PostgresOptions::quick() };
    let stack = Stack { postgres: Postgres::temporary(options).unwrap(), ..Stack::new() };
    let at = format!("127.0.0.1:{}", stack.postgres.port());
    let wrong = check(&stack, &[("PG_PASSWORD", "w-r-o-n-g")]).await;
    wrong.is_only("wrong", "postgres", BLOCKED, &[&at, "PG_PASSWORD", "postgres"]);
    assert!(!wrong.json.to_string().contains("w-r-o-n-g"), "{}", wrong.json);
    check(&stack, &[]).await.is_only("missing", "postgres", BLOCKED, &[&at, "PG_PASSWORD_FILE"]);
    assert_eq!(check(&stack, &[("PG_PASSWORD", "right")]).await.code, Some(0));
}

/// A certificate of a day, for HTTP and for PostgreSQL.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_expire_are_named() {
    let stack = Stack::new();
    let file = |name: &str| stack.temp_dir.path().join(name).to_str().unwrap().to_owned();
    let made = |name: &str, days: &str| {
        let (key, certificate) = (file(&format!("{name}.key")), file(&format!("{name}.pem")));
        let made = std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"])
            .args(["-keyout", &key, "-out", &certificate])
            .args(days.split(' '))
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        (key, certificate)
    };
    let (key, certificate) = made("soon", "-days 1");
    let found = check(&stack, &[("HTTP_TLS_CERT", &certificate), ("HTTP_TLS_KEY", &key)]).await;
    found.is_only("soon", "http", WARNING, &["HTTP_TLS_CERT", "expires within 24 h"]);
    let (_, later) = made("later", "-days 100");
    let url = format!("{}?sslrootcert={later}", stack.postgres.url());
    assert_eq!(
        check(&stack, &[("DATABASE_URL", &url)]).await.json["postgres"]["findings"],
        serde_json::json!([])
    );
    let url = format!("{}?sslrootcert={certificate}", stack.postgres.url());
    let found = check(&stack, &[("DATABASE_URL", &url)]).await;
    found.is_only("soon", "postgres", WARNING, &["sslrootcert", "expires within 24 h"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_away_are_named_with_their_ports() {
    let mut stack = Stack::new();
    let two = format!("host=127.0.0.1,127.0.0.1 port=1,{} user=postgres dbname=demo1", stack.postgres.port());
    check(&stack, &[("DATABASE_URL", &two)]).await.is_only(
        "one of two",
        "postgres",
        WARNING,
        &["127.0.0.1:1"],
    );
    let two = format!("nats://127.0.0.1:1,{}", stack.nats.url());
    check(&stack, &[("NATS_URL", &two)]).await.is_only("one of two", "nats", WARNING, &["127.0.0.1:1"]);
    stack.nats.stop();
    stack.postgres.stop();
    let found = check(&stack, &[]).await;
    assert_eq!(found.code, Some(1));
    let (nats, pg) = (stack.nats.port(), stack.postgres.port());
    assert!(
        found.of("nats").contains(&format!("nats://127.0.0.1:{nats}: Connection refused")),
        "{}",
        found.json
    );
    assert!(found.of("nats").contains("NATS_HOST"), "{}", found.json);
    assert!(found.of("postgres").contains(&format!("127.0.0.1:{pg}")), "{}", found.json);
    assert!(
        found.of("postgres").contains("onnection refused") && found.of("postgres").contains("PG_HOST"),
        "{}",
        found.json
    );
    let output = run(&stack, &[], &[]).await;
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(
        words.contains("error: NATS") && words.contains("error: PostgreSQL") && words.contains("not usable"),
        "{words}"
    );
}

/// Existing streams: the findings and their severity.
fn streams() -> Vec<(&'static str, Config, &'static str, &'static [&'static str])> {
    let takes = |name: &str, subject: &str| Config {
        name: name.into(),
        subjects: vec![subject.into()],
        storage: StorageType::File,
        ..Config::default()
    };
    let testing = || takes("ORDERS", "TESTING");
    let elsewhere = SubjectTransform { source: "TESTING".into(), destination: "elsewhere".into() };
    vec![
        ("sealed", testing(), BLOCKED, &["ORDERS is sealed"]),
        (
            "in memory",
            Config { storage: StorageType::Memory, ..testing() },
            WARNING,
            &["kept in memory", "--storage=file"],
        ),
        (
            "old ones go",
            Config { max_messages: 10, max_age: std::time::Duration::from_secs(60), ..testing() },
            WARNING,
            &["max_msgs, max_age with discard old", "--discard=new"],
        ),
        (
            "full",
            Config { max_messages: 1, discard: DiscardPolicy::New, ..testing() },
            BLOCKED,
            &["ORDERS is full", "--max-msgs"],
        ),
        (
            "full in bytes",
            Config { max_bytes: 1500, discard: DiscardPolicy::New, ..testing() },
            BLOCKED,
            &["ORDERS is full", "--max-bytes"],
        ),
        (
            "work queue",
            Config { retention: RetentionPolicy::WorkQueue, ..testing() },
            REFUSAL,
            &["workqueue retention", "--source ORDERS"],
        ),
        (
            "interest",
            Config { retention: RetentionPolicy::Interest, ..testing() },
            REFUSAL,
            &["interest retention", "\"fix\":\"make a stream"],
        ),
        (
            "stored under another subject",
            Config { subject_transform: Some(elsewhere), ..takes("SHOP", "TESTING") },
            BLOCKED,
            &["can't create the stream ORDERS", "SHOP"],
        ),
        ("another topic", takes("ORDERS", "other"), REFUSAL, &["ORDERS stores other", "PUB_TOPIC"]),
        (
            "no dead letters",
            takes("ELSE", "dead.*.TESTING.x"),
            BLOCKED,
            &["can't create the stream ORDERS_DEAD", "ELSE", "NATS_DEAD_STREAM=ELSE"],
        ),
        (
            "deaf dead letters",
            takes("ORDERS_DEAD", "nothing"),
            REFUSAL,
            &["ORDERS_DEAD", "dead.ORDERS.>", "nats stream edit"],
        ),
        ("no more consumers", Config { max_consumers: 1, ..testing() }, BLOCKED, &["max_consumers"]),
        (
            "narrow dead letters",
            Config { max_message_size: 1000, ..takes("ORDERS_DEAD", "dead.ORDERS.>") },
            REFUSAL,
            &["ORDERS_DEAD", "max_msg_size", "--max-msg-size=-1"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_takes_or_keeps_no_orders_is_named_with_what_fixes_it() {
    let stack = Stack::new();
    let context = stack.jetstream().await;
    for (what, config, severity, words) in streams() {
        let name = config.name.clone();
        // The folder of the former stream with that name is deleted a moment after the stream.
        let stream = eventually(what, async || context.create_stream(config.clone()).await.ok()).await;
        match what {
            "sealed" => drop(context.update_stream(Config { sealed: true, ..config }).await.unwrap()),
            "full" => stack.publish(&["{}"]).await,
            "full in bytes" => stack.publish_numbers(0..1).await,
            "no more consumers" => {
                let other = async_nats::jetstream::consumer::pull::Config {
                    durable_name: Some("other".into()),
                    ..Default::default()
                };
                stream.create_consumer(other).await.unwrap();
            }
            _ => {}
        }
        let before = all_there(&stack).await;
        check(&stack, &[]).await.is_only(what, "nats", severity, words);
        assert_eq!(all_there(&stack).await, before, "{what}");
        context.delete_stream(name).await.unwrap();
    }
    let several = ["orders.a", "orders.b"];
    for (name, subject) in ["A", "B"].into_iter().zip(several) {
        let config = Config { name: name.into(), subjects: vec![subject.into()], ..Config::default() };
        context.create_stream(config).await.unwrap();
    }
    let found = check(&stack, &[("PUB_TOPIC", "orders.*")]).await;
    found.is_only("several", "nats", REFUSAL, &["A, B", "NATS_STREAM"]);
    let found = check(&stack, &[("PUB_TOPIC", "orders.*"), ("NATS_STREAM", "A")]).await;
    found.is_only("a part", "nats", WARNING, &["only a part of PUB_TOPIC orders.*"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_server_without_what_is_needed_is_named() {
    let account = |jetstream: &str, permissions: &str| {
        format!(
            "accounts {{ A {{ {jetstream}, users [{{user: a, password: a {permissions}}}] }} }}\nno_auth_user: a\n"
        )
    };
    let stack = nats(NatsOptions { jetstream: false, ..NatsOptions::default() });
    check(&stack, &[]).await.is_only("no JetStream", "nats", REFUSAL, &["without JetStream", "-js"]);
    let stack = configured("authorization { user: clerk, password: right }");
    check(&stack, &[]).await.is_only("no login", "nats", BLOCKED, &["refuses the login", "NATS_CREDS"]);
    let stack = configured("accounts { A { users [{user: a, password: a}] } }\nno_auth_user: a\n");
    check(&stack, &[]).await.is_only(
        "no JetStream for us",
        "nats",
        BLOCKED,
        &["account", "jetstream: enabled"],
    );
    for (limits, words) in [
        ("max_file: 64MB, max_bytes_required: true", ["max bytes", "nats stream add ORDERS", "--max-bytes="]),
        ("max_streams: 1", ["max_streams", "limit of streams", "ORDERS"]),
    ] {
        let stack = configured(&account(&format!("jetstream {{ {limits} }}"), ""));
        if limits.starts_with("max_streams") {
            let config = Config { name: "X".into(), subjects: vec!["x".into()], ..Config::default() };
            stack.jetstream().await.create_stream(config).await.unwrap();
        }
        let found = check(&stack, &[]).await;
        assert_eq!(found.code, Some(1), "{}", found.json);
        for word in words {
            assert!(found.of("nats").contains(word), "no {word} in {}", found.json);
        }
    }
    for (what, limits, words) in [
        (
            "room for one stream",
            "jetstream { max_streams: 1 }",
            ["the stream ORDERS_DEAD for", "max_streams"],
        ),
        (
            "no connection left",
            "jetstream: enabled, limits { max_connections: 1 }",
            ["number 2", "max_connections"],
        ),
    ] {
        let stack = configured(&account(limits, ""));
        check(&stack, &[]).await.is_only(what, "nats", BLOCKED, &words);
    }
    let found = check(&configured(&account("jetstream { max_file: 0, max_mem: 9MB }", "")), &[]).await;
    for word in ["the stream ORDERS for", "the stream ORDERS_DEAD for", "max_file"] {
        assert!(found.of("nats").contains(word) && found.code == Some(1), "no {word} in {}", found.json);
    }
    let stack = configured(&account("jetstream { max_consumers: 1 }", ""));
    let config = Config { name: "ORDERS".into(), subjects: vec!["TESTING".into()], ..Config::default() };
    let stream = stack.jetstream().await.create_stream(config).await.unwrap();
    let other = async_nats::jetstream::consumer::pull::Config::default();
    stream.create_consumer(other).await.unwrap();
    let words = ["the account allows each stream", "max_consumers", "nats consumer rm ORDERS"];
    check(&stack, &[]).await.is_only("no consumer left", "nats", BLOCKED, &words);
    let stack = configured(&account("jetstream { max_file: 100KB }", ""));
    let context = stack.jetstream().await;
    let config = Config { name: "ORDERS".into(), subjects: vec!["TESTING".into()], ..Config::default() };
    context.create_stream(config).await.unwrap();
    for _ in 0..1000 {
        if context.publish("TESTING", order("a").into()).await.unwrap().await.is_err() {
            break;
        }
    }
    check(&stack, &[]).await.is_only("a full account", "nats", BLOCKED, &["the account is full", "max_file"]);
    let stack = Stack::new();
    let found = check(&stack, &[("NATS_REPLICAS", "3")]).await;
    assert!(found.of("nats").contains("NATS_REPLICAS=1") && found.code == Some(1), "{}", found.json);
    let stack =
        configured(&account("jetstream: enabled", ", permissions: { publish: { deny: \"$JS.API.>\" } }"));
    let found = check(&stack, &[]).await;
    assert_eq!(found.code, Some(1), "{}", found.json);
    assert!(found.of("nats").contains("$JS.API"), "{}", found.json);
}

/// The rights that the service needs, and each of them alone denied.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_the_nats_user_lacks_is_named() {
    let denied = [
        ("create", "$JS.API.STREAM.CREATE.>"),
        ("read", "$JS.API.CONSUMER.CREATE.>"),
        ("pull", "$JS.API.CONSUMER.MSG.NEXT.>"),
        ("ask", "$JS.API.CONSUMER.INFO.>"),
        ("look", "$JS.API.STREAM.MSG.GET.>"),
        ("refuse", "dead.>"),
    ];
    let allowed = r#"publish: { allow: ["$JS.API.>", "dead.>", "TESTING", "_INBOX.>"]"#;
    let mut users = format!("{{ user: all, password: x, permissions: {{ {allowed} }} }} }}");
    for (user, subject) in denied {
        users += &format!(
            ", {{ user: {user}, password: x, permissions: {{ {allowed}, deny: [\"{subject}\"] }} }} }}"
        );
    }
    let stack = configured(&format!("accounts {{ A {{ jetstream: enabled, users [ {users} ] }} }}"));
    let url = |user: &str| format!("nats://{user}:x@127.0.0.1:{}", stack.nats.port());
    for (user, subject) in denied {
        let found = check(&stack, &[("NATS_URL", &url(user))]).await;
        let subject = subject.trim_end_matches('>');
        assert!(found.of("nats").contains(subject) && found.code == Some(1), "{subject}: {}", found.json);
    }
    assert_eq!(check(&stack, &[("NATS_URL", &url("all"))]).await.code, Some(0));
    let service = stack.serve(&[("NATS_URL", &url("all"))]).await;
    let found = check(&stack, &[("NATS_URL", &url("all"))]).await;
    assert_eq!((found.code, found.of("nats")), (Some(0), "[]".to_owned()));
    assert_eq!(service.get("/dead_letters").await.json(), serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_are_wrong_end_it_as_they_end_serve() {
    let mut stack = Stack::new();
    stack.nats.stop();
    stack.postgres.stop();
    for (setting, value) in [
        ("REQUIRE", "no_such_member"),
        ("SEARCH", "no_such_member"),
        ("LOG", "loud"),
        ("LOG_FORMAT", "xml"),
        ("HTTP_ADDR", "0.0.0.0:0"),
        ("PUB_TOPIC", "a b"),
        ("PUB_TOPIC", "$JS.API.STREAM.INFO.*"),
        ("PUB_TOPIC", "$SYS.>"),
        ("PUB_TOPIC", "_INBOX.>"),
        ("RECEIPT_SUBJECTS", "_INBOX.>,TESTING"),
        ("NATS_STREAM", &"S".repeat(252)),
        ("NATS_PORT", "tcp://10.96.0.10:4222"),
        ("PG_TABLE", "a.b.c"),
        ("PG_TABLE", "pg_catalog.pg_class"),
        ("CACHE_MAX_BYTES", "all"),
        ("HTTP_TOKEN_FILE", "/no/such/file"),
    ] {
        let checked = run(&stack, &["--json"], &[(setting, value)]).await;
        let mut serve = tokio::process::Command::new(&stack.program);
        let serve = serve.arg("serve").envs(stack.env()).env(setting, value).kill_on_drop(true).output();
        let served = in_time("serve ends", serve).await.unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        assert_eq!((checked.status.code(), served.status.code()), (Some(2), Some(2)), "{setting}: {said}");
        assert!(said.contains(setting) && said == String::from_utf8_lossy(&served.stderr), "{said}");
    }
    let short = [("HTTP_TOKEN", "short,named:short-as-well"), ("HTTP_ERASE_TOKEN", "long-enough-for-anyone")];
    let found = check(&stack, &short).await.of("http");
    assert!(found.contains("#1 of HTTP_TOKEN has fewer than 16 bytes") && found.contains(WARNING), "{found}");
    assert!(found.contains("named of HTTP_TOKEN") && !found.contains("HTTP_ERASE_TOKEN"), "{found}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let found = check(&stack, &[("HTTP_ADDR", &addr)]).await;
    assert!(found.of("http").contains("is in use") && found.of("http").contains(WARNING), "{}", found.json);
    // An address of no machine: it is kept for documents.
    let found = check(&stack, &[("HTTP_ADDR", "192.0.2.1:8090"), ("HTTP_TOKEN", "t")]).await;
    assert!(found.of("http").contains(REFUSAL) && found.of("http").contains("HTTP_ADDR"), "{}", found.json);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_does_not_fit_the_rows_is_found() {
    let stack = Stack::new();
    let serving = stack.serve(&[]).await;
    stack.publish(&[order("a"), order("b")]).await;
    serving.wait_len(2).await;
    let model = stack.temp_dir.path().join("parcel.json");
    std::fs::write(&model, r#"{"weight": 1.5}"#).unwrap();
    let found = check(&stack, &[("MODEL", model.to_str().unwrap())]).await;
    let problem = found.of("postgres");
    for words in ["2 of 2 rows", "public.orders2", "the model does not fit the table", "orderd model check"] {
        assert!(problem.contains(words), "no {words} in {problem}");
    }
    assert_eq!(found.json["usable"], false);
    assert_eq!(check(&stack, &[]).await.of("postgres"), "[]");
    // Most rows decide, wherever they are in the table.
    let damaged = "INSERT INTO orders2 SELECT 'x' || n, 'x'::bytea FROM generate_series(1, 2000) AS n";
    stack.postgres.psql(damaged).unwrap();
    let found = check(&stack, &[]).await;
    assert!(found.of("postgres").contains("2000 of 2002 rows"), "{}", found.of("postgres"));
    assert_eq!(found.json["usable"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_variable_is_named() {
    let stack = Stack::new();
    let found = check(&stack, &[("NATS_HOTS", "nats")]).await;
    found.is_only("a letter exchanged", "nats", "warning", &["NATS_HOTS", "NATS_HOST"]);
    let service = stack.serve(&[("PG_TABLES", "public.parcels")]).await;
    let log = service.process.log();
    assert!(log.contains("the variable PG_TABLES has no effect"), "{log}");
    let mut export = tokio::process::Command::new(&stack.program);
    export.arg("export").envs(stack.env()).env("HTTP_TOKN", "t").kill_on_drop(true);
    let exported = in_time("the export ends", export.output()).await.unwrap();
    let words = String::from_utf8_lossy(&exported.stderr);
    assert!(words.contains("HTTP_TOKN") && words.contains("is HTTP_TOKEN meant?"), "{words}");
}
