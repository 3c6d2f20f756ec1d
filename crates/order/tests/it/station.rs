//! A second model, whose documents are not orders, survives every conversion.

#[rustfmt::skip] // as it is printed
#[allow(unreachable_pub, reason = "for programs it is")]
#[path = "station_typed.rs"]
mod typed;

use std::sync::{Arc, LazyLock};

use gobwire::{Encoder, StreamDecoder};
use model::shape::{Kind, Member, Struct};
use model::{Model, Source};
use order::{Layouts, Parser, RowReader};
use serde_json::{Value, json};
use typed::RawStationData;

const SAMPLE: &str = include_str!("../../../../samples/station.json");

pub(crate) static MODEL: LazyLock<Model> =
    LazyLock::new(|| Model::new("station", &[Source { name: "station.json", json: SAMPLE }]).unwrap());

#[test]
fn the_sample_comes_back_from_serde() {
    let document: RawStationData = serde_json::from_str(SAMPLE).unwrap();
    assert_eq!(serde_json::to_value(&document).unwrap(), with_zeros(MODEL.shape(), sample()));
}

#[test]
fn the_sample_comes_back_from_gob() {
    let mut document: RawStationData = serde_json::from_str(SAMPLE).unwrap();
    document.local_id = "1700000000000000000-7".to_owned();
    let row = Encoder::new().encode(&document).unwrap();
    let read: RawStationData = StreamDecoder::new(&row[..]).decode().unwrap().unwrap();
    assert_eq!(read, document);
    assert_eq!(serde_json::to_value(&read).unwrap(), with_zeros(MODEL.shape(), sample()));
}

#[test]
fn null_and_missing_members_are_zero() {
    let nulls: serde_json::Map<_, _> =
        MODEL.shape().members.iter().map(|member| (member.json_name.to_owned(), Value::Null)).collect();
    let document: RawStationData = serde_json::from_value(nulls.into()).unwrap();
    assert_eq!(document, RawStationData::default());
    let document: RawStationData = serde_json::from_str("{}").unwrap();
    assert_eq!(document, RawStationData::default());
}

/// The shape and the generated types encode the same row, byte for byte, and render the same document.
#[test]
fn the_shape_means_the_same_as_the_types() {
    let typed: RawStationData = serde_json::from_str(SAMPLE).unwrap();
    let typed = RawStationData { local_id: "17-1".to_owned(), ..typed };
    let layouts = Arc::new(Layouts::new(MODEL.shape()).unwrap());
    let order = Parser::new(MODEL.shape()).parse(SAMPLE.as_bytes(), "17-1").unwrap();
    let mut row = Vec::new();
    layouts.write_row(&order, &mut row);
    assert_eq!(row, Encoder::new().encode(&typed).unwrap());
    let mut shown = Vec::new();
    layouts.write_json(&RowReader::new(layouts.clone()).read("17-1", &row).unwrap(), &mut shown).unwrap();
    assert_eq!(String::from_utf8(shown).unwrap(), serde_json::to_string(&typed).unwrap());
}

fn sample() -> Value {
    serde_json::from_str(SAMPLE).unwrap_or_default()
}

/// The document with all members of its shape, and with integers turned into floats where the model has floats.
fn with_zeros(shape: &Struct, document: Value) -> Value {
    let member = |member: &Member| {
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
