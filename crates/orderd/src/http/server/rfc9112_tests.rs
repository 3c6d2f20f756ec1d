//! Conformance with RFC 9112 and 9110 on every route, on the fast path and through hyper.

use crate::fuzzing::{ERASED, HttpHarness, KEY};

/// A well-formed target for each route. `KEY` stands for the single order, and `ERASED` for one that was erased.
const TARGETS: [&str; 23] = [
    "/",
    "/mem_len",
    "/order_pages/last",
    "/order_pages/1",
    "/order/KEY",
    "/order/ERASED",
    "/order/",
    "/order?order_uid=b563feb7b2b84b6test",
    "/orders?order_uid=b563feb7b2b84b6test",
    "/orders?full=true",
    "/events",
    "/dead_letters",
    "/dead_letters/1-1",
    "/dead_letters/1-1/replay",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/session",
    "/style.css",
    "/app.js",
    "/nothing",
];

/// Routes that need neither NATS nor PostgreSQL, with the status of a good request. `/readyz` says that both are away.
const ANSWERED: [(&str, &str); 17] = [
    ("/", "200"),
    ("/mem_len", "200"),
    ("/order_pages/last", "200"),
    ("/order_pages/1", "200"),
    ("/order/KEY", "200"),
    ("/order/ERASED", "404"),
    ("/order?order_uid=b563feb7b2b84b6test", "200"),
    ("/orders?order_uid=b563feb7b2b84b6test", "200"),
    ("/orders?full=true", "200"),
    ("/healthz", "200"),
    ("/readyz", "503"),
    ("/metrics", "200"),
    ("/openapi.json", "200"),
    ("/docs", "200"),
    ("/style.css", "200"),
    ("/app.js", "200"),
    ("/nothing", "404"),
];

/// Routes that wait for NATS or PostgreSQL, with their status where neither answers.
const WAITING: [(&str, &str); 2] = [("/dead_letters", "503"), ("/order/", "503")];

/// A good request in all its forms.
const FORMS: [&str; 17] = [
    "GET @ HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GET @ HTTP/1.1\r\nHOST:localhost\r\n\r\n",
    "GET @ HTTP/1.1\r\nhost: \t localhost \t\r\n\r\n",
    "GET @ HTTP/1.1\r\nhost: localhost:8090\r\n\r\n",
    "GET @ HTTP/1.1\r\nhost: [::1]\r\na:\r\n\r\n",
    "GET http://localhost@ HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GET http://localhost:80@ HTTP/1.1\r\nhost: other\r\n\r\n",
    // An empty line before a request, and lines that end by LF alone.
    "\r\nGET @ HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GET @ HTTP/1.1\nhost: localhost\n\n",
    "GET @ HTTP/1.0\r\n\r\n",
    "GET @ HTTP/1.0\r\nhost: localhost\r\n\r\n",
    "GET @ HTTP/1.1\r\nhost: localhost\r\nrange: bytes=0-0\r\n\r\n",
    "GET @ HTTP/1.1\r\nhost: localhost\r\na: \u{e9}\u{ff}\r\n\r\n",
    "GET @ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n",
    "GET @ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi",
    "GET @ HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "GET @ HTTP/1.1\r\nhost: localhost\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\nt: u\r\n\r\n",
];

/// A token with all rights, and the paths that need none.
const TOKEN: &str = "a-token-with-all-rights";
const OPEN: [&str; 9] =
    ["/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/style.css", "/app.js", "/nothing"];

fn with_tokens() -> HttpHarness {
    let settings = ["--http-token", "--http-replay-token", "--http-erase-token"];
    HttpHarness::with(&settings.map(|setting| [setting, TOKEN]).concat()).unwrap()
}

/// The request with that token, after its first line.
fn signed(request: &str) -> String {
    let begin = request.len() - request.trim_start().len();
    let line = request[begin..].find('\n').unwrap() + begin + 1;
    format!("{}authorization: Bearer {TOKEN}\r\n{}", &request[..line], &request[line..])
}

