//! Random documents with everything that publishers should avoid: repeated members, other letter case, other types,
//! lone surrogates, odd numbers, and sometimes a changed byte.

use crate::shape;
use model::shape::{Kind, Member, Struct};
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Numbers that parsers treat differently.
const NUMBERS: &str = "0 -0 1 -1 12 0.0 -0.0 -0e0 0e0 1.0 12.5 1e3 1E+2 1e-400 -1e-400 1e400 -1e400 00 01 -01 - -a +1 1. .5 \
    1e 1e+ 0x1 1_0 NaN Infinity 9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 \
    18446744073709551616 123456789012345678901234567890 0.1e1 1e00 1e-0 -0.00000 0E+0 -";

/// Valid and invalid contents of a string.
const TEXTS: &str = r"a ж \n \\ \/ \u0041 \u0000 \ud83d\ude00 \ud83d \ude00 \uDFAA \ud83d\ud83d\ude00 \ude00\ud83d \ud83d\u0041 \ud83dx \\ud83d \uFFFE 😀 < > & \u2028 \ud83d\\ude00 \' \x \u12 \uzzzz \U0041 \ud83 \";

/// Values of unknown members.
const UNKNOWN: &str = r#"{} [] null true 1e999 -0.0 "\ud800" {"\udc00":"\ud800\ud800"} [[[{"a":[1,{}]}]]] {"a":1,"a":{}} tru [1,] {"a"} {1:2} [1 [}"#;

fn words(text: &'static str) -> impl Strategy<Value = &'static str> {
    select(text.split_whitespace().collect::<Vec<_>>())
}

/// Any of them.
pub(crate) fn document() -> impl Strategy<Value = String> {
    let edits = proptest::collection::vec(
        (any::<Index>(), 0_usize..3, words(r#"{ } [ ] , : " \ 0 - null \ud83d é"#)),
        0..2,
    );
    (object(shape()), edits, prop::bool::weighted(0.15)).prop_map(|(text, edits, is_edited)| {
        let mut text: Vec<char> = text.chars().collect();
        for (position, length, word) in edits.into_iter().filter(|_| is_edited) {
            let from = position.index(text.len() + 1);
            let to = text.len().min(from + length);
            text.splice(from..to, word.chars());
        }
        text.into_iter().collect()
    })
}

fn object(shape: &'static Struct) -> BoxedStrategy<String> {
    let members: Vec<_> = shape.members.iter().map(member).collect();
    let known = prop::strategy::Union::new(members);
    let unknown =
        prop_oneof![20 => words(UNKNOWN).prop_filter("JSON", |text| is_json(text)), 1 => words(UNKNOWN)];
    let unknown =
        (words(r"x \udfaa ъ LocalID"), unknown).prop_map(|(name, value)| format!("\"{name}\":{value}"));
    let member = prop_oneof![9 => known, 1 => unknown];
    proptest::collection::vec(member, 0..7).prop_map(|members| format!("{{{}}}", members.join(","))).boxed()
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

fn member(member: &'static Member) -> BoxedStrategy<String> {
    let name = member.json_name;
    let names = vec![
        name.to_owned(),
        name.to_owned(),
        name.to_uppercase(),
        name.replace('s', "ſ"),
        name.replace('k', "\u{212a}"),
        format!("\\u{:04x}{}", u32::from(name.chars().next().unwrap()), &name[1..]),
        name.replace('i', "ı"),
    ];
    (select(names), value(&member.kind)).prop_map(|(name, value)| format!("\"{name}\":{value}")).boxed()
}

fn value(kind: &'static Kind) -> BoxedStrategy<String> {
    let fitting = match kind {
        Kind::Struct(shape) => object(shape),
        Kind::Slice(element) => {
            proptest::collection::vec(value(element), 0..4).prop_map(|elements| format!("[{}]", elements.join(","))).boxed()
        }
        Kind::String => string(),
        _ => prop_oneof![20 => (-300_i64..300).prop_map(|number| number.to_string()), 1 => words(NUMBERS).prop_map(str::to_owned)].boxed(),
    };
    let other = words(r#"null null null null null true "t" 5 {} []"#).prop_map(str::to_owned);
    prop_oneof![25 => fitting, 1 => other].boxed()
}

fn string() -> BoxedStrategy<String> {
    let plain = words(r"a ж \n \u0041 \ud83d\ude00 \ud83d \udfaa \ud83d\ud83d\ude00 \ude00\ud83d 😀");
    let word = prop_oneof![40 => plain, 1 => words(TEXTS)];
    proptest::collection::vec(word, 0..4).prop_map(|words| format!("\"{}\"", words.concat())).boxed()
}
