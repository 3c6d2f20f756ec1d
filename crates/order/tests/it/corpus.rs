//! Rows that Go wrote, and how we decode them.

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use order::{Layouts, RowError, RowReader};
use serde_json::Value;

use crate::shape;

/// One row and the order that Go's own decoder reads from it; none where it can't be shown.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) row: Vec<u8>,
    pub(crate) order: Option<Value>,
}

pub(crate) static LINES: LazyLock<Vec<Line>> = LazyLock::new(|| parse(include_str!("../corpus/rows.jsonl")));

/// Reads what `corpus/main.go` writes.
pub(crate) fn parse(lines: &str) -> Vec<Line> {
    lines.lines().map(line).collect()
}

fn line(text: &str) -> Line {
    let mut value: Value = serde_json::from_str(text).unwrap();
    let row = value["row"].as_str().map(|row| BASE64_STANDARD.decode(row).unwrap()).unwrap_or_default();
    let order = Some(value["order"].take()).filter(|order| !order.is_null());
    Line { name: value["name"].as_str().unwrap().into(), row, order }
}

/// The row of that name.
pub(crate) fn row(name: &str) -> &'static [u8] {
    &LINES.iter().find(|line| line.name == name).unwrap().row
}

/// The JSON of a row, or why it can't be decoded. A row that is read can be shown.
pub(crate) fn show(layouts: &Layouts, reader: &mut RowReader, row: &[u8]) -> Result<String, RowError> {
    let body = reader.read("1-1", row)?;
    let mut out = Vec::new();
    layouts.write_json(&body, &mut out).expect("what is read can be shown");
    Ok(String::from_utf8(out).expect("what is shown is UTF-8"))
}

/// As [`show`], by a reader that has read nothing before.
pub(crate) fn show_alone(row: &[u8]) -> Result<String, RowError> {
    let layouts = Arc::new(Layouts::new(shape()).unwrap());
    show(&layouts, &mut RowReader::new(layouts.clone()), row)
}

/// Rows "beyond Go" are such as Go writes and fails to read again; they are read here as the row without what
/// Go stumbles over.
pub(crate) fn is_as_go_says(line: &Line, shown: Result<String, RowError>) {
    let shown = shown.map(|json| serde_json::from_str::<Value>(&json).unwrap());
    if let Some(other) = line.name.strip_prefix("beyond Go/") {
        let other = LINES.iter().find(|line| line.name == other).unwrap();
        assert_eq!(shown.ok(), other.order, "{}", line.name);
        return;
    }
    match (&line.order, &shown) {
        (None, Ok(_)) => panic!("{} is read, and Go refuses it", line.name),
        (Some(_), Err(error)) => panic!("{} is not read: {error}", line.name),
        (Some(order), Ok(shown)) => assert_eq!(shown, order, "{}", line.name),
        (None, Err(_)) => {}
    }
}
