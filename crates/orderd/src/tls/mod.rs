//! TLS to PostgreSQL, with libpq's meaning of `sslmode`, and to a running orderd: how the server's certificate is
//! verified.

mod legacy;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::legacy::Legacy;

/// libpq's `sslmode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS only if the server requires it, without verification.
    Allow,
    /// TLS if the server supports it, without verification.
    Prefer,
    /// TLS, without verification.
    Require,
    /// TLS, with a certificate of a trusted CA.
    VerifyCa,
    /// The same, and for the requested name.
    VerifyFull,
}

impl TlsMode {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}

/// The CAs that verify a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Roots {
    /// The machine's CAs.
    System,
    /// A file of CAs.
    File(PathBuf),
}

/// The TLS versions that are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsVersions {
    Both,
    Only12,
    Only13,
}

/// Settings of TLS to PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientTls {
    pub(crate) mode: TlsMode,
    /// `None` if none are set.
    pub(crate) roots: Option<Roots>,
    /// Files of the client certificate and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// Whether the handshake names the host (SNI).
    pub(crate) sni: bool,
    pub(crate) versions: TlsVersions,
    /// TLS from the first byte on.
    pub(crate) is_direct: bool,
}

impl ClientTls {
    /// The CAs that verify the server's certificate; `None` without verification.
    pub(crate) fn authorities(&self) -> Option<&Roots> {
        match (self.mode, &self.roots) {
            (TlsMode::Disable, _) => None,
            (TlsMode::VerifyCa | TlsMode::VerifyFull, None) => Some(&Roots::System),
            // As in libpq: if there is a file of CAs, every mode verifies with it.
            (_, roots) => roots.as_ref(),
        }
    }

    /// Builds the TLS configuration from CAs and client certificate.
    ///
    /// # Errors
    /// What does not fit.
    pub(crate) fn connector(
        &self,
        authorities: Option<Vec<CertificateDer<'static>>>,
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<MakeRustlsConnect, String> {
        let provider = Arc::new(ring::default_provider());
        let authorities = authorities.map(|certificates| TrustedAuthorities::new(certificates, &provider));
        let trusted = match (self.mode, authorities.transpose()?.map(Arc::new)) {
            (_, None) => PeerTrust::Anybody,
            (TlsMode::VerifyFull, Some(authorities)) => PeerTrust::Name(authorities),
            (_, Some(authorities)) => PeerTrust::AnyName(authorities),
        };
        let versions: &[_] = match self.versions {
            TlsVersions::Both => rustls::ALL_VERSIONS,
            TlsVersions::Only12 => &[&rustls::version::TLS12],
            TlsVersions::Only13 => &[&rustls::version::TLS13],
        };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?;
        let verifier = Arc::new(Verifier { provider, trusted });
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
            }
        };
        config.enable_sni = self.sni;
        if self.is_direct {
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(MakeRustlsConnect::new(config))
    }
}

/// Accepts only a server with the first certificate of that file, under any name.
///
/// # Errors
/// A file without a certificate.
pub(crate) fn only(certificate: &Path) -> Result<ClientConfig, String> {
    let known = CertificateDer::from_pem_file(certificate)
        .map_err(|error| format!("can't read the certificate in {}: {error}", certificate.display()))?;
    client(Arc::new(ring::default_provider()), PeerTrust::Only(known))
}

fn client(provider: Arc<CryptoProvider>, trusted: PeerTrust) -> Result<ClientConfig, String> {
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let verifier = Arc::new(Verifier { provider, trusted });
    Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Trusted CAs, for webpki and for legacy certificates.
#[derive(Debug)]
struct TrustedAuthorities {
    webpki: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl TrustedAuthorities {
    fn new(
        certificates: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates.iter().cloned());
        let webpki = WebPkiServerVerifier::builder_with_provider(store.into(), provider.clone()).build();
        let webpki = webpki.map_err(|error| format!("there are no certificate authorities: {error}"))?;
        Ok(Self { webpki, certificates })
    }

    /// Verifies the certificate's chain. Returns whether webpki accepts it for that name.
    fn verify(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
        provider: &CryptoProvider,
    ) -> Result<bool, Error> {
        // webpki checks the chain before the name, so a wrong name means a valid chain.
        match self.webpki.verify_server_cert(shown, intermediates, name, &[], now) {
            Ok(_) => Ok(true),
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(false),
            Err(error) => {
                let Some(legacy) = Legacy::of(shown) else { return Err(error) };
                let algorithms = provider.signature_verification_algorithms.all;
                legacy.verify(&self.certificates, intermediates, now, algorithms)?;
                Ok(false)
            }
        }
    }
}

/// Which servers to trust.
#[derive(Debug)]
enum PeerTrust {
    /// Any server: encrypted, not authenticated.
    Anybody,
    /// A server with a certificate of a trusted CA, for any name.
    AnyName(Arc<TrustedAuthorities>),
    /// A server with such a certificate for the requested name.
    Name(Arc<TrustedAuthorities>),
    /// A server with this certificate.
    Only(CertificateDer<'static>),
}

/// Verifies a certificate. The handshake's signatures prove that the server has its key.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    trusted: PeerTrust,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let check = |by: &TrustedAuthorities| by.verify(shown, intermediates, name, now, &self.provider);
        match &self.trusted {
            PeerTrust::Anybody => Ok(ServerCertVerified::assertion()),
            PeerTrust::AnyName(authorities) => check(authorities).map(|_| ServerCertVerified::assertion()),
            PeerTrust::Name(authorities) if check(authorities)? || legacy::is_for(shown, name) => {
                Ok(ServerCertVerified::assertion())
            }
            PeerTrust::Name(_) => Err(Error::InvalidCertificate(CertificateError::NotValidForName)),
            PeerTrust::Only(known) if shown == known => Ok(ServerCertVerified::assertion()),
            PeerTrust::Only(_) => {
                Err(Error::General("its certificate is not the one in HTTP_TLS_CERT".into()))
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
        let Some(legacy) = Legacy::of(certificate).filter(Legacy::is_version_1) else {
            return verify_tls12_signature(message, certificate, signed, known);
        };
        let algorithms = known.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        match algorithms {
            Some((_, algorithms)) if legacy.has_signed(message, signed.signature(), algorithms) => {
                Ok(HandshakeSignatureValid::assertion())
            }
            _ => Err(Error::InvalidCertificate(CertificateError::BadSignature)),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        match Legacy::of(certificate).filter(Legacy::is_version_1) {
            Some(legacy) => {
                let key = SubjectPublicKeyInfoDer::from(legacy.key()?);
                verify_tls13_signature_with_raw_key(message, &key, signed, known)
            }
            None => verify_tls13_signature(message, certificate, signed, known),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
