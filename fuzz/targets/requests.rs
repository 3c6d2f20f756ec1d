//! What a client may send over HTTP, keys and paths above all: it gets an answer of HTTP or is cut off.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use orderd::fuzzing::Web;

static WEB: LazyLock<Web> = LazyLock::new(|| Web::new().expect("the service can be put together"));

fuzz_target!(|request: &[u8]| {
    let response = WEB.response_to(request);
    assert!(response.is_empty() || response.starts_with(b"HTTP/1."), "no answer of HTTP");
    assert!(!response.starts_with(b"HTTP/1.1 500"), "an error of ours");
});
