//! The printed types read what is served of `json` and `jsonb` rows: `null` is a zero value, at any depth of arrays.

#[rustfmt::skip] // as it is printed
#[allow(unreachable_pub, missing_docs, reason = "for programs it is")]
mod arrays;

use arrays::RawArraysData;

fn read(json: &str) -> RawArraysData {
    serde_json::from_str(json).unwrap_or_else(|error| unreachable!("{json}: {error}"))
}

#[test]
fn null_is_a_zero_value_as_a_member_and_as_an_element() {
    let none = RawArraysData::default();
    assert_eq!(read("{}"), none);
    assert_eq!(read(r#"{"flat": null, "objects": null, "nested": null, "type": null}"#), none);
    assert_eq!(read(r#"{"flat": [1, null, 2]}"#).flat, [1, 0, 2]);
    assert_eq!(read(r#"{"type": [["a", null], null, []]}"#).r#type, [vec!["a", ""], vec![], vec![]]);
    let nested = read(r#"{"nested": [null, [null, [null, 0.5]], []]}"#).nested;
    assert_eq!(nested, [vec![], vec![vec![], vec![0.0, 0.5]], vec![]]);
    let objects = read(r#"{"objects": [null, {}, {"names": null}, {"names": [null, "b"]}]}"#).objects;
    let names: Vec<_> = objects.into_iter().map(|object| object.names).collect();
    assert_eq!(names, [vec![], vec![], vec![], vec!["", "b"]]);
}

/// As the first lines of the types say.
#[test]
fn a_repeated_name_is_an_error_and_one_of_another_case_is_not_read() {
    assert!(serde_json::from_str::<RawArraysData>(r#"{"flat": [1], "flat": [2]}"#).is_err());
    assert_eq!(read(r#"{"FLAT": [1]}"#), RawArraysData::default());
}
