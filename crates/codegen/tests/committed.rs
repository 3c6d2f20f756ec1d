//! The generated files that are committed are what the committed samples give. With `UPDATE=1` in the
//! environment this writes them instead.

use std::fs;
use std::path::Path;

use codegen::{Sample, infer};

#[test]
fn the_committed_model_is_the_order_samples() {
    check("samples/order.json", "crates/order/src/model.rs");
}

fn check(sample: &str, committed: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let json = fs::read_to_string(root.join(sample)).unwrap();
    let model = infer(&[Sample { name: sample, json: &json }]).unwrap().rust().unwrap();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(root.join(committed), &model).unwrap();
    }
    let found = fs::read_to_string(root.join(committed)).unwrap_or_default();
    assert!(found == model, "{committed} is not what {sample} gives: run `cargo xtask codegen {sample}`");
}
