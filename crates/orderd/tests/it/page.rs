//! Responses to browsers: the page, its protection, and the API description.

use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Answer, Service, Stack, eventually, orders};

async fn form(service: &Service, method: Method, body: &str) -> Answer {
    let request = Request::builder().method(method).uri("/session");
    service.send_body(request.header("content-type", "application/x-www-form-urlencoded"), body).await
}

fn cookie(headers: &HeaderMap) -> String {
    headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_served_by_the_service_itself() {
    let stack = Stack::new();
    // Without a token: the page's files contain no orders.
    let service = stack.start(&[("HTTP_TOKEN", "secret")]).await;
    let page = service.get("/").await;
    let parts = page.body.split('"').filter(|part| part.ends_with(".js") || part.ends_with(".css"));
    let parts: Vec<_> = parts.map(|part| format!("/{part}")).collect();
    assert!(parts.len() >= 4, "{parts:?}");
    let others = ["/", "/docs", "/api_docs.js", "/openapi.json"].map(str::to_owned);
    for path in parts.iter().chain(&others) {
        let answer = service.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let tag = &answer.headers["etag"];
        let known = service.send(Request::get(path).header("if-none-match", tag)).await;
        assert_eq!((known.status, known.body.as_str()), (StatusCode::NOT_MODIFIED, ""), "{path}");
        let head = service.send(Request::head(path)).await;
        assert_eq!((head.status, &head.headers["etag"]), (StatusCode::OK, tag), "{path}");
        if path == "/openapi.json" {
            continue;
        }
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        // A namespace is a name; nothing is fetched from it.
        let text = answer.body.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http://", "https://", "innerHTML", "eval(", " style=", "onclick=\""] {
            assert!(!text.contains(outside), "{path} has {outside}");
        }
    }
}

