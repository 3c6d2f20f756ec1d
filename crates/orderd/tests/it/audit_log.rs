//! The audit log names actor, setting and key, but no token and no content.

use devstack::breaker::{Breaker, Mode};
use devstack::{Launch, Process, Signal};
use futures_util::StreamExt;
use hyper::Request;
use serde_json::Value;

use crate::support::{DEAD, LIMIT, Stack, eventually, in_time, order, orders};

const READER: &str = "read-with-this-token";
const REPLAYER: &str = "replay-with-this-token";
const ERASER: &str = "erase-with-this-token";
const TOKENS: [(&str, &str); 3] = [
    ("HTTP_TOKEN", "web:read-with-this-token"),
    ("HTTP_REPLAY_TOKEN", "replay-with-this-token"),
    ("HTTP_ERASE_TOKEN", "dpo:erase-with-this-token"),
];

/// The lines of the audit log, as JSON.
fn lines(log: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "audit").collect()
}

/// The parts of a line that tests compare.
fn parts(line: &Value) -> [&str; 5] {
    ["action", "by", "setting", "key", "outcome"].map(|name| line[name].as_str().unwrap_or_default())
}

fn has_no_secret(text: &str) {
    for secret in [READER, REPLAYER, ERASER, "guessed-by-nobody", "content-of-an-order"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_over_http_has_a_line_with_the_name_the_setting_and_the_key() {
    let stack = Stack::new();
    let settings = [&TOKENS[..], &[("LOG_FORMAT", "json"), ("LOG", "error,orderd=info")]].concat();
    let service = stack.serve(&settings).await;
    stack.publish(&[order("content-of-an-order"), r#"{"track_number":"content-of-an-order"}"#.into()]).await;
    stack.wait_settled(2).await;
    let get = |path: &str, token: &str| {
        Request::get(path.to_owned()).header("authorization", format!("Bearer {token}"))
    };
    let id = service.send(get("/order_pages/1", READER)).await.json()[0].as_str().unwrap().to_owned();
    let dead = service.send(get("/dead_letters", READER)).await.json()[0]["key"].as_str().unwrap().to_owned();
    let form = |token: &str| {
        (
            Request::post("/session").header("content-type", "application/x-www-form-urlencoded"),
            format!("token={token}"),
        )
    };

    let (request, body) = form(READER);
    let signed_in = service.send_body(request, &body).await;
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    service.send(Request::delete("/session").header("cookie", cookie)).await;
    let replay = Request::post(format!("/dead_letters/{dead}/replay"));
    service.send(replay.header("authorization", format!("Bearer {REPLAYER}"))).await;
    for key in [&*dead, "1-1"] {
        let drop = Request::delete(format!("/dead_letters/{key}"));
        service.send(drop.header("authorization", format!("Bearer {REPLAYER}"))).await;
    }
    service.erase(&id, ERASER).await;
    service.erase("1-1", ERASER).await;
    let denied = service.erase(&id, READER).await;
    assert_eq!(denied, 403);
    let noted = eventually("all of it is in the log", async || {
        let noted = lines(&service.process.log());
        (noted.len() >= 7).then_some(noted)
    })
    .await;
    let noted: Vec<_> = noted.iter().map(parts).collect();
    assert_eq!(
        noted,
        [
            ["sign-in", "web", "HTTP_TOKEN", "", ""],
            ["sign-out", "web", "HTTP_TOKEN", "", ""],
            ["replay", "#1", "HTTP_REPLAY_TOKEN", dead.as_str(), "refused"],
            ["drop", "#1", "HTTP_REPLAY_TOKEN", dead.as_str(), "dropped"],
            ["erase", "dpo", "HTTP_ERASE_TOKEN", id.as_str(), "erased"],
            ["erase", "dpo", "HTTP_ERASE_TOKEN", "1-1", "not_found"],
            ["erase", "web", "HTTP_TOKEN", "", "denied"],
        ]
    );
    // Failed attempts are noted at a bounded rate.
    for number in 0..100 {
        let (request, body) = form(&format!("guessed-by-nobody-{number}"));
        assert_eq!(service.send_body(request, &body).await.status, 401);
    }
    eventually("some are noted", async || {
        let failed =
            lines(&service.process.log()).iter().filter(|line| line["why"] == "unknown token").count();
        assert!(failed < 60, "{failed}");
        (failed > 0).then_some(())
    })
    .await;
    has_no_secret(&service.process.log());
}

/// Pages that were left open send the cookies of ended sessions again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_session_has_a_line_and_one_that_has_ended_has_none() {
    let stack = Stack::new();
    let file = stack.temp_dir.path().join("tokens");
    std::fs::write(&file, "guessed-by-nobody-1,guessed-by-nobody-2").unwrap();
    let settings =
        [&TOKENS[1..], &[("HTTP_TOKEN_FILE", file.to_str().unwrap()), ("LOG_FORMAT", "json")]].concat();
    let service = stack.serve(&settings).await;
    let form = Request::post("/session").header("content-type", "application/x-www-form-urlencoded");
    let signed_in = service.send_body(form, "token=guessed-by-nobody-1").await;
    let ended = signed_in.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let asked = async |cookie: &str| {
        let answer = service.send(Request::get("/mem_len").header("cookie", cookie)).await;
        answer.status.as_u16()
    };
    assert_eq!(asked(&ended).await, 200);
    std::fs::write(&file, "guessed-by-nobody-2").unwrap();
    eventually("its token is gone", async || (asked(&ended).await == 401).then_some(())).await;
    for _ in 0..20 {
        assert_eq!(asked(&ended).await, 401);
    }
    let (content, _) = ended.rsplit_once('.').unwrap();
    assert_eq!(asked(&format!("{content}.forged")).await, 401);
    let erase = Request::delete("/order/1-1").header("cookie", "orderd_session=forged");
    assert_eq!(service.send(erase).await.status, 401);
    let denied = eventually("both are in the log", async || {
        let mut noted = lines(&service.process.log());
        noted.retain(|line| line["outcome"] == "denied");
        (noted.len() >= 2).then_some(noted)
    })
    .await;
    let denied: Vec<_> = denied.iter().map(|line| [&line["action"], &line["why"]]).collect();
    assert_eq!(denied, [["read", "forged session"], ["erase", "forged session"]]);
    for _ in 0..100 {
        asked("orderd_session=forged").await;
    }
    let count = lines(&service.process.log()).iter().filter(|line| line["outcome"] == "denied").count();
    assert!(count < 60, "{count}");
    has_no_secret(&service.process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_name_the_user_of_the_operating_system() {
    let (stack, service) = Stack::started().await;
    let bad = r#"{"track_number":"content-of-an-order"}"#;
    stack.publish(&[order("content-of-an-order"), bad.into(), bad.into()]).await;
    stack.wait_settled(3).await;
    let id = service.ids().await.remove(0);
    let listed = service.get("/dead_letters").await.json();
    let [second, first] = [0, 1].map(|index| listed[index]["key"].as_str().unwrap().to_owned());
    let user = std::process::Command::new("id").arg("-un").output().unwrap().stdout;
    let by = format!("os:{}", String::from_utf8(user).unwrap().trim());
    for (args, action, key, outcome) in [
        (&["dead-letters", "replay", first.as_str()][..], "replay", &first, "refused"),
        (&["dead-letters", "drop", "--yes", &second], "drop", &second, "dropped"),
        (&["erase", "--yes", &id], "erase", &id, "erased"),
    ] {
        let output = stack.run(args, "").await;
        let errors = String::from_utf8(output.stderr).unwrap();
        let line =
            errors.lines().find(|line| line.contains(" audit: ")).unwrap_or_else(|| panic!("{errors}"));
        for part in [
            format!("action=\"{action}\""),
            format!("by=\"{by}\""),
            format!("key=\"{key}\""),
            format!("outcome=\"{outcome}\""),
        ] {
            assert!(line.contains(&part), "{part}: {line}");
        }
        has_no_secret(&errors);
    }
}

/// An order that waits for a lock is in the middle of its erasure.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_command_has_a_line_for_each_order_that_it_erased() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(6)).await;
    stack.wait_settled(6).await;
    service.wait_len(6).await;
    let ids = service.ids().await;
    let lock = stack.sql().await;
    for (ids, signal, code) in [(&ids[..3], Signal::INT, Some(1)), (&ids[3..], Signal::KILL, None)] {
        let locked = format!("BEGIN; SELECT 1 FROM orders2 WHERE id = '{}' FOR UPDATE", ids[1]);
        lock.batch_execute(&locked).await.unwrap();
        let mut launch = Launch::new("orderd erase", &stack.program, stack.temp_dir.path());
        launch.args = ["erase", "--yes"].into_iter().map(Into::into).collect();
        launch.args.extend(ids.iter().map(Into::into));
        launch.envs = stack.env().into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        launch.envs.push(("LOG_FORMAT".into(), "json".into()));
        launch.log = Some(stack.temp_dir.path().join(format!("erase-{code:?}.log")));
        let mut erase = Process::spawn(launch).unwrap();
        eventually("one is erased", async || (!lines(&erase.log()).is_empty()).then_some(())).await;
        erase.signal(signal);
        let status = erase.wait(LIMIT).unwrap();
        assert_eq!(status.code(), code, "{}", erase.log());
        if code.is_some() {
            let said = erase.log();
            assert_eq!(said.matches("run this again").count(), 1, "{said}");
        }
        let noted = lines(&erase.log());
        let noted: Vec<_> =
            noted.iter().map(parts).map(|[action, .., key, outcome]| [action, key, outcome]).collect();
        let lines = [["erase", ids[0].as_str(), "erased"], ["erase", ids[1].as_str(), "incomplete"]];
        // Nothing can write a line for what SIGKILL cuts off.
        assert_eq!(noted, lines[..if code.is_some() { 2 } else { 1 }]);
        lock.batch_execute("ROLLBACK").await.unwrap();
    }
}

/// Those that wait to be sent are as they were.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_replay_has_a_line_for_each_message_that_it_sent() {
    const LETTERS: usize = 100;
    let (stack, mut service) = Stack::started().await;
    stack.publish(&["refused"; LETTERS]).await;
    stack.wait_settled(LETTERS as u64).await;
    assert_eq!(service.stop(), Some(0));
    let mut replayed = stack.client().await.subscribe("TESTING").await.unwrap();
    let link = Breaker::start(([127, 0, 0, 1], stack.nats.port()).into()).unwrap();
    link.set(Mode::Slow { bytes_per_second: 20_000 });
    let mut launch = Launch::new("orderd replay", &stack.program, stack.temp_dir.path());
    launch.args = ["dead-letters", "replay", "--all"].into_iter().map(Into::into).collect();
    launch.envs = stack.env().into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    launch.envs.push(("NATS_PORT".into(), link.addr().port().to_string().into()));
    launch.envs.push(("LOG_FORMAT".into(), "json".into()));
    launch.log = Some(stack.temp_dir.path().join("replay.log"));
    let mut replay = Process::spawn(launch).unwrap();
    in_time("the first is sent", replayed.next()).await.unwrap();
    replay.signal(Signal::INT);
    assert_eq!(replay.wait(LIMIT).unwrap().code(), Some(1), "{}", replay.log());
    let noted = lines(&replay.log());
    assert!((1..LETTERS).contains(&noted.len()), "{} lines", noted.len());
    for line in &noted {
        let [action, .., outcome] = parts(line);
        assert_eq!([action, outcome], ["replay", "undecided"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_that_fails_has_a_line() {
    let (stack, _service) = Stack::started().await;
    stack.publish(&["refused", "refused"]).await;
    stack.wait_settled(2).await;
    let listed = stack.run(&["dead-letters", "list", "--json"], "").await.stdout;
    let key = |line: &str| serde_json::from_str::<Value>(line).unwrap()["key"].as_str().unwrap().to_owned();
    let keys: Vec<String> = String::from_utf8(listed).unwrap().lines().map(key).collect();
    let drop = async |key: &str| {
        let output = stack.run(&["dead-letters", "drop", "--yes", key], "").await;
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(drop(&keys[0]).await.0, Some(0));
    let context = stack.jetstream().await;
    let mut config = context.get_stream(DEAD).await.unwrap().cached_info().config.clone();
    (config.deny_delete, config.deny_purge) = (true, true);
    context.update_stream(config).await.unwrap();
    let (code, errors) = drop(&keys[1]).await;
    assert_eq!(code, Some(1), "{errors}");
    for part in [r#"action="drop""#, &keys[1], r#"outcome="incomplete""#] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
}
