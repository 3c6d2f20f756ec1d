//! The server certificate of HTTP and its key, reloaded when the files change.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use tokio_rustls::TlsAcceptor;

use super::reloadable::{Files, Reload, Reloaded};
use super::{ConfigError, certificates};

/// A certificate and its key, as a TLS configuration.
#[derive(Clone, Debug)]
pub struct ServerCertificate(Reloaded<Arc<ServerConfig>>);

impl ServerCertificate {
    /// Reads both files; `None` if neither is given.
    ///
    /// # Errors
    /// One without the other, or a file that can't be used.
    pub fn new(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<Self>, ConfigError> {
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate.to_owned(), key.to_owned()),
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(alone("HTTP_TLS_KEY", "HTTP_TLS_CERT")),
            (None, Some(_)) => return Err(alone("HTTP_TLS_CERT", "HTTP_TLS_KEY")),
        };
        let made = Reloaded::new("HTTP_TLS_CERT", move |files| read(&certificate, &key, files))?;
        Ok(Some(Self(made)))
    }

    /// The TLS acceptor with the current certificate.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&*self.0.current()).into()
    }

    /// The files that it is loaded from.
    pub(super) fn files(&self) -> Box<dyn Reload> {
        Box::new(self.0.clone())
    }
}

fn alone(missing: &'static str, given: &str) -> ConfigError {
    ConfigError::new(
        missing,
        format!("it is required if {given} is set: TLS needs a certificate and its key"),
    )
}

fn read(certificate: &Path, key: &Path, files: &mut Files) -> Result<Arc<ServerConfig>, ConfigError> {
    let chain = certificates::chain("HTTP_TLS_CERT", certificate, files)?;
    let secret = certificates::key("HTTP_TLS_KEY", key, files)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| certificates::unusable("HTTP_TLS_CERT", certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
