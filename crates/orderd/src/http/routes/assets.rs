//! The page at `/`, and `/docs`: files of `web/`, compiled into the program.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::http::App;

/// Scripts, styles and requests of this origin only; no framing, no inline scripts.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

const ICON: &str = "image/svg+xml";

#[derive(Clone, Copy)]
struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

/// A file of `web/` under its own name, or under another path.
macro_rules! file {
    ($kind:ident $name:literal) => {
        file!($kind $name at concat!("/", $name))
    };
    ($kind:ident $name:literal at $path:expr) => {
        Asset { path: $path, kind: $kind, text: include_str!(concat!("../../../web/", $name)) }
    };
}

/// The scripts are modules. `/` lists those that it needs, so that a browser requests them at once.
const FILES: &[Asset] = &[
    file!(HTML "index.html" at "/"),
    file!(STYLE "style.css"),
    file!(ICON "favicon.svg"),
    file!(SCRIPT "app.js"),
    file!(SCRIPT "api.js"),
    file!(SCRIPT "sign_in.js"),
    file!(SCRIPT "events.js"),
    file!(SCRIPT "live_list.js"),
    file!(SCRIPT "order_pages.js"),
    file!(SCRIPT "order.js"),
    file!(SCRIPT "dead_letters.js"),
    file!(SCRIPT "quick_search.js"),
    file!(SCRIPT "query.js"),
    file!(SCRIPT "download.js"),
    file!(SCRIPT "stream_entries.js"),
    file!(SCRIPT "csv.js"),
    file!(SCRIPT "status.js"),
    file!(SCRIPT "chart.js"),
    file!(SCRIPT "table.js"),
    file!(SCRIPT "json_tree.js"),
    file!(SCRIPT "error_view.js"),
    file!(SCRIPT "json.js"),
    file!(SCRIPT "dom.js"),
    file!(SCRIPT "i18n.js"),
    file!(SCRIPT "en.js"),
    file!(SCRIPT "ru.js"),
    file!(HTML "docs.html" at "/docs"),
    file!(SCRIPT "api_docs.js"),
];

/// A route for each file.
pub(crate) fn routes() -> Router<Arc<App>> {
    FILES.iter().fold(Router::new(), |router, &file| {
        let tag = tag(file.text.as_bytes());
        router.route(file.path, get(async move |headers: HeaderMap| served(file, &tag, &headers)))
    })
}

fn served(file: Asset, tag: &HeaderValue, asked: &HeaderMap) -> Response {
    let body = file.text.as_bytes();
    let mut response = unless_known(tag, asked, || ([(header::CONTENT_TYPE, file.kind)], body));
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Other sites get no referrer; without this policy, a form's `Origin` would be `null`.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// 304 if the client has the file; it revalidates each time, so that it never shows an old one.
pub(crate) fn unless_known<R: IntoResponse>(
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
    known.any(|known| known == "*" || known.as_bytes() == tag.as_bytes())
}

/// An `ETag` that depends only on the bytes, so it is the same in each run. Weak: the compressed file has the same.
pub(crate) fn tag(bytes: &[u8]) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    HeaderValue::from_str(&format!("W/\"{:016x}\"", hasher.finish()))
        .unwrap_or(HeaderValue::from_static("W/\"0\""))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use order::Reason;

    use crate::dead_letters::replay::NOT_REPORTED;
    use crate::receipts::SkipReason;

    /// The strings of a language that mention orders, and those of its list for other documents.
    fn words<'t>(text: &'t str, order: &str) -> (Vec<&'t str>, Vec<&'t str>) {
        let (words, neutral) = text.split_once("\n  neutral: {\n").unwrap();
        let (neutral, _) = neutral.split_once("\n  },\n").unwrap();
        let member = |line: &'t str, indent: &str| {
            let (name, _) = line.strip_prefix(indent)?.split_once(": ")?;
            name.bytes().all(|byte| byte.is_ascii_alphanumeric()).then_some(name)
        };
        let (mut about_orders, mut current) = (Vec::new(), "");
        for line in words.lines().filter(|line| !line.trim_start().starts_with("//")) {
            current = member(line, "  ").unwrap_or(current);
            let said =
                line.split_once(": ").map_or(line, |(_, said)| said).to_lowercase().replace("orderd", "");
            if said.contains(order) && about_orders.last() != Some(&current) {
                about_orders.push(current);
            }
        }
        (about_orders, neutral.lines().filter_map(|line| member(line, "    ")).collect())
    }

    #[test]
    fn every_reason_that_the_service_gives_has_its_words_in_both_languages() {
        let skipped = SkipReason::ALL.map(SkipReason::as_str);
        let reasons = Reason::ALL.map(Reason::as_str).into_iter().chain(skipped);
        let reasons: BTreeSet<_> = reasons.chain([NOT_REPORTED]).collect();
        for text in [include_str!("../../../web/en.js"), include_str!("../../../web/ru.js")] {
            let (_, words) = text.split_once("\n  reasons: {\n").unwrap();
            let (words, _) = words.split_once("\n  },\n").unwrap();
            // The names stand between the strings.
            let names = words.split('"').step_by(2).flat_map(|between| between.split([',', ' ', '\n', ':']));
            let named: BTreeSet<_> = names.filter(|name| !name.is_empty()).collect();
            assert_eq!(named, reasons);
        }
    }

    #[test]
    fn every_text_about_orders_has_one_for_other_documents() {
        for (text, order) in
            [(include_str!("../../../web/en.js"), "order"), (include_str!("../../../web/ru.js"), "заказ")]
        {
            let (about_orders, neutral) = words(text, order);
            assert!(about_orders.len() > 20, "{about_orders:?}");
            let lacking: Vec<_> = about_orders.iter().filter(|name| !neutral.contains(name)).collect();
            assert!(lacking.is_empty(), "{lacking:?}");
            let (_, neutral) = text.split_once("\n  neutral: {\n").unwrap();
            let said: String =
                neutral.split_once("\n  },\n").unwrap().0.split('"').skip(1).step_by(2).collect();
            assert!(!said.to_lowercase().contains(order), "{said}");
        }
    }
}
