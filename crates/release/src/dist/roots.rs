//! The CAs that the image trusts: Mozilla's, in the version of Cargo.lock, and not those of the build machine.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Line length of base64 in PEM.
const COLUMNS: usize = 64;

pub(super) fn pem() -> String {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        for (at, letter) in encoded.chars().enumerate() {
            if at > 0 && at % COLUMNS == 0 {
                text.push('\n');
            }
            text.push(letter);
        }
        text.push_str("\n-----END CERTIFICATE-----\n");
    }
    text
}
