//! What a browser gets: the page, who may see orders in it, and the description of all that is served.

use hyper::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;

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
    // Without orders and without a token: the page's own files need none.
    let service = stack.start(&[("HTTP_TOKEN", "secret")]).await;
    let page = service.get("/").await;
    let parts = page.body.split('"').filter(|part| part.ends_with(".js") || part.ends_with(".css"));
    let parts: Vec<_> = parts.map(|part| format!("/{part}")).collect();
    assert!(parts.len() >= 4, "{parts:?}");
    let others = ["/", "/docs", "/docs.js", "/openapi.json"].map(str::to_owned);
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
    assert_eq!(asked().await, StatusCode::UNAUTHORIZED);
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
    let members = &api["paths"]["/orders"]["get"]["parameters"][0];
    assert_eq!((&members["explode"], &members["schema"]["minProperties"]), (&true.into(), &1.into()));
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
            let known = item["get"].is_null() && answer.status == StatusCode::METHOD_NOT_ALLOWED;
            assert!(known || described.is_object(), "{asked}: {} is not described", answer.status);
            let kind = answer.headers.get("content-type").map(|kind| kind.to_str().unwrap());
            if let (Some(kind), Some(content)) = (kind, described["content"].as_object()) {
                let kind = kind.split(';').next().unwrap();
                assert!(content.contains_key(kind), "{asked}: {kind} is not described");
            }
        }
    }
    let sample =
        &api["paths"]["/order/{id}"]["get"]["responses"]["200"]["content"]["application/json"]["example"];
    assert_eq!(sample["order_uid"], "b563feb7b2b84b6test");
    assert_eq!(service.get("/orders?order_uid=order-1").await.json().as_array().unwrap().len(), 1);
}
