//! Numbers that nobody can guess.

/// `BYTES` random bytes, in hex. The generator is that of TLS; where it fails, nothing can be kept secret, and
/// the text is empty.
pub(crate) fn hex<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    match rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes) {
        Ok(()) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Err(_) => String::new(),
    }
}