/// Its length on the wire, and its encoding.
async fn sent(service: &Service, path: &str, accepts: &str) -> (usize, Option<String>) {
    let mut stream = TcpStream::connect(service.addr).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\naccept-encoding: {accepts}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    assert!(header("vary: ").is_some() || header("content-encoding: ").is_none(), "{path} varies");
    (answer.len(), header("content-encoding: "))
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_are_compressed_for_clients_that_accept_it() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(50)).await;
    service.wait_len(50).await;
    for path in ["/", "/app.js", "/style.css", "/openapi.json", "/metrics"] {
        let (plain, compressed) =
            (sent(&service, path, "identity").await, sent(&service, path, "br, gzip").await);
        assert_eq!((plain.1, compressed.1.as_deref()), (None, Some("gzip")), "{path}");
        assert!(compressed.0 * 2 < plain.0, "{path}: {} of {}", compressed.0, plain.0);
        let known = service.get(path).await.headers.get("etag").cloned();
        if let Some(known) = known {
            let asked = Request::get(path).header("if-none-match", known).header("accept-encoding", "gzip");
            assert_eq!(service.send(asked).await.status, StatusCode::NOT_MODIFIED, "{path}");
        }
    }
    let order = format!("/order/{}", service.ids().await[0]);
    for path in ["/favicon.svg", "/mem_len", "/order_pages/1", &order] {
        assert_eq!(sent(&service, path, "gzip").await.1, None, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_known_is_not_sent_again() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(51)).await;
    service.wait_len(51).await;
    let tag = async |path: &str| service.get(path).await.headers["etag"].clone();
    let asked = async |path: &str, tag: &HeaderValue| {
        service.send(Request::get(path).header("if-none-match", tag)).await.status
    };
    let (first, last) = (tag("/order_pages/1").await, tag("/order_pages/last").await);
    assert_eq!(asked("/order_pages/1", &first).await, StatusCode::NOT_MODIFIED);
    assert_eq!(asked("/order_pages/last", &first).await, StatusCode::OK);
    stack.publish(&orders(1)).await;
    service.wait_len(52).await;
    assert_eq!(asked("/order_pages/1", &first).await, StatusCode::NOT_MODIFIED);
    assert_eq!(asked("/order_pages/last", &last).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_pages_may_read_only_where_it_is_said() {
    const ALLOWED: &str = "access-control-allow-origin";
    let stack = Stack::new();
    let closed = stack.start(&[]).await;
    let from = |method: Method, path: &str, origin: &str| {
        let request = Request::builder().method(method).uri(path).header("origin", origin);
        request
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization")
    };
    let answer = closed.send(from(Method::GET, "/mem_len", "https://a.example")).await;
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
    let preflight = closed.send(from(Method::OPTIONS, "/mem_len", "https://a.example")).await;
    assert_eq!(preflight.status, StatusCode::METHOD_NOT_ALLOWED);

    let some = stack
        .start(&[("HTTP_CORS_ORIGIN", "https://a.example, http://b.example:81"), ("HTTP_TOKEN", "t")])
        .await;
    for origin in ["https://a.example", "http://b.example:81"] {
        for path in ["/mem_len", "/order/1-1", "/events"] {
            let preflight = some.send(from(Method::OPTIONS, path, origin)).await;
            assert_eq!(
                (preflight.status, &preflight.headers[ALLOWED]),
                (StatusCode::OK, &HeaderValue::from_static(origin))
            );
            assert!(
                preflight.headers["access-control-allow-headers"].to_str().unwrap().contains("authorization")
            );
            let answer = some.send(from(Method::GET, path, origin)).await;
            assert_eq!(
                (answer.status, &answer.headers[ALLOWED]),
                (StatusCode::UNAUTHORIZED, &HeaderValue::from_static(origin))
            );
            assert!(!answer.headers.contains_key("access-control-allow-credentials"));
        }
    }
    let other = some.send(from(Method::GET, "/mem_len", "https://a.example.org")).await;
    assert!(!other.headers.contains_key(ALLOWED));
    // To read is not to change anything.
    let signs_in = from(Method::POST, "/session", "https://a.example").header("sec-fetch-site", "cross-site");
    assert_eq!(some.send(signs_in).await.status, StatusCode::FORBIDDEN);
    let all = stack.start(&[("HTTP_CORS_ORIGIN", "*")]).await;
    assert_eq!(all.send(from(Method::GET, "/mem_len", "https://c.example")).await.headers[ALLOWED], "*");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_a_session() {
    let stack = Stack::new();
    let service = stack.start(&[("HTTP_TOKEN", "secret word,other")]).await;
    assert_eq!(form(&service, Method::POST, "token=wrong").await.status, StatusCode::UNAUTHORIZED);
    assert!(form(&service, Method::POST, "nothing").await.status.is_client_error());
    let long = format!("token={}", "x".repeat(10_000));
    assert_eq!(form(&service, Method::POST, &long).await.status, StatusCode::PAYLOAD_TOO_LARGE);

    let opened = form(&service, Method::POST, "token=secret+word").await;
    assert_eq!(opened.status, StatusCode::NO_CONTENT);
    let set = opened.headers["set-cookie"].to_str().unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && !set.contains("secret"), "{set}");
    let cookie = cookie(&opened.headers);
    let asked = async || service.send(Request::get("/mem_len").header("cookie", &cookie)).await.status;
    assert_eq!(asked().await, StatusCode::OK);
    // A page of another address can neither sign in nor out.
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "http://localhost:1")] {
        for method in [Method::POST, Method::DELETE] {
            let request = Request::builder().method(method).uri("/session").header("cookie", &cookie);
            let refused = service.send_body(request.header(name, value), "token=other").await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{name}: {value}");
        }
    }
    assert_eq!(asked().await, StatusCode::OK);
    let own = Request::delete("/session").header("cookie", &cookie).header("origin", "http://localhost");
    let closed = service.send(own).await;
    assert_eq!(closed.status, StatusCode::NO_CONTENT);
    assert!(closed.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    let api = service.get("/openapi.json").await.json();
    assert!(api["paths"]["/order/{id}"]["get"]["security"].is_array());
    assert!(api["paths"]["/healthz"]["get"]["security"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_of_what_is_served() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(2)).await;
    service.wait_len(2).await;
    let id = service.ids().await[0].clone();
    stack.publish(&["{"]).await;
    let dead = eventually("a dead letter", async || {
        service.get("/dead_letters").await.json()[0]["key"].as_str().map(str::to_owned)
    })
    .await;
    let api = service.get("/openapi.json").await.json();
    assert_eq!((&api["openapi"], &api["components"]["securitySchemes"]), (&"3.1.0".into(), &Value::Null));
    for path in ["/order", "/orders"] {
        let member = &api["paths"][path]["get"]["parameters"][0];
        assert_eq!((&member["name"], &member["schema"]["type"]), (&"order_uid".into(), &"string".into()));
    }
    for (path, item) in api["paths"].as_object().unwrap() {
        for asked in [
            path.replace("{id}", &id).replace("{n}", "1").replace("{key}", &dead),
            path.replace("{id}", "x").replace("{n}", "0").replace("{key}", "x"),
        ] {
            // It never ends.
            if path == "/events" {
                continue;
            }
            let answer = service.get(&asked).await;
            let described = &item["get"]["responses"][answer.status.as_str()];
            let reference = described["$ref"].as_str().and_then(|it| it.strip_prefix('#'));
            let described = reference.map_or(described, |pointer| api.pointer(pointer).unwrap());
            let known = item["get"].is_null() && answer.status == StatusCode::METHOD_NOT_ALLOWED;
            assert!(known || described.is_object(), "{asked}: {} is not described", answer.status);
            let kind = answer.headers.get("content-type").map(|kind| kind.to_str().unwrap());
            if let (Some(kind), Some(content)) = (kind, described["content"].as_object()) {
                let kind = kind.split(';').next().unwrap();
                assert!(content.contains_key(kind), "{asked}: {kind} is not described");
            }
        }
    }
    let sample = &api["components"]["schemas"]["Order"]["examples"][0];
    assert_eq!(sample["order_uid"], "b563feb7b2b84b6test");
    assert_eq!(service.get("/orders?order_uid=order-1").await.json().as_array().unwrap().len(), 1);
}
