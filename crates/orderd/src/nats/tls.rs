//! TLS to NATS: the machine's CAs and those of `NATS_CA`, and our own certificate. A replaced file takes effect with
//! the next connection.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::config::{self, Files, Reloaded};

/// Verifies a server as browsers do, with the machine's CAs and those in `extra`, and presents our certificate.
///
/// # Errors
/// A protocol version that the library doesn't have.
pub(crate) fn config(
    extra: Option<&Reloaded<config::Authorities>>,
    ours: Option<&Reloaded<CertifiedKey>>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let verifier = Arc::new(NatsAuthorities { provider: provider.clone(), extra: extra.cloned() });
    let config = config.dangerous().with_custom_certificate_verifier(verifier);
    Ok(match ours {
        None => config.with_no_client_auth(),
        Some(ours) => config.with_client_cert_resolver(Arc::new(ClientCertificate(ours.clone()))),
    })
}

/// The CAs to trust for NATS: those of the setting, and the machine's.
#[derive(Debug)]
struct NatsAuthorities {
    provider: Arc<CryptoProvider>,
    extra: Option<Reloaded<config::Authorities>>,
}

impl NatsAuthorities {
    fn read(&self) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let mut store = RootCertStore::empty();
        if let Some(extra) = &self.extra {
            store.add_parsable_certificates(extra.fresh().iter().cloned());
        }
        match config::machine_authorities(&mut Files::default()) {
            Ok(machine) => drop(store.add_parsable_certificates(machine)),
            // The CAs in NATS_CA suffice, unless others were configured and can't be read.
            Err(problem) if store.is_empty() || problem.variable.is_some() => {
                return Err(Error::General(problem.to_string()));
            }
            Err(_) => {}
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(store.into(), self.provider.clone()).build();
        verifier.map_err(|error| Error::General(format!("there are no certificate authorities: {error}")))
    }
}

impl ServerCertVerifier for NatsAuthorities {
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

/// Our client certificate.
#[derive(Debug)]
struct ClientCertificate(Reloaded<CertifiedKey>);

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.fresh())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
