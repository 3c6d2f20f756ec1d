//! Rows of an older model, decoded under a newer one; and members that a schema requires.

use std::sync::Arc;

use model::shape::Struct;
use model::{Model, Source};
use order::{Layouts, Parser, Reason, Refusal, RowError, RowReader};
use serde_json::{Value, json};

use crate::corpus::row;

fn shape(json: &str) -> &'static Struct {
    Model::new("parcel", &[Source { name: "parcel.json", json }]).unwrap().shape()
}

fn written(shape: &'static Struct, document: &str) -> Vec<u8> {
    let order = Parser::new(shape).parse(document.as_bytes(), "1-1").unwrap();
    let mut row = Vec::new();
    Layouts::new(shape).unwrap().write_row(&order, &mut row);
    row
}

fn read(shape: &'static Struct, row: &[u8]) -> Result<String, RowError> {
    let layouts = Arc::new(Layouts::new(shape)?);
    let mut json = Vec::new();
    layouts.write_json(&RowReader::new(layouts.clone()).read("1-1", row)?, &mut json)?;
    Ok(String::from_utf8(json).unwrap())
}

#[test]
fn members_that_are_new_read_as_missing_and_those_that_are_gone_are_not_shown() {
    let older = shape(r#"{"id": "", "gone": {"deep": [1]}, "items": [{"price": 1, "old": ""}]}"#);
    let newer = shape(r#"{"note": "", "items": [{"size": {"x": 1}, "price": 1}], "id": ""}"#);
    let row = written(older, r#"{"id":"p","gone":{"deep":[1,2]},"items":[{"price":7,"old":"o"},{}]}"#);
    assert_eq!(
        read(newer, &row).unwrap(),
        r#"{"note":"","items":[{"size":{"x":0},"price":7},{"size":{"x":0},"price":0}],"id":"p"}"#
    );
}

#[test]
fn whole_numbers_that_became_fractions_are_read() {
    let older = shape(r#"{"id": "", "weight": 1, "sizes": [[1]], "in": {"n": 1}}"#);
    let newer = shape(r#"{"id": "", "weight": 1.5, "sizes": [[0.5]], "in": {"n": 0.5}}"#);
    let row = written(older, r#"{"id":"p","weight":12,"sizes":[[1,-2],[]],"in":{"n":9007199254740993}}"#);
    let shown = read(newer, &row).unwrap();
    assert_eq!(shown, r#"{"id":"p","weight":12.0,"sizes":[[1.0,-2.0],[]],"in":{"n":9007199254740992.0}}"#);
    // As if it came in now.
    let now = read(
        newer,
        &written(newer, r#"{"id":"p","weight":12,"sizes":[[1,-2],[]],"in":{"n":9007199254740993}}"#),
    );
    assert_eq!(now.unwrap(), shown);
}

#[test]
fn what_became_another_kind_is_refused_by_its_name() {
    let older = shape(r#"{"id": "", "weight": 1.5, "at": {"city": ""}}"#);
    let row = written(older, r#"{"id":"p","weight":0.5,"at":{"city":"c"}}"#);
    for (newer, field) in [
        (r#"{"id": "", "weight": 1}"#, "field Weight"),
        (r#"{"id": "", "weight": ""}"#, "field Weight"),
        (r#"{"id": "", "at": [""]}"#, "field At"),
        (r#"{"id": 1}"#, "field Id"),
    ] {
        let error = read(shape(newer), &row).unwrap_err().to_string();
        assert!(error.contains(field), "{newer}: {error}");
    }
}

#[test]
fn rows_with_nothing_in_common_are_refused() {
    let parcel = shape(r#"{"barcode": "", "weight": 1.5}"#);
    assert!(matches!(read(parcel, row("seed/sample")), Err(RowError::Type(_))));
    assert!(matches!(read(crate::shape(), &written(parcel, r#"{"barcode":"b"}"#)), Err(RowError::Type(_))));
}

/// Rows of the slow way too, in which a value that the model lacks may be an interface.
#[test]
fn rows_with_interfaces_are_read_under_another_model() {
    let newer = shape(r#"{"order_uid": "", "sm_id": 0.5, "new": "", "items": [{"price": 0.5, "sale": 1}]}"#);
    let shown: Value =
        serde_json::from_str(&read(newer, row("interfaces in front/sample")).unwrap()).unwrap();
    assert_eq!(
        shown,
        json!({"order_uid": "b563feb7b2b84b6test", "sm_id": 99.0, "new": "", "items": [{"price": 453.0, "sale": 30}]})
    );
}

fn refused(schema: &Value, document: &str) -> Option<Refusal> {
    let json = schema.to_string();
    let model = Model::new("s", &[Source { name: "s.json", json: &json }]).unwrap();
    Parser::checking(model.shape(), &[], false).unwrap().parse(document.as_bytes(), "1-1").err()
}

#[test]
fn what_a_schema_requires_must_be_there() {
    let schema = json!({"type": "object", "properties": {
        "id": {"type": "string"},
        "note": {"type": ["string", "null"]},
        "to": {"type": "array", "items": {
            "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
        }},
    }, "required": ["id", "note"]});
    for taken in [
        r#"{"id":"p","note":"n","to":[{"city":"c"}]}"#,
        r#"{"id":"","note":null}"#,
        r#"{"note":"n","id":"p","to":[],"more":1}"#,
        r#"{"id":"p","note":"n","to":[{"city":""}]}"#,
        // Its type lacks null, but it is not required.
        r#"{"id":"p","note":"n","to":null}"#,
    ] {
        assert_eq!(refused(&schema, taken), None, "{taken}");
    }
    for (document, path) in [
        (r#"{"note":"n"}"#, "$.id"),
        (r#"{"id":null,"note":"n"}"#, "$.id"),
        (r#"{"id":"p"}"#, "$.note"),
        (r#"{"id":"p","note":"n","to":[{"city":"c"},{}]}"#, "$.to[1].city"),
        (r#"{"id":"p","note":"n","to":[{"city":null}]}"#, "$.to[0].city"),
    ] {
        let refusal = refused(&schema, document).unwrap();
        assert_eq!(
            (refusal.reason, refusal.path.as_deref()),
            (Reason::MissingMember, Some(path)),
            "{document}"
        );
    }
}

/// Go merges what is repeated, so only the merged document shows what is missing.
#[test]
fn what_a_schema_requires_is_looked_for_in_the_merged_document() {
    let address = json!({"type": "object", "required": ["city", "zip"], "properties": {
        "city": {"type": "string"}, "zip": {"type": ["string", "null"]}, "note": {"type": "string"},
    }});
    let schema = json!({"type": "object", "required": ["l"], "properties": {
        "to": address, "l": {"type": "array", "items": address},
        "m": {"type": "array", "items": {"type": ["object", "null"], "required": ["a"],
            "properties": {"a": {"type": "integer"}}}},
    }});
    for taken in [
        r#"{"l":[],"to":{"city":"c"},"to":{"zip":"z"}}"#,
        r#"{"l":[],"to":{"zip":null},"to":{"city":"c"}}"#,
        r#"{"l":[{"city":"c"}],"l":[{"zip":"z"}]}"#,
        r#"{"l":[],"to":{"city":"c","zip":"z"},"to":null}"#,
        r#"{"l":[],"m":[null,{"a":1}]}"#,
        r#"{"l":[],"m":[{"a":1}],"m":[null,null]}"#,
    ] {
        assert_eq!(refused(&schema, taken), None, "{taken}");
    }
    for (document, path) in [
        (r#"{"l":[],"to":{"city":"c"},"to":{"note":"n"}}"#, "$.to.zip"),
        (r#"{"l":[],"to":{"city":"c"},"to":null}"#, "$.to.zip"),
        (r#"{"l":[{"city":"c","zip":"z"}],"l":[{},{"zip":"z"}]}"#, "$.l[1].city"),
        (r#"{"l":[{"city":"c","zip":"z"}],"l":null}"#, "$.l"),
        (r#"{"l":[{"city":"c","zip":"z"}],"l":[{},null]}"#, "$.l[1].city"),
        (r#"{"l":[null]}"#, "$.l[0].city"),
        (r#"{"l":[{"city":"c","zip":"z"},null]}"#, "$.l[1].city"),
        (r#"{"l":[],"m":[{}]}"#, "$.m[0].a"),
        (r#"{"l":[],"to":{"city":"c"},"to":{"note":"n"},"x":}"#, "$.to.zip"),
    ] {
        let refusal = refused(&schema, document).unwrap();
        let found = (refusal.reason, refusal.path.as_deref());
        assert_eq!(found, (Reason::MissingMember, Some(path)), "{document}");
        assert!(refusal.offset.is_some_and(|offset| offset < document.len()), "{document}");
    }
}

/// A model's printed schema gives the same model.
#[test]
fn elements_that_may_be_null_stay_so_in_the_printed_schema() {
    let schema = json!({"type": "object", "properties": {"l": {"type": "array", "items": {"type": ["object", "null"],
        "required": ["a"], "properties": {"a": {"type": "integer"}}}}}});
    let json = schema.to_string();
    let printed = Model::new("s", &[Source { name: "s.json", json: &json }]).unwrap().json_schema();
    assert_eq!(refused(&serde_json::from_str(&printed).unwrap(), r#"{"l":[null]}"#), None);
}

#[test]
fn a_closed_object_takes_no_other_members() {
    let schema = json!({"type": "object", "properties": {
        "id": {"type": "string"},
        "to": {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": false},
    }});
    assert_eq!(refused(&schema, r#"{"id":"p","more":1,"to":{"CITY":"c"}}"#), None);
    let refusal = refused(&schema, r#"{"id":"p","to":{"city":"c","zip":"z"}}"#).unwrap();
    assert_eq!((refusal.reason, refusal.path.as_deref()), (Reason::UnknownMember, Some("$.to.zip")));
    assert_eq!(refusal.offset, Some(27));
}

#[test]
fn unknown_members_are_refused_anywhere_where_that_is_asked_for() {
    let mut parser = Parser::checking(crate::shape(), &[], true).unwrap();
    assert!(parser.parse(crate::sample().as_bytes(), "1-1").is_ok());
    for (document, path) in [
        (r#"{"order_uid":"u","x":1}"#, "$.x"),
        (r#"{"items":[{"price":1},{"prize":1}]}"#, "$.items[1].prize"),
    ] {
        let refusal = parser.parse(document.as_bytes(), "1-1").unwrap_err();
        assert_eq!((refusal.reason, refusal.path.as_deref()), (Reason::UnknownMember, Some(path)));
    }
    assert_eq!(parser.unknown().count, 0);
}
