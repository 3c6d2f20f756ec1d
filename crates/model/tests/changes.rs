//! How rows of an older model are read under a newer one.

use model::{Change, Model, Source};

#[allow(clippy::unwrap_used, reason = "the helpers of tests may")]
fn model(json: &str) -> Model {
    Model::new("s", &[Source { name: "s.json", json }]).unwrap()
}

fn changes(older: &str, newer: &str) -> Vec<String> {
    model(newer).changes_since(&model(older)).iter().map(ToString::to_string).collect()
}

#[test]
fn the_same_model_has_no_changes() {
    let order = Model::order().unwrap();
    assert_eq!(order.changes_since(&Model::order().unwrap()), []);
}

#[test]
fn each_member_that_differs_is_named() {
    let older = r#"{"a": 1, "b": "", "items": [{"price": 1, "name": ""}], "gone": true}"#;
    let newer = r#"{"a": 1.5, "b": 1, "items": [{"price": 0.5, "name": "", "foo-bar": 1}], "at": {}}"#;
    assert_eq!(
        changes(older, newer),
        [
            "$.a: was a whole number, and is a number; readable",
            "$.b: was a string, and is a whole number; NOT readable",
            "$.items[*].price: was a whole number, and is a number; readable",
            "$.items[*][\"foo-bar\"]: new; missing in older documents",
            "$.gone: removed; no longer shown",
            "$.at: new; missing in older documents",
        ]
    );
}

#[test]
fn fractions_that_became_whole_are_not_readable() {
    let found = model(r#"{"a": 1}"#).changes_since(&model(r#"{"a": 0.5}"#));
    assert!(matches!(&found[..], [Change::Unreadable { path, .. }] if path == "$.a") && found[0].is_fatal());
}

#[test]
fn models_with_nothing_in_common_are_named() {
    assert_eq!(model(r#"{"a": 1}"#).changes_since(&model(r#"{"b": 1}"#)), [Change::NothingInCommon]);
}
