//! Unreserved characters that a path has percent-encoded: `/%6frders` is `/orders` (RFC 3986, 6.2.2.2). The router
//! compares paths byte by byte, so they are decoded before it.

use hyper::Uri;
use hyper::http::uri::PathAndQuery;

/// Whether a byte of a target means itself and needs no escape (RFC 3986, 2.3).
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// The target whose path has no unreserved character escaped; `None` if it is the same. Other escapes stay: `%2F` is a
/// character of an id, `/` ends it.
pub(crate) fn without_needless(target: &Uri) -> Option<Uri> {
    let path = decoded(target.path())?;
    let target_path = match target.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = target.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target_path).ok()?);
    Uri::from_parts(parts).ok()
}

/// A path with a malformed escape stays as it is: `%2%41` does not become the escape `%2A`.
fn decoded(path: &str) -> Option<String> {
    let (mut decoded, mut rest) = (String::new(), path);
    while let Some((before, escape)) = rest.split_once('%') {
        let digits = escape.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        decoded.push_str(before);
        match u8::from_str_radix(digits, 16).ok().filter(|byte| is_unreserved(*byte)) {
            Some(byte) => decoded.push(byte.into()),
            None => decoded.extend(["%", digits]),
        }
        rest = &escape[2..];
    }
    decoded.push_str(rest);
    (decoded.len() < path.len()).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::{HttpHarness, KEY};

    #[test]
    fn only_escapes_of_unreserved_characters_are_decoded_and_once() {
        for (target, decoded) in [
            ("/%6frders", "/orders"),
            ("/%6Frder/%41%2D%2e%5f%7E?a=%41", "/order/A-._~?a=%41"),
            ("http://a:1/%6frders?", "http://a:1/orders?"),
            ("/%2541%61", "/%2541a"),
            ("/order/%2F%61%2f%3F", "/order/%2Fa%2f%3F"),
            ("/%d0%96%61", "/%d0%96a"),
        ] {
            let target: Uri = target.parse().unwrap();
            assert_eq!(without_needless(&target).map(|uri| uri.to_string()).as_deref(), Some(decoded));
        }
        for target in [
            "/orders",
            "/",
            "*",
            "localhost:1",
            "/%2F%25%00",
            "/%2%41",
            "/%61%",
            "/%61%6",
            "/%61%+1",
            "/%61%g1",
            "/?%61",
        ] {
            assert_eq!(without_needless(&target.parse().unwrap()), None, "{target}");
        }
    }

    /// The status and the body of the response.
    fn response(harness: &HttpHarness, target: &str) -> (String, String) {
        let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let response = String::from_utf8_lossy(&harness.response_to(request.as_bytes())).into_owned();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
    }

    #[test]
    fn a_route_is_found_by_its_escaped_path() {
        let harness = HttpHarness::new().unwrap();
        let first = KEY.bytes().next().unwrap();
        let of_order = format!("/order/{KEY}");
        for (escaped, plain) in [
            ("/%6frders", "/orders"),
            ("/orders?%6frder=asc", "/orders?order=asc"),
            ("/%6Frder%5Fpages/last", "/order_pages/last"),
            ("/%6d%65%6D_len", "/mem_len"),
            ("/app%2ejs", "/app.js"),
            ("/openapi%2Ejson", "/openapi.json"),
            ("/session", "/%73ession"),
            (&format!("/%6frder/%{first:x}{}", &KEY[1..]), &of_order),
            (&format!("http://localhost/%6frder/{KEY}"), &of_order),
        ] {
            assert_eq!(response(&harness, escaped), response(&harness, plain), "{escaped}");
        }
        assert_eq!(response(&harness, &of_order).0, "200");
        // Reserved characters are not the same escaped.
        for target in ["/order%2F1-1", "/%2Forders", "/orders%3Forder=asc"] {
            let (status, said) = response(&harness, target);
            assert!(status == "404" && said.contains("/docs lists all paths"), "{target}: {said}");
        }
        // An id with a slash in it, which is unknown: not the missing route.
        assert_ne!(response(&harness, "/order/a%2Fb").1, response(&harness, "/order/a/b").1);
        // Served under any host, as their plain paths.
        let request = "GET /m%65trics HTTP/1.1\r\nhost: probe.example\r\nconnection: close\r\n\r\n";
        assert!(harness.response_to(request.as_bytes()).starts_with(b"HTTP/1.1 200 "));
    }
}
