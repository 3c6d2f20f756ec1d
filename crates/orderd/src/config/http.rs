//! Where HTTP listens, and who may ask.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, PoisonError, RwLock};

use super::{ConfigError, Secret, list, secret, wrong};
use crate::cli::HttpArgs;

/// Where HTTP listens and who may ask.
#[derive(Debug, Clone)]
pub struct Http {
    /// Address to listen on.
    pub addr: SocketAddr,
    /// Tokens that open it; none: it is open.
    pub tokens: Tokens,
}

/// Bearer tokens, which may change while the service runs, so that they can be rotated.
#[derive(Debug, Clone)]
pub struct Tokens {
    given: Secret<Option<String>>,
    current: Arc<RwLock<Secret<Vec<String>>>>,
}

impl Tokens {
    /// Reads the file that `HTTP_TOKEN_FILE` names again.
    ///
    /// # Errors
    /// A file that can't be read, or that opens to anybody what was closed. The tokens stay what they were.
    pub fn read_again(&self) -> Result<(), ConfigError> {
        let tokens = list(&secret("HTTP_TOKEN", self.given.0.as_deref())?.unwrap_or_default());
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if tokens.is_empty() && !current.0.is_empty() {
            return Err(wrong("HTTP_TOKEN", "the file holds no token any more; the tokens before it stay"));
        }
        current.0 = tokens;
        Ok(())
    }

    /// Those of now.
    pub fn current(&self) -> Secret<Vec<String>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
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
        Ok(Self { addr, tokens })
    }
}
