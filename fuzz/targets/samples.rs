//! Sample documents for the generator: each is an error that says where, or a model that is Rust.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &str| {
    let Ok(model) = codegen::infer(&[codegen::Sample { name: "s.json", json }]) else { return };
    let rust = model.rust().expect("a model can be written");
    syn::parse_file(&rust).expect("what is written is Rust");
    let schema = model.json_schema();
    serde_json::from_str::<serde::de::IgnoredAny>(&schema).expect("the schema is JSON");
    model.go();
});
