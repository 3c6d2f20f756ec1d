//! Which documents the parser accepts, and how it refuses others.

use std::sync::Arc;

use crate::typed::RawOrderData;
use crate::{sample, shape};
use order::{Layouts, Parser, Reason, Refusal, SearchKind, searchable};
use serde_json::{Value, json};

const KEY: &str = "1-1";

fn parser() -> Parser {
    Parser::new(shape())
}

/// The JSON that a payload is rendered as.
fn taken(payload: &str) -> Value {
    let order = parser().parse(payload.as_bytes(), KEY).unwrap_or_else(|refusal| panic!("{refusal}"));
    let layouts = Arc::new(Layouts::new(shape()).unwrap());
    let body = order.body().clone();
    let mut out = Vec::new();
    layouts.write_json(&body, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

fn refused(payload: impl AsRef<[u8]>) -> Refusal {
    parser().parse(payload.as_ref(), KEY).expect_err("it is refused")
}

/// An order of zero values, with some members set.
fn zero_but(members: Value) -> Value {
    let mut order = serde_json::to_value(RawOrderData::default()).unwrap();
    merge(&mut order, members);
    order
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[test]
fn the_sample_is_taken_whole() {
    assert_eq!(taken(sample()), serde_json::from_str::<Value>(sample()).unwrap());
}

#[test]
fn missing_members_are_zero() {
    assert_eq!(taken("{}"), zero_but(json!({})));
    assert_eq!(taken(r#"{"sm_id":1}"#), zero_but(json!({"sm_id": 1})));
    assert_eq!(taken(r#"{"payment":{"bank":"b"}}"#), zero_but(json!({"payment": {"bank": "b"}})));
    assert_eq!(taken(r#"{"items":[]}"#), zero_but(json!({})));
    let item = taken(r#"{"items":[{},{"sale":1}]}"#)["items"].clone();
    assert_eq!(item[0]["name"], "");
    assert_eq!(item[1]["sale"], 1);
    assert_eq!(item.as_array().unwrap().len(), 2);
}

#[test]
fn null_leaves_a_member_as_it_is() {
    for name in ["order_uid", "delivery", "items", "sm_id"] {
        assert_eq!(taken(&format!(r#"{{"{name}":null}}"#)), zero_but(json!({})), "{name}");
    }
    assert_eq!(taken(r#"{"delivery":{"city":null},"payment":{"amount":null}}"#), zero_but(json!({})));
    assert_eq!(taken(r#"{"sm_id":7,"sm_id":null}"#), zero_but(json!({"sm_id": 7})));
    let items = taken(r#"{"items":[null,{"sale":null}]}"#)["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 2);
    assert_eq!(items[0], items[1]);
}

#[test]
fn of_a_repeated_text_or_number_the_last_counts() {
    assert_eq!(taken(r#"{"sm_id":1,"sm_id":2}"#), zero_but(json!({"sm_id": 2})));
    assert_eq!(taken(r#"{"entry":"a","entry":""}"#), zero_but(json!({})));
}

#[test]
fn names_match_without_regard_to_case() {
    assert_eq!(taken(r#"{"Order_UID":"u","SM_ID":1}"#), zero_but(json!({"order_uid": "u", "sm_id": 1})));
    assert_eq!(taken(r#"{"delivery":{"CITY":"c"}}"#), zero_but(json!({"delivery": {"city": "c"}})));
    assert_eq!(taken(r#"{"\u006frder_uid":"u"}"#), zero_but(json!({"order_uid": "u"})));
}

#[test]
fn whole_numbers_of_64_bits_are_taken() {
    for number in [0, 1, -1, 63, -64, 64, -65, 1 << 40, i64::MAX, i64::MIN] {
        assert_eq!(taken(&format!(r#"{{"sm_id":{number}}}"#)), zero_but(json!({"sm_id": number})));
    }
    assert_eq!(taken(r#"{"sm_id":-0}"#), zero_but(json!({})));
}

#[test]
fn text_is_taken_as_it_is() {
    for text in
        ["\u{0}\u{1}\u{7f}\u{80}", "\"\\/", "Иванов", "👩‍👩‍👧", "\u{2028}\u{feff}\u{fffd}", "\n\r\t\u{8}\u{c}"]
    {
        let document = json!({"order_uid": text, "items": [{"name": text}]});
        let shown = taken(&document.to_string());
        assert_eq!(shown["order_uid"], text);
        assert_eq!(shown["items"][0]["name"], text);
    }
    assert_eq!(taken(r#"{"entry":"\ud83d\ude00\u0000"}"#)["entry"], "😀\0");
    let long = "ж\"".repeat(350_000);
    assert_eq!(taken(&json!({"entry": long}).to_string())["entry"], long);
}

#[test]
fn white_space_may_stand_around_everything() {
    assert_eq!(taken(" \r\n\t{ \"sm_id\" :\n1 , \"items\" : [ ] } \n"), zero_but(json!({"sm_id": 1})));
}

#[test]
fn what_is_no_object_is_refused() {
    for (payload, found) in [
        ("null", "null"),
        ("[]", "an array"),
        (r#"[{"order_uid":"u"}]"#, "an array"),
        ("5", "a number"),
        ("-5", "a number"),
        ("1.5", "a number"),
        (r#""text""#, "a string"),
        ("true", "a boolean"),
    ] {
        for before in ["", " ", "\n\n"] {
            let refusal = refused(format!("{before}{payload}"));
            assert_eq!(refusal.reason, Reason::NotAnObject, "{payload}");
            assert_eq!(refusal.detail, format!("{found} where the document, an object, belongs"));
            assert_eq!(
                (refusal.path.as_deref(), refusal.offset),
                (Some("$"), Some(before.len())),
                "{payload}"
            );
        }
    }
}

/// Each kind of the model against each kind of JSON that does not fit.
#[test]
fn values_of_another_type_are_refused_with_their_place() {
    let cases = [
        ("sm_id", r#"{"sm_id":@}"#, "a whole number"),
        (
            "items[1].price",
            "{\"items\":[{\"price\":5},\n {\"name\":\"ж\",\"price\": @,\"sale\":1}]}",
            "a whole number",
        ),
        ("order_uid", r#"{"order_uid": @ }"#, "a string"),
        ("delivery.city", "{\n\"delivery\":{\n\n  \"city\":@}}", "a string"),
        ("payment", r#"{"entry":"a","payment":@}"#, "an object"),
        ("items[0]", r#"{"items":[@]}"#, "an object"),
        ("items[2]", r#"{"items":[{},null,@,{}]}"#, "an object"),
        ("items", r#"{"items":@,"sm_id":1}"#, "an array"),
    ];
    let values = [
        (r#""""#, "a string"),
        (r#""text""#, "a string"),
        (r#""a \"quoted\\\" [{,: ""#, "a string"),
        (r#""\\""#, "a string"),
        ("12", "a number"),
        ("-1.5e+3", "a number"),
        ("true", "a boolean"),
        ("false", "a boolean"),
        ("[]", "an array"),
        ("[ ]", "an array"),
        ("[1,2]", "an array"),
        ("[ \"a\", {}]", "an array"),
        ("{}", "an object"),
        ("{\n}", "an object"),
        ("{ \"a\":1}", "an object"),
    ];
    for (path, document, expected) in cases {
        for (value, found) in values {
            let fits = found == expected || expected == "a whole number" && found == "a number";
            if fits {
                continue;
            }
            let payload = document.replace('@', value);
            let refusal = refused(&payload);
            assert_eq!(refusal.reason, Reason::WrongType, "{payload}");
            assert_eq!(refusal.detail, format!("{found} where {expected} belongs"), "{payload}");
            assert_eq!(refusal.path, Some(format!("$.{path}")), "{payload}");
            assert_eq!(refusal.offset, document.find('@'), "{payload}");
        }
    }
}

#[test]
fn numbers_that_do_not_fit_are_refused_with_their_place() {
    for number in [
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "123456789012345678901234567890",
    ] {
        for document in [r#"{"sm_id":@}"#, "{\"items\":[{},\n{\"sale\": @ ,\"name\":\"n\"}]}"] {
            let payload = document.replace('@', number);
            let refusal = refused(&payload);
            assert_eq!(refusal.reason, Reason::NumberOutOfRange, "{payload}");
            let path = if document.contains("sm_id") { "$.sm_id" } else { "$.items[1].sale" };
            assert_eq!(refusal.path.as_deref(), Some(path));
            assert_eq!(refusal.offset, document.find('@'), "{payload}");
        }
    }
}

/// Text, reason, path, and the offset of the error where that is not the end.
#[test]
fn what_is_no_json_is_refused() {
    for (payload, path, offset) in [
        ("", None, 0),
        ("  ", None, 2),
        ("{", None, 1),
        ("{\"sm_id\"", Some("$.sm_id"), 8),
        ("{\"sm_id\":", Some("$.sm_id"), 9),
        ("{\"entry\":\"abc", Some("$.entry"), 13),
        ("{\"entry\":nul", Some("$.entry"), 12),
        ("{\"items\":[{}", Some("$.items[1]"), 12),
        ("{\"delivery\":{\"city\":\"x\"", Some("$.delivery"), 23),
        ("{\"entry\":nil}", Some("$.entry"), 10),
        ("{\"entry\":'x'}", Some("$.entry"), 9),
        ("{\"entry\":\"a\tb\"}", Some("$.entry"), 11),
        ("{\"entry\":\"a\nb\"}", Some("$.entry"), 11),
        ("{\n\"entry\":\"a\nb\"}", Some("$.entry"), 12),
        ("{\"sm_id\":01}", Some("$.sm_id"), 10),
        ("{\"sm_id\":1,}", None, 11),
        ("{\"items\":[{},]}", Some("$.items[1]"), 13),
        ("{sm_id:1}", None, 1),
        ("{\"delivery\":{1:2}}", Some("$.delivery"), 13),
        ("{} x", None, 3),
        ("{}{}", None, 2),
        ("{}\0", None, 2),
        ("\u{feff}{}", None, 0),
        ("{\"x\":[1,}", None, 8),
        ("{\n\n \"x\":[1,}", None, 11),
    ] {
        let refusal = refused(payload);
        assert_eq!(refusal.reason, Reason::InvalidJson, "{payload}");
        assert_eq!(refusal.path.as_deref(), path, "{payload}");
        assert_eq!(refusal.offset, Some(offset), "{payload}");
        assert!(!refusal.detail.contains(" at line "), "{}", refusal.detail);
    }
}

#[test]
fn invalid_utf_8_is_refused_wherever_it_stands() {
    let invalid: [&[u8]; 6] = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xd0", b"\x80"];
    for document in [
        "{\"entry\":\"@\"}",
        "{\"unknown\":\"@\"}",
        "{\"unknown\":{\"a\":[\"@\"]}}",
        "{\"@\":1}",
        "{\"delivery\":{\"@\":1}}",
        "{\"items\":[{\"name\":\"ж@\"}]}",
        "@{}",
        "{}@",
        "@",
    ] {
        for bytes in invalid {
            let at = document.find('@').unwrap();
            let payload = [&document.as_bytes()[..at], bytes, &document.as_bytes()[at + 1..]].concat();
            let refusal = refused(payload);
            assert_eq!(refusal.reason, Reason::InvalidUtf8, "{document}");
            assert_eq!((refusal.path, refusal.offset), (None, Some(at)), "{document}");
        }
    }
}

#[test]
fn unknown_members_are_ignored_and_counted() {
    let mut parser = parser();
    let document = r#"{"x":1,"delivery":{"y":null,"city":"c"},"items":[{"z":{"x":[]}},{"z":1e999}],"sm_id":1,"x":"\ud800"}"#;
    for round in 1..=2 {
        parser.parse(document.as_bytes(), KEY).unwrap();
        assert_eq!(parser.unknown().count, 5 * round);
        assert_eq!(parser.unknown().names.iter().collect::<Vec<_>>(), ["x", "y", "z"]);
    }
    assert_eq!(taken(document)["delivery"]["city"], "c");
    parser.parse(sample().as_bytes(), KEY).unwrap();
    assert_eq!(parser.unknown().count, 10);
}

#[test]
fn names_of_unknown_members_are_few_and_short() {
    let mut parser = parser();
    let mut parse = |number| {
        let name = format!("{number}{}", "ж".repeat(100));
        parser.parse(json!({name: 1}).to_string().as_bytes(), KEY).unwrap();
        parser.unknown().clone()
    };
    for number in (0..1000).chain([7]) {
        assert!(!parse(number).has_more, "{number}");
    }
    let unknown = parse(1000);
    assert_eq!((unknown.count, unknown.names.len(), unknown.has_more), (1002, 1000, true));
    assert!(unknown.names.iter().all(|name| name.chars().count() == 64));
    assert_eq!(parse(1001).names, unknown.names);
}

#[test]
fn a_bracket_where_none_belongs_is_refused_however_many_follow() {
    assert_eq!(refused(format!(r#"{{"items":{}"#, "[".repeat(50_000))).reason, Reason::WrongType);
    assert_eq!(refused("[".repeat(50_000)).reason, Reason::NotAnObject);
}

fn requiring(names: &[&str]) -> Parser {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    Parser::checking(shape(), &names, false).unwrap()
}

#[test]
fn required_members_must_be_there_and_not_empty() {
    for (name, payload) in [
        ("order_uid", r#"{}"#),
        ("order_uid", r#"{"order_uid":null}"#),
        ("order_uid", r#"{"order_uid":""}"#),
        ("order_uid", r#"{"order_uid":"u","order_uid":""}"#),
        ("items", r#"{"items":[]}"#),
        ("items", r#"{"items":null}"#),
        ("delivery", r#"{"order_uid":"u"}"#),
        ("delivery", r#"{"delivery":null}"#),
        ("sm_id", r#"{"sm_id":null}"#),
    ] {
        let refusal = requiring(&[name]).parse(payload.as_bytes(), KEY).unwrap_err();
        assert_eq!(refusal.reason, Reason::MissingMember, "{payload}");
        assert_eq!(refusal.path, Some(format!("$.{name}")), "{payload}");
        assert_eq!(refusal.offset, Some(payload.len() - 1), "{payload}");
    }
    for (name, payload) in [
        ("order_uid", r#"{"order_uid":" "}"#),
        ("order_uid", r#"{"ORDER_UID":"u"}"#),
        ("order_uid", r#"{"order_uid":"u","order_uid":null}"#),
        ("items", r#"{"items":[{}]}"#),
        // Numbers and objects can't be empty.
        ("sm_id", r#"{"sm_id":0}"#),
        ("delivery", r#"{"delivery":{}}"#),
    ] {
        assert!(requiring(&[name]).parse(payload.as_bytes(), KEY).is_ok(), "{payload}");
    }
    let both = requiring(&["order_uid", "track_number"]).parse(br#"{"order_uid":"u"}"#, KEY).unwrap_err();
    assert_eq!(both.path.as_deref(), Some("$.track_number"));
}

#[test]
fn an_empty_payload_is_no_json_even_if_nothing_is_required() {
    assert_eq!(refused("").to_string(), "EOF while parsing a value (byte 0)");
}

#[test]
fn settings_name_members_of_the_model() {
    let names = |name: &str| [name.to_string()];
    let error = Parser::checking(shape(), &names("order_id"), false).err().unwrap().to_string();
    assert!(error.contains("\"order_id\"") && error.contains("order_uid, track_number"), "{error}");
    // Names in settings are case-sensitive; names in payloads are not.
    assert!(Parser::checking(shape(), &names("ORDER_UID"), false).is_err());
}

#[test]
fn search_names_strings_numbers_and_booleans_at_any_depth() {
    let found = |path: &str| searchable(shape(), &[path.to_owned()]).map(|paths| paths[0].clone());
    for (path, root, kind, is_many) in [
        ("order_uid", 0, SearchKind::String, false),
        ("sm_id", 11, SearchKind::Int, false),
        ("delivery.email", 3, SearchKind::String, false),
        ("payment.amount", 4, SearchKind::Int, false),
        ("items.nm_id", 5, SearchKind::Int, true),
    ] {
        let found = found(path).unwrap();
        assert_eq!((found.root(), found.kind(), found.is_many()), (root, kind, is_many), "{path}");
    }
    for (path, said) in [
        ("order_id", "no member \"order_id\"; it has order_uid, track_number"),
        ("delivery.mail", "no member \"mail\"; it has name, phone"),
        ("items", "is an object"),
        ("delivery", "is an object"),
        ("order_uid.x", "is not an object"),
        ("delivery.", "no member \"\""),
        ("delivery\\.email", "no member \"delivery.email\""),
        ("", "no member"),
    ] {
        let error = found(path).unwrap_err().to_string();
        assert!(error.contains(said), "{path}: {error}");
    }
}

const SECRETS: [&str; 5] =
    ["Zq7Secret-Ivanov", "+79261234567-Zq8", "Zq9Card-4111111111", "Zq5Иванов-Пётр", "8675309186753091"];

/// The sample with secrets everywhere: in known and unknown members, in names, and as numbers.
fn secret_document() -> String {
    let [name, phone, card, person, number] = SECRETS;
    format!(
        r#"{{"order_uid":"{name}","{card}":"{name}","delivery":{{"name":"{person}","phone":"{phone}","{card}":{number}}},"payment":{{"amount":{number},"bank":"{card}"}},"items":[{{"name":"{name}","price":{number}}}],"track_number":"{phone}","unknown":["{person}",{number}],"sm_id":{number}}}"#
    )
}

fn quotes_a_secret(text: &str) -> bool {
    let windows = SECRETS.iter().flat_map(|secret| {
        let letters: Vec<char> = secret.chars().collect();
        letters.windows(8).map(String::from_iter).collect::<Vec<_>>()
    });
    windows.into_iter().any(|window| text.contains(&window))
}

#[test]
fn no_refusal_quotes_the_payload() {
    assert!(quotes_a_secret(&secret_document()));
    let mut parser = Parser::checking(shape(), &["order_uid".into(), "oof_shard".into()], false).unwrap();
    let mut reasons = std::collections::HashSet::new();
    let mut check = |payload: &[u8]| {
        let Err(refusal) = parser.parse(payload, KEY) else { return };
        let text = format!("{refusal} {refusal:?}");
        assert!(!quotes_a_secret(&text), "{text}");
        reasons.insert(refusal.reason);
    };
    let document = secret_document();
    check(document.as_bytes());
    for (at, _) in document.char_indices() {
        check(&document.as_bytes()[..at]);
        check(&document.as_bytes()[at..]);
        for byte in [b'"', b'\\', b'{', b'[', b'}', b']', b',', b'1', b'e', b'.', b'-', b'n', 0, 0xff] {
            let mut changed = document.clone().into_bytes();
            changed[at] = byte;
            check(&changed);
            changed.insert(at, byte);
            check(&changed);
        }
    }
    // A value of each kind where another kind is expected.
    for secret in SECRETS {
        let text = format!("\"{secret}\"");
        for value in
            [&text, secret, &format!("[{text}]"), &format!("{{{text}:{text}}}"), "86753091867530918675309"]
        {
            for name in ["order_uid", "sm_id", "delivery", "items", secret] {
                check(format!("{{\"{name}\":{value}}}").as_bytes());
            }
            check(value.as_bytes());
        }
    }
    assert_eq!(reasons.len(), 6, "{reasons:?}");
}

#[test]
fn neither_order_nor_body_shows_content_when_debugged() {
    let order = parser().parse(sample().as_bytes(), KEY).unwrap();
    let body = order.body().clone();
    let text = format!("{order:?} {body:?}");
    assert!(text.contains("1-1") && !text.contains("WBIL") && !text.contains("b563"), "{text}");
}
