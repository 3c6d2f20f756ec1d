//! Checks a request's target and `Host` (RFC 9112, 3.2). A request without exactly one valid `Host` gets 400.
//!
//! If a service on loopback is open to anyone on the machine, a foreign page could reach it under a domain name that
//! resolves to 127.0.0.1 (DNS rebinding). So it then serves only IP addresses, `localhost` and `HTTP_HOSTS`, and
//! answers other names with 421.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::config::Right;
use crate::http::{App, text};

/// Routes without orders are served under any name: probes and scrapers use their platform's names.
const UNGUARDED_PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The response to `OPTIONS *`, about the whole service.
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE, OPTIONS");

/// Passes a request that names a host, if that host is served.
pub(crate) async fn require(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Some(host) = host(request.version(), request.headers()) else {
        return text(StatusCode::BAD_REQUEST, "400 a request has exactly one Host: a name or an address");
    };
    if request.method() == Method::CONNECT {
        return text(StatusCode::NOT_IMPLEMENTED, "501 CONNECT is for proxies");
    }
    let is_for_all = request.method() == Method::OPTIONS && request.uri().path() == "*";
    if !is_for_all && !has_target(&request) {
        return text(StatusCode::BAD_REQUEST, "400 the target of a request is a path or a whole URL");
    }
    // A whole URL as the target overrides the header.
    let host = request.uri().authority().map_or(host, |authority| authority.as_str());
    if !is_served(&app, host.as_bytes()) && !UNGUARDED_PATHS.contains(&request.uri().path()) {
        let why =
            "421 this host is not served: add it to HTTP_HOSTS, or set HTTP_TOKEN or HTTP_ANONYMOUS=true";
        return text(StatusCode::MISDIRECTED_REQUEST, why);
    }
    if is_for_all {
        return (StatusCode::NO_CONTENT, [(header::ALLOW, ALLOWED_METHODS)]).into_response();
    }
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = next.run(request).await;
    if is_chunked {
        // It may have had a Content-Length too, which hyper does not report. A proxy could have used that length, so no
        // later request on this connection is trusted (RFC 9112, 6.1).
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether the target is a path, or a whole URL without a user in it.
fn has_target(request: &Request) -> bool {
    let uri = request.uri();
    match (uri.scheme(), uri.authority()) {
        (Some(_), Some(authority)) => is_valid(authority.as_str().as_bytes()),
        (None, None) => uri.path().starts_with('/'),
        _ => false,
    }
}

/// The single valid `Host`; only HTTP/1.0 may omit it.
fn host(version: Version, headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_valid(host.as_bytes()) => host.to_str().ok(),
        (None, _) if version < Version::HTTP_11 => Some("localhost"),
        _ => None,
    }
}

/// Whether requests to this host are served.
pub(crate) fn is_served(app: &App, host: &[u8]) -> bool {
    let Some(names) = &app.settings.http_hosts else { return true };
    if app.settings.access.is_set(Right::Read) {
        return true;
    }
    let Ok(host) = std::str::from_utf8(host) else { return false };
    // A final dot makes a name absolute; it is the same name.
    let name = without_port(host);
    let name = name.strip_suffix('.').unwrap_or(name);
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok()
        || names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// `uri-host [ ":" port ]` of RFC 9110, 7.2; it may be empty for targets without an authority.
pub(crate) fn is_valid(host: &[u8]) -> bool {
    let end = match host.strip_prefix(b"[") {
        Some(address) => match address.iter().position(|byte| *byte == b']') {
            Some(length) if is_address(&address[..length]) => length + 2,
            _ => return false,
        },
        None => host.iter().position(|byte| *byte == b':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let is_port = port.strip_prefix(b":").is_none_or(|port| port.iter().all(u8::is_ascii_digit));
    (name.starts_with(b"[") || is_name(name)) && is_port && port.first().is_none_or(|byte| *byte == b':')
}

fn is_address(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

/// `reg-name` of RFC 3986: unreserved characters, sub-delimiters, and escapes of two digits.
fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let Some((byte, behind)) = rest.split_first() {
        rest = match (byte, behind) {
            (b'%', [high, low, behind @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => behind,
            _ if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => behind,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::{HttpHarness, KEY};

    #[test]
    fn hosts_are_names_and_addresses_with_or_without_a_port() {
        for host in [
            "",
            "a",
            "a.b-c_d",
            "localhost:8090",
            "127.0.0.1",
            "[::1]",
            "[::1]:80",
            "a:",
            "%61",
            "xn--80ak6aa92e",
        ] {
            assert!(is_valid(host.as_bytes()), "{host}");
        }
        for host in [
            "a b", "a/b", "u@a", "a:b", "a:1:2", "[::1", "::1", "[a]", "[::1]x", "%6", "%zz", "a?b", "a#b",
            "\"a\"", "é", "a\tb", "<a>",
        ] {
            assert!(!is_valid(host.as_bytes()), "{host}");
        }
    }

    /// The status of each response, from the fast path if the request is simple enough, and from the routes.
    fn statuses(harness: &HttpHarness, request: &str) -> [String; 2] {
        let long = request.replacen("\r\n", "\r\nexpect: nothing\r\n", 1);
        [request, long.as_str()].map(|request| {
            let response = harness.response_to(request.as_bytes());
            String::from_utf8_lossy(&response).split(' ').nth(1).unwrap_or_default().to_owned()
        })
    }

    fn is_answered_on_both_paths(harness: &HttpHarness, head: &str, status: &str) {
        let by_value = ["/orders", "/order"].map(|path| format!("{path}?order_uid=b563feb7b2b84b6test"));
        for target in [format!("/order/{KEY}"), "/mem_len".into()].into_iter().chain(by_value) {
            let request = format!("GET {target} {head}\r\n\r\n");
            assert_eq!(statuses(harness, &request), [status, status], "{request}");
        }
    }

    #[test]
    fn a_request_without_exactly_one_valid_host_is_refused_on_both_ways() {
        let harness = HttpHarness::new().unwrap();
        for head in [
            "HTTP/1.1\r\nhost: localhost",
            "HTTP/1.1\r\nHost: [::1]:80",
            "HTTP/1.0",
            "HTTP/1.0\r\nhost: 127.0.0.1",
        ] {
            is_answered_on_both_paths(&harness, head, "200");
        }
        for head in [
            "HTTP/1.1",
            "HTTP/1.1\r\nhost: localhost\r\nhost: localhost",
            "HTTP/1.1\r\nhost: localhost\r\naccept: a\r\nHost: other",
            "HTTP/1.0\r\nhost: a\r\nhost: a",
            "HTTP/1.1\r\nhost: a b",
            "HTTP/1.1\r\nhost: a/b",
            "HTTP/1.1\r\nhost: u@a",
            "HTTP/1.1\r\nhost: localhost, localhost",
            "HTTP/1.1\r\nhost : localhost",
            "HTTP/1.1\r\n host: localhost",
            "HTTP/1.1\r\nhost: localhost\r\nfolded: a\r\n b",
        ] {
            is_answered_on_both_paths(&harness, head, "400");
        }
        for target in ["/", "/healthz", "/nothing", "/events", "/session", "/openapi.json"] {
            let request = format!("GET {target} HTTP/1.1\r\n\r\n");
            assert_eq!(statuses(&harness, &request), ["400", "400"], "{target}");
        }
    }

    #[test]
    fn an_open_service_on_loopback_answers_to_its_own_names_alone() {
        let harness = HttpHarness::new().unwrap();
        for head in [
            "HTTP/1.1\r\nhost: evil.example",
            "HTTP/1.1\r\nhost: localhost.evil.example:8090",
            "HTTP/1.1\r\nhost: localhost..",
            "HTTP/1.1\r\nhost: .",
            "HTTP/1.1\r\nhost: ",
        ] {
            is_answered_on_both_paths(&harness, head, "421");
        }
        for head in ["HTTP/1.1\r\nhost: localhost.", "HTTP/1.1\r\nhost: LocalHost.:8090"] {
            is_answered_on_both_paths(&harness, head, "200");
        }
        let target = format!("GET http://evil.example/order/{KEY} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        assert_eq!(statuses(&harness, &target), ["421", "421"]);
        let target = format!("GET http://localhost/order/{KEY} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        assert_eq!(statuses(&harness, &target), ["200", "200"]);
        for path in ["/healthz", "/metrics"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: probe.example\r\n\r\n");
            assert_eq!(statuses(&harness, &request), ["200", "200"], "{path}");
        }
    }

    /// Two parsers must agree where a request ends.
    #[test]
    fn requests_that_could_hide_another_one_are_refused_or_end_the_connection() {
        let harness = HttpHarness::new().unwrap();
        let hidden = format!("GET /order/{KEY} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        for head in [
            "transfer-encoding: chunked\r\n\r\nzz\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            "transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
            "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
            "content-length: 99999999999999999999\r\n\r\n",
            "content-length: -0\r\n\r\n",
            "content-length:\r\n\r\n",
            "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
            "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            "content-length: 1\r\ncontent-length: 2\r\n\r\n",
            "content-length: +1\r\n\r\n",
            "content-length: 1, 2\r\n\r\n",
            "content-length : 1\r\n\r\n",
            "a: b\r\n folded\r\n\r\n",
            "a: b\rc: d\r\n\r\n",
            "a\0: b\r\n\r\n",
        ] {
            for target in [format!("/order/{KEY}"), "/mem_len".into()] {
                let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{head}{hidden}");
                let response = String::from_utf8_lossy(&harness.response_to(request.as_bytes())).into_owned();
                assert!(response.matches("HTTP/1.").count() <= 1, "{request}: {response}");
            }
        }
    }
}
