//! Malicious rows that no writer produces.

use std::sync::Arc;
use std::time::{Duration, Instant};

use order::{Layouts, RowError, RowReader};

use crate::corpus::{row, show, show_alone};
use crate::shape;

const INT: i64 = 2;
const STRING: i64 = 6;
const INTERFACE: i64 = 8;
/// The first type id that a writer assigns.
const FIRST: i64 = 64;

fn uint(out: &mut Vec<u8>, number: u64) {
    if number < 0x80 {
        out.push(number as u8);
    } else {
        out.push(0xf8);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn int(out: &mut Vec<u8>, number: i64) {
    uint(out, ((number << 1) ^ (number >> 63)) as u64);
}

fn message(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    uint(&mut out, content.len() as u64);
    out.extend_from_slice(content);
    out
}

/// A descriptor: `variant` is the field number in Go's `wireType`; `rest` follows its name and id.
fn descriptor(id: i64, variant: u64, rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    int(&mut out, -id);
    uint(&mut out, variant + 1);
    out.extend_from_slice(&[1, 2]);
    int(&mut out, id);
    out.push(0);
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 0]);
    message(&out)
}

fn structure(id: i64, fields: &[(&str, i64)]) -> Vec<u8> {
    let mut rest = vec![1];
    uint(&mut rest, fields.len() as u64);
    for (name, type_id) in fields {
        rest.push(1);
        uint(&mut rest, name.len() as u64);
        rest.extend_from_slice(name.as_bytes());
        rest.push(1);
        int(&mut rest, *type_id);
        rest.push(0);
    }
    descriptor(id, 2, &rest)
}

fn slice(id: i64, element: i64) -> Vec<u8> {
    let mut rest = vec![1];
    int(&mut rest, element);
    descriptor(id, 1, &rest)
}

fn map(id: i64, key: i64, element: i64) -> Vec<u8> {
    let mut rest = vec![1];
    int(&mut rest, key);
    rest.push(1);
    int(&mut rest, element);
    descriptor(id, 3, &rest)
}

/// A row whose value has the type [`FIRST`].
fn hostile(descriptors: impl IntoIterator<Item = Vec<u8>>, value: &[u8]) -> Vec<u8> {
    of_type(FIRST, descriptors, value)
}

fn of_type(type_id: i64, descriptors: impl IntoIterator<Item = Vec<u8>>, value: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = descriptors.into_iter().flatten().collect();
    let mut content = Vec::new();
    int(&mut content, type_id);
    content.extend_from_slice(value);
    out.extend_from_slice(&message(&content));
    out
}

/// The uid as the second field, the first left out.
const UID: &[u8] = &[2, 1, b'u', 0];

fn root() -> Vec<u8> {
    structure(FIRST, &[("Extra", FIRST + 1), ("OrderUid", STRING)])
}

