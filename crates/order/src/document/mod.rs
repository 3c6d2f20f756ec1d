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

pub(crate) mod by_name;
pub(crate) mod canonical;
pub(crate) mod check;
mod number;
mod repeated;
mod scan;
pub(crate) mod search;

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
    for (value, kind) in values(text, shape, &[index])? {
        write_text(Some(value), kind, out)?;
    }
    Ok(())
}

/// Appends a member's value, as the document has it; `null` where it is missing.
pub(crate) fn write_member_json(
    text: &str,
    shape: &Struct,
    index: usize,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    let values = values(text, shape, &[index])?;
    out.extend_from_slice(values.last().map_or("null", |(value, _)| value).as_bytes());
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

/// The values at a path of members, by their places in the shape, each with its kind: through arrays those of each element.
/// None where it leads to nothing, or to `null`.
pub(crate) fn values<'t, 's>(
    text: &'t str,
    shape: &'s Struct,
    steps: &[usize],
) -> Result<Vec<(&'t str, &'s Kind)>, RowError> {
    let mut scanner = Scanner::new(text);
    in_object(&mut scanner, shape, steps).ok_or(MALFORMED)
}

type Found<'t, 's> = Vec<(&'t str, &'s Kind)>;

/// Of a member that is given more than once the last value counts, as with Go, which passes over `null`, but for arrays.
fn in_object<'t, 's>(scanner: &mut Scanner<'t>, shape: &'s Struct, steps: &[usize]) -> Option<Found<'t, 's>> {
    let (wanted, rest) = steps.split_first()?;
    let mut found = Vec::new();
    scanner.eat(b'{')?;
    let (mut expected, mut is_first) = (0, true);
    while let Some(raw) = scanner.name(&mut is_first)? {
        let place = name::find(shape, expected, &unescaped(raw));
        expected = place.map_or(expected, |place| place + 1);
        let value = scanner.value()?;
        if place == Some(*wanted) {
            let kind = &shape.members[*wanted].kind;
            let given = in_value(value, kind, rest)?;
            // A part of an object is given, or all of an array.
            if !given.is_empty() || matches!(kind, Kind::Slice(_)) {
                found = given;
            }
        }
    }
    Some(found)
}

fn in_value<'t, 's>(value: &'t str, kind: &'s Kind, steps: &[usize]) -> Option<Found<'t, 's>> {
    if value == "null" {
        return Some(Vec::new());
    }
    let mut scanner = Scanner::new(value);
    match kind {
        Kind::Struct(shape) if !steps.is_empty() => in_object(&mut scanner, shape, steps),
        Kind::Slice(element) => {
            let mut found = Vec::new();
            scanner.eat(b'[')?;
            while scanner.peek()? != b']' {
                found.extend(in_value(scanner.value()?, element, steps)?);
                if scanner.peek()? == b',' {
                    scanner.token()?;
                }
            }
            Some(found)
        }
        _ => Some(vec![(value, kind)]),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order_model::shape;

    #[test]
    fn values_are_found_at_paths_as_go_would_have_them() {
        fn place(shape: &Struct, name: &str) -> usize {
            shape.member(name).unwrap().0
        }
        let nested = |name: &str| match shape().member(name).unwrap().1.kind {
            Kind::Struct(shape) | Kind::Slice(&Kind::Struct(shape)) => shape,
            _ => shape(),
        };
        let found = |text: &str, path: [&'static str; 2]| {
            let steps = [place(shape(), path[0]), place(nested(path[0]), path[1])];
            let values = values(text, shape(), &steps).unwrap();
            values.iter().map(|(value, _)| (*value).to_owned()).collect::<Vec<_>>().join(" ")
        };
        for (text, path, expected) in [
            (r#"{"delivery":{"name":"a"}}"#, ["delivery", "name"], r#""a""#),
            (r#"{"delivery":{"name":null}}"#, ["delivery", "name"], ""),
            (r#"{"delivery":null,"name":"x"}"#, ["delivery", "name"], ""),
            (r#"{"Delivery":{"x":{"name":"no"},"NAME":"a"}}"#, ["delivery", "name"], r#""a""#),
            (r#"{"delivery":{"name":"a"},"delivery":{"city":"b"}}"#, ["delivery", "name"], r#""a""#),
            (r#"{"delivery":{"name":"a"},"delivery":{"name":"b"}}"#, ["delivery", "name"], r#""b""#),
            (r#"{"items":[{"nm_id":1},{"nm_id": 2 },null,{}]}"#, ["items", "nm_id"], "1 2"),
            (r#"{"items":[{"nm_id":1}],"items":null}"#, ["items", "nm_id"], ""),
            ("{ }", ["items", "nm_id"], ""),
        ] {
            assert_eq!(found(text, path), expected, "{text}");
        }
        assert!(values("{\"items\":[1", shape(), &[place(shape(), "items")]).is_err());
    }
}