/// A header that moves a request off the fast path without changing its meaning.
const LONG_WAY: &str = "\r\nexpect: nothing\r\n";

/// The request of a case: `@` stands for the target, and `(at)` for that character.
fn request(case: &str, target: &str) -> String {
    case.replace('@', target).replace("KEY", KEY).replace("ERASED", ERASED).replace("(at)", "@")
}

fn response(harness: &HttpHarness, request: &str) -> String {
    String::from_utf8_lossy(&harness.response_to(request.as_bytes())).into_owned()
}

/// The statuses of the responses on one connection. A body may contain "HTTP/1.1" too.
fn statuses(response: &str) -> Vec<&str> {
    let lines = response.split("HTTP/1.").skip(1);
    let is_status = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
    lines.filter_map(|line| line.get(2..5)).filter(is_status).collect()
}

/// Checks the request on the fast path, and through hyper.
fn assert_statuses(harness: &HttpHarness, request: &str, right: &[&str]) {
    let begin = request.len() - request.trim_start().len();
    let long = request[begin..].replacen("\r\n", LONG_WAY, 1);
    for request in [request, &format!("{}{long}", &request[..begin])] {
        let response = response(harness, request);
        assert_eq!(statuses(&response), right, "{request:?}: {response}");
    }
}

#[test]
fn malformed_requests_are_400_on_every_route_and_end_the_connection() {
    let (harness, with_tokens) = (HttpHarness::new().unwrap(), with_tokens());
    for case in [
        "GET @ HTTP/1.1\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n",
        "GET @ HTTP/1.1\r\nhost: a b\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost, localhost\r\n",
        "GET @ HTTP/1.1\r\nhost: http://localhost\r\n",
        // A header name is a token, directly before the colon.
        "GET @ HTTP/1.1\r\nhost : localhost\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\na : b\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\n: b\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\na b: c\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\na(b): c\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\nno colon\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\nä: b\r\n",
        // Folded lines, also before the first header.
        "GET @ HTTP/1.1\r\nhost: localhost\r\na: b\r\n c\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\na: b\r\n\tc\r\n",
        "GET @ HTTP/1.1\r\n host: localhost\r\n",
        // NUL, and a lone CR.
        "GET @ HTTP/1.1\r\nhost: localhost\r\na: b\0c\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\na: b\rc\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\na: b\r\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\na: \x7f\r\n",
        // The length of a body.
        "GET @ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1, 2\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\ncontent-length: +1\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0x1\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1 2\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\ncontent-length:\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: identity\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked, gzip\r\n",
        "GET @ HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: xchunked\r\n",
        "GET @ HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n",
        // The first line.
        "GET @\r\nhost: localhost\r\n",
        "GET  @ HTTP/1.1\r\nhost: localhost\r\n",
        "GET @  HTTP/1.1\r\nhost: localhost\r\n",
        "GET @ x HTTP/1.1\r\nhost: localhost\r\n",
        "GET @ HTTP/1.1 \r\nhost: localhost\r\n",
        "GET @ HTTP/1.1x\r\nhost: localhost\r\n",
        "GET @ http/1.1\r\nhost: localhost\r\n",
        "GET @ HTTP/3.0\r\nhost: localhost\r\n",
        "GET @ HTTP/1\r\nhost: localhost\r\n",
        "GET\t@\tHTTP/1.1\r\nhost: localhost\r\n",
        "G(T @ HTTP/1.1\r\nhost: localhost\r\n",
        "GET @\u{1} HTTP/1.1\r\nhost: localhost\r\n",
        "GET localhost@ HTTP/1.1\r\nhost: localhost\r\n",
        "GET http://user(at)localhost@ HTTP/1.1\r\nhost: localhost\r\n",
        "GET http:// HTTP/1.1\r\nhost: localhost\r\n@\r\n",
        "GET * HTTP/1.1\r\nhost: localhost\r\n",
    ] {
        for target in TARGETS {
            let request = request(&format!("{case}\r\n"), target);
            assert_statuses(&harness, &request, &["400"]);
            assert_statuses(&with_tokens, &request, &["400"]);
        }
    }
}

