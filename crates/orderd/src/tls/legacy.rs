//! Certificates that OpenSSL, and so libpq, accepts and webpki does not: X.509 version 1, from `openssl x509 -req`;
//! self-signed ones that are their own CA, from `openssl req -x509`; and names only in the subject's common name. The
//! examples of PostgreSQL's manual create all three.
//!
//! webpki verifies all others. The checks here are at least as strict as OpenSSL's: every signature and date is
//! checked, an issuer must be a CA, an unknown critical extension is refused.

use std::net::IpAddr;

use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use rustls::{CertificateError, Error};
use x509_cert::certificate::Version;
use x509_cert::der::oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::{Certificate, TbsCertificate};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const ANY_USE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// Maximum number of issuers between a certificate and the CA.
const MAX_DEPTH: usize = 8;

type Algorithms = [&'static dyn SignatureVerificationAlgorithm];

/// A certificate that webpki can't verify.
pub(super) struct Legacy(Certificate);

impl Legacy {
    /// `None` if webpki can verify it.
    pub(super) fn of(shown: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(shown).ok()?;
        let is_old = certificate.tbs_certificate.version == Version::V1;
        (is_old || is_authority(&certificate.tbs_certificate)).then_some(Self(certificate))
    }

    pub(super) fn is_version_1(&self) -> bool {
        self.0.tbs_certificate.version == Version::V1
    }

    /// The public key, as DER.
    pub(super) fn key(&self) -> Result<Vec<u8>, Error> {
        self.0
            .tbs_certificate
            .subject_public_key_info
            .to_der()
            .map_err(|_| bad(CertificateError::BadEncoding))
    }

    /// Whether this certificate's key made the signature of a TLS 1.2 handshake.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8], algorithms: &Algorithms) -> bool {
        let key = &self.0.tbs_certificate.subject_public_key_info;
        let fits = |algorithm: &&&dyn SignatureVerificationAlgorithm| is_of(key, **algorithm);
        algorithms.iter().filter(fits).any(|algorithm| is_signed(key, message, signature, *algorithm))
    }

    /// Verifies that one of these CAs issued it, directly or through intermediates that the server sent.
    pub(super) fn verify(
        &self,
        authorities: &[CertificateDer<'_>],
        others: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &Algorithms,
    ) -> Result<(), Error> {
        let parsed = |list: &[CertificateDer<'_>]| -> Vec<Certificate> {
            list.iter().filter_map(|one| Certificate::from_der(one).ok()).collect()
        };
        let chain = Chain { roots: parsed(authorities), others: parsed(others), now, algorithms };
        let uses = extension::<ExtendedKeyUsage>(&self.0.tbs_certificate)?;
        if uses.is_some_and(|uses| !uses.0.iter().any(|one| [SERVER_AUTH, ANY_USE].contains(one))) {
            return Err(bad(CertificateError::InvalidPurpose));
        }
        chain.verify(&self.0, 0)
    }
}

struct Chain<'c> {
    roots: Vec<Certificate>,
    others: Vec<Certificate>,
    now: UnixTime,
    algorithms: &'c Algorithms,
}

impl Chain<'_> {
    /// `below`: number of certificates before this one.
    fn verify(&self, certificate: &Certificate, below: usize) -> Result<(), Error> {
        self.check_dates(&certificate.tbs_certificate)?;
        check_critical(&certificate.tbs_certificate)?;
        // It is self-signed and trusted.
        if self.roots.contains(certificate) && self.is_issued_by(certificate, certificate) {
            return Ok(());
        }
        let is_issuer = |one: &&Certificate| {
            may_issue(&one.tbs_certificate, below) && self.is_issued_by(certificate, one)
        };
        for root in self.roots.iter().filter(is_issuer) {
            if self.check_dates(&root.tbs_certificate).is_ok()
                && check_critical(&root.tbs_certificate).is_ok()
            {
                return Ok(());
            }
        }
        if below < MAX_DEPTH {
            for other in
                self.others.iter().filter(|one| one.tbs_certificate.version == Version::V3).filter(is_issuer)
            {
                if self.verify(other, below + 1).is_ok() {
                    return Ok(());
                }
            }
        }
        Err(bad(CertificateError::UnknownIssuer))
    }

    fn check_dates(&self, certificate: &TbsCertificate) -> Result<(), Error> {
        let now = self.now.as_secs();
        let validity = &certificate.validity;
        if now < validity.not_before.to_unix_duration().as_secs() {
            return Err(bad(CertificateError::NotValidYet));
        }
        if now > validity.not_after.to_unix_duration().as_secs() {
            return Err(bad(CertificateError::Expired));
        }
        Ok(())
    }

    fn is_issued_by(&self, certificate: &Certificate, issuer: &Certificate) -> bool {
        let (Ok(message), Some(signature), Some(kind)) = (
            certificate.tbs_certificate.to_der(),
            certificate.signature.as_bytes(),
            identifier(&certificate.signature_algorithm),
        ) else {
            return false;
        };
        let key = &issuer.tbs_certificate.subject_public_key_info;
        certificate.tbs_certificate.issuer == issuer.tbs_certificate.subject
            && certificate.tbs_certificate.signature == certificate.signature_algorithm
            && self.algorithms.iter().any(|algorithm| {
                algorithm.signature_alg_id().as_ref() == kind
                    && is_of(key, *algorithm)
                    && is_signed(key, &message, signature, *algorithm)
            })
    }
}

