//! Orders whose rows are documents: what is kept, unchanged after a restart, or refused.

use std::sync::Arc;

use order::{Layouts, Order, Parser, Reason, Refusal, RowError, RowFormat, RowReader, searchable};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::documents::document;
use crate::{sample, shape, wild};

const KEY: &str = "1700000000123456789-42";
const DOCUMENTS: [RowFormat; 2] = [RowFormat::Jsonb, RowFormat::Json];

fn layouts() -> Arc<Layouts> {
    Arc::new(Layouts::new(shape()).unwrap())
}

fn parse(format: RowFormat, document: &str) -> Result<Order, Refusal> {
    let mut parser = Parser::new(shape());
    parser.set_format(format);
    parser.parse(document.as_bytes(), KEY)
}

fn served(order: &Order) -> String {
    let mut out = Vec::new();
    layouts().write_json(order.body(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn canonical(document: &str) -> String {
    served(&parse(RowFormat::Jsonb, document).unwrap_or_else(|refusal| panic!("{document}: {refusal}")))
}

fn row(order: &Order) -> Vec<u8> {
    let (layouts, mut row) = (layouts(), Vec::new());
    layouts.write_row(order, &mut row);
    assert!(row.len() <= layouts.row_len(order));
    row
}

fn read(format: RowFormat, row: &[u8]) -> Result<order::Body, RowError> {
    let mut reader = RowReader::new(layouts());
    reader.set_format(format);
    reader.read(KEY, row)
}

#[test]
fn json_keeps_the_bytes_that_came() {
    let pretty = format!(" {}\n", sample().replace(',', " ,\r\n\t"));
    for document in [
        sample(),
        &pretty,
        r#"{"order_uid":"a","order_uid":"b","x":"\u0000\ud83d","y":1e131071,"sm_id":null}"#,
        "{}",
    ] {
        let order = parse(RowFormat::Json, document).unwrap();
        assert_eq!(served(&order), document);
        assert_eq!(row(&order), document.as_bytes());
        assert!(*order.body() == read(RowFormat::Json, document.as_bytes()).unwrap());
    }
}

#[test]
fn jsonb_has_one_canonical_form() {
    for (document, expected) in [
        ("{}", "{}"),
        (r#" { "sm_id" : -0 , "x" : [ ] } "#, r#"{"x":[],"sm_id":0}"#),
        // Missing stays missing, and null stays null.
        (
            r#"{"sm_id":null,"delivery":null,"items":[null,{}]}"#,
            r#"{"items":[null,{}],"sm_id":null,"delivery":null}"#,
        ),
        // By length, then by bytes.
        (r#"{"zz":1,"é":2,"a":3,"":4,"b":5}"#, r#"{"":4,"a":3,"b":5,"zz":1,"é":2}"#),
        (r#"{"x":[1e2,1.50e1,-0.0,12.10]}"#, r#"{"x":[100,15.0,0.0,12.10]}"#),
        (r#"{"x":"\u0041\/\u001f\u007f\ud83d\ude00\ud83d"}"#, "{\"x\":\"A/\\u001f\u{7f}😀\u{fffd}\"}"),
        (r#"{"\u0061":1,"a":2}"#, r#"{"a":2}"#),
        // The model's spelling.
        (r#"{"ORDER_uid":"a"}"#, r#"{"order_uid":"a"}"#),
        // Of what the model lacks, and of scalars, the last value counts.
        (r#"{"x":{"a":1},"x":{"b":2},"sm_id":1,"sm_id":2}"#, r#"{"x":{"b":2},"sm_id":2}"#),
        (r#"{"sm_id":1,"sm_id":null,"entry":null,"entry":"e"}"#, r#"{"entry":"e","sm_id":1}"#),
        (r#"{"x":{"a":1,"a":{"b":1,"b":null}}}"#, r#"{"x":{"a":{"b":null}}}"#),
        // Objects and arrays of the model are merged.
        (
            r#"{"delivery":{"name":"n","x":1},"delivery":{"city":"c","x":null},"delivery":null}"#,
            r#"{"delivery":{"x":null,"city":"c","name":"n"}}"#,
        ),
        (
            r#"{"items":[{"name":"a","sale":1},{"name":"b"}],"items":[{"sale":2}],"items":[null,{"sale":3}]}"#,
            r#"{"items":[{"name":"a","sale":2},{"name":"b","sale":3}]}"#,
        ),
        (r#"{"items":[{"name":"a"}],"items":null,"items":[{"sale":1}]}"#, r#"{"items":[{"sale":1}]}"#),
        (r#"{"items":[{"name":"a"}],"items":[],"items":[{}]}"#, r#"{"items":[{}]}"#),
        (r#"{"items":[{"name":"a"}],"items":null}"#, r#"{"items":null}"#),
    ] {
        assert_eq!(canonical(document), expected, "{document}");
        assert_eq!(canonical(expected), expected, "{expected}");
    }
}

/// What `select '…'::jsonb::text` prints.
fn as_postgresql_prints(canonical: &str) -> String {
    let mut printed = String::new();
    let (mut in_string, mut escaped) = (false, false);
    for letter in canonical.chars() {
        printed.push(letter);
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_string = !in_string,
            ':' | ',' if !in_string => printed.push(' '),
            _ => {}
        }
    }
    printed
}

/// The form of memory and that of the table, with the version that PostgreSQL puts before a `jsonb`.
fn is_the_same_after_a_restart(order: &Order) {
    let shown = served(order);
    let printed = as_postgresql_prints(&shown);
    assert_eq!(row(order), [b"\x01", shown.as_bytes()].concat());
    let after = read(RowFormat::Jsonb, &[b"\x01", printed.as_bytes()].concat()).unwrap();
    assert!(*order.body() == after, "{shown}");
}

#[test]
fn what_jsonb_can_not_hold_is_refused_with_its_path() {
    let at_limit = format!(r#"{{"x":[{}1]}}"#, "1e308,".repeat(150));
    assert!(canonical(&at_limit).len() > 46_000);
    let beyond = format!(r#"{{"x":[{}1]}}"#, "1e308,".repeat(2_000));
    for (document, reason, path) in [
        (r#"{"entry":"a\u0000"}"#, Reason::NotStorable, "$.entry"),
        (r#"{"items":[{},{"x":[1,"\u0000"]}]}"#, Reason::NotStorable, "$.items[1].x[1]"),
        (r#"{"x":{"a":1,"b\u0000":2}}"#, Reason::NotStorable, "$.x"),
        (r#"{"x":1e131071}"#, Reason::NumberOutOfRange, "$.x"),
        (r#"{"x":[-1e309]}"#, Reason::NumberOutOfRange, "$.x[0]"),
        (r#"{"x":1e-16384}"#, Reason::NotStorable, "$.x"),
        (&beyond, Reason::NotStorable, "$.x[250]"),
    ] {
        let refusal = parse(RowFormat::Jsonb, document).unwrap_err();
        let shown = document.get(..60).unwrap_or(document);
        assert_eq!((refusal.reason, refusal.path.as_deref()), (reason, Some(path)), "{shown}");
        assert!(refusal.offset.is_some_and(|offset| offset > 0 && offset < document.len()));
        assert!(parse(RowFormat::Json, document).is_ok(), "{shown}");
    }
}

#[test]
fn documents_of_any_depth_are_kept_without_a_stack() {
    let deep = format!(r#"{{"x":{}1{}}}"#, r#"{"b":0,"a":["#.repeat(4_999), "]}".repeat(4_999));
    let order = parse(RowFormat::Jsonb, &deep).unwrap();
    assert_eq!(served(&order).len(), deep.len());
    is_the_same_after_a_restart(&order);
    assert!(parse(RowFormat::Jsonb, &deep.replace('1', "[[[1]]]")).is_err());
}

#[test]
fn a_document_must_fit_the_model_in_every_format() {
    for document in [
        r#"{"sm_id":"1"}"#,
        r#"{"sm_id":1.0}"#,
        r#"{"sm_id":9223372036854775808}"#,
        r#"{"delivery":[]}"#,
        r#"{"items":[{"name":1}]}"#,
        r#"{"items":{}}"#,
        r#"{"entry":false}"#,
        "[]",
        "null",
    ] {
        let reason = parse(RowFormat::Gob, document).unwrap_err().reason;
        for format in DOCUMENTS {
            assert_eq!(parse(format, document).unwrap_err().reason, reason, "{document}");
        }
        let error = read(RowFormat::Json, document.as_bytes()).unwrap_err();
        let expected = if document.starts_with('{') {
            matches!(error, RowError::Type(_))
        } else {
            matches!(error, RowError::NotObject)
        };
        assert!(expected, "{document}: {error}");
    }
    let error = read(RowFormat::Json, br#"{"items":[{"name":1}]}"#).unwrap_err().to_string();
    assert!(error.contains("items") && error.contains("another type"), "{error}");
}

#[test]
fn rows_that_are_no_documents_are_errors() {
    for row in [&b"\x02{}"[..], b"", b"{}", b"\x01", b"\x01{", b"\x01{\"a\"}", b"\x01{} {}", b"\x01\xff"] {
        assert!(read(RowFormat::Jsonb, row).is_err(), "{row:?}");
    }
}

#[test]
fn members_are_found_in_documents_as_in_rows_of_gob() {
    let document = r#"{"x":{"sm_id":9},"Track_Number":"t\n","order_uid":"a","order_uid":"b","order_uid":null,"sm_id":-0}"#;
    let members = ["order_uid", "track_number", "sm_id", "entry"];
    let index = |name: &str| shape().member(name).unwrap().0;
    let layouts = layouts();
    for format in RowFormat::ALL {
        let order = parse(format, document).unwrap();
        let mut reader = RowReader::noting(layouts.clone(), &members.map(index));
        reader.set_format(format);
        let body = reader.read(KEY, &row(&order)).unwrap();
        for (nth, (name, expected)) in members.iter().zip(["b", "t\n", "0", ""]).enumerate() {
            let (mut found, mut noted) = (Vec::new(), Vec::new());
            layouts.write_member(order.body(), index(name), &mut found).unwrap();
            reader.write_noted(&body, nth, &mut noted).unwrap();
            assert_eq!((&*found, &*noted), (expected.as_bytes(), expected.as_bytes()), "{format:?} {name}");
        }
        let mut shown = Vec::new();
        layouts.write_member_json(order.body(), index("entry"), &mut shown).unwrap();
        assert_eq!(shown, if format == RowFormat::Gob { &b"\"\""[..] } else { b"null" });
        shown.clear();
        layouts.write_member_json(order.body(), index("track_number"), &mut shown).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&shown).unwrap(), json!("t\n"));
    }
}

/// Whether Go would have the zero value here; a missing member and null also count.
fn is_zero_or_missing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.values().all(is_zero_or_missing),
        Value::Array(elements) => elements.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
    }
}

/// Whether a document has the values that a row of gob shows.
fn has_the_values(document: &Value, gob: &Value) -> bool {
    match (document, gob) {
        (Value::Null, gob) => is_zero_or_missing(gob),
        (Value::Object(document), Value::Object(gob)) => gob.iter().all(|(name, value)| {
            document.get(name).map_or_else(|| is_zero_or_missing(value), |given| has_the_values(given, value))
        }),
        (Value::Array(document), Value::Array(gob)) => {
            document.len() == gob.len()
                && document.iter().zip(gob).all(|(document, gob)| has_the_values(document, gob))
        }
        (Value::Number(document), Value::Number(gob)) => document.as_f64() == gob.as_f64(),
        (document, gob) => document == gob,
    }
}

/// The values by which a search finds it.
fn found_at(path: &str, order: &Order) -> Vec<String> {
    let path = &searchable(shape(), &[path.to_owned()]).unwrap()[0];
    let (mut found, mut text) = (Vec::new(), Vec::new());
    let mut each = |value: &[u8]| found.push(String::from_utf8(value.to_owned()).unwrap());
    layouts().values(order.body(), path, &mut text, &mut each).unwrap();
    found
}

fn holds_for(document: &str) -> Result<(), TestCaseError> {
    let Ok(gob) = parse(RowFormat::Gob, document) else {
        for format in DOCUMENTS {
            prop_assert!(parse(format, document).is_err());
        }
        return Ok(());
    };
    let json = parse(RowFormat::Json, document).unwrap();
    prop_assert_eq!(served(&json), document);
    prop_assert!(
        read(RowFormat::Json, document.as_bytes()).is_ok_and(|body| body == *json.body()),
        "{}",
        document
    );
    let Ok(order) = parse(RowFormat::Jsonb, document) else { return Ok(()) };
    is_the_same_after_a_restart(&order);
    let shown = served(&order);
    prop_assert_eq!(&canonical(&shown), &shown);
    for path in ["order_uid", "sm_id", "payment.amount", "items.name", "items.sale"] {
        prop_assert_eq!(found_at(path, &json), found_at(path, &order), "{} {}", path, document);
    }
    let (document, gob): (Value, Value) =
        (serde_json::from_str(&shown).unwrap(), serde_json::from_str(&served(&gob)).unwrap());
    prop_assert!(has_the_values(&document, &gob), "{} {}", shown, gob);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn ordinary_documents_are_one_in_all_formats(document in document()) {
        holds_for(&document)?;
    }

    #[test]
    fn wild_documents_are_one_in_all_formats(document in wild::document()) {
        holds_for(&document)?;
    }
}
