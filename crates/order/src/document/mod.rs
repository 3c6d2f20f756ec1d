//! Bodies of `json` and `jsonb` rows: the document itself.
//!
//! ```text
//!            intake                                    table                          memory and answer
//! json    payload ─────────────────────────────── the same bytes ─────────────────── the same bytes
//! jsonb   payload ── canonical ── canonical text ── jsonb ── its text ── check ───── canonical text
//! ```
//!
//! The canonical form is what PostgreSQL prints for a `jsonb`, without its spaces. So intake and fill produce the same
//! bytes, and the fill, which reads millions of rows, only removes spaces.
//!
//! The model only checks a document: the intake refuses a member of another type, and a row with such a member can't be
//! decoded.

pub(crate) mod by_name;
pub(crate) mod canonical;
pub(crate) mod row_check;
mod number;
pub(crate) mod plain;
mod repeated;
mod json_tokenizer;
pub(crate) mod search;
pub(crate) mod survey;

use model::shape::{Kind, Struct};

use self::json_tokenizer::{Scanner, unescaped};
use crate::RowError;
use crate::json_writer;

/// Appends the value of the root's member `index` as text: a string unchanged, a number as gob rows show it; nothing if
/// missing or `null`.
pub(crate) fn write_member(
    text: &str,
    shape: &Struct,
    index: usize,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    let kind = shape.members.get(index).map_or(&Kind::String, |member| &member.kind);
    search::values(text, shape, &[index], kind, &mut Vec::new(), &mut |value| out.extend_from_slice(value))
}

/// Appends a member's value as it is in the document; `null` if missing.
pub(crate) fn write_member_json(
    text: &str,
    shape: &Struct,
    index: usize,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    let values = search::raw_values(text, shape, &[index])?;
    out.extend_from_slice(values.last().unwrap_or(&"null").as_bytes());
    Ok(())
}

/// As [`write_member`], for the value that starts at `start`.
pub(crate) fn write_value_at(
    text: &str,
    kind: &Kind,
    start: Option<usize>,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    let value = match start {
        None => None,
        Some(start) => Some(text.get(start..).and_then(|text| Scanner::new(text).value()).ok_or(MALFORMED)?),
    };
    write_text(value, kind, out)
}

const MALFORMED: RowError = RowError::NotJson;

fn write_text(value: Option<&str>, kind: &Kind, out: &mut Vec<u8>) -> Result<(), RowError> {
    let Some(value) = value.filter(|value| *value != "null") else { return Ok(()) };
    match kind {
        Kind::String => {
            let raw = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).ok_or(MALFORMED)?;
            out.extend_from_slice(unescaped(raw).as_bytes());
        }
        Kind::Int => {
            let number: i64 = value.parse().map_err(|_| MALFORMED)?;
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        Kind::Float => {
            let number: f64 = value.parse().map_err(|_| MALFORMED)?;
            // Zero has no sign, as in gob rows.
            json_writer::float(if number == 0.0 { 0.0 } else { number }, out);
        }
        Kind::Bool | Kind::Struct(_) | Kind::Slice(_) => out.extend_from_slice(value.as_bytes()),
    }
    Ok(())
}
