//! TLS to PostgreSQL, with what libpq's `sslmode` means, and to a service of our own: how sure one is of whom one
//! speaks to.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

/// libpq's `sslmode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// No TLS.
    Disable,
    /// TLS where the server has it; whoever it is.
    Prefer,
    /// TLS; whoever it is.
    Require,
    /// TLS, and a certificate of a known authority.
    VerifyCa,
    /// That, and for the name that was asked for.
    VerifyFull,
}

impl Mode {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "disable" => Self::Disable,
            "allow" | "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}

/// What makes TLS connections in that mode. `root` is a file of authorities; without it, those of the machine.
///
/// # Errors
/// Authorities that can't be read, in words.
pub(crate) fn connector(mode: Mode, root: Option<&Path>) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(ring::default_provider());
    let trusted = match (mode, root) {
        // As libpq does: with a file of authorities, `require` checks against it.
        (Mode::Disable | Mode::Prefer, _) | (Mode::Require, None) => Trusted::Anybody,
        (Mode::Require | Mode::VerifyCa, _) => Trusted::AnyName(authorities(root, &provider)?),
        (Mode::VerifyFull, _) => Trusted::Name(authorities(root, &provider)?),
    };
    Ok(MakeRustlsConnect::new(client(provider, trusted)?))
}

/// Speaks with whoever has the certificate that comes first in that file, by whatever name.
///
/// # Errors
/// A file without a certificate, in words.
pub(crate) fn only(certificate: &Path) -> Result<ClientConfig, String> {
    let known = CertificateDer::from_pem_file(certificate)
        .map_err(|error| format!("can't read the certificate in {}: {error}", certificate.display()))?;
    client(Arc::new(ring::default_provider()), Trusted::Only(known))
}

fn client(provider: Arc<CryptoProvider>, trusted: Trusted) -> Result<ClientConfig, String> {
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let verifier = Arc::new(Verifier { provider, trusted });
    Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn authorities(
    root: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut store = RootCertStore::empty();
    let certificates: Vec<_> = match root {
        Some(file) => CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect)
            .map_err(|error| format!("can't read the authorities in {}: {error}", file.display()))?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    store.add_parsable_certificates(certificates);
    let verifier = WebPkiServerVerifier::builder_with_provider(store.into(), provider.clone()).build();
    verifier.map_err(|error| format!("there are no authorities to check against: {error}"))
}

/// Whom one speaks to.
#[derive(Debug)]
enum Trusted {
    /// Whoever answers: encrypted, and no more.
    Anybody,
    /// Who has a certificate of a known authority, whatever name it is for.
    AnyName(Arc<WebPkiServerVerifier>),
    /// Who has one for the name that was asked for.
    Name(Arc<WebPkiServerVerifier>),
    /// Who has this certificate.
    Only(CertificateDer<'static>),
}

/// Looks at who it is; that it really is whoever the certificate names, the signatures show.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    trusted: Trusted,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let check = |by: &WebPkiServerVerifier| by.verify_server_cert(shown, intermediates, name, ocsp, now);
        match &self.trusted {
            Trusted::Anybody => Ok(ServerCertVerified::assertion()),
            Trusted::Name(authorities) => check(authorities),
            // The chain is checked before the name, so that only a good chain ends with a wrong name.
            Trusted::AnyName(authorities) => match check(authorities) {
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => Ok(ServerCertVerified::assertion()),
                checked => checked,
            },
            Trusted::Only(known) if shown == known => Ok(ServerCertVerified::assertion()),
            Trusted::Only(_) => {
                Err(Error::General("it shows another certificate than the one in HTTP_TLS_CERT".into()))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
