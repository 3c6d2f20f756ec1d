//! A second model, of documents that are no orders, goes through serde and gob both ways and stays the same.
//!
//! `second/model.rs` is what `codegen` makes of `samples/station.json`; a test there keeps it up to date.

#[rustfmt::skip] // laid out by the generator
#[path = "second/model.rs"]
pub mod model;

/// What the generated module finds in its crate.
pub mod shape {
    pub use order::shape::*;
}

use gobwire::{Encoder, StreamDecoder};
use model::{JSON_SCHEMA, ROOT, RawOrderData, SAMPLE};
use order::shape::Kind;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

pub(crate) fn null_as_zero<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[test]
fn the_sample_comes_back_from_serde() {
    let document: RawOrderData = serde_json::from_str(SAMPLE).unwrap();
    assert_eq!(serde_json::to_value(&document).unwrap(), with_zeros(&ROOT, sample()));
}

#[test]
fn the_sample_comes_back_from_gob() {
    let mut document: RawOrderData = serde_json::from_str(SAMPLE).unwrap();
    document.local_id = "1700000000000000000-7".to_owned();
    let row = Encoder::new().encode(&document).unwrap();
    let read: RawOrderData = StreamDecoder::new(&row[..]).decode().unwrap().unwrap();
    assert_eq!(read, document);
    assert_eq!(serde_json::to_value(&read).unwrap(), with_zeros(&ROOT, sample()));
}

#[test]
fn null_and_missing_members_are_zero() {
    let nulls: serde_json::Map<_, _> =
        ROOT.members.iter().map(|member| (member.json_name.to_owned(), Value::Null)).collect();
    let document: RawOrderData = serde_json::from_value(nulls.into()).unwrap();
    assert_eq!(document, RawOrderData::default());
    let document: RawOrderData = serde_json::from_str("{}").unwrap();
    assert_eq!(document, RawOrderData::default());
}

#[test]
fn the_schema_has_all_members() {
    let schema: Value = serde_json::from_str(JSON_SCHEMA).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    assert_eq!(properties.len(), ROOT.members.len());
    assert!(ROOT.members.iter().all(|member| properties.contains_key(member.json_name)));
}

fn sample() -> Value {
    serde_json::from_str(SAMPLE).unwrap_or_default()
}

/// The document with all members of its shape, and with whole numbers where they are floats made floats.
fn with_zeros(shape: &order::shape::Struct, document: Value) -> Value {
    let member = |member: &order::shape::Member| {
        let value = document.get(member.json_name).cloned().unwrap_or_default();
        (member.json_name.to_owned(), complete(&member.kind, value))
    };
    shape.members.iter().map(member).collect()
}

fn complete(kind: &Kind, value: Value) -> Value {
    match (kind, value) {
        (Kind::Struct(shape), value) => with_zeros(shape, value),
        (Kind::Slice(kind), Value::Array(elements)) => {
            elements.into_iter().map(|element| complete(kind, element)).collect()
        }
        (Kind::Slice(_), _) => json!([]),
        (Kind::Float, value) => json!(value.as_f64().unwrap_or_default()),
        (Kind::Int, Value::Null) => json!(0),
        (Kind::String, Value::Null) => json!(""),
        (Kind::Bool, Value::Null) => json!(false),
        (_, value) => value,
    }
}
