//! Certificates and keys from PEM files, and when they end.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::ConfigError;
use super::reload::Files;

/// The certificates of a file. It ends with the first of them that does.
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
        return Err(unusable(setting, path, &"there is no certificate in it"));
    }
    Ok(chain)
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
    let pem = files.read(path).map_err(|error| unusable(setting, path, &error))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| unusable(setting, path, &error))
}

pub(super) fn unusable(setting: &'static str, file: &Path, error: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::new(setting, format!("can't use {}: {error}; it takes a PEM file", file.display()))
}

/// When a certificate ends, in seconds of Unix time. `None`: it is none that we can read.
fn end(certificate: &CertificateDer<'_>) -> Option<i64> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate.validity.not_after.to_unix_duration();
    i64::try_from(end.as_secs()).ok()
}
