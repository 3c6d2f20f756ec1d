//! What a client may send over HTTP, keys and paths above all: it gets an answer of HTTP or is cut off.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use orderd::fuzzing::HttpHarness;

static HARNESS: LazyLock<HttpHarness> =
    LazyLock::new(|| HttpHarness::new().expect("the service can be put together"));

fuzz_target!(|request: &[u8]| {
    let response = HARNESS.response_to(request);
    assert!(response.is_empty() || response.starts_with(b"HTTP/1."), "no answer of HTTP");
    assert!(!response.starts_with(b"HTTP/1.1 500"), "an error of ours");
});
