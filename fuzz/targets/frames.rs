//! What a NATS server may send: the client reads it or ends the connection, and never panics.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // An error ends the connection, as it should for what is not of the protocol.
    drop(async_nats::connection::fuzz(bytes));
});
