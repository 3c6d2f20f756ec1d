//! What may be published on the subject on which processes tell each other: it is understood or dropped, and an order
//! that is understood has a key of the stream and can be shown.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use order::Key;
use orderd::fuzzing::Listener;

static LISTENER: LazyLock<Listener> = LazyLock::new(|| Listener::new().expect("it can be put together"));

fuzz_target!(|telling: &[u8]| {
    for key in LISTENER.hear(telling).expect("what is heard can be shown") {
        assert!(Key::is_from_stream(&key), "{key}");
    }
});
