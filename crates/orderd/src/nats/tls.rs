//! TLS to NATS: the machine's authorities and those of `NATS_CA`, and our own certificate. A new file counts
//! from the next connection on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::config::Reloaded;

/// Checks a server as browsers do, against the machine's authorities and those in `extra`, and shows it
/// our certificate.
///
/// # Errors
/// A protocol version that the library doesn't have.
pub(crate) fn config(
    extra: Option<&Path>,
    ours: Option<&Reloaded<CertifiedKey>>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let verifier = Arc::new(Authorities { provider: provider.clone(), extra: extra.map(Into::into) });
    let config = config.dangerous().with_custom_certificate_verifier(verifier);
    Ok(match ours {
        None => config.with_no_client_auth(),
        Some(ours) => config.with_client_cert_resolver(Arc::new(Ours(ours.clone()))),
    })
}

/// The certificates in a file, one at least.
///
/// # Errors
/// What is wrong with the file, in words.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let read =
        read.map_err(|error| format!("can't read {}: {error}; it takes a PEM file", file.display()))?;
    if read.is_empty() { Err(format!("{} holds no certificate in PEM", file.display())) } else { Ok(read) }
}

/// Whom to trust.
#[derive(Debug)]
struct Authorities {
    provider: Arc<CryptoProvider>,
    extra: Option<PathBuf>,
}

impl Authorities {
    fn read(&self) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = &self.extra {
            let extra =
                certificates(file).map_err(|problem| Error::General(format!("NATS_CA: {problem}")))?;
            store.add_parsable_certificates(extra);
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(store.into(), self.provider.clone()).build();
        verifier
            .map_err(|error| Error::General(format!("there are no authorities to check against: {error}")))
    }
}

impl ServerCertVerifier for Authorities {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.read()?.verify_server_cert(shown, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate that we show.
#[derive(Debug)]
struct Ours(Reloaded<CertifiedKey>);

impl ResolvesClientCert for Ours {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
