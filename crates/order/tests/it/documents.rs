//! Random documents of the model's shape, as text, and how serde decodes them.

use crate::shape;
use crate::typed::RawOrderData;
use model::shape::{Kind, Member, Struct};
use proptest::num::f64;
use proptest::prelude::*;
use proptest::sample::select;

/// Documents with any of the members, often in the model's order, some of them `null`.
pub(crate) fn document() -> BoxedStrategy<String> {
    object(shape())
}

/// The typed model that serde reads from the document, with the key that a row holds.
pub(crate) fn typed(document: &str, key: &str) -> RawOrderData {
    let typed: RawOrderData = serde_json::from_str(document).unwrap();
    RawOrderData { local_id: key.into(), ..typed }
}

fn object(shape: &'static Struct) -> BoxedStrategy<String> {
    let members: Vec<_> = shape.members.iter().map(member).collect();
    let chances = (any::<u64>(), any::<bool>(), prop::bool::weighted(0.8));
    let written = (members, chances).prop_perturb(|(mut members, (kept, whole, in_order)), mut random| {
        // Half of the objects are whole; of the others any member may be missing.
        let mut bit = 0..64;
        members.retain(|_| whole || bit.next().is_none_or(|bit| kept >> bit & 1 == 1));
        // In the model's order all objects of a document are about as often as not.
        for index in (1..members.len()).rev().filter(|_| !in_order) {
            members.swap(index, random.random_range(0..=index));
        }
        format!("{{{}}}", members.join(","))
    });
    written.boxed()
}

/// A name and a value, with or without white space, sometimes `null`.
fn member(member: &'static Member) -> BoxedStrategy<String> {
    let name = quoted(member.json_name);
    let value = prop_oneof![12 => value(&member.kind), 1 => Just("null".into())];
    let colon = select(vec![":", " : ", ":\n\t"]);
    (colon, value).prop_map(move |(colon, value)| format!("{name}{colon}{value}")).boxed()
}

fn value(kind: &'static Kind) -> BoxedStrategy<String> {
    match kind {
        Kind::Bool => any::<bool>().prop_map(|value| value.to_string()).boxed(),
        Kind::Int => int().prop_map(|value| value.to_string()).boxed(),
        Kind::Float => (f64::NORMAL | f64::ZERO).prop_map(|value| format!("{value:?}")).boxed(),
        Kind::String => string(),
        Kind::Struct(shape) => object(shape),
        Kind::Slice(element) => list(value(element)),
    }
}

/// Elements are never `null`, which the typed model refuses.
fn list(element: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let few = proptest::collection::vec(element.clone(), 0..5);
    // More than 127 make the count longer than a byte.
    let many = (element, 120..140_usize).prop_map(|(element, count)| vec![element; count]);
    prop_oneof![40 => few, 1 => many].prop_map(|elements| format!("[{}]", elements.join(", "))).boxed()
}

fn int() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -200..200_i64, Just(0), Just(i64::MIN), Just(i64::MAX)]
}

/// Any text, escaped as serde escapes it or with all of it escaped.
fn string() -> BoxedStrategy<String> {
    let any_text = proptest::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter);
    let plain = prop_oneof!["[a-zA-Z0-9 ]{0,20}", "[а-я \"\\\\\n]{0,9}", any_text, "[a-z]{120,300}"];
    (plain, any::<bool>()).prop_map(|(text, all)| if all { escaped(&text) } else { quoted(&text) }).boxed()
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn escaped(text: &str) -> String {
    let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{units}\"")
}