#[test]
fn well_formed_requests_of_any_form_are_answered_as_the_plain_one() {
    let harness = HttpHarness::new().unwrap();
    for (target, status) in ANSWERED {
        for case in FORMS {
            assert_statuses(&harness, &request(case, target), &[status]);
        }
    }
}

#[test]
fn with_tokens_a_request_in_any_form_needs_one_where_orders_are() {
    let harness = with_tokens();
    for (target, status) in ANSWERED {
        for case in FORMS {
            let request = request(case, target);
            assert_statuses(&harness, &signed(&request), &[status]);
            assert_statuses(&harness, &request, &[if OPEN.contains(&target) { status } else { "401" }]);
        }
    }
}

/// Few requests: each takes as long as the service waits.
#[test]
fn routes_that_wait_for_servers_end_in_good_order_where_none_answers() {
    let harness = HttpHarness::new().unwrap();
    for (target, status) in WAITING {
        for method in ["GET", "HEAD"] {
            let case = format!(
                "{method} @ HTTP/1.1\r\nhost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
            );
            assert_statuses(&harness, &request(&case, target), &[status, "200"]);
        }
    }
}

/// Its response ends with the connection.
#[test]
fn events_are_answered_in_any_form() {
    let (harness, with_tokens) = (HttpHarness::new().unwrap(), with_tokens());
    for case in FORMS {
        let request = request(case, "/events");
        assert_statuses(&harness, &request, &["200"]);
        assert_statuses(&with_tokens, &signed(&request), &["200"]);
        assert_statuses(&with_tokens, &request, &["401"]);
    }
}

#[test]
fn connections_go_on_or_end_as_the_request_says() {
    let harness = HttpHarness::new().unwrap();
    for (target, status) in ANSWERED {
        for (first, count) in [
            ("GET @ HTTP/1.1\r\nhost: localhost\r\n\r\n", 2),
            ("GET @ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\nhi", 2),
            ("GET @ HTTP/1.1\r\nhost: localhost\r\nconnection: keep-alive\r\n\r\n", 2),
            ("GET @ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", 1),
            ("GET @ HTTP/1.1\r\nhost: localhost\r\nconnection: Close, x\r\n\r\n", 1),
            ("GET @ HTTP/1.0\r\n\r\n", 1),
            ("GET @ HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", 2),
        ] {
            let second = "GET @ HTTP/1.1\r\nhost: localhost\r\n\r\n";
            let both = request(&format!("{first}{second}"), target);
            assert_statuses(&harness, &both, &[status, status][..count]);
        }
    }
}

