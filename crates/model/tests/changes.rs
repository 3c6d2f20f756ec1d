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
            "$.gone: removed; gob rows no longer show it, jsonb and json rows do",
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

#[test]
fn rules_that_differ_are_named() {
    let schema = |properties: &str, rest: &str| {
        format!(r#"{{"type": "object", "properties": {{{properties}}}{rest}}}"#)
    };
    let string = r#""a": {"type": "string"}"#;
    let or_null = r#""a": {"type": ["string", "null"]}"#;
    let element = |kind: &str| {
        let element = r#""properties": {"b": {"type": "string"}}, "required": ["b"]"#;
        format!(r#""a": {{"type": "array", "items": {{"type": {kind}, {element}}}}}"#)
    };
    let (object, object_or_null) = (element(r#""object""#), element(r#"["object", "null"]"#));
    let required = r#", "required": ["a"]"#;
    let closed = r#", "additionalProperties": false"#;
    for (older, newer, said) in [
        ((string, ""), (string, required), "$.a: required now; documents without it are refused"),
        ((string, required), (string, ""), "$.a: no longer required"),
        ((string, ""), (string, closed), "$: unknown members are refused now"),
        ((string, closed), (string, ""), "$: unknown members are accepted now"),
        ((string, ""), (or_null, ""), "$.a: its type has null now"),
        ((or_null, required), (string, required), "$.a: null is refused now"),
        ((or_null, ""), (string, ""), "$.a: its type no longer has null, which is still accepted"),
        ((&object, ""), (&object_or_null, ""), "$.a[*]: its type has null now"),
        ((&object_or_null, ""), (&object, ""), "$.a[*]: null is refused now"),
    ] {
        let (older, newer) = (schema(older.0, older.1), schema(newer.0, newer.1));
        assert_eq!(changes(&older, &newer), [said], "{older} {newer}");
        assert!(!model(&newer).changes_since(&model(&older))[0].is_fatal(), "{said}");
    }
    let added = r#""a": {"type": "string"}, "b": {"type": "integer"}"#;
    assert_eq!(
        changes(&schema(string, ""), &schema(added, r#", "required": ["b"]"#)),
        ["$.b: new; missing in older documents", "$.b: required now; documents without it are refused"]
    );
}

/// Gob rows have the names of Go fields: a member with another name in JSON, but the same in Go, has their values.
#[test]
fn members_with_the_same_go_name_are_named_as_renamed() {
    assert_eq!(
        changes(r#"{"foo_bar": 1}"#, r#"{"foo-bar": 1}"#),
        ["$.foo_bar: now $[\"foo-bar\"]; gob rows show its value there, jsonb and json rows do not"]
    );
    assert_eq!(changes(r#"{"Foo": 1}"#, r#"{"foo": 1}"#), Vec::<String>::new());
}

#[test]
fn models_that_differ_in_the_order_of_members_have_no_changes_but_other_fingerprints() {
    let (older, newer) = (model(r#"{"a": 1, "b": 1}"#), model(r#"{"b": 1, "a": 1}"#));
    assert_eq!(newer.changes_since(&older), []);
    assert_ne!(newer.fingerprint(), older.fingerprint());
}
