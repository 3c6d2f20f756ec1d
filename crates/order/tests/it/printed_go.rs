//! Go programs decode rows with the types that `orderd model go` prints.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use model::shape::{Kind, Struct};
use model::{Model, Source};
use order::{Key, Layouts, Parser};
use serde_json::{Map, Value, json};

use crate::go::{MODULE, go, run};

/// Names that begin with digits or collide in Go, keywords, and arrays of arrays.
const ODD: &str = r#"{"1": 1, "2nd": "b", "10": [0.5, -1e-7], "type": true, "func": {"1": {"type": "x"}, "LocalID": 7},
    "a-b": [[{"self": "s", "1": 2}], []], "a_b": 9007199254740993, "AB": -9223372036854775808, "имя": "я\u0000\n",
    "": "nameless", "LocalID": "not the key", "local_id": 0.1}"#;

/// A row of each document of a model, decoded by Go.
#[test]
fn go_reads_the_rows_of_other_documents_with_the_printed_types() {
    for (name, sample) in [
        ("station", include_str!("../../../../samples/station.json")),
        ("order", include_str!("../../../../samples/order.json")),
        ("odd", ODD),
    ] {
        let Some(go) = go() else { return };
        let model = Model::new(name, &[Source { name, json: sample }]).unwrap();
        let shape = model.shape();
        let documents = documents(sample);
        let (layouts, mut parser) = (Layouts::new(shape).unwrap(), Parser::new(shape));
        let (mut rows, mut expected) = (String::new(), Vec::new());
        for (document, sequence) in documents.iter().zip(1..) {
            let key = Key::from_stream(1_700_000_000_000_000_000, sequence);
            let order = parser.parse(document.to_string().as_bytes(), key.as_str()).unwrap();
            let mut row = Vec::new();
            layouts.write_row(&order, &mut row);
            rows += &(BASE64_STANDARD.encode(&row) + "\n");
            expected.push(fields(shape, document, key.as_str()));
        }
        let alias = format!("package data\n\ntype Document = {}\n", shape.go_name);
        let files = [
            MODULE,
            ("main.go", include_str!("printed.go")),
            ("data/types.go", &model.go()),
            ("data/document.go", &alias),
        ];
        let printed = run(go, &files, rows);
        let read: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read.len(), expected.len(), "{name}");
        for ((read, expected), document) in read.iter().zip(&expected).zip(&documents) {
            assert_eq!(read, expected, "{name}: {document}");
        }
    }
}

/// The sample, an empty document, and for each member one that has it alone, and one that lacks it.
fn documents(sample: &str) -> Vec<Value> {
    let whole: Map<String, Value> = serde_json::from_str(sample).unwrap();
    let mut documents = vec![Value::Object(whole.clone()), json!({})];
    for (name, value) in &whole {
        documents.push(Value::Object([(name.clone(), value.clone())].into_iter().collect()));
        let mut without = whole.clone();
        without.remove(name);
        documents.push(Value::Object(without));
    }
    documents
}

/// What Go's program writes of a document.
fn fields(shape: &Struct, document: &Value, key: &str) -> Value {
    let members = shape.members.iter();
    let mut fields: Map<_, _> = members
        .map(|member| (member.go_name.to_owned(), field(&member.kind, &document[member.json_name])))
        .collect();
    fields.insert("LocalID".to_owned(), key.into());
    fields.into()
}

fn field(kind: &Kind, value: &Value) -> Value {
    match (kind, value) {
        (Kind::Struct(shape), value) => fields(shape, value, ""),
        (Kind::Slice(kind), Value::Array(elements)) => {
            elements.iter().map(|element| field(kind, element)).collect()
        }
        (Kind::Slice(_), _) => json!([]),
        (Kind::Float, value) => json!(value.as_f64().unwrap_or_default().to_bits()),
        (Kind::Int, Value::Null) => json!(0),
        (Kind::String, Value::Null) => json!(""),
        (Kind::Bool, Value::Null) => json!(false),
        (_, value) => value.clone(),
    }
}