/// Excessive lengths are refused with the right status.
#[test]
fn targets_and_headers_that_are_too_long_are_414_or_431() {
    let harness = HttpHarness::new().unwrap();
    let long = "a".repeat(40_000);
    for target in TARGETS {
        for case in [
            format!("GET @{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            format!("GET @?{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            format!("GET @ HTTP/1.1\r\nhost: localhost\r\na: {long}\r\n\r\n"),
            format!("GET @ HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "a: b\r\n".repeat(100)),
        ] {
            let request = request(&case, target);
            for request in [request.replacen("\r\n", LONG_WAY, 1), request] {
                let response = response(&harness, &request);
                assert!(matches!(statuses(&response)[..], ["414" | "431"]), "{target}: {response}");
            }
        }
    }
}

/// The header of that name.
fn header<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let head = response.split("\r\n\r\n").next()?;
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
}

#[test]
fn head_is_answered_as_get_without_the_body() {
    let harness = HttpHarness::new().unwrap();
    for (target, status) in ANSWERED {
        let [get, head] = ["GET", "HEAD"].map(|method| {
            let case = format!("{method} @ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            response(&harness, &request(&case, target))
        });
        assert_eq!(statuses(&head), [status], "{target}: {head}");
        assert!(head.ends_with("\r\n\r\n") && head.matches("\r\n\r\n").count() == 1, "{target}: {head}");
        for name in ["content-type", "cache-control", "vary", "x-content-type-options"] {
            assert_eq!(header(&head, name), header(&get, name), "{target}: {name}");
        }
        // Metrics change from one request to the next.
        if target != "/metrics" {
            assert_eq!(header(&head, "content-length"), header(&get, "content-length"), "{target}");
        }
        // The next request is not treated as a body.
        let both = "HEAD @ HTTP/1.1\r\nhost: localhost\r\n\r\nGET @ HTTP/1.1\r\nhost: localhost\r\n\r\n";
        assert_statuses(&harness, &request(both, target), &[status, status]);
    }
}

#[test]
fn methods_that_a_route_lacks_are_405_with_those_it_has() {
    let (harness, with_tokens) = (HttpHarness::new().unwrap(), with_tokens());
    for target in TARGETS {
        for method in ["TRACE", "PUT", "PATCH", "get", "PURGE", "QUERY"] {
            let case = format!("{method} @ HTTP/1.1\r\nhost: localhost\r\n\r\n");
            let request = request(&case, target);
            for (harness, request) in [(&harness, request.clone()), (&with_tokens, signed(&request))] {
                let response = response(harness, &request);
                let right = if target == "/nothing" { "404" } else { "405" };
                assert_eq!(statuses(&response), [right], "{request}: {response}");
                let allow = header(&response, "allow");
                // Without tokens for it, nothing can be replayed.
                let is_allowed = right == "405" && (request.contains(TOKEN) || !target.ends_with("/replay"));
                assert_eq!(
                    allow.is_some_and(|methods| !methods.is_empty()),
                    is_allowed,
                    "{request}: {response}"
                );
            }
        }
    }
}

#[test]
fn forms_of_targets_that_only_some_methods_have() {
    let harness = HttpHarness::new().unwrap();
    for (request, status) in [
        ("OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n", "204"),
        ("OPTIONS * HTTP/1.1\r\nhost: evil.example\r\n\r\n", "421"),
        ("CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n\r\n", "501"),
        ("CONNECT / HTTP/1.1\r\nhost: localhost\r\n\r\n", "501"),
        ("GET localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n", "400"),
        ("GET mem_len HTTP/1.1\r\nhost: localhost\r\n\r\n", "400"),
        ("HEAD * HTTP/1.1\r\nhost: localhost\r\n\r\n", "400"),
    ] {
        assert_statuses(&harness, request, &[status]);
    }
    let response = response(&harness, "OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(header(&response, "allow").is_some_and(|methods| methods.contains("GET")), "{response}");
}

/// Escapes are the bytes that they stand for, in the path and in the query.
#[test]
fn escapes_in_targets_mean_their_bytes() {
    let harness = HttpHarness::new().unwrap();
    let escaped: String = KEY.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for target in [
        format!("/order/{escaped}"),
        format!("/order/{}", escaped.to_uppercase()),
        format!("/order/{KEY}?unused"),
        "/orders?order_uid=b563feb7b2b84b6%74est".into(),
        "/orders?order%5fuid=b563feb7b2b84b6test".into(),
    ] {
        assert_statuses(&harness, &format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n"), &["200"]);
    }
    // An escaped slash does not separate segments.
    assert_statuses(&harness, &request("GET /order%2fKEY HTTP/1.1\r\nhost: localhost\r\n\r\n", ""), &["404"]);
}

/// RFC 9110, 8.3.1.
#[test]
fn media_types_are_compared_without_regard_to_case() {
    let harness = HttpHarness::new().unwrap();
    for (media_type, status) in [
        ("application/x-www-form-urlencoded", "204"),
        ("Application/X-WWW-Form-URLEncoded; Charset=UTF-8", "204"),
        ("text/plain", "415"),
    ] {
        let head = format!("POST /session HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media_type}\r\n");
        assert_statuses(&harness, &format!("{head}content-length: 7\r\n\r\ntoken=a"), &[status]);
    }
    let head =
        "POST /session HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n";
    let response = response(&harness, &format!("{head}content-length: 1\r\n\r\na"));
    assert!(
        response.contains("422 the body must be a form") && response.contains("field token"),
        "{response}"
    );
}

/// The client waits for `100 Continue` before it sends its body.
#[test]
fn expected_100_continue_is_sent_before_a_body_is_read() {
    let harness = HttpHarness::new().unwrap();
    let head = "POST /session HTTP/1.1\r\nhost: localhost\r\norigin: http://localhost\r\n\
                content-type: application/x-www-form-urlencoded\r\nexpect: 100-continue\r\n";
    let response = response(&harness, &format!("{head}content-length: 7\r\n\r\ntoken=a"));
    assert_eq!(statuses(&response).len(), 2, "{response}");
    assert_eq!(statuses(&response)[0], "100", "{response}");
    let case = "GET @ HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\r\n";
    for (target, status) in ANSWERED {
        assert_statuses(&harness, &request(case, target), &[status]);
    }
}

/// The response before a close says `Connection: close`, whatever of the request is not read; and no other response does.
#[test]
fn the_last_response_of_a_connection_says_so() {
    let harness = HttpHarness::new().unwrap();
    let second = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let large = "x".repeat(1 << 20);
    let cases = [
        ("content-length: 2\r\n\r\nhi".to_owned(), true),
        (format!("content-length: 60000\r\n\r\n{}", &large[..60_000]), true),
        (format!("content-length: 1048576\r\n\r\n{large}"), false),
        // The rest never comes.
        (format!("content-length: 60000\r\n\r\n{}", &large[..500]), false),
        ("content-length: 2\r\nexpect: 100-continue\r\n\r\n".into(), false),
        ("content-length: 2\r\nexpect: 100-continue\r\n\r\nhi".into(), false),
        ("expect: 100-continue\r\n\r\n".into(), true),
        ("transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".into(), false),
        ("transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n".into(), false),
        ("host: localhost\r\n\r\n".into(), true),
        ("no colon\r\n\r\n".into(), false),
        (format!("a: {}\r\n\r\n", &large[..40_000]), false),
        ("connection: close\r\n\r\n".into(), false),
        ("\r\n".into(), true),
    ];
    let fast = format!("GET /order/{KEY} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let targets = ["/mem_len", "/order/KEY", "/orders?order_uid=b563feb7b2b84b6test", "/session", "/nothing"];
    for (method, target) in ["GET", "POST", "DELETE"].into_iter().flat_map(|it| targets.map(|at| (it, at))) {
        for (rest, goes_on) in &cases {
            for before in ["", fast.as_str()] {
                let case = format!("{before}{method} @ HTTP/1.1\r\nhost: localhost\r\n{rest}");
                let responses = harness.responses_to(request(&case, target).as_bytes(), second);
                let responses = String::from_utf8_lossy(&responses).into_owned();
                let heads: Vec<&str> = responses.split("HTTP/1.1 ").skip(1).collect();
                let heads: Vec<&str> = heads.iter().filter_map(|it| it.split("\r\n\r\n").next()).collect();
                let what = format!("{:?}: {heads:#?}", &case[..case.len().min(300)]);
                let count = usize::from(!before.is_empty()) + 1 + usize::from(*goes_on);
                assert_eq!(heads.len(), count, "{what}");
                let (last, others) = heads.split_last().unwrap();
                assert!(last.contains("connection: close"), "{what}");
                assert!(others.iter().all(|head| !head.contains("connection: close")), "{what}");
            }
        }
    }
}
