//! Settings of HTTP: the address, and access.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use axum::http::{HeaderValue, Uri};

use super::{ConfigError, Right, Tokens, host, is_none, list, refuse_none_among, tokens, wrong};
use crate::cli::HttpArgs;

/// Settings of HTTP.
#[derive(Debug, Clone)]
pub struct Http {
    /// Address to listen on.
    pub addr: SocketAddr,
    /// Tokens; without any, access is open.
    pub tokens: Tokens,
    /// Its certificate's file, with TLS.
    pub certificate: Option<PathBuf>,
}

/// Origins as browsers send them in `Origin`.
pub(super) fn cors_origins(given: &str) -> Result<Vec<HeaderValue>, ConfigError> {
    let origin = |text: String| {
        let uri: Option<Uri> = text.parse().ok();
        let plain = uri.is_some_and(|uri| {
            let host = uri.authority().is_some_and(|host| !host.as_str().contains('@'));
            host && ["http", "https"].contains(&uri.scheme_str().unwrap_or_default())
                && uri.path() == "/"
                && !text.ends_with(['/', '?'])
                && !text.contains(|c: char| c.is_ascii_uppercase())
        });
        let header = HeaderValue::from_str(&text).ok().filter(|_| plain || text == "*");
        header.ok_or_else(|| {
            wrong("HTTP_CORS_ORIGIN", format!("{text:?} is not an origin, such as https://example.com, or *"))
        })
    };
    list(given).into_iter().map(origin).collect()
}

/// Host names as in `Host`, without a port.
pub(super) fn hosts(given: &str) -> Result<Vec<String>, ConfigError> {
    // Addresses are served anyway.
    let is_address = |name: &str| host::without_brackets(name).parse::<Ipv6Addr>().is_ok();
    let is_name = |name: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        name.bytes().all(is_part) || is_address(name)
    };
    let hosts = match &list(given)[..] {
        [none] if is_none(none) => Vec::new(),
        hosts => {
            refuse_none_among("HTTP_HOSTS", hosts)?;
            hosts.to_vec()
        }
    };
    // A final dot makes a name absolute, in `Host` too; it is the same name.
    let relative = |name: String| name.strip_suffix('.').map_or(name.clone(), ToOwned::to_owned);
    let hosts: Vec<String> = hosts.into_iter().map(relative).collect();
    match hosts.iter().find(|name| name.is_empty() || !is_name(name)) {
        Some(name) => Err(wrong(
            "HTTP_HOSTS",
            format!(
                "{name:?} is not a host's name, such as orders.example.com, or its address, without scheme and port"
            ),
        )),
        None => Ok(hosts),
    }
}

impl Http {
    /// Parses and checks the arguments.
    ///
    /// # Errors
    /// The first setting that can't be used.
    pub fn new(args: &HttpArgs) -> Result<Self, ConfigError> {
        let addr = host::listen("HTTP_ADDR", &args.http_addr)?;
        let tokens = tokens(Right::Read, args.http_token.as_deref())?;
        Ok(Self { addr, tokens, certificate: args.http_tls_cert.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses_and_none_stands_alone() {
        for (given, listed) in [
            ("none", &[][..]),
            (" None ", &[]),
            ("a.example, B.example.", &["a.example", "B.example"]),
            ("::1", &["::1"]),
            ("[::1],a,127.0.0.1", &["[::1]", "a", "127.0.0.1"]),
        ] {
            assert_eq!(hosts(given).unwrap(), listed, "{given}");
        }
        for wrong in ["none,a", "a,none", "a:80", "http://a", "[::1]:80", "[::1", "[a]", "."] {
            let error = hosts(wrong).unwrap_err().to_string();
            assert!(error.starts_with("HTTP_HOSTS: "), "{wrong}: {error}");
        }
    }
}
