//! Authorization across several processes with the same tokens: one sign-in for all, and three rights.

use hyper::{HeaderMap, Request, StatusCode};

use crate::support::{Answer, Service, Stack, eventually, orders};

async fn sign_in(service: &Service, token: &str, more: &[(&str, &str)]) -> Answer {
    let mut request = Request::post("/session").header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    service.send_body(request, &format!("token={token}")).await
}

/// The cookie as a browser sends it back.
fn cookie(headers: &HeaderMap) -> String {
    headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}

async fn asked(service: &Service, path: &str, cookie: &str) -> StatusCode {
    service.send(Request::get(path).header("cookie", cookie)).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sign_in_is_good_at_three_processes_until_its_token_goes() {
    let stack = Stack::new();
    let file = stack.temp_dir.path().join("tokens");
    std::fs::write(&file, "ops:a-long-enough-token-1,a-long-enough-token-2").unwrap();
    let mut services = Vec::new();
    for _ in 0..3 {
        services.push(stack.serve(&[("HTTP_TOKEN_FILE", file.to_str().unwrap())]).await);
    }
    let mut cookies = Vec::new();
    for (service, token) in services.iter().zip(["a-long-enough-token-1", "a-long-enough-token-2"]) {
        let opened = sign_in(service, token, &[]).await;
        assert_eq!(opened.status, StatusCode::NO_CONTENT);
        let set = opened.headers["set-cookie"].to_str().unwrap();
        for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age=43200"] {
            assert!(set.contains(part), "{set}");
        }
        assert!(!set.contains("Secure") && !set.contains("long-enough"), "{set}");
        cookies.push(cookie(&opened.headers));
    }
    // As a balancer spreads them.
    for number in 0..30 {
        assert_eq!(asked(&services[number % 3], "/mem_len", &cookies[number % 2]).await, StatusCode::OK);
    }
    let by_tls = sign_in(&services[0], "a-long-enough-token-1", &[("x-forwarded-proto", "https")]).await;
    assert!(by_tls.headers["set-cookie"].to_str().unwrap().ends_with("; Secure"));
    let wrong = sign_in(&services[1], "a-long-enough-token-3", &[]).await;
    assert_eq!((wrong.status, wrong.body.trim()), (StatusCode::UNAUTHORIZED, "401 invalid token"));

    // A restart ends no session.
    assert_eq!(services[2].stop(), Some(0));
    services[2] = stack.serve(&[("HTTP_TOKEN_FILE", file.to_str().unwrap())]).await;
    assert_eq!(asked(&services[2], "/mem_len", &cookies[0]).await, StatusCode::OK);

    // The token stays under another name; the other one is removed.
    std::fs::write(&file, "renamed:a-long-enough-token-2").unwrap();
    for service in &services {
        eventually("the session of a token that is gone has ended", async || {
            (asked(service, "/mem_len", &cookies[0]).await == StatusCode::UNAUTHORIZED).then_some(())
        })
        .await;
        assert_eq!(asked(service, "/mem_len", &cookies[1]).await, StatusCode::OK);
        let ended = service.send(Request::get("/mem_len").header("cookie", &cookies[0])).await;
        assert!(ended.body.contains("this session has ended"), "{}", ended.body);
    }
    // An emptied file, then a missing one: the tokens stay, and so do their sessions.
    for change in [Some(""), None] {
        match change {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let said = if change.is_some() { "is empty" } else { "can't read" };
        eventually("it says why", async || services[0].process.log().contains(said).then_some(())).await;
        assert_eq!(asked(&services[0], "/mem_len", &cookies[1]).await, StatusCode::OK);
    }
    let out = services[0].send(Request::delete("/session").header("cookie", &cookies[1])).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(out.headers["set-cookie"].to_str().unwrap().starts_with("orderd_session=; "));
    assert!(out.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_replaying_and_erasing_are_three_rights() {
    let stack = Stack::new();
    let service = stack
        .serve(&[
            ("HTTP_TOKEN", "reader:read-with-this-token,all:do-all-with-this-token"),
            ("HTTP_REPLAY_TOKEN", "replay-with-this-token,do-all-with-this-token"),
            ("HTTP_ERASE_TOKEN", "erase-with-this-token,do-all-with-this-token"),
        ])
        .await;
    stack.publish(&orders(1)).await;
    stack.publish(&["{"]).await;
    stack.wait_settled(2).await;
    let requests = [
        ("read-with", "GET", "/mem_len"),
        ("replay-with", "POST", "/dead_letters/1-1/replay"),
        ("replay-with", "DELETE", "/dead_letters/1-1"),
        ("erase-with", "DELETE", "/order/1-1"),
    ];
    for (right, method, path) in requests {
        let ask = async |name: &'static str, value: String| {
            service.send(Request::builder().method(method).uri(path).header(name, value)).await
        };
        assert_eq!(ask("accept", "*/*".into()).await.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(ask("authorization", "Bearer x".into()).await.status, StatusCode::UNAUTHORIZED, "{path}");
        for token in ["read-with", "replay-with", "erase-with", "do-all-with"] {
            let (text, has) = (format!("{token}-this-token"), token == right || token == "do-all-with");
            let signed = cookie(&sign_in(&service, &text, &[]).await.headers);
            for (name, value) in [("authorization", format!("Bearer {text}")), ("cookie", signed)] {
                let answer = ask(name, value).await;
                assert_eq!(
                    answer.status == StatusCode::FORBIDDEN,
                    !has,
                    "{token} by {name}: {path}: {}",
                    answer.body
                );
                assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{token} by {name}: {path}");
                assert_ne!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{token} by {name}: {path}");
            }
        }
    }
    // Browsers also send the cookie with requests from other sites' pages.
    let signed = cookie(&sign_in(&service, "do-all-with-this-token", &[]).await.headers);
    for (_, method, path) in &requests[1..] {
        let foreign = Request::builder().method(*method).uri(*path).header("cookie", &signed);
        let answer = service.send(foreign.header("sec-fetch-site", "cross-site")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_sign_in_adds_its_right_at_all_processes_until_its_token_goes() {
    let stack = Stack::new();
    let file = stack.temp_dir.path().join("tokens");
    std::fs::write(&file, "replay-with-this-token").unwrap();
    let settings = [
        ("HTTP_TOKEN", "reader:read-with-this-token"),
        ("HTTP_REPLAY_TOKEN_FILE", file.to_str().unwrap()),
        ("HTTP_ERASE_TOKEN", "erase-with-this-token"),
    ];
    let services = [stack.serve(&settings).await, stack.serve(&settings).await];
    let mut so_far = String::new();
    let statuses = async |service: &Service, cookie: &str| {
        let mut found = Vec::new();
        for (method, path) in
            [("GET", "/mem_len"), ("POST", "/dead_letters/1-1/replay"), ("DELETE", "/order/1-1")]
        {
            let request = Request::builder().method(method).uri(path).header("cookie", cookie);
            found.push(service.send(request).await.status.as_u16());
        }
        found
    };
    for (number, (right, expected)) in [
        ("replay", [403, 404, 403]),
        ("erase", [403, 404, 404]),
        ("read", [200, 404, 404]),
        // Again: nothing is lost, and nothing is there twice.
        ("erase", [200, 404, 404]),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("{right}-with-this-token");
        let signed_in = sign_in(&services[number % 2], &token, &[("cookie", &so_far)]).await;
        assert_eq!(signed_in.status, StatusCode::NO_CONTENT);
        assert_eq!(signed_in.headers.get_all("set-cookie").iter().count(), 1);
        so_far = cookie(&signed_in.headers);
        assert!(so_far.len() < 400, "{so_far}");
        for service in &services {
            assert_eq!(statuses(service, &so_far).await, expected, "{right}: {so_far}");
        }
    }
    // Perhaps another reader, who must not get the rights of the one before.
    let another = sign_in(&services[0], "read-with-this-token", &[("cookie", &so_far)]).await;
    assert_eq!(statuses(&services[1], &cookie(&another.headers)).await, [200, 403, 403]);
    // Another site's page adds nothing, and a wrong token takes nothing away.
    let foreign = [("cookie", so_far.as_str()), ("sec-fetch-site", "cross-site")];
    assert_eq!(sign_in(&services[0], "read-with-this-token", &foreign).await.status, StatusCode::FORBIDDEN);
    let wrong = sign_in(&services[0], "wrong", &[("cookie", &so_far)]).await;
    assert_eq!((wrong.status, wrong.headers.get("set-cookie")), (StatusCode::UNAUTHORIZED, None));

    std::fs::write(&file, "another-token-to-replay").unwrap();
    for service in &services {
        eventually("the right to replay ends with its token, and no other", async || {
            (statuses(service, &so_far).await == [200, 403, 404]).then_some(())
        })
        .await;
    }
    let out = services[0].send(Request::delete("/session").header("cookie", &so_far)).await;
    assert!(out.headers["set-cookie"].to_str().unwrap().starts_with("orderd_session=; "));
    let log = eventually("both sign-outs are in the log", async || {
        let log = services[0].process.log();
        (log.matches("action=\"sign-out\"").count() == 2).then_some(log)
    })
    .await;
    for by in ["by=\"reader\" setting=\"HTTP_TOKEN\"", "by=\"#1\" setting=\"HTTP_ERASE_TOKEN\""] {
        assert_eq!(log.matches(&format!("action=\"sign-out\" {by}")).count(), 1, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tokens_only_reading_is_allowed() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_TOKEN", "short")]).await;
    assert!(service.process.log().contains("fewer than 16 bytes"), "{}", service.process.log());
    for (method, path) in
        [("POST", "/dead_letters/1-1/replay"), ("DELETE", "/dead_letters/1-1"), ("DELETE", "/order/1-1")]
    {
        for token in ["Bearer short", "Bearer unknown", ""] {
            let request = Request::builder().method(method).uri(path).header("authorization", token);
            let answer = service.send(request).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path} {token}");
            assert!(answer.headers.contains_key("allow"), "{method} {path} {token}");
        }
    }
    let open = stack.serve(&[("HTTP_ERASE_TOKEN", "erase-with-this-token")]).await;
    assert_eq!(open.get("/mem_len").await.status, StatusCode::OK);
    assert_eq!(open.erase("1-1", "x").await, StatusCode::UNAUTHORIZED);
    assert_eq!(open.erase("1-1", "erase-with-this-token").await, StatusCode::NOT_FOUND);
    assert!(!open.process.log().contains("fewer than 16 bytes"));
}
