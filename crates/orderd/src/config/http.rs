//! Settings of HTTP: the address, and access.

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::http::{HeaderValue, Uri};

use super::{ConfigError, Right, Tokens, host, list, tokens, wrong};
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
    let is_name = |name: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        name.bytes().all(is_part)
    };
    let hosts = if given.trim() == "none" { Vec::new() } else { list(given) };
    // A final dot makes a name absolute, in `Host` too; it is the same name.
    let relative = |name: String| name.strip_suffix('.').map_or(name.clone(), ToOwned::to_owned);
    let hosts: Vec<String> = hosts.into_iter().map(relative).collect();
    match hosts.iter().find(|name| name.is_empty() || !is_name(name)) {
        Some(name) => Err(wrong(
            "HTTP_HOSTS",
            format!("{name:?} is not a host's name, such as orders.example.com, without scheme and port"),
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
