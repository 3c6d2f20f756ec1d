//! Forbids caches to store responses with orders or ids, which may be personal data: an erasure does not reach a cache.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

/// Marks each response.
pub(crate) async fn keep_out_of_caches(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    mark(response.headers_mut());
    response
}

/// Marks one response.
pub(crate) fn mark(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use crate::fuzzing::{HttpHarness, KEY};

    /// The head of a response. Routes that need NATS are not requested, because it does not run.
    fn head(harness: &HttpHarness, target: &str, more: &str) -> String {
        let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n");
        let response = String::from_utf8_lossy(&harness.response_to(request.as_bytes())).into_owned();
        response.split("\r\n\r\n").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn what_shows_orders_or_ids_is_kept_out_of_caches_on_both_ways() {
        let harness = HttpHarness::new().unwrap();
        let order = format!("/order/{KEY}");
        for target in [
            order.as_str(),
            "/order/missing",
            "/orders?order_uid=b563feb7b2b84b6test",
            "/orders?unknown=x",
            "/order?order_uid=b563feb7b2b84b6test",
            "/orders?full=true",
            "/order_pages/last",
            "/mem_len",
            "/events",
        ] {
            for way in ["", "expect: nothing\r\n"] {
                let head = head(&harness, target, way);
                assert_eq!(head.matches("\r\ncache-control: no-store").count(), 1, "{target}: {head}");
                let is_json = head.contains("content-type: application/json");
                assert!(!is_json || head.contains("x-content-type-options: nosniff"), "{target}: {head}");
            }
        }
        assert!(head(&harness, &order, "").contains("content-type: application/json"));
    }

    #[test]
    fn not_modified_answer_has_the_vary_of_the_full_answer() {
        let harness = HttpHarness::new().unwrap();
        for target in ["/", "/docs", "/openapi.json"] {
            let whole = head(&harness, target, "");
            let line =
                |name: &str| whole.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
            let tag = line("etag: ").replacen("etag: ", "", 1);
            let known = head(&harness, target, &format!("if-none-match: {tag}\r\n"));
            assert!(known.starts_with("HTTP/1.1 304"), "{target}: {known}");
            let vary = line("vary: ");
            assert!(!vary.is_empty() && known.contains(&vary), "{target}: {known}");
        }
    }
}
