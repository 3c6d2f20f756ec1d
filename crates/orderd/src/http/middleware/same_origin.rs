//! Rejects requests with a session cookie that come from another site's page (CSRF). A browser adds the cookie to every
//! request, whichever page sends it.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::http::text;

/// Refuses requests that another site's page makes a browser send.
pub(crate) async fn require_own(request: Request, next: Next) -> Response {
    if is_own(request.headers()) {
        return next.run(request).await;
    }
    text(StatusCode::FORBIDDEN, "403 pages of other origins may not do this")
}

/// Browsers send a request's origin: newer ones in `Sec-Fetch-Site`, but only to trustworthy addresses; others in
/// `Origin`. A client that sends neither is not a browser, and has no cookie that another site could use.
fn is_own(headers: &HeaderMap) -> bool {
    let value = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = value(header::HeaderName::from_static("sec-fetch-site")) {
        // `none` means that the user typed the address.
        return ["same-origin", "none"].contains(&site);
    }
    let Some(origin) = value(header::ORIGIN) else { return true };
    let Some((scheme, host)) = origin.split_once("://") else { return false };
    // A browser leaves the default port out; a proxy may add it.
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let is_host = |asked: &str| asked.strip_suffix(default_port).unwrap_or(asked).eq_ignore_ascii_case(host);
    // A proxy may have changed the host; a page of another site can set neither header.
    let asked = [header::HOST, header::HeaderName::from_static("x-forwarded-host")];
    asked.into_iter().filter_map(value).any(is_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|&(name, value)| {
            (header::HeaderName::from_static(name), header::HeaderValue::from_static(value))
        });
        is_own(&headers.collect())
    }

    #[test]
    fn only_pages_of_this_address_are_its_own() {
        assert!(own(&[("host", "a:8090")]));
        for site in ["same-origin", "none"] {
            assert!(own(&[("host", "a"), ("sec-fetch-site", site), ("origin", "null")]), "{site}");
        }
        for site in ["same-site", "cross-site", "", "Same-Origin"] {
            assert!(!own(&[("host", "a"), ("sec-fetch-site", site), ("origin", "http://a")]), "{site}");
        }
        for origin in ["http://a:8090", "https://A:8090"] {
            assert!(own(&[("host", "a:8090"), ("origin", origin)]), "{origin}");
        }
        for origin in ["null", "", "http://a", "http://a:8091", "http://b:8090", "http://a:8090.b", "a:8090"]
        {
            assert!(!own(&[("host", "a:8090"), ("origin", origin)]), "{origin}");
        }
        assert!(own(&[("host", "inner"), ("x-forwarded-host", "outer"), ("origin", "https://outer")]));
        assert!(!own(&[("origin", "http://a")]));
        for (asked, origin) in [("a:443", "https://a"), ("A:80", "http://a"), ("[::1]:80", "http://[::1]")] {
            assert!(own(&[("host", asked), ("origin", origin)]), "{asked} {origin}");
        }
        for (asked, origin) in [("a:80", "https://a"), ("a:443", "http://a"), ("a:8443", "https://a")] {
            assert!(!own(&[("host", asked), ("origin", origin)]), "{asked} {origin}");
        }
    }
}
