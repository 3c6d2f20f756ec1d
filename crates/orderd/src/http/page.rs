//! The page at `/`, and `/docs`: files of `web/`, which are part of the program.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::App;

/// Scripts, styles and requests of this address alone; nothing may frame it, nothing inline runs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

#[derive(Clone, Copy)]
struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const FILES: [File; 8] = [
    File { path: "/", kind: HTML, text: include_str!("../../web/index.html") },
    File { path: "/style.css", kind: STYLE, text: include_str!("../../web/style.css") },
    File { path: "/texts.js", kind: SCRIPT, text: include_str!("../../web/texts.js") },
    File { path: "/order.js", kind: SCRIPT, text: include_str!("../../web/order.js") },
    File { path: "/live.js", kind: SCRIPT, text: include_str!("../../web/live.js") },
    File { path: "/app.js", kind: SCRIPT, text: include_str!("../../web/app.js") },
    File { path: "/docs", kind: HTML, text: include_str!("../../web/docs.html") },
    File { path: "/docs.js", kind: SCRIPT, text: include_str!("../../web/docs.js") },
];

/// A route for each file.
pub(super) fn routes() -> Router<Arc<App>> {
    FILES.into_iter().fold(Router::new(), |router, file| {
        let tag = tag(file.text.as_bytes());
        router.route(file.path, get(async move |headers: HeaderMap| served(file, &tag, &headers)))
    })
}

fn served(file: File, tag: &HeaderValue, asked: &HeaderMap) -> Response {
    let body = file.text.as_bytes();
    let mut response = unless_known(tag, asked, || ([(header::CONTENT_TYPE, file.kind)], body));
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// 304 where the client has it already; it asks each time, so that it never shows an old one.
pub(super) fn unless_known<R: IntoResponse>(
    tag: &HeaderValue,
    asked: &HeaderMap,
    body: impl FnOnce() -> R,
) -> Response {
    let mut response =
        if knows(asked, tag) { StatusCode::NOT_MODIFIED.into_response() } else { body().into_response() };
    response.headers_mut().insert(header::ETAG, tag.clone());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn knows(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(|known| known.trim());
    known.any(|known| known == "*" || known.trim_start_matches("W/").as_bytes() == tag.as_bytes())
}

/// The same for the same bytes, in each run of the same program.
pub(super) fn tag(bytes: &[u8]) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish()))
        .unwrap_or(HeaderValue::from_static("\"0\""))
}
