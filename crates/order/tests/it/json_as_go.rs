//! The parser compared with Go's `encoding/json`.

use std::sync::Arc;

use crate::shape;
use crate::typed::RawOrderData;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use order::{Layouts, Parser, Reason, Refusal};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::go::{MODULE, SEED, go, run};
use crate::wild;

fn parse(document: &str) -> Result<Value, Refusal> {
    let order = Parser::new(shape()).parse(document.as_bytes(), "1-1")?;
    let mut out = Vec::new();
    Layouts::new(shape()).unwrap().write_json(order.body(), &mut out).unwrap();
    Ok(serde_json::from_slice(&out).unwrap())
}

fn taken(document: &str) -> Value {
    parse(document).unwrap_or_else(|refusal| panic!("{document}: {refusal}"))
}

fn refused(document: &str) -> Refusal {
    parse(document).expect_err(document)
}

/// A document that has the member `items` once for each of the given arrays.
fn items(arrays: &[&str]) -> Value {
    let members: Vec<_> = arrays.iter().map(|array| format!("\"items\":{array}")).collect();
    taken(&format!("{{{}}}", members.join(",")))["items"].clone()
}

#[test]
fn half_a_surrogate_pair_is_the_replacement_character() {
    for (escaped, text) in [
        (r"\ud83d", "\u{fffd}"),
        (r"Ann \ud83d", "Ann \u{fffd}"),
        (r"\udc00", "\u{fffd}"),
        (r"\uD800\u0041", "\u{fffd}A"),
        (r"\ud83d\ud83d", "\u{fffd}\u{fffd}"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
        (r"\ude00\ud83d\ude00", "\u{fffd}😀"),
        (r"\ud83dx", "\u{fffd}x"),
        (r"\\ud83d", r"\ud83d"),
        (r"\ud83d\\ude00", "\u{fffd}\\ude00"),
    ] {
        // Once through the fast parser and once through the general one.
        for document in [
            r#"{"order_uid":"@","delivery":{"city":"@"},"items":[{"name":"@"}]}"#,
            r#"{"items":[{"name":"@"}],"delivery":{"city":"@"},"order_uid":"@"}"#,
        ] {
            let shown = taken(&document.replace('@', escaped));
            assert_eq!(shown["order_uid"], text, "{escaped}");
            assert_eq!(shown["delivery"]["city"], text, "{escaped}");
            assert_eq!(shown["items"][0]["name"], text, "{escaped}");
        }
    }
}

#[test]
fn half_a_surrogate_pair_may_stand_in_a_name_and_in_unknown_members() {
    for document in [
        r#"{"\udfaa":0,"order_uid":"u"}"#,
        r#"{"order_uid":"u","\ud800x":{"\udc00":["\ud83d"]}}"#,
        r#"{"delivery":{"\ud800":1},"items":[{"\ud800":1}],"order_uid":"u"}"#,
    ] {
        assert_eq!(taken(document)["order_uid"], "u", "{document}");
    }
    let mut parser = Parser::new(shape());
    parser.parse(br#"{"\udfaa":0}"#, "1-1").unwrap();
    assert_eq!(parser.unknown().names.iter().collect::<Vec<_>>(), ["\u{fffd}"]);
    // Offsets after a lone surrogate refer to the payload.
    let refusal = refused(r#"{"\udfaa":0,"order_uid":"\ud83d","sm_id":"x"}"#);
    assert_eq!((refusal.reason, refusal.offset), (Reason::WrongType, Some(41)));
}

#[test]
fn objects_given_twice_are_merged() {
    let delivery = |members: &str| taken(&format!("{{{members}}}"))["delivery"].clone();
    let both = delivery(r#""delivery":{"name":"a"},"delivery":{"phone":"b"}"#);
    assert_eq!((&both["name"], &both["phone"]), (&json!("a"), &json!("b")));
    let newer = delivery(r#""delivery":{"name":"a","zip":"z"},"sm_id":1,"Delivery":{"name":"","phone":"b"}"#);
    assert_eq!((&newer["name"], &newer["phone"], &newer["zip"]), (&json!(""), &json!("b"), &json!("z")));
    let kept = delivery(r#""delivery":{"name":"a"},"delivery":null,"delivery":{"name":null}"#);
    assert_eq!(kept["name"], "a");
}

/// Go decodes elements into the earlier elements of the same index, also into those that a shorter array has hidden.
#[test]
fn arrays_given_twice_are_merged_element_by_element() {
    let merged = items(&[r#"[{"sale":1},{"sale":2,"name":"b"}]"#, r#"[{"price":3},{"sale":4},{}]"#]);
    assert_eq!(merged.as_array().unwrap().len(), 3);
    assert_eq!((&merged[0]["sale"], &merged[0]["price"]), (&json!(1), &json!(3)));
    assert_eq!((&merged[1]["sale"], &merged[1]["name"]), (&json!(4), &json!("b")));
    assert_eq!(items(&[r#"[{"sale":1},{"sale":2}]"#, "[{}]"]).as_array().unwrap().len(), 1);
    let hidden = items(&[r#"[{"sale":1},{"sale":2}]"#, "[{}]", "[null,null]"]);
    assert_eq!((&hidden[0]["sale"], &hidden[1]["sale"]), (&json!(1), &json!(2)));
    for emptied in ["[]", "null"] {
        assert_eq!(items(&[r#"[{"sale":1}]"#, emptied]), json!([]));
        assert_eq!(items(&[r#"[{"sale":1}]"#, emptied, "[{}]"])[0]["sale"], 0);
    }
}

#[test]
fn required_member_is_looked_for_in_the_merged_document() {
    let mut parser = Parser::checking(shape(), &["items".to_owned(), "order_uid".to_owned()], false).unwrap();
    let mut missing = |document: &str| {
        let refusal = parser.parse(document.as_bytes(), "1-1").err()?;
        assert_eq!((refusal.reason, refusal.offset), (Reason::MissingMember, Some(document.len() - 1)));
        refusal.path
    };
    assert_eq!(missing(r#"{"items":[{}],"items":[{}],"order_uid":"u"}"#), None);
    assert_eq!(missing(r#"{"items":[{}],"items":null,"order_uid":"u"}"#).as_deref(), Some("$.items"));
    assert_eq!(missing(r#"{"items":[{}],"items":[],"order_uid":"u"}"#).as_deref(), Some("$.items"));
    assert_eq!(missing(r#"{"items":[{}],"items":[{}],"order_uid":""}"#).as_deref(), Some("$.order_uid"));
}

#[test]
fn a_whole_number_is_written_as_one() {
    for (number, found) in [
        ("-0.0", "a number with a fraction"),
        ("0.0", "a number with a fraction"),
        ("12.5", "a number with a fraction"),
        ("-0e0", "a number with an exponent"),
        ("-1e-400", "a number with an exponent"),
        ("1e999", "a number with an exponent"),
        ("1.5e1", "a number with an exponent"),
    ] {
        for document in [r#"{"sm_id":@}"#, r#"{"items":[{},{"price": @ }],"order_uid":"u"}"#] {
            let refusal = refused(&document.replace('@', number));
            assert_eq!(refusal.reason, Reason::WrongType, "{number}");
            assert_eq!(refusal.detail, format!("{found} where a whole number belongs"));
            assert_eq!(refusal.offset, document.find('@'), "{number}");
        }
    }
    assert_eq!(taken(r#"{"sm_id":-0}"#)["sm_id"], 0);
}

/// The document itself counts as one.
#[test]
fn what_is_nested_deeper_than_10_000_is_refused() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[\"]\\\"\",", "]")] {
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        for head in [r#"{"order_uid":"u","#, "{", r#"{"items":[{}],"order_uid":"u","#] {
            let document = format!("{head}\"x\":{}}}", nested(9_999));
            assert!(parse(&document).is_ok());
            let document = format!("{head}\"x\":{}}}", nested(10_000));
            let refusal = refused(&document);
            assert_eq!(refusal.reason, Reason::InvalidJson);
            assert!(refusal.detail.contains("10,000"), "{}", refusal.detail);
            assert_eq!(refusal.offset, Some(head.len() + 4 + 9_999 * open.len()));
        }
    }
    // The first error is reported.
    let refusal = refused(&format!("{{\"sm_id\":\"x\",\"y\":{}", "[".repeat(20_000)));
    assert_eq!(refusal.reason, Reason::WrongType);
    let refusal = refused(&format!("{{\"sm_id\":nix,\"y\":{}", "[".repeat(20_000)));
    assert_eq!((refusal.reason, refusal.offset), (Reason::InvalidJson, Some(10)));
}

#[test]
fn names_match_without_regard_to_the_case_of_any_letter() {
    for name in ["ſm_id", "SM_ID", "\u{17f}M_id"] {
        assert_eq!(taken(&format!(r#"{{"{name}":1}}"#))["sm_id"], 1, "{name}");
    }
    assert_eq!(taken("{\"shard\u{212a}ey\":\"k\"}")["shardkey"], "k");
    // Neither the Turkish letter without a dot, nor letters that only look alike.
    assert_eq!(taken(r#"{"sm_ıd":1,"ѕm_id":2}"#)["sm_id"], 0);
}

/// Values to put at each position of a document, one per line. After JSONTestSuite.
const CORPUS: &str = include_str!("json_corpus.txt");

const TEMPLATES: &str = r#"
@
{"order_uid":"u","sm_id":@}
{"order_uid":@,"sm_id":1}
{"sm_id":@,"order_uid":"u"}
{"entry":@}
{"entry":"@"}
{"delivery":@}
{"delivery":{"name":"a"},"delivery":@}
{"items":@}
{"items":[{"sale":1},{"name":"n"}],"items":@}
{"items":[@]}
{"items":[{"sale":1},@,{}]}
{"x":@}
{"order_uid":"u","x":[@]}
{@:1}
{"@":1}
{"delivery":{@}}
{"sm_id":1@}
{"sm_id":1}@
@{"sm_id":1}
{"sm_id":1,@}
"#;

fn corpus() -> Vec<String> {
    let lines = CORPUS.lines().filter(|line| !line.starts_with('#'));
    let mut documents: Vec<String> = lines
        .flat_map(|line| TEMPLATES.trim().lines().map(move |template| template.replace('@', line)))
        .collect();
    for depth in [9_998, 9_999, 10_000, 10_001] {
        documents.push(format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth)));
        documents.push(format!("{{\"x\":{}1{}}}", "{\"a\":".repeat(depth), "}".repeat(depth)));
        documents.push(format!("{{\"items\":[{{\"x\":{}{}}}]}}", "[".repeat(depth), "]".repeat(depth)));
        documents.push(format!("{{\"x\":{}", "[".repeat(depth)));
    }
    documents
}

/// We refuse everything but an object; Go leaves a zero value for `null`.
fn is_as_go_says(document: &str, go: &Value) -> bool {
    match parse(document) {
        Ok(shown) => shown == *go,
        Err(refusal) => go == "refused" || refusal.reason == Reason::NotAnObject,
    }
}

#[test]
fn documents_are_read_as_go_reads_them() {
    let Some(go) = go() else { return };
    let (mut runner, wild) = (TestRunner::deterministic(), wild::document());
    let mut documents = corpus();
    documents.extend((0..20_000).map(|_| wild.new_tree(&mut runner).unwrap().current()));
    let input: String = documents.iter().map(|text| BASE64_STANDARD.encode(text) + "\n").collect();
    let output = run(go, &[MODULE, SEED, ("unmarshal.go", include_str!("unmarshal.go"))], input);
    let outcomes: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(outcomes.len(), documents.len());
    let differ: Vec<_> =
        documents.iter().zip(&outcomes).filter(|(document, go)| !is_as_go_says(document, go)).collect();
    let first = differ.iter().take(20).map(|(document, go)| {
        let document: String = document.chars().take(300).collect();
        format!("{document}\n  Go:   {go}\n  ours: {:?}\n", parse(&document).map(|shown| shown.to_string()))
    });
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), first.collect::<String>());
    let refused = outcomes.iter().filter(|outcome| *outcome == "refused").count();
    assert!(refused * 5 > outcomes.len() && refused * 5 < outcomes.len() * 4, "{refused} are refused");
}

/// Random documents, with members in the model's order or not, in memory and through a row.
#[test]
fn wild_documents_are_the_same_to_both_readers() {
    let (mut runner, wild) = (TestRunner::deterministic(), wild::document());
    let layouts = Arc::new(Layouts::new(shape()).unwrap());
    let mut parser = Parser::new(shape());
    let mut reader = order::RowReader::new(layouts.clone());
    for _ in 0..20_000 {
        let document = wild.new_tree(&mut runner).unwrap().current();
        let Ok(order) = parser.parse(document.as_bytes(), "1-1") else { continue };
        let (mut row, mut shown, mut again) = (Vec::new(), Vec::new(), Vec::new());
        layouts.write_row(&order, &mut row);
        layouts.write_json(order.body(), &mut shown).unwrap();
        layouts.write_json(&reader.read("1-1", &row).unwrap(), &mut again).unwrap();
        assert_eq!(shown, again, "{document}");
        // The rendered document is plain, and has the same meaning.
        let typed: RawOrderData = serde_json::from_slice(&shown).unwrap();
        assert_eq!(serde_json::to_vec(&typed).unwrap(), shown, "{document}");
        assert_eq!(parser.parse(&shown, "1-1").unwrap(), order, "{document}");
    }
}
