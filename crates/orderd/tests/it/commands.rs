//! The commands other than `serve`.

use crate::support::{Stack, eventually, orders};

#[tokio::test(flavor = "multi_thread")]
async fn publish_sends_samples_and_lines() {
    let (stack, service) = Stack::started().await;
    let sent = stack.run(&["publish", "--count", "25"], "").await;
    let line = String::from_utf8_lossy(&sent.stdout);
    assert!(sent.status.success() && line.starts_with("25 orders in "), "{line}");
    service.wait_len(25).await;
    let lines = orders(5).join("\n");
    let sent = stack.run(&["publish", "--core", "--from", "-"], &lines).await;
    assert!(sent.status.success());
    service.wait_len(30).await;
    assert_eq!(service.get("/orders?order_uid=order-4").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_fails_when_nobody_acknowledges() {
    let mut stack = Stack::new();
    stack.nats.stop();
    let sent = stack.run(&["publish"], "").await;
    assert_eq!(sent.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&sent.stderr).contains("NATS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn export_and_import_keep_everything() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(1200)).await;
    eventually("all rows are committed", async || (stack.rows() == 1200).then_some(())).await;
    let exported = stack.run(&["export"], "").await;
    assert!(exported.status.success());
    let lines = String::from_utf8(exported.stdout).unwrap();
    assert_eq!(lines.lines().count(), 1200);
    let before = service.ids().await;
    service.stop();
    stack
        .postgres
        .psql("DELETE FROM public.orders2 WHERE id < (SELECT max(id) FROM public.orders2)")
        .unwrap();
    for _ in 0..2 {
        let imported = stack.run(&["import"], &lines).await;
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    }
    let again = stack.serve(&[]).await;
    assert_eq!(again.ids().await, before);
    assert_eq!(String::from_utf8(stack.run(&["export"], "").await.stdout).unwrap(), lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn import_counts_members_that_the_model_lacks() {
    let stack = Stack::new();
    let lines = |members: &str| format!("{{\"id\":\"a\",\"order\":{{\"order_uid\":\"a\"{members}}}}}\n");
    for (members, said) in [
        (",\"x\":1", "\n1 member that the model lacks was dropped: "),
        (",\"x\":1,\"y\":2", "\n2 members that the model lacks were dropped: "),
    ] {
        // Rows that are documents keep them.
        let imported = stack.run(&["import", "--pg-format", "gob"], &lines(members)).await;
        let errors = String::from_utf8_lossy(&imported.stderr);
        assert!(imported.status.success() && errors.contains(said), "{errors}");
    }
}

/// Of each line with a member that the model lacks, and of each line that a row of gob would have nothing of.
#[tokio::test(flavor = "multi_thread")]
async fn import_drops_no_members_if_told_so_and_writes_no_empty_rows() {
    let stack = Stack::new();
    let model = stack.temp_dir.path().join("parcel.json");
    std::fs::write(&model, r#"{"id": "p", "to": {"city": ""}}"#).unwrap();
    let documents = [
        r#"{"id":"p-1"}"#,
        r#"{"id":"p-2","note":"secret"}"#,
        r#"{"to":{"city":"c","zip":"secret"}}"#,
        r#"{"order_uid":"secret","sm_id":1}"#,
        "{}",
        r#"{"ID":null}"#,
    ];
    let lines: String = (1..)
        .zip(documents)
        .map(|(number, document)| format!("{{\"id\":\"{number}\",\"order\":{document}}}\n"))
        .collect();
    let lacks = "the model has no such member";
    let foreign = "the document has no member of the model, so its row would be empty";
    for (format, unknown, written, refused) in [
        ("gob", "ignore", &["1", "2", "3", "5", "6"][..], &[(4, foreign)][..]),
        ("gob", "refuse", &["1", "5", "6"], &[(2, lacks), (3, lacks), (4, lacks)]),
        ("jsonb", "ignore", &["1", "2", "3", "4", "5", "6"], &[]),
        ("json", "refuse", &["1", "5", "6"], &[(2, lacks), (3, lacks), (4, lacks)]),
    ] {
        let table = format!("{format}_{unknown}");
        let model = model.to_str().unwrap();
        let args = ["import", "--model", model, "--pg-format", format, "--pg-table", &table];
        let imported = stack.run(&[&args[..], &["--unknown", unknown]].concat(), &lines).await;
        let errors = String::from_utf8_lossy(&imported.stderr);
        assert_eq!(
            imported.status.code(),
            Some(i32::from(!refused.is_empty())),
            "{format} {unknown}: {errors}"
        );
        assert!(!errors.contains("secret"), "{errors}");
        let named: Vec<_> = errors.lines().filter(|line| line.contains("can't be imported: ")).collect();
        assert_eq!(named.len(), refused.len(), "{errors}");
        for ((number, why), line) in refused.iter().zip(named) {
            assert!(line.contains(&format!("line {number} can't")) && line.contains(why), "{line}");
        }
        let ids = stack.postgres.psql(&format!("SELECT id FROM {table} ORDER BY id")).unwrap();
        assert_eq!(ids.lines().collect::<Vec<_>>(), written, "{format} {unknown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn import_names_the_line_that_it_cant_take() {
    let stack = Stack::new();
    let good = format!("{{\"id\":\"a\",\"order\":{}}}\n", orders(1)[0]);
    for bad in ["{\"id\":\"b\"}", "{\"id\":\"b\",\"order\":{\"sm_id\":\"secret\"}}", "nonsense"] {
        let imported = stack.run(&["import"], &format!("{good}\n{bad}\n")).await;
        let errors = String::from_utf8_lossy(&imported.stderr);
        assert_eq!(imported.status.code(), Some(1), "{errors}");
        assert!(errors.contains("line 3") && !errors.contains("secret"), "{errors}");
        assert_eq!(stack.rows(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_whether_it_is_ready() {
    let (mut stack, service) = Stack::started().await;
    let addr = service.addr.to_string();
    assert_eq!(stack.run(&["check", "--http-addr", &addr], "").await.status.code(), Some(0));
    stack.nats.stop();
    eventually("it is not ready", async || {
        (stack.run(&["check", "--http-addr", &addr], "").await.status.code() == Some(1)).then_some(())
    })
    .await;
    assert_eq!(stack.run(&["check", "--live", "--http-addr", &addr], "").await.status.code(), Some(0));
    drop(service);
    assert_eq!(stack.run(&["check", "--live", "--http-addr", &addr], "").await.status.code(), Some(1));
}

#[test]
fn shells_complete_commands_and_flags() {
    let run = |program: &str, args: &[&str]| std::process::Command::new(program).args(args).output();
    let orderd = env!("CARGO_BIN_EXE_orderd");
    for shell in ["bash", "zsh", "fish"] {
        let written = run(orderd, &["completions", shell]).unwrap();
        let script = String::from_utf8(written.stdout).unwrap();
        for known in ["dead-letters", "http-cors-origin", "publish", "where"] {
            assert!(written.status.success() && script.contains(known), "{shell}: no {known}");
        }
    }
    // As bash completes `orderd dead-letters re` on Tab.
    let asked = format!(
        "source <('{orderd}' completions bash); COMP_WORDS=(orderd dead-letters re); COMP_CWORD=2; \
         _orderd orderd re dead-letters; echo \"${{COMPREPLY[*]}}\""
    );
    let completed = run("bash", &["--norc", "-c", &asked]).unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "replay", "{completed:?}");
    assert_eq!(run(orderd, &["completions", "csh"]).unwrap().status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_advise_where_the_table_is_missing() {
    let stack = Stack::new();
    for command in [&["export"][..], &["model", "check"], &["erase", "1-1"], &["verify"]] {
        let output = stack.run(command, "").await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(
            said.contains("orders2\" does not exist") && said.contains("check PG_TABLE"),
            "{command:?}: {said}"
        );
    }
}

#[test]
fn the_version_has_the_commit_of_the_clone() {
    let root = devstack::tools::workspace();
    let git = std::process::Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .current_dir(&root)
        .output();
    let commit = git.ok().filter(|git| git.status.success() && root.join(".git").exists());
    let commit = commit.map(|git| String::from_utf8(git.stdout).unwrap().trim().to_owned());
    let given = option_env!("ORDERD_REVISION").filter(|given| !given.is_empty()).map(str::to_owned);
    let expected = given.or(commit).unwrap_or_else(|| "unknown commit".to_owned());
    let shown = std::process::Command::new(env!("CARGO_BIN_EXE_orderd")).arg("--version").output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.starts_with(concat!("orderd ", env!("CARGO_PKG_VERSION"))), "{shown}");
    assert!(shown.contains(&format!("({expected}")), "{shown} without {expected}");
}

#[test]
fn invalid_arguments_are_refused_with_what_they_take() {
    let rate = "it takes documents per second";
    let cases: [(&[&str], &str); 19] = [
        (&["publish", "--rate", "100/m"], rate),
        (&["publish", "--rate", "-1/s"], rate),
        (&["publish", "--count", "x"], "it takes a whole number from 0"),
        (&["publish", "--wait-committed", "--timeout", "1ms"], "--timeout: \"1ms\" is not a time above 0"),
        (&["serve", "--pg-port", "-1"], "PG_PORT: \"-1\" is not a port: it takes a number from 1 to 65535"),
        (&["--keep", "-1h"], "KEEP: \"-1h\" is not a time: it takes 1h or more"),
        (
            &["serve", "--http-event-readers", "-1"],
            "'--http-event-readers <N>': it takes a whole number from 0",
        ),
        (&["serve", "--http-addr", "[::1]"], "HTTP_ADDR: \"[::1]\" names no port"),
        (&["publish", "--rate", "1e-25"], rate),
        (&["publish", "--rate", "-1"], rate),
        (&["publish", "--rate", "NaN"], rate),
        (&["publish", "--rate", "inf"], rate),
        (&["publish", "--rate", "fast"], rate),
        (&["publish", "--count", "-1"], "it takes a whole number from 0"),
        (&["publish", "--count", "1.5"], "it takes a whole number from 0"),
        (&["model", "infer", "/nowhere.json"], "SAMPLE: can't read /nowhere.json"),
        (&["model", "go", "/nowhere.json"], "FILE: can't read /nowhere.json"),
        (&["model", "check", "/nowhere.json"], "OLD: can't read /nowhere.json"),
        (&["model", "go", "--model", "/nowhere.json"], "MODEL: can't read /nowhere.json"),
    ];
    for (args, words) in cases {
        let refused = std::process::Command::new(env!("CARGO_BIN_EXE_orderd")).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(2) && said.contains(words), "{args:?}: {said}");
    }
    // Before a server is asked.
    let import = ["import", "/nowhere.jsonl", "--pg-port", "1"];
    let refused = std::process::Command::new(env!("CARGO_BIN_EXE_orderd")).args(import).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("can't read /nowhere.jsonl"), "{refused:?}");
}

/// By PostgreSQL, which is given many rows at once.
#[tokio::test(flavor = "multi_thread")]
async fn import_names_the_line_that_postgresql_refuses_and_writes_the_others() {
    let stack = Stack::new();
    let line = |id: &str| format!("{{\"id\":\"{id}\",\"order\":{}}}\n", orders(1)[0]);
    let text = format!("\u{feff}{}\n{}{}{}", line("a"), line("b"), line(&"k".repeat(12)), line("c"));
    assert!(stack.run(&["import"], "").await.status.success());
    stack.postgres.psql("ALTER TABLE orders2 ADD CONSTRAINT short CHECK (length(id) < 10)").unwrap();
    for _ in 0..2 {
        let imported = stack.run(&["import"], &text).await;
        let errors = String::from_utf8_lossy(&imported.stderr);
        assert_eq!(imported.status.code(), Some(1), "{errors}");
        assert!(errors.contains("line 4 can't be imported") && errors.contains("short"), "{errors}");
        assert!(errors.contains("1 line can't be imported; all others are in the table"), "{errors}");
        assert_eq!(stack.rows(), 3);
    }
}

/// A backup may have rows that another program has written.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_model_refuses_of_a_backup_keeps_no_other_line_out() {
    let stack = Stack::new();
    let env = [("PG_FORMAT", "jsonb")];
    drop(stack.serve(&env).await);
    stack
        .postgres
        .psql(
            "INSERT INTO orders2 SELECT n::text, json_build_object('order_uid', n)::jsonb
                || CASE WHEN n % 3 = 0 THEN '{\"more\": 1e400}' ELSE '{\"order_uid\": \"a\"}' END::jsonb
             FROM generate_series(1, 99) AS n;
             UPDATE orders2 SET data = data || '{\"order_uid\": \"b\"}'",
        )
        .unwrap();
    let exported = stack.run(&["export"], "").await;
    assert!(exported.status.success(), "{exported:?}");
    let lines = String::from_utf8(exported.stdout).unwrap();
    assert_eq!(lines.lines().count(), 99);
    stack.postgres.psql("TRUNCATE orders2").unwrap();
    for _ in 0..2 {
        let imported = stack.run(&["import"], &lines).await;
        let errors = String::from_utf8_lossy(&imported.stderr);
        assert_eq!(imported.status.code(), Some(1), "{errors}");
        assert_eq!(errors.matches("can't be imported: ").count(), 20, "{errors}");
        assert!(errors.contains("33 lines can't be imported, 13 of them not named"), "{errors}");
        assert_eq!(stack.rows(), 66);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn export_ends_well_where_its_reader_has_seen_enough() {
    let stack = Stack::new();
    let lines: String =
        (0..3).map(|id| format!("{{\"id\":\"{id}\",\"order\":{}}}\n", orders(1)[0])).collect();
    assert!(stack.run(&["import"], &lines).await.status.success());
    let mut command = tokio::process::Command::new(&stack.program);
    command.arg("export").envs(stack.env()).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().await.unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}
