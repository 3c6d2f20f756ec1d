//! Rows as Go writes and reads them.

use std::sync::Arc;

use crate::{sample, shape};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use order::{Key, Layouts, Parser, RowReader};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::corpus::{self, LINES, Line, is_as_go_says, row, show, show_alone};
use crate::documents::{document, typed};
use crate::go::{MODULE, SEED, go, run};

#[test]
fn the_corpus_has_all_kinds_of_rows() {
    assert!(LINES.len() > 250);
    assert!(LINES.iter().filter(|line| line.order.is_none()).count() > 50);
}

#[test]
fn each_row_is_read_as_go_reads_it() {
    for line in LINES.iter() {
        is_as_go_says(line, show_alone(&line.row));
    }
}

/// In any order, for the first time and again: the layout of one writer must not affect the rows of another.
#[test]
fn rows_of_all_writers_mixed_are_read_as_go_reads_them() {
    let layouts = Arc::new(Layouts::new(shape()).unwrap());
    let mut reader = RowReader::new(layouts.clone());
    for step in [1, LINES.len() - 1, 101, 101, 1] {
        for index in 0..LINES.len() {
            let line = &LINES[index * step % LINES.len()];
            is_as_go_says(line, show(&layouts, &mut reader, &line.row));
        }
    }
}

/// How much of a row Go needs.
fn needed(line: &Line) -> usize {
    match line.name.as_str() {
        "seed/two values" => row("seed/1 items").len(),
        "seed/bytes behind the value" => row("seed/sample").len(),
        _ => line.row.len(),
    }
}

#[test]
fn a_row_cut_at_any_byte_is_refused() {
    let layouts = Arc::new(Layouts::new(shape()).unwrap());
    let mut reader = RowReader::new(layouts.clone());
    for line in LINES.iter() {
        let needed = needed(line);
        for cut in 0..needed {
            let shown = show(&layouts, &mut reader, &line.row[..cut]);
            assert!(shown.is_err(), "{} is read when cut at byte {cut}", line.name);
        }
        for cut in needed..line.row.len() {
            is_as_go_says(line, show(&layouts, &mut reader, &line.row[..cut]));
        }
    }
}

/// A cached layout must not make truncated rows readable.
#[test]
fn a_row_cut_at_any_byte_is_refused_when_its_writer_is_known() {
    let layouts = Arc::new(Layouts::new(shape()).unwrap());
    let mut reader = RowReader::new(layouts.clone());
    for line in LINES.iter().filter(|line| line.order.is_some()) {
        drop(show(&layouts, &mut reader, &line.row));
        for cut in 0..needed(line) {
            let shown = show(&layouts, &mut reader, &line.row[..cut]);
            assert!(shown.is_err(), "{} is read when cut at byte {cut}", line.name);
        }
    }
}

#[test]
fn an_order_in_memory_is_shown_as_after_a_restart() {
    let layouts = Arc::new(Layouts::new(shape()).unwrap());
    let mut parser = Parser::new(shape());
    for line in LINES.iter() {
        let Some(order) = &line.order else { continue };
        let order = parser.parse(order.to_string().as_bytes(), "1-1").unwrap();
        let (mut row, mut memory) = (Vec::new(), Vec::new());
        layouts.write_row(&order, &mut row);
        let body = order.body().clone();
        layouts.write_json(&body, &mut memory).unwrap();
        assert_eq!(String::from_utf8(memory).unwrap(), show_alone(&row).unwrap(), "{}", line.name);
        is_as_go_says(line, show_alone(&row));
    }
}

/// A row of the Go service is rendered like ours, byte for byte, with members in the model's order.
#[test]
fn the_sample_is_shown_as_it_is_whoever_wrote_it() {
    for writer in ["seed", "by name", "by sample", "reversed", "other ids", "ids of two bytes"] {
        assert_eq!(show_alone(row(&format!("{writer}/sample"))).unwrap(), sample(), "{writer}");
    }
}

#[test]
fn the_key_in_a_row_is_no_part_of_a_body() {
    let mut with_key: RowReader = RowReader::new(Arc::new(Layouts::new(shape()).unwrap()));
    let key = b"1700000000123456789";
    assert!(row("seed/sample").windows(key.len()).any(|window| window == key));
    let body = with_key.read("1-1", row("seed/sample")).unwrap();
    assert!(body.len() < row("seed/sample").len() / 2, "a body of {} bytes", body.len());
    // Two bytes of layout, the key, and the end of a struct whose only fields are the two nested ones.
    assert!(with_key.read("", row("seed/key only")).unwrap().len() <= 9);
}

#[test]
fn go_reads_what_is_written_here() {
    let Some(go) = go() else { return };
    let layouts = Layouts::new(shape()).unwrap();
    let mut parser = Parser::new(shape());
    let mut runner = TestRunner::deterministic();
    let (mut input, mut expected) = (String::new(), Vec::new());
    for number in 0..500 {
        let document =
            if number == 0 { sample().into() } else { document().new_tree(&mut runner).unwrap().current() };
        let key = Key::from_stream(1_700_000_000_123_456_789, number);
        let order = parser.parse(document.as_bytes(), key.as_str()).unwrap();
        let mut row = Vec::new();
        layouts.write_row(&order, &mut row);
        input.push_str(&BASE64_STANDARD.encode(row));
        input.push('\n');
        let order = serde_json::to_value(typed(&document, key.as_str())).unwrap();
        expected.push(serde_json::json!({"Key": key.as_str(), "Order": order}));
    }
    let output = run(go, &[MODULE, SEED, ("decode.go", include_str!("decode.go"))], input);
    let read: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read.len(), expected.len());
    for (read, expected) in read.iter().zip(&expected) {
        assert_eq!(read, expected);
    }
}

/// The corpus equals what the installed Go writes.
#[test]
fn what_go_writes_is_read_here() {
    let Some(go) = go() else { return };
    let main = ("main.go", include_str!("../corpus/main.go"));
    let writers = ("writers.go", include_str!("../corpus/writers.go"));
    let lines = corpus::parse(&run(go, &[MODULE, SEED, main, writers], String::new()));
    assert!(lines.iter().map(|line| &line.name).eq(LINES.iter().map(|line| &line.name)));
    for line in &lines {
        is_as_go_says(line, show_alone(&line.row));
    }
}
