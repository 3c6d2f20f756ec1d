//! Certificates and keys from files, and when they expire; the CAs that the machine trusts.

use std::env;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::ConfigError;
use super::reloadable::Files;
use crate::cli::parse::is_blank;

/// The certificates of a file. The earliest expiry counts.
///
/// # Errors
/// A file that can't be used.
pub(super) fn chain(
    setting: &'static str,
    path: &Path,
    files: &mut Files,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let chain = read(setting, path, files)?;
    files.note_end(setting, chain.iter().filter_map(end).min());
    Ok(chain)
}

fn read(
    setting: &'static str,
    path: &Path,
    files: &mut Files,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let pem = files.read(path).map_err(|error| unusable(setting, path, &error))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| unusable(setting, path, &error))?;
    if chain.is_empty() {
        return Err(unusable(setting, path, &"it contains no certificate"));
    }
    Ok(chain)
}

/// Certificate authorities to trust. The latest expiry counts: older ones remain for certificates that they have
/// signed.
///
/// # Errors
/// A file that can't be used.
pub(super) fn authorities(
    setting: &'static str,
    path: &Path,
    files: &mut Files,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let authorities = read(setting, path, files)?;
    files.note_end(setting, authorities.iter().filter_map(end).max());
    Ok(authorities)
}

/// The key of a file.
///
/// # Errors
/// A file that can't be used.
pub(super) fn key(
    setting: &'static str,
    path: &Path,
    files: &mut Files,
) -> Result<PrivateKeyDer<'static>, ConfigError> {
    let bytes = files.read(path).map_err(|error| unusable(setting, path, &error))?;
    // Only PEM has this word.
    if contains(&bytes, b"ENCRYPTED") {
        return Err(ConfigError::new(
            setting,
            format!(
                "the key in {path} is encrypted by a passphrase, which is not supported; write it without: \
                 openssl pkey -in {path} -out FILE",
                path = path.display()
            ),
        ));
    }
    let read = PrivateKeyDer::from_pem_slice(&bytes);
    let is_pem = contains(&bytes, b"-----BEGIN");
    match (read, is_pem) {
        (Err(_), false) => {
            PrivateKeyDer::try_from(bytes).map_err(|_| unusable(setting, path, &"it contains no private key"))
        }
        (read, _) => read.map_err(|error| unusable(setting, path, &error)),
    }
}

fn contains(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}

/// Why the machine's CAs can't be used.
#[derive(Debug)]
pub(crate) struct AuthoritiesError {
    /// The variable that names an unusable file; `None` if the machine has no CAs.
    pub(crate) variable: Option<&'static str>,
    pub(super) problem: String,
}

impl Display for AuthoritiesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variable {
            Some(variable) => write!(f, "{variable}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

impl AuthoritiesError {
    /// Converts it to an error of the setting that needs them.
    pub(super) fn of(self, setting: &'static str) -> ConfigError {
        ConfigError::new(self.variable.unwrap_or(setting), self.problem)
    }
}

/// The CAs that the machine trusts; as in OpenSSL, those of SSL_CERT_FILE and SSL_CERT_DIR if either is set.
///
/// # Errors
/// A file that can't be read or has no certificates.
pub(crate) fn machine(files: &mut Files) -> Result<Vec<CertificateDer<'static>>, AuthoritiesError> {
    let named = |variable| env::var_os(variable).filter(|value| !is_blank(value));
    let (file, folders) = (named("SSL_CERT_FILE"), named("SSL_CERT_DIR"));
    let is_named = file.is_some() || folders.is_some();
    let (file, folders): (Option<PathBuf>, Vec<PathBuf>) = if is_named {
        let folders = folders.iter().flat_map(|folders| env::split_paths(folders));
        (file.map(Into::into), folders.filter(|folder| !folder.as_os_str().is_empty()).collect())
    } else {
        let usual = openssl_probe::probe();
        (usual.cert_file, usual.cert_dir)
    };
    let mut found = Vec::new();
    if let Some(file) = file {
        match read("SSL_CERT_FILE", &file, files) {
            Ok(certificates) => found.extend(certificates),
            Err(error) if is_named => {
                let problem = format!("{}, with the authorities to trust", error.problem);
                return Err(AuthoritiesError { variable: Some("SSL_CERT_FILE"), problem });
            }
            Err(_) => {}
        }
    }
    for folder in folders {
        if let Err(error) = std::fs::read_dir(&folder)
            && is_named
        {
            let problem = format!(
                "can't read {}: {error}; it takes folders with the machine's authorities",
                folder.display()
            );
            return Err(AuthoritiesError { variable: Some("SSL_CERT_DIR"), problem });
        }
        found.extend(rustls_native_certs::load_certs_from_paths(None, Some(&folder)).certs);
    }
    if found.is_empty() {
        let problem = "this machine has no certificate authorities: install ca-certificates, or name the \
                       file of the server's authority";
        let variable = is_named.then_some("SSL_CERT_DIR");
        return Err(AuthoritiesError { variable, problem: problem.into() });
    }
    Ok(found)
}

pub(super) fn unusable(setting: &'static str, file: &Path, error: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::new(setting, format!("can't use {}: {error}; it takes a PEM file", file.display()))
}

/// When a certificate expires, in Unix seconds; `None` if it can't be parsed.
fn end(certificate: &CertificateDer<'_>) -> Option<i64> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate.validity.not_after.to_unix_duration();
    i64::try_from(end.as_secs()).ok()
}
