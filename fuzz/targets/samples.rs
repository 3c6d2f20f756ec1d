//! Sample documents and JSON Schemas: each is an error that says where, or a model in every form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Model, Source};

/// Go's types without comments: a schema has no examples of arrays.
fn types(model: &Model) -> String {
    let code = model.go();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fuzz_target!(|json: &str| {
    let Ok(model) = Model::new("s", &[Source { name: "s.json", json }]) else { return };
    syn::parse_file(&model.rust(true)).expect("what is written is Rust");
    let schema = model.json_schema();
    let again = Model::new("t", &[Source { name: "t.json", json: &schema }]);
    assert_eq!(types(&again.expect("a schema is a model")), types(&model));
    for as_they_came in [false, true] {
        model.typescript(as_they_came);
    }
});
