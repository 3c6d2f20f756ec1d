//! The generated files that are committed are what the committed samples give. With `UPDATE=1` in the
//! environment this writes them instead.

use std::fs;
use std::path::Path;

use codegen::{Sample, infer};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[test]
fn the_committed_model_is_that_of_the_order() -> Outcome {
    check("samples/order.json", "crates/order/src/model.rs")
}

#[test]
fn the_committed_second_model_is_that_of_the_station() -> Outcome {
    check("samples/station.json", "crates/order/tests/second/model.rs")
}

fn check(sample: &str, committed: &str) -> Outcome {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let json = fs::read_to_string(root.join(sample))?;
    let model = infer(&[Sample { name: sample, json: &json }])?.rust()?;
    if std::env::var_os("UPDATE").is_some() {
        fs::write(root.join(committed), &model)?;
    }
    let found = fs::read_to_string(root.join(committed))?;
    assert!(found == model, "{committed} is not what {sample} gives: generate it again");
    Ok(())
}