fn shows_the_uid(row: &[u8]) {
    let shown = show_alone(row).unwrap();
    assert!(shown.starts_with(r#"{"order_uid":"u","#), "{shown}");
}

#[test]
fn rows_made_by_hand_are_read() {
    shows_the_uid(&hostile([root(), slice(FIRST + 1, INT)], UID));
}

/// Equal descriptors do not imply equal types of the value.
#[test]
fn two_types_of_the_same_descriptors_are_told_apart() {
    let types = [structure(FIRST, &[("OrderUid", STRING)]), structure(FIRST + 1, &[("Entry", STRING)])];
    let layouts = Arc::new(Layouts::new(shape()).unwrap());
    let mut reader = RowReader::new(layouts.clone());
    for (type_id, shown) in
        [(FIRST, r#""order_uid":"u""#), (FIRST + 1, r#""entry":"u""#), (FIRST, r#""order_uid":"u""#)]
    {
        let row = of_type(type_id, types.clone(), &[1, 1, b'u', 0]);
        assert!(show(&layouts, &mut reader, &row).unwrap().contains(shown));
    }
}

#[test]
fn types_that_double_at_each_step_are_read_once() {
    let maps = (1..60).map(|step| map(FIRST + step, FIRST + step + 1, FIRST + step + 1));
    let row = hostile([root()].into_iter().chain(maps).chain([slice(FIRST + 60, INT)]), UID);
    shows_the_uid(&row);
}

#[test]
fn types_of_themselves_are_read() {
    shows_the_uid(&hostile([root(), slice(FIRST + 1, FIRST + 1)], UID));
    shows_the_uid(&hostile([root(), map(FIRST + 1, FIRST + 1, FIRST + 1)], UID));
    let own = structure(FIRST, &[("Extra", FIRST), ("OrderUid", STRING)]);
    shows_the_uid(&hostile([own], &[1, 0, 1, 1, b'u', 0]));
    let items = structure(FIRST, &[("Items", FIRST + 1), ("OrderUid", STRING)]);
    shows_the_uid(&hostile([items, slice(FIRST + 1, FIRST)], UID));
}

/// Long chains of descriptors must not recurse on the stack.
#[test]
fn chains_of_types_are_refused_or_read() {
    let length = 100_000;
    let structs = (1..length).map(|step| structure(FIRST + step, &[("Next", FIRST + step + 1)]));
    let row = hostile([root()].into_iter().chain(structs).chain([slice(FIRST + length, INT)]), UID);
    drop(show_alone(&row));
    let slices = (1..length).map(|step| slice(FIRST + step, FIRST + step + 1));
    let row = hostile([root()].into_iter().chain(slices).chain([slice(FIRST + length, INT)]), UID);
    drop(show_alone(&row));
}

#[test]
fn values_nested_deep_are_refused_or_read() {
    let list = structure(FIRST + 1, &[("Next", FIRST + 1)]);
    for depth in [1, 50, 1_000, 200_000] {
        let mut value = vec![1; depth];
        value.resize(depth * 2, 0);
        value.extend_from_slice(&[1, 1, b'u', 0]);
        let shown = show_alone(&hostile([root(), list.clone()], &value));
        assert!(shown.is_ok() || depth > 100, "depth {depth}");
    }
    let mut value = vec![1];
    value.resize(200_000, 1);
    drop(show_alone(&hostile([root(), slice(FIRST + 1, FIRST + 1)], &value)));
}

/// `gobwire` skips interfaces, with its own depth limit.
#[test]
fn interfaces_nested_deep_are_refused_or_read() {
    let any = structure(FIRST, &[("Extra", INTERFACE), ("OrderUid", STRING)]);
    let mut nested = vec![0];
    for depth in 1..=3_000 {
        let mut held = vec![0, 1];
        held.append(&mut nested);
        nested = vec![14];
        nested.extend_from_slice(b"[]interface {}");
        int(&mut nested, FIRST + 1);
        nested.append(&mut message(&held));
        if depth == 20 || depth % 500 == 0 {
            let value = [&[1], &nested[..], &[1, 1, b'u', 0]].concat();
            let shown = show_alone(&hostile([any.clone(), slice(FIRST + 1, INTERFACE)], &value));
            assert!(shown.is_ok() || depth > 100, "depth {depth}: {shown:?}");
        }
    }
}

#[test]
fn counts_that_nothing_follows_are_refused_at_once() {
    let start = Instant::now();
    for count in [4_u64, 1 << 20, 1 << 40, 1 << 62, u64::MAX] {
        let mut value = vec![1];
        uint(&mut value, count);
        for row in [
            hostile([root(), slice(FIRST + 1, INT)], &value),
            hostile([root(), map(FIRST + 1, INT, INT)], &value),
            hostile([root(), slice(FIRST + 1, FIRST + 2), structure(FIRST + 2, &[])], &value),
            hostile([root(), slice(FIRST + 1, STRING)], &value),
            hostile([structure(FIRST, &[("OrderUid", STRING)])], &value),
            hostile([structure(FIRST, &[("Items", FIRST + 1)]), slice(FIRST + 1, FIRST)], &value),
        ] {
            assert!(matches!(show_alone(&row), Err(RowError::Truncated)), "{count}");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_field_twice_is_refused() {
    let twice = structure(FIRST, &[("OrderUid", STRING), ("OrderUid", STRING)]);
    assert!(show_alone(&hostile([twice], &[1, 1, b'a', 1, 1, b'b', 0])).is_err());
    // Members that the model lacks may repeat.
    let unknown = structure(FIRST, &[("A", STRING), ("A", STRING), ("OrderUid", STRING)]);
    shows_the_uid(&hostile([unknown], &[1, 1, b'a', 1, 1, b'b', 1, 1, b'u', 0]));
}

#[test]
fn fields_beyond_the_last_are_refused() {
    for value in
        [&[3, 1, b'u', 0][..], &[2, 1, b'u', 1, 0], &[0xf8, 255, 255, 255, 255, 255, 255, 255, 255, 0]]
    {
        let shown = show_alone(&hostile([root(), slice(FIRST + 1, INT)], value));
        assert!(matches!(shown, Err(RowError::UnknownField)), "{shown:?}");
    }
}

#[test]
fn types_that_are_not_described_are_refused() {
    assert!(matches!(show_alone(&hostile([root()], UID)), Err(RowError::Type(_))));
    assert!(show_alone(&hostile([], UID)).is_err());
    let twice = [root(), slice(FIRST + 1, INT), slice(FIRST + 1, INT)];
    assert!(show_alone(&hostile(twice, UID)).is_err());
}

/// Huge descriptors must not fill memory: such a layout is not cached, and its rows are still read.
#[test]
fn large_descriptors_are_read() {
    let layouts = Arc::new(Layouts::new(shape()).unwrap());
    let mut reader = RowReader::new(layouts.clone());
    for number in 0..5 {
        let types =
            (2..2_000).map(|step| structure(FIRST + step, &[(if number % 2 == 0 { "A" } else { "B" }, INT)]));
        let row = hostile([root(), slice(FIRST + 1, INT)].into_iter().chain(types), UID);
        assert!(show(&layouts, &mut reader, &row).unwrap().starts_with(r#"{"order_uid":"u","#));
    }
    assert!(show(&layouts, &mut reader, row("seed/sample")).is_ok());
}

/// Row errors are logged, so they must not quote content.
#[test]
fn an_error_quotes_no_text_of_the_row() {
    const SECRETS: [&str; 4] = ["Mascaras", "Test Test", "b563feb7", "WBILMTEST"];
    let layouts = Arc::new(Layouts::new(shape()).unwrap());
    let mut reader = RowReader::new(layouts.clone());
    for name in ["seed/sample", "interfaces in front/sample", "extras inside/filled"] {
        for at in 0..row(name).len() {
            let mut row = row(name).to_vec();
            row[at] ^= 0x55;
            let Err(error) = show(&layouts, &mut reader, &row) else { continue };
            let text = format!("{error} {error:?}");
            assert!(!SECRETS.iter().any(|secret| text.contains(secret)), "{text}");
        }
    }
}
