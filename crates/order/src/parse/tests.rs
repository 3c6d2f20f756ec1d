//! Compares the fast parser with the general one.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use model::shape::Kind;

use super::*;
use crate::order_model::{sample, shape};

fn parser() -> Parser {
    Parser::checking(shape(), &["order_uid".to_owned()], false).unwrap()
}

fn is_plain(text: &str) -> bool {
    assert!(parser().is_the_same_to_both(text, "1-1"), "{text}");
    parser().plain(text, "1-1").is_some()
}

#[test]
fn what_publishers_write_is_plain() {
    let indented = serde_json::from_str::<serde_json::Map<_, serde_json::Value>>(sample()).unwrap();
    for text in [
        sample(),
        &format!(" {}\r\n", sample()),
        &serde_json::to_string_pretty(&indented).unwrap(),
        &sample().replace("\":", "\": ").replace(",\"", ", \""),
        &sample().replace("\":", "\" :"),
        r#"{"order_uid":"u"}"#,
        r#"{"order_uid":"u","items":[ ],"sm_id":-1}"#,
        r#"{"order_uid":"u","entry":null,"items":null,"sm_id":null}"#,
        r#"{"order_uid":"\u0418\u0432\u0430\u043d \ud83d\ude00\"\\","entry":"Иван"}"#,
        r#"{"order_uid":"u","items":[{"name":""},{"price":0}]}"#,
        r#"{"order_uid":"u","sm_id":999999999999999999}"#,
    ] {
        assert!(is_plain(text), "{text}");
    }
}

#[test]
fn unusual_documents_are_left_to_the_general_parser() {
    for text in [
        "",
        "{}",
        "[]",
        r#"{"order_uid":""}"#,
        r#"{"order_uid":null}"#,
        r#"{"order_uid":"u""#,
        r#"{"order_uid":"u"}}"#,
        r#"{"order_uid":"u",}"#,
        r#"{"order_uid":"u","entry":"\ud83d"}"#,
        r#"{"order_uid":"u","entry":"\"}"#,
        "{\"order_uid\":\"u\",\"entry\":\"\n\"}",
        r#"{"entry":"e","order_uid":"u"}"#,
        r#"{"order_uid":"u","order_uid":"v"}"#,
        r#"{"ORDER_UID":"u"}"#,
        r#"{"order_uid":"u","other":1}"#,
        r#"{"order_uid":1}"#,
        r#"{"order_uid":"u","delivery":null}"#,
        r#"{"order_uid":"u","items":[1]}"#,
        r#"{"order_uid":"u","items":[{"name":""},null]}"#,
        r#"{"order_uid":"u","items":[{"price":1},]}"#,
        r#"{"order_uid":"u","sm_id":"1"}"#,
        r#"{"order_uid":"u","sm_id":01}"#,
        r#"{"order_uid":"u","sm_id":-0}"#,
        r#"{"order_uid":"u","sm_id":-}"#,
        r#"{"order_uid":"u","sm_id":1.0}"#,
        r#"{"order_uid":"u","sm_id":1e1}"#,
        r#"{"order_uid":"u","sm_id":1000000000000000000}"#,
    ] {
        assert!(!is_plain(text), "{text}");
    }
}

/// Also for kinds that this model lacks.
#[test]
fn plain_values_of_all_kinds_are_read_as_any() {
    static KINDS: [Kind; 8] = [
        Kind::Bool,
        Kind::Int,
        Kind::Float,
        Kind::String,
        Kind::Slice(&Kind::Bool),
        Kind::Slice(&Kind::Float),
        Kind::Slice(&Kind::String),
        Kind::Slice(&Kind::Slice(&Kind::Int)),
    ];
    let texts = "true false tru truefalse null nul 0 -0 7 -7 007 0.0 -0.0 0.1 1.5e3 1E-3 5e-324 1e999 1. .5 - -a \
                 1.5.5 123456789012345678 1234567890123456789 12345678901234567890 \"\" \"a\" \"\\n\" \"a [] [ \
                 [true,false,null] [true,] [0.0,1.5,-2] [\"\",\"ж\",null] [[1,2],[],null,[0]] [[1],2] [[0,-0]] [[-0.0]] [[1,-0e0]] [[-1e-400]]";
    let mut plain = [0; KINDS.len()];
    for text in texts.split(' ') {
        for (kind, plain) in KINDS.iter().zip(&mut plain) {
            let mut quick = Vec::new();
            let Some(appended) = fast::value(text, kind, &mut quick) else { continue };
            let mut thorough = State::default();
            let there = general::value(text, kind, &mut thorough);
            let expected = if there == Some(true) { &*thorough.out } else { &[0] };
            assert!(there.is_some(), "{text} as {kind:?}");
            assert_eq!(if appended { &*quick } else { &[0] }, expected, "{text} as {kind:?}");
            *plain += 1;
        }
    }
    assert!(plain.iter().all(|&count| count > 2), "{plain:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// The sample with random bytes removed and inserted.
    #[test]
    fn plain_documents_are_read_as_any(
        edits in proptest::collection::vec((any::<Index>(), 0_usize..20, snippet()), 1..4)
    ) {
        let mut text: Vec<char> = sample().chars().collect();
        for (position, length, snippet) in edits {
            let from = position.index(text.len() + 1);
            let to = text.len().min(from + length);
            text.splice(from..to, snippet.chars());
        }
        let text: String = text.into_iter().collect();
        prop_assert!(parser().is_the_same_to_both(&text, "1-1"));
    }
}

/// Text to insert: valid and broken JSON.
fn snippet() -> impl Strategy<Value = &'static str> {
    let snippets = concat!(
        "~~~ ~,~:~{~}~[~]~\"~\\~\\\"~",
        "\\u0000~\\u04~0~-~1~12345678~1234567890123456789~.5~e3~null~true~\"a\"~\n~",
        "\t~ж~\u{7f}~\u{1}~{}~[]~\"entry\":\"\",~\"sm_id\":0,~\"x\":1,~\"Entry\":\"E\",~",
        "\\ud83d~\\ude00~\"delivery\":{\"zip\":\"z\"},~\"items\":[{}],~\"items\":[null,{\"sale\":1}],~-0.0",
    );
    select(snippets.split('~').collect::<Vec<_>>())
}
