//! Where HTTP listens, and who may ask.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::{HeaderValue, Uri};

use super::{ConfigError, Secret, list, secret, wrong};
use crate::cli::HttpArgs;

/// Where HTTP listens and who may ask.
#[derive(Debug, Clone)]
pub struct Http {
    /// Address to listen on.
    pub addr: SocketAddr,
    /// Tokens that open it; none: it is open.
    pub tokens: Tokens,
    /// File of its certificate, where it speaks TLS.
    pub certificate: Option<PathBuf>,
}

/// Bearer tokens, which may change while the service runs, so that they can be rotated.
#[derive(Debug, Clone)]
pub struct Tokens {
    given: Secret<Option<String>>,
    current: Arc<RwLock<Arc<Secret<Vec<String>>>>>,
}

impl Tokens {
    /// Reads the file that `HTTP_TOKEN_FILE` names again.
    ///
    /// # Errors
    /// A file that can't be read, or that holds no token. The tokens stay what they were.
    pub fn read_again(&self) -> Result<(), ConfigError> {
        let tokens = tokens("HTTP_TOKEN", self.given.0.as_deref());
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(Secret(tokens?));
        Ok(())
    }

    /// Those of now.
    pub fn current(&self) -> Arc<Secret<Vec<String>>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// None where the setting is not given. One that is given and holds none would open to anybody what was to be closed.
pub(super) fn tokens(setting: &'static str, given: Option<&str>) -> Result<Vec<String>, ConfigError> {
    let Some(given) = secret(setting, given)? else { return Ok(Vec::new()) };
    let tokens = list(&given);
    if tokens.is_empty() {
        return Err(wrong(setting, "holds no token; leave it out for none"));
    }
    Ok(tokens)
}

/// Addresses as browsers send them in `Origin`.
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
            wrong("HTTP_CORS_ORIGIN", format!("{text:?} is no origin, such as https://example.com, or *"))
        })
    };
    list(given).into_iter().map(origin).collect()
}

/// Names of hosts as they stand in `Host`, without a port.
pub(super) fn hosts(given: &str) -> Result<Vec<String>, ConfigError> {
    let is_name = |name: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        name.bytes().all(is_part)
    };
    let hosts = if given.trim() == "none" { Vec::new() } else { list(given) };
    match hosts.iter().find(|name| !is_name(name)) {
        Some(name) => Err(wrong(
            "HTTP_HOSTS",
            format!("{name:?} is not a host's name, such as orders.example.com, without scheme and port"),
        )),
        None => Ok(hosts),
    }
}

impl Http {
    /// Checks what was given.
    ///
    /// # Errors
    /// The first setting that can't be used.
    pub fn new(args: &HttpArgs) -> Result<Self, ConfigError> {
        let addr = args.http_addr.to_socket_addrs().ok().and_then(|mut addrs| addrs.next());
        let addr = addr.ok_or_else(|| {
            wrong("HTTP_ADDR", format!("{:?} is no address, such as 127.0.0.1:8090", args.http_addr))
        })?;
        let tokens = Tokens { given: Secret(args.http_token.clone()), current: Arc::default() };
        tokens.read_again()?;
        Ok(Self { addr, tokens, certificate: args.http_tls_cert.clone() })
    }
}
