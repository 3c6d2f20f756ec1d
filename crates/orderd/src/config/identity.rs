//! With what the service shows who it is where it speaks TLS: a certificate and its key, from files that may
//! change while it runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::ConfigError;

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Identity {
    /// Reads both files; `None` where neither is given.
    ///
    /// # Errors
    /// One without the other, or a file that can't be used.
    pub fn new(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<Self>, ConfigError> {
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(alone("HTTP_TLS_KEY", "HTTP_TLS_CERT")),
            (None, Some(_)) => return Err(alone("HTTP_TLS_CERT", "HTTP_TLS_KEY")),
        };
        let current = Arc::new(RwLock::new(read(certificate, key)?));
        Ok(Some(Self { certificate: certificate.into(), key: key.into(), current }))
    }

    /// Reads both files again.
    ///
    /// # Errors
    /// A file that can't be used; what was read before stays.
    pub fn read_again(&self) -> Result<(), ConfigError> {
        let read = read(&self.certificate, &self.key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// What makes TLS of a connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone().into()
    }
}

fn alone(missing: &'static str, given: &str) -> ConfigError {
    ConfigError::new(
        missing,
        format!("is needed too where {given} is set: TLS takes a certificate and its key"),
    )
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, ConfigError> {
    let unusable = |setting, file: &Path, error: &dyn std::fmt::Display| {
        ConfigError::new(setting, format!("can't use {}: {error}; it takes a PEM file", file.display()))
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unusable("HTTP_TLS_CERT", certificate, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("HTTP_TLS_KEY", key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| unusable("HTTP_TLS_CERT", certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
