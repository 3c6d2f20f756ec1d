//! Random documents give either an error with a path, or a model in every output format.

use std::collections::HashSet;

use model::{Error, Model, Source};
use proptest::prelude::*;

/// Names that collide, are keywords, or are not identifiers.
const NAMES: &[&str] = &[
    "a", "b", "a_b", "aB", "AB", "_a", "a2", "type", "self", "Self", "crate", "_", "", "1st", "foo-bar",
    "LocalID", "local_id", "имя", "ß", "🌡", "\"", "\\", "\n", "`", "order", "name", "x", "X2", "ROOT",
];

const VALUES: &[&str] =
    &["true", "false", "0", "-0", "1", "1.0", "1e3", "0.1", "\"*/\"", "\"#\"", "\"\\\"####\"", "null"];

const REFUSED: &[&str] = &["9223372036854775808", "1e999", "\"\\ud800\""];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(NAMES).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[A-Za-z_]{1,4}",
    ]
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => prop::sample::select(VALUES).prop_map(str::to_owned),
        10 => any::<i64>().prop_map(|number| number.to_string()),
        10 => any::<String>().prop_map(|text| quoted(&text)),
        1 => prop::sample::select(REFUSED).prop_map(str::to_owned),
    ]
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let member = (name(), value).prop_map(|(name, value)| format!("{}: {value}", quoted(&name)));
    prop::collection::vec(member, 0..5).prop_map(|members| format!("{{\n{}\r\n}}", members.join(" ,\t")))
}

fn document() -> impl Strategy<Value = String> {
    let value = scalar().prop_recursive(4, 24, 4, |value| {
        let array = prop::collection::vec(value.clone(), 0..4);
        prop_oneof![array.prop_map(|elements| format!("[{}]", elements.join(","))), object(value)]
    });
    object(value)
}

fn infer_all(documents: &[String]) -> Result<Model, Error> {
    let samples: Vec<_> = documents.iter().map(|json| Source { name: "s.json", json }).collect();
    Model::new("s", &samples)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn an_error_says_where_and_a_model_is_rust(documents in prop::collection::vec(document(), 1..3)) {
        match infer_all(&documents) {
            Err(err) => {
                let message = err.to_string();
                let is_heading = |line: &&str| line.contains(" problems") && line.ends_with(':');
                for problem in message.lines().filter(|line| !is_heading(line)) {
                    prop_assert!(problem.trim_start().starts_with("s.json: $"), "{err}");
                }
            }
            Ok(model) => {
                let rust = model.rust(true);
                check_names(&rust);
                prop_assert_eq!(&rust, &infer_all(&documents)?.rust(true));
                check_schema(&model)?;
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = infer_all(&[text]);
    }
}

/// The printed schema gives a model of the same shape.
fn check_schema(model: &Model) -> Result<(), TestCaseError> {
    let schema = model.json_schema();
    let read = Model::new("other", &[Source { name: "schema.json", json: &schema }])?;
    prop_assert_eq!(&read.name, &model.name);
    prop_assert_eq!(read.shape(), model.shape());
    Ok(())
}

/// No two items, and no two fields of a struct, have the same name.
fn check_names(rust: &str) {
    let file = syn::parse_file(rust).unwrap_or_else(|err| unreachable!("{err}"));
    let mut items = HashSet::new();
    for item in &file.items {
        if let syn::Item::Struct(item) = item {
            assert!(items.insert(item.ident.to_string()), "{}", item.ident);
            let mut fields = HashSet::new();
            assert!(item.fields.iter().all(|field| fields.insert(&field.ident)), "{}", item.ident);
        }
    }
}
