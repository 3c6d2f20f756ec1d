//! Properties of any document and any row.

use std::sync::{Arc, LazyLock};

use crate::shape;
use crate::typed::RawOrderData;
use gobwire::{Encoder, StreamDecoder};
use order::{Body, Key, Layouts, Order, Parser, RowReader, searchable};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use crate::corpus::{self, LINES, is_as_go_says, show, show_alone};
use crate::documents::{document, typed};

const KEY: &str = "1700000000123456789-42";

static LAYOUTS: LazyLock<Arc<Layouts>> = LazyLock::new(|| Arc::new(Layouts::new(shape()).unwrap()));

fn parse(document: &str) -> Order {
    Parser::new(shape()).parse(document.as_bytes(), KEY).unwrap()
}

fn row(order: &Order) -> Vec<u8> {
    let mut row = Vec::new();
    LAYOUTS.write_row(order, &mut row);
    row
}

fn json(body: &Body) -> String {
    let mut out = Vec::new();
    LAYOUTS.write_json(body, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Whether `text` is the member `index` as text, according to serde.
fn is_member(expected: &Value, index: usize, text: &[u8]) -> bool {
    let text = std::str::from_utf8(text).unwrap();
    match &expected[shape().members[index].json_name] {
        Value::String(string) => text == string,
        other => serde_json::from_str::<Value>(text).is_ok_and(|value| value == *other),
    }
}

fn shows_members(body: &Body, typed: &RawOrderData) -> Result<(), TestCaseError> {
    let expected = serde_json::to_value(typed).unwrap();
    for index in 0..shape().members.len() {
        let mut text = Vec::new();
        LAYOUTS.write_member(body, index, &mut text).unwrap();
        prop_assert!(is_member(&expected, index, &text), "member {index}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_body_is_shown_as_serde_writes_the_typed_model(document in document()) {
        let typed = typed(&document, KEY);
        let order = parse(&document);
        prop_assert_eq!(json(order.body()), serde_json::to_string(&typed).unwrap());
    }

    #[test]
    fn a_row_is_what_gobwire_writes_of_the_typed_model(document in document()) {
        let typed = typed(&document, KEY);
        let row = row(&parse(&document));
        prop_assert_eq!(&row, &Encoder::new().encode(&typed).unwrap());
        prop_assert_eq!(StreamDecoder::new(&row[..]).decode::<RawOrderData>().unwrap(), Some(typed));
    }

    #[test]
    fn an_order_has_one_form_before_and_after_a_restart(document in document()) {
        let order = parse(&document);
        let mut reader = reader_of_ours();
        let after = reader.read(KEY, &row(&order)).unwrap();
        prop_assert_eq!(json(order.body()), json(&after));
        prop_assert!(*order.body() == after);
    }

    #[test]
    fn members_are_what_serde_makes_of_them(document in document()) {
        let typed = typed(&document, KEY);
        let order = parse(&document);
        let mut reader = reader_of_ours();
        shows_members(order.body(), &typed)?;
        let body = reader.read("1-1", &row(&order)).unwrap();
        shows_members(&body, &typed)?;
    }

    /// A response of one service is a valid payload for another.
    #[test]
    fn what_is_shown_can_be_taken_in_again(document in document()) {
        let shown = json(parse(&document).body());
        prop_assert_eq!(&shown, &json(parse(&shown).body()));
    }

    /// A parser is reused: the previous document leaves no state, whether it was accepted or refused.
    #[test]
    fn a_parser_forgets_what_it_parsed(documents in prop::collection::vec((document(), any::<Index>()), 1..6)) {
        let mut parser = Parser::checking(shape(), &["order_uid".to_string()], false).unwrap();
        for (document, cut) in documents {
            let cut = cut.index(document.len());
            prop_assert!(parser.parse(&document.as_bytes()[..cut], KEY).is_err());
            let alone = Parser::checking(shape(), &["order_uid".to_string()], false).unwrap().parse(document.as_bytes(), KEY);
            prop_assert_eq!(parser.parse(document.as_bytes(), KEY), alone);
        }
    }

    #[test]
    fn random_payloads_are_refused_or_taken(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(Parser::new(shape()).parse(&bytes, KEY));
    }

    #[test]
    fn mutated_documents_are_taken_as_serde_takes_them(document in document(), changes in changes()) {
        let mut bytes = document.into_bytes();
        change(&mut bytes, &changes);
        // serde matches names case-sensitively.
        bytes.make_ascii_lowercase();
        let taken = Parser::new(shape()).parse(&bytes, KEY);
        // serde refuses repeated members and accepts an array for an object; such documents are not compared.
        if let (Ok(typed), Ok(order)) = (serde_json::from_slice::<RawOrderData>(&bytes), &taken) {
            prop_assert_eq!(json(order.body()), serde_json::to_string(&typed).unwrap());
        }
    }

    #[test]
    fn keys_are_in_the_order_of_the_stream(time in 1_000_000_000_000_000_000..=i64::MAX, later in 1..1_000_000_i64, sequence: u64) {
        let later = time.saturating_add(later);
        prop_assume!(later > time);
        prop_assert!(Key::from_stream(time, u64::MAX) < Key::from_stream(later, sequence));
        prop_assert!(Key::from(time.to_string()) < Key::from_stream(time, sequence));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn random_rows_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(show(&LAYOUTS, &mut reader_of_ours(), &bytes));
    }

    #[test]
    fn mutated_rows_are_refused_or_shown_as_gobwire_reads_them(line: Index, changes in changes()) {
        let mut row = line.get(&LINES[..]).row.clone();
        change(&mut row, &changes);
        let members: Vec<usize> = (0..shape().members.len()).collect();
        let mut reader = RowReader::noting(MUTATED.clone(), &members);
        let Ok(shown) = show(&MUTATED, &mut reader, &row) else { return Ok(()) };
        let typed: RawOrderData = serde_json::from_str(&shown).unwrap();
        prop_assert_eq!(&serde_json::to_string(&typed).unwrap(), &shown);
        // Offsets of the previous row must not matter.
        reader.read("1-1", corpus::row("seed/sample")).unwrap();
        let body = reader.read("1-1", &row).unwrap();
        for (path, names) in searchable(shape(), &PATHS.map(str::to_owned)).unwrap().iter().zip(PATHS) {
            let nth = path.root();
            let (mut looked_for, mut noted) = (Vec::new(), Vec::new());
            let text = |text: &[u8]| String::from_utf8(text.to_owned()).unwrap();
            MUTATED.values(&body, path, &mut Vec::new(), &mut |value| looked_for.push(text(value))).unwrap();
            let each = &mut |value: &[u8]| noted.push(text(value));
            reader.noted_values(&body, nth, path, &mut Vec::new(), each).unwrap();
            prop_assert_eq!(&noted, &looked_for);
            let document: Value = serde_json::from_str(&shown).unwrap();
            let mut expected = Vec::new();
            values_at(&document, &names.split('.').collect::<Vec<_>>(), &mut expected);
            prop_assert_eq!(looked_for, expected, "{}", names);
        }
        for member in members {
            let (mut looked_for, mut noted) = (Vec::new(), Vec::new());
            MUTATED.write_member(&body, member, &mut looked_for).unwrap();
            reader.write_noted(&body, member, &mut noted).unwrap();
            prop_assert_eq!(noted, looked_for);
        }
        if let Ok(Some(typed)) = StreamDecoder::new(&row[..]).decode::<RawOrderData>() {
            prop_assert_eq!(serde_json::to_string(&typed).unwrap(), shown);
        }
    }
}

/// Members of every depth and kind.
const PATHS: [&str; 7] = [
    "order_uid",
    "sm_id",
    "delivery.email",
    "payment.amount",
    "payment.provider",
    "items.nm_id",
    "items.name",
];

/// The values at a path of a document, as text.
fn values_at(value: &Value, names: &[&str], found: &mut Vec<String>) {
    match (value, names) {
        (Value::Array(elements), _) => elements.iter().for_each(|element| values_at(element, names, found)),
        (Value::Object(members), [name, rest @ ..]) => values_at(&members[*name], rest, found),
        (Value::String(text), []) => found.push(text.clone()),
        (other, _) => found.push(other.to_string()),
    }
}

/// Separate layouts for mutated rows, which use up the limit.
static MUTATED: LazyLock<Arc<Layouts>> = LazyLock::new(|| Arc::new(Layouts::new(shape()).unwrap()));

fn reader_of_ours() -> RowReader {
    RowReader::new(LAYOUTS.clone())
}

#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Repeat(Index, Index),
    Cut(Index),
    /// The end of another row.
    Splice(Index, Index, Index),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let byte = || prop_oneof![any::<u8>(), Just(0), Just(1), Just(0xff), Just(0x80), Just(0xf8)];
    let change = prop_oneof![
        6 => (any::<Index>(), byte()).prop_map(|(at, byte)| Change::Set(at, byte)),
        2 => (any::<Index>(), byte()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        2 => any::<Index>().prop_map(Change::Remove),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Change::Repeat(from, to)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => any::<(Index, Index, Index)>().prop_map(|(at, line, from)| Change::Splice(at, line, from)),
    ];
    prop::collection::vec(change, 1..4)
}

fn change(bytes: &mut Vec<u8>, changes: &[Change]) {
    for change in changes {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match change {
            Change::Set(at, byte) => bytes[at.index(length)] = *byte,
            Change::Insert(at, byte) => bytes.insert(at.index(length), *byte),
            Change::Remove(at) => drop(bytes.remove(at.index(length))),
            Change::Repeat(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                bytes.extend_from_within(from.min(to)..from.max(to));
            }
            Change::Cut(at) => bytes.truncate(at.index(length)),
            Change::Splice(at, line, from) => {
                let other = &line.get(&LINES[..]).row;
                bytes.truncate(at.index(length));
                bytes.extend_from_slice(&other[from.index(other.len().max(1)).min(other.len())..]);
            }
        }
    }
}

/// Renames the order's type in the descriptors to a name of the same length.
fn under_another_name(row: &[u8], number: usize) -> Vec<u8> {
    let name = b"RawOrderData";
    let at = row.windows(name.len()).position(|window| window == name).unwrap();
    let mut row = row.to_vec();
    row[at..at + name.len()].copy_from_slice(format!("Raw{number:09}").as_bytes());
    row
}

#[test]
fn rows_of_more_writers_than_are_remembered_are_read() {
    let layouts = Arc::new(Layouts::new(shape()).unwrap());
    let mut reader = RowReader::new(layouts.clone());
    let (by_name, seed) = (corpus::row("by name/sample"), corpus::row("seed/sample"));
    let expected = show(&layouts, &mut reader, by_name).unwrap();
    // Two passes: new writers, then known ones up to the limit, with rows of an earlier writer in between.
    for number in (0..1_500).chain(0..1_500) {
        let row = under_another_name(by_name, number);
        assert_eq!(show(&layouts, &mut reader, &row).unwrap(), expected, "{number}");
        assert_eq!(show(&layouts, &mut reader, by_name).unwrap(), expected);
    }
    assert_eq!(show(&layouts, &mut reader, seed).unwrap(), show_alone(seed).unwrap());
}

/// The result for a row does not depend on earlier rows.
#[test]
fn the_corpus_is_read_as_go_reads_it_when_no_more_writers_are_remembered() {
    let layouts = Arc::new(Layouts::new(shape()).unwrap());
    let mut reader = RowReader::new(layouts.clone());
    for number in 0..1_024 {
        let row = under_another_name(corpus::row("by name/sample"), number);
        show(&layouts, &mut reader, &row).unwrap();
    }
    for line in LINES.iter() {
        is_as_go_says(line, show(&layouts, &mut reader, &line.row));
    }
}

#[test]
fn layouts_are_shared_by_threads() {
    let layouts = Arc::new(Layouts::new(shape()).unwrap());
    let expected = show_alone(&LINES[0].row).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut reader = RowReader::new(layouts.clone());
                for number in 0..300 {
                    let row = under_another_name(&LINES[0].row, number);
                    assert_eq!(show(&layouts, &mut reader, &row).unwrap(), expected);
                }
            });
        }
    });
}
