//! Finds the values at a path of a document.

use model::shape::{Kind, Struct};

use super::json_tokenizer::Scanner;
use super::{MALFORMED, write_text};
use crate::RowError;
use crate::member_name;

/// Passes each value at a path as text, as gob rows show it; missing and `null` values are skipped. `kind` is the kind
/// of the path's last member.
pub(crate) fn values(
    text: &str,
    shape: &Struct,
    steps: &[usize],
    kind: &Kind,
    room: &mut Vec<u8>,
    each: &mut dyn FnMut(&[u8]),
) -> Result<(), RowError> {
    for value in raw_values(text, shape, steps)? {
        room.clear();
        write_text(Some(value), kind, room)?;
        each(room);
    }
    Ok(())
}

/// The same, as raw JSON.
pub(super) fn raw_values<'t>(
    text: &'t str,
    shape: &Struct,
    steps: &[usize],
) -> Result<Vec<&'t str>, RowError> {
    let mut found = Vec::new();
    of_object(text, shape, steps, &mut found)?;
    Ok(found)
}

/// Calls `member` as [`check`](super::row_check::check) does, without checking the values.
pub(crate) fn roots(
    text: &str,
    shape: &Struct,
    mut member: impl FnMut(usize, usize),
) -> Result<(), RowError> {
    let mut scanner = Scanner::new(text);
    scanner.eat(b'{').ok_or(MALFORMED)?;
    let (mut expected, mut is_first) = (0, true);
    while let Some(name) = scanner.name(&mut is_first).ok_or(MALFORMED)? {
        let found = member_name::find(shape, expected, &name);
        expected = found.map_or(expected, |index| index + 1);
        let first = scanner.peek();
        if let Some(index) = found.filter(|_| first != Some(b'n')) {
            member(index, scanner.at());
        }
        scanner.value().ok_or(MALFORMED)?;
    }
    Ok(())
}

/// The value that starts at `start`, unless it is `null`.
pub(crate) fn value_at(text: &str, start: usize) -> Result<Option<&str>, RowError> {
    let value = text.get(start..).and_then(|text| Scanner::new(text).value()).ok_or(MALFORMED)?;
    Ok(Some(value).filter(|value| *value != "null"))
}

/// Values below an object's member. If a name is repeated, the last value counts: Go merges objects.
fn of_object<'t>(
    text: &'t str,
    shape: &Struct,
    steps: &[usize],
    found: &mut Vec<&'t str>,
) -> Result<(), RowError> {
    let Some((&wanted, rest)) = steps.split_first() else { return Ok(()) };
    let Some(member) = shape.members.get(wanted) else { return Ok(()) };
    let start = found.len();
    let mut scanner = Scanner::new(text);
    scanner.eat(b'{').ok_or(MALFORMED)?;
    let (mut expected, mut is_first) = (0, true);
    while let Some(name) = scanner.name(&mut is_first).ok_or(MALFORMED)? {
        let index = member_name::find(shape, expected, &name);
        expected = index.map_or(expected, |index| index + 1);
        let value = scanner.value().ok_or(MALFORMED)?;
        if index == Some(wanted) && value != "null" {
            let before = found.len();
            of_value(value, &member.kind, rest, found)?;
            if found.len() > before || matches!(member.kind, Kind::Slice(_)) {
                found.drain(start..before);
            }
        }
    }
    Ok(())
}

fn of_value<'t>(
    value: &'t str,
    kind: &Kind,
    rest: &[usize],
    found: &mut Vec<&'t str>,
) -> Result<(), RowError> {
    match kind {
        _ if value == "null" => {}
        Kind::Struct(shape) => of_object(value, shape, rest, found)?,
        Kind::Slice(element) => {
            let mut scanner = Scanner::new(value);
            scanner.eat(b'[').ok_or(MALFORMED)?;
            while scanner.peek().ok_or(MALFORMED)? != b']' {
                of_value(scanner.value().ok_or(MALFORMED)?, element, rest, found)?;
                if scanner.peek() == Some(b',') {
                    scanner.eat(b',').ok_or(MALFORMED)?;
                }
            }
        }
        _ => found.push(value),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use model::{Model, Source};

    use super::*;

    #[test]
    fn values_at_a_path_are_those_that_the_document_has() {
        let json =
            r#"{"a": "x", "n": 1, "to": {"city": "c", "w": 1.5}, "items": [{"id": 1, "tags": ["t"]}]}"#;
        let shape = Model::new("a", &[Source { name: "a.json", json }]).unwrap();
        let shape = shape.shape();
        let at = |document: &str, steps: &[usize], kind: &Kind| {
            let mut found = Vec::new();
            let mut each = |value: &[u8]| found.push(String::from_utf8(value.to_owned()).unwrap());
            values(document, shape, steps, kind, &mut Vec::new(), &mut each).unwrap();
            found.join(" ")
        };
        for (document, steps, kind, found) in [
            (r#"{"a": "x\ny"}"#, &[0][..], Kind::String, "x\ny"),
            (r#"{"A": "x"}"#, &[0], Kind::String, "x"),
            (r#"{"a": null}"#, &[0], Kind::String, ""),
            (r#"{"n": 1, "n": null, "n": 2}"#, &[1], Kind::Int, "2"),
            (r#"{"n": 1, "n": null}"#, &[1], Kind::Int, "1"),
            (r#"{"to": {"city": "c"}, "to": {"w": -0.0}}"#, &[2, 0], Kind::String, "c"),
            (r#"{"to": {"city": "c"}, "to": {"w": -0.0}}"#, &[2, 1], Kind::Float, "0.0"),
            (r#"{"to": {"w": 12}, "to": null}"#, &[2, 1], Kind::Float, "12.0"),
            (r#"{"items": [{"id": 1}, null, {"x": 3}, { "id" : 2 } ]}"#, &[3, 0], Kind::Int, "1 2"),
            (r#"{"items": [{"id": 1}], "items": []}"#, &[3, 0], Kind::Int, ""),
            (
                r#"{"items": [{"tags": ["a", "b"]}, {"tags": []}, {"tags": ["]"]}]}"#,
                &[3, 1],
                Kind::String,
                "a b ]",
            ),
            ("{}", &[3, 1], Kind::String, ""),
        ] {
            assert_eq!(at(document, steps, &kind), found, "{document}");
        }
    }
}
