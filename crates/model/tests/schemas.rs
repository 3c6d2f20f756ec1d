//! JSON Schemas as models: which are accepted, and which are refused, with their paths.

use model::{Model, Source};
use serde_json::{Value, json};

fn read(schema: &Value) -> Result<Model, String> {
    let json = schema.to_string();
    let source = Source { name: "parcel.schema.json", json: &json };
    Model::new("parcel.schema", &[source]).map_err(|error| error.to_string())
}

fn check_refused(properties: Value, expected: &str) {
    let message = read(&json!({"type": "object", "properties": properties})).map(drop);
    assert!(message.as_ref().is_err_and(|it| it.starts_with(expected)), "{properties}: {message:?}");
}

fn parcel() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "parcel",
        "description": "What is sent",
        "type": "object",
        "properties": {
            "id": {"type": "string", "format": "uuid", "examples": ["p-1"]},
            "weight": {"type": ["number", "null"]},
            "pieces": {"type": "integer"},
            "fragile": {"type": "boolean", "default": false},
            "from": {"$ref": "#/$defs/address"},
            "to": {"$ref": "#/$defs/address"},
            "stops": {"type": "array", "items": {"type": "array", "items": {"$ref": "#/$defs/address"}}},
        },
        "required": ["id", "weight"],
        "additionalProperties": false,
        "$defs": {"address": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        }},
    })
}

