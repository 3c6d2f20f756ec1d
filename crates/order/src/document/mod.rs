//! Bodies that are documents: what rows of `json` and `jsonb` hold, and so what memory holds of them.
//!
//! ```text
//!            intake                                    table                          memory and answer
//! json    payload ─────────────────────────────── the same bytes ─────────────────── the same bytes
//! jsonb   payload ── canonical ── canonical text ── jsonb ── its text ── unspaced ── canonical text
//! ```
//!
//! The canonical form is what PostgreSQL prints for a `jsonb`, without its blanks. So intake and fill arrive at the same
//! bytes, and the fill, which is of millions, has nothing to do but to leave the blanks out.
//!
//! The model only checks a document: a member of another type is refused at the intake, and makes a row undecodable.

pub(crate) mod canonical;
pub(crate) mod check;
mod number;
mod repeated;
mod scan;

use model::shape::{Kind, Struct};

use self::scan::{Scanner, unescaped};
use crate::RowError;
use crate::parse::name;
use crate::render;

/// Appends the text of a `jsonb` as PostgreSQL prints it, without the blanks that it puts behind colons and commas.
pub(crate) fn unspaced(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(quote) = memchr::memchr(b'"', rest.as_bytes()) {
        let (before, from_quote) = rest.split_at(quote);
        put_without_blanks(before, out);
        let mut scanner = Scanner::new(from_quote);
        // PostgreSQL closes what it opens.
        let end = scanner.string().map_or(from_quote.len(), |_| scanner.at());
        out.extend_from_slice(&from_quote.as_bytes()[..end]);
        rest = &from_quote[end..];
    }
    put_without_blanks(rest, out);
}

fn put_without_blanks(text: &str, out: &mut Vec<u8>) {
    match text {
        ": " => out.push(b':'),
        ", " => out.push(b','),
        _ => out.extend(text.bytes().filter(|&byte| byte != b' ')),
    }
}

/// Appends the value of the root's member `index` as text: a string as it is, a number as rows of gob show it; nothing
/// where it is missing or `null`.
pub(crate) fn write_member(
    text: &str,
    shape: &Struct,
    index: usize,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    let value = member(text, shape, index)?;
    write_text(value, &shape.members[index].kind, out)
}

/// Appends a member's value, as the document has it; `null` where it is missing.
pub(crate) fn write_member_json(
    text: &str,
    shape: &Struct,
    index: usize,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    let value = member(text, shape, index)?;
    out.extend_from_slice(value.unwrap_or("null").as_bytes());
    Ok(())
}

/// As [`write_member`], of the value that starts at `start`.
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

/// The value of a member of the root; `None` where it is missing or `null`. Of a name that is given more than once, the
/// last value counts, as with Go, which passes over `null`.
fn member<'t>(text: &'t str, shape: &Struct, index: usize) -> Result<Option<&'t str>, RowError> {
    let mut found = None;
    let mut scanner = Scanner::new(text);
    scanner.eat(b'{').ok_or(MALFORMED)?;
    let mut expected = 0;
    let mut is_first = true;
    while let Some(raw) = scanner.name(&mut is_first).ok_or(MALFORMED)? {
        let place = name::find(shape, expected, &unescaped(raw));
        expected = place.map_or(expected, |place| place + 1);
        let value = scanner.value().ok_or(MALFORMED)?;
        if place == Some(index) && value != "null" {
            found = Some(value);
        }
    }
    Ok(found)
}

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
            // No sign of a zero, as in rows of gob.
            render::float(if number == 0.0 { 0.0 } else { number }, out);
        }
        Kind::Bool | Kind::Struct(_) | Kind::Slice(_) => out.extend_from_slice(value.as_bytes()),
    }
    Ok(())
}
