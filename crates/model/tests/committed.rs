//! The committed types in the tests of `order` equal the printed types; there they are compiled and compared with the
//! shapes. `UPDATE=1` in the environment rewrites them instead.

use std::fs;
use std::path::Path;

use model::{Model, Source};

#[test]
fn the_types_of_the_order_are_what_is_printed() {
    let order = Model::order().unwrap();
    check(&order.rust(true), "order/tests/it/typed.rs");
    // The benches make orders of them.
    check(&order.rust(false), "bench/src/order_types.rs");
}

#[test]
fn the_types_of_the_station_are_what_is_printed() {
    let sample = Source { name: "station.json", json: include_str!("../../../samples/station.json") };
    let station = Model::new("station", &[sample]).unwrap();
    check(&station.rust(true), "order/tests/it/station_typed.rs");
}

/// `tests/nulls.rs` reads documents with them.
#[test]
fn the_types_of_arrays_are_what_is_printed() {
    let json = r#"{"flat": [1], "objects": [{"names": ["a"]}], "nested": [[[0.5]]], "type": [["b"]]}"#;
    let arrays = Model::new("arrays", &[Source { name: "arrays.json", json }]).unwrap();
    check(&arrays.rust(false), "model/tests/arrays/mod.rs");
}

#[allow(clippy::unwrap_used, reason = "the helpers of tests may")]
fn check(printed: &str, committed: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(committed);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, printed).unwrap();
    }
    assert!(fs::read_to_string(&file).unwrap() == printed, "{committed} is not what the model gives");
}
