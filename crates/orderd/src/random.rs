//! Random numbers that can't be guessed.

/// A random number; the time if the generator fails.
pub(crate) fn number() -> i64 {
    let mut bytes = [0; 8];
    match rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes) {
        Ok(()) => i64::from_ne_bytes(bytes),
        Err(_) => time::OffsetDateTime::now_utc().unix_timestamp_nanos() as i64,
    }
}

/// `BYTES` random bytes, in hex. The generator is that of TLS; where it fails, nothing can be kept secret, and
/// the text is empty.
pub(crate) fn hex<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    match rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes) {
        Ok(()) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Err(_) => String::new(),
    }
}
