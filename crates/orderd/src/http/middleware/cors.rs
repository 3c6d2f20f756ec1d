//! CORS: pages of other origins may read if `HTTP_CORS_ORIGIN` lists their origin.
//!
//! They must bring their own token: the session cookie works only for this page's own origin.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

const ANY_ORIGIN: &str = "*";

/// Adds CORS headers to each response of the router.
pub(crate) fn allow(router: Router, origins: &[HeaderValue]) -> Router {
    if origins.is_empty() {
        return router;
    }
    let any = origins.iter().any(|origin| origin == ANY_ORIGIN);
    let origins = if any { AllowOrigin::any() } else { AllowOrigin::list(origins.iter().cloned()) };
    router.layer(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::HEAD])
            .allow_headers([header::AUTHORIZATION, HeaderName::from_static("last-event-id")])
            .expose_headers([header::ETAG, header::RETRY_AFTER, header::LINK, header::CONTENT_LOCATION]),
    )
}

#[cfg(test)]
mod tests {
    use crate::fuzzing::{HttpHarness, KEY};

    /// `Vary` is set also without an `Origin`, because caches rely on it in each response.
    #[test]
    fn what_pages_of_other_addresses_need_is_said_on_both_ways() {
        for origin in ["https://a.example", "*"] {
            let harness = HttpHarness::with(&["--http-cors-origin", origin]).unwrap();
            let heads = ["", "expect: nothing\r\n"].map(|more| {
                let request = format!("GET /order/{KEY} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n");
                let response = String::from_utf8_lossy(&harness.response_to(request.as_bytes())).into_owned();
                let head = response.split("\r\n\r\n").next().unwrap_or_default();
                let lines = head.lines().filter(|line| !line.starts_with("date: ")).map(str::to_owned);
                lines.collect::<Vec<_>>()
            });
            assert_eq!(heads[0], heads[1]);
            assert!(heads[0].iter().any(|line| line.starts_with("access-control-")), "{heads:?}");
        }
    }
}