fn is_signed(
    key: &SubjectPublicKeyInfoOwned,
    message: &[u8],
    signature: &[u8],
    algorithm: &dyn SignatureVerificationAlgorithm,
) -> bool {
    let bits = key.subject_public_key.as_bytes();
    bits.is_some_and(|bits| algorithm.verify_signature(bits, message, signature).is_ok())
}

/// Whether the key fits this algorithm.
fn is_of(key: &SubjectPublicKeyInfoOwned, algorithm: &dyn SignatureVerificationAlgorithm) -> bool {
    identifier(&key.algorithm).is_some_and(|kind| kind == algorithm.public_key_alg_id().as_ref())
}

/// Without the header of its sequence, as in rustls. All are shorter than 128 bytes.
fn identifier(algorithm: &AlgorithmIdentifierOwned) -> Option<Vec<u8>> {
    let der = algorithm.to_der().ok()?;
    let length = usize::from(*der.get(1)?);
    let contents = der.get(2..)?;
    (contents.len() == length).then(|| contents.to_vec())
}

fn is_authority(certificate: &TbsCertificate) -> bool {
    matches!(extension::<BasicConstraints>(certificate), Ok(Some(limits)) if limits.ca)
}

/// Whether it may issue a certificate with this number of issuers below. As in OpenSSL, a version 1 certificate may if
/// it is self-signed.
fn may_issue(certificate: &TbsCertificate, below: usize) -> bool {
    if certificate.version == Version::V1 {
        return certificate.issuer == certificate.subject;
    }
    let limits = matches!(extension::<BasicConstraints>(certificate), Ok(Some(limits))
        if limits.ca && limits.path_len_constraint.is_none_or(|length| below <= usize::from(length)));
    let usage = matches!(extension::<KeyUsage>(certificate), Ok(usage) if usage.is_none_or(|usage| usage.key_cert_sign()));
    // Name constraints are not implemented here.
    let names = matches!(extension::<NameConstraints>(certificate), Ok(None));
    limits && usage && names
}

fn extension<'c, T: Decode<'c> + AssociatedOid>(certificate: &'c TbsCertificate) -> Result<Option<T>, Error> {
    let found = certificate.get::<T>().map_err(|_| bad(CertificateError::BadEncoding))?;
    Ok(found.map(|(_, extension)| extension))
}

fn check_critical(certificate: &TbsCertificate) -> Result<(), Error> {
    let known = [BasicConstraints::OID, KeyUsage::OID, ExtendedKeyUsage::OID, SubjectAltName::OID];
    let mut extensions = certificate.extensions.iter().flatten();
    if extensions.any(|one| one.critical && !known.contains(&one.extn_id)) {
        return Err(bad(CertificateError::UnhandledCriticalExtension));
    }
    Ok(())
}

/// Whether a certificate is for that name, by libpq's rules: the alternative names, or the common name if none has the
/// host's kind.
pub(super) fn is_for(shown: &CertificateDer<'_>, host: &ServerName<'_>) -> bool {
    let Ok(certificate) = Certificate::from_der(shown) else { return false };
    let Ok(names) = extension::<SubjectAltName>(&certificate.tbs_certificate) else { return false };
    let host = host.to_str();
    let address: Option<IpAddr> = host.parse().ok();
    let mut falls_back = true;
    for name in names.iter().flat_map(|names| &names.0) {
        match name {
            GeneralName::DnsName(name) => {
                falls_back &= address.is_some();
                if matches(name.as_str(), &host) {
                    return true;
                }
            }
            GeneralName::IpAddress(bytes) => {
                falls_back &= address.is_none();
                if address.is_some_and(|address| is_address(bytes.as_bytes(), address)) {
                    return true;
                }
            }
            _ => {}
        }
    }
    falls_back && common_name(&certificate).is_some_and(|name| matches(&name, &host))
}

fn is_address(bytes: &[u8], address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => bytes == address.octets(),
        IpAddr::V6(address) => bytes == address.octets(),
    }
}

fn common_name(certificate: &Certificate) -> Option<String> {
    let parts = certificate.tbs_certificate.subject.0.iter().flat_map(|part| part.0.iter());
    let name = parts.into_iter().find(|part| part.oid == COMMON_NAME)?;
    String::from_utf8(name.value.value().to_vec()).ok()
}

/// A star matches only the first label.
fn matches(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(suffix) = name.strip_prefix('*').filter(|suffix| suffix.starts_with('.')) else { return false };
    let labels = host.split_once('.');
    labels.is_some_and(|(first, rest)| !first.is_empty() && suffix[1..].eq_ignore_ascii_case(rest))
        && host.parse::<IpAddr>().is_err()
}

fn bad(error: CertificateError) -> Error {
    Error::InvalidCertificate(error)
}