#[test]
fn a_schema_has_the_types_of_a_sample() {
    let model = read(&parcel()).unwrap();
    let sample = r#"{"id": "", "weight": 0.5, "pieces": 1, "fragile": true, "from": {"city": ""},
                     "to": {"city": ""}, "stops": [[{"city": ""}]]}"#;
    let sampled = Model::new("parcel", &[Source { name: "parcel.json", json: sample }]).unwrap();
    let types = |model: &Model| {
        let go = model.go();
        go.lines().filter(|line| !line.trim().starts_with("//")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(types(&model), types(&sampled));
    assert_eq!(model.name, "parcel");
    assert!(model.go().contains("type RawParcelData struct"));
}

/// A schema's array has none, in itself and as it is printed of samples.
#[test]
fn a_comment_without_an_example_has_only_the_path() {
    let json = r#"{"tags": ["a"], "rings": [[[1.5]]], "id": "x"}"#;
    let printed = Model::new("s", &[Source { name: "s.json", json }]).unwrap().json_schema();
    let model = read(&serde_json::from_str(&printed).unwrap()).unwrap();
    for types in [model.go(), model.rust(true), model.typescript(false)] {
        assert!(types.contains("`$.tags`.") && types.contains("`$.rings`."), "{types}");
        assert!(types.contains("`$.id`, e.g. `\"x\"`."), "{types}");
    }
}

#[test]
fn what_a_schema_requires_is_in_the_shape() {
    let model = read(&parcel()).unwrap();
    let shape = model.shape();
    assert_eq!((shape.required, shape.closed), (&[0, 1][..], true));
    assert_eq!(
        shape.members.iter().map(|it| it.nullable).collect::<Vec<_>>(),
        [false, true, false, false, false, false, false]
    );
    let model::shape::Kind::Struct(from) = shape.members[4].kind else { unreachable!() };
    assert_eq!((from.required, from.closed), (&[0][..], false));
}

/// `model infer`, saved and named again, changes nothing.
#[test]
fn the_schema_of_a_schema_is_the_same() {
    let printed = read(&parcel()).unwrap().json_schema();
    let again = read(&serde_json::from_str(&printed).unwrap()).unwrap();
    assert_eq!(again.json_schema(), printed);
    assert_eq!(again.shape(), read(&parcel()).unwrap().shape());
}

#[test]
fn a_schema_has_an_example() {
    let model = read(&parcel()).unwrap();
    let example: Value = serde_json::from_str(&model.sample).unwrap();
    assert_eq!(
        example,
        json!({
            "id": "p-1", "weight": 0.5, "pieces": 0, "fragile": false, "from": {"city": "example"},
            "to": {"city": "example"}, "stops": [[{"city": "example"}]],
        })
    );
}

#[test]
fn an_example_has_no_empty_text_and_keeps_to_formats() {
    let example = |property: Value| {
        let model = read(&json!({"$schema": "x", "type": "object", "properties": {"a": property}})).unwrap();
        let example: Value = serde_json::from_str(&model.sample).unwrap();
        example["a"].clone()
    };
    for (format, text) in [
        ("date-time", "2026-01-31T12:00:00Z"),
        ("date", "2026-01-31"),
        ("email", "name@example.com"),
        ("uuid", "123e4567-e89b-42d3-a456-426614174000"),
        ("uri", "https://example.com/path"),
        ("ipv4", "192.0.2.1"),
        ("of our own", "example"),
    ] {
        assert_eq!(example(json!({"type": "string", "format": format})), text);
    }
    assert_eq!(example(json!({"type": "string", "default": ""})), "example");
    assert_eq!(example(json!({"type": "string", "default": "d"})), "d");
    assert_eq!(example(json!({"type": "string", "examples": [1, "x"], "default": "d"})), "x");
    assert_eq!(example(json!({"type": "string", "examples": ["x"], "format": "email"})), "x");
    assert_eq!(example(json!({"type": ["string", "null"]})), "example");
    assert_eq!(example(json!({"type": "array", "items": {"type": "string"}})), json!(["example"]));
}

#[test]
fn keywords_that_would_be_ignored_are_refused_with_their_path() {
    for (keyword, value) in [
        ("minLength", json!(1)),
        ("pattern", json!("^p")),
        ("enum", json!(["a"])),
        ("const", json!("a")),
        ("anyOf", json!([])),
        ("maximum", json!(1)),
        ("patternProperties", json!({})),
        ("if", json!({})),
    ] {
        let mut schema = json!({"type": "string"});
        schema[keyword] = value.clone();
        check_refused(json!({"a": schema}), &format!("parcel.schema.json: $.properties.a.{keyword}: "));
        check_refused(
            json!({"a": {"type": "array", "items": {keyword: value}}}),
            &format!("parcel.schema.json: $.properties.a.items.{keyword}: "),
        );
    }
    let deep = read(&json!({"$schema": "x", "properties": {"a": {"$ref": "#/$defs/a"}},
                            "$defs": {"a": {"type": "string", "minLength": 1}}}));
    assert!(deep.unwrap_err().starts_with("parcel.schema.json: $[\"$defs\"].a.minLength: "));
}

#[test]
fn what_says_no_type_is_refused_with_its_path() {
    let at = "parcel.schema.json: $.properties.a";
    check_refused(json!({"a": {}}), &format!("{at} says no type"));
    check_refused(json!({"a": true}), &format!("{at} has to be an object"));
    check_refused(json!({"a": {"type": "null"}}), &format!("{at}.type has to be string"));
    check_refused(json!({"a": {"type": "date"}}), &format!("{at}.type has to be string"));
    check_refused(json!({"a": {"type": ["string", "integer"]}}), &format!("{at}.type has to be string"));
    check_refused(json!({"a": {"type": "array"}}), &format!("{at} is an array without items"));
    check_refused(
        json!({"a": {"type": "object", "additionalProperties": {}}}),
        &format!("{at}.additionalProperties has"),
    );
    check_refused(json!({"a": {"type": "object", "required": ["b"]}}), &format!("{at}.required names \"b\""));
}

#[test]
fn all_problems_of_a_schema_are_named_at_once() {
    let refused = read(&json!({
        "$schema": "x",
        "type": "object",
        "minProperties": 1,
        "properties": {
            "a": {"type": "string", "minLength": 1, "maxLength": 2},
            "b": {"$ref": "#/$defs/none"},
            "c": {"type": "array"},
            "d": {"$ref": "#/$defs/d"},
            "e": {"$ref": "#/$defs/d"},
        },
        "required": ["x", "y"],
        "additionalProperties": {},
        "$defs": {"d": {"type": "date"}},
    }));
    let message = refused.unwrap_err();
    let found: Vec<_> = message.lines().skip(1).map(|line| line.trim_start().to_owned()).collect();
    let expected = [
        "$.minProperties: this keyword",
        "$.properties.a.minLength: this keyword",
        "$.properties.a.maxLength: this keyword",
        "$.properties.b[\"$ref\"] has to name a schema",
        "$.properties.c is an array without items",
        "$[\"$defs\"].d.type has to be string",
        "$.required names \"x\"",
        "$.required names \"y\"",
        "$.additionalProperties has to be",
    ];
    assert_eq!(found.len(), expected.len(), "{message}");
    for problem in expected {
        let start = format!("parcel.schema.json: {problem}");
        assert!(found.iter().any(|line| line.starts_with(&start)), "no {start} in {message}");
    }
}

#[test]
fn references_are_of_this_file_and_have_an_end() {
    let at = r#"parcel.schema.json: $.properties.a["$ref"] has to name a schema in $defs"#;
    for reference in ["#/$defs/b", "other.json#/$defs/a", "#/properties/a", "#"] {
        check_refused(json!({"a": {"$ref": reference}}), at);
    }
    let own = read(&json!({"$schema": "x", "type": "object", "properties": {"a": {"$ref": "#/$defs/a"}},
        "$defs": {"a": {"type": "object", "properties": {"next": {"$ref": "#/$defs/a"}}}}}));
    assert!(own.unwrap_err().contains(r#"$["$defs"].a.properties.next["$ref"] refers to itself"#));
    let mut defs = serde_json::Map::new();
    for step in 0..60 {
        let next = json!({"$ref": format!("#/$defs/d{}", step + 1)});
        defs.insert(format!("d{step}"), json!({"type": "object", "properties": {"a": next, "b": next}}));
    }
    defs.insert("d60".into(), json!({"type": "string"}));
    let doubling = read(&json!({"$schema": "x", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": defs}));
    assert!(doubling.unwrap_err().contains("more than 10,000 members: "));
}

#[test]
fn references_are_escaped_as_urls_and_json_pointers_are() {
    for (name, reference) in [
        ("a b", "#/$defs/a%20b"),
        ("a b", "#/$defs/a b"),
        ("a/b", "#/$defs/a~1b"),
        ("a/b", "#/$defs/a%7E1b"),
        ("a~b", "#/$defs/a~0b"),
        ("a%b", "#/$defs/a%25b"),
        ("ü", "#/$defs/%C3%BC"),
    ] {
        let schema = |kind| json!({"$schema": "x", "properties": {"a": {"$ref": reference}}, "$defs": {name: {"type": kind}}});
        assert!(read(&schema("string")).is_ok(), "{reference}");
        let error = read(&schema("date")).unwrap_err();
        assert!(error.contains(name) && error.contains(".type has to be string"), "{error}");
    }
}

/// The schema that is printed for samples is a model too.
#[test]
fn a_sample_has_at_most_as_many_members_as_a_schema() {
    let sample = |count: usize| {
        let members: Vec<_> = (1..count).map(|i| format!("\"m{i}\": 1")).collect();
        format!(r#"{{"list": [{{{}}}]}}"#, members.join(","))
    };
    let model = |json: &str| Model::new("s", &[Source { name: "s.json", json }]);
    let printed = model(&sample(10_000)).unwrap().json_schema();
    assert_eq!(model(&printed).unwrap().json_schema(), printed);
    let more = printed.replace("\"m1\":", "\"more\": {\"type\": \"string\"},\n\"m1\":");
    for (json, path) in [(sample(10_001), "$.list[0]"), (more, "$.properties.list.items.properties")] {
        let error = model(&json).map(drop).unwrap_err().to_string();
        let problem = "gives the model more than 10,000 members: leave some out, or set MODEL=any";
        assert_eq!(error, format!("s.json: {path} {problem}"));
    }
    // Over all samples, each name once.
    let names =
        |from: usize| (from..from + 6000).map(|i| format!("\"m{i}\": 1")).collect::<Vec<_>>().join(",");
    let samples = |second: usize| [0, second].map(|from| format!("{{{}}}", names(from)));
    let fits = |texts: [String; 2]| {
        Model::new("s", &texts.each_ref().map(|json| Source { name: "s.json", json })).is_ok()
    };
    assert!(fits(samples(4000)) && !fits(samples(4001)));
}

/// serde_json would keep the last, and the members of the first would be lost.
#[test]
fn a_name_twice_in_one_object_of_a_schema_is_refused_with_its_path() {
    let refused = |json: &str, path: &str| {
        let error = Model::new("s", &[Source { name: "s.json", json }]).unwrap_err().to_string();
        assert_eq!(error, format!("s.json: {path} is repeated in its object: remove one"), "{json}");
    };
    let string = r#"{"type": "string"}"#;
    let with = |more: &str| format!(r#"{{"type": "object", "properties": {{"a": {string}}}, {more}}}"#);
    refused(&with(r#""required": ["a"], "required": []"#), "$.required");
    refused(
        &with(r#""additionalProperties": false, "additionalProperties": true"#),
        "$.additionalProperties",
    );
    refused(&with(r#""properties": {}"#), "$.properties");
    refused(&with(&format!(r#""$defs": {{"b": {string}, "\u0062": {string}}}"#)), r#"$["$defs"].b"#);
    refused(&with(r#""examples": [{}, {"a": "", "a": ""}]"#), "$.examples[1].a");
    let twice = r#"{"$schema": "x", "properties": {"a": {"type": "string"}, "a": {"type": "integer"}}}"#;
    refused(twice, "$.properties.a");
}

#[test]
fn a_schema_stands_alone() {
    let schema = Source { name: "s.json", json: r#"{"type": "object", "properties": {}}"# };
    let sample = Source { name: "a.json", json: "{}" };
    let error = Model::new("s", &[sample, schema]).unwrap_err().to_string();
    assert_eq!(error, "s.json is a JSON Schema, which describes the whole model: pass it alone");
}
