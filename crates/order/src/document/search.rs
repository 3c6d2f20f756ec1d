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
    of_objects(&[text], shape, steps, &mut found)?;
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

/// Values below the member of an object. `objects` are the values of a repeated member, or one: Go merges them.
fn of_objects<'t>(
    objects: &[&'t str],
    shape: &Struct,
    steps: &[usize],
    found: &mut Vec<&'t str>,
) -> Result<(), RowError> {
    let Some((&wanted, rest)) = steps.split_first() else { return Ok(()) };
    let Some(member) = shape.members.get(wanted) else { return Ok(()) };
    let mut values = Vec::new();
    for object in objects {
        let mut scanner = Scanner::new(object);
        scanner.eat(b'{').ok_or(MALFORMED)?;
        let (mut expected, mut is_first) = (0, true);
        while let Some(name) = scanner.name(&mut is_first).ok_or(MALFORMED)? {
            let index = member_name::find(shape, expected, &name);
            expected = index.map_or(expected, |index| index + 1);
            let value = scanner.value().ok_or(MALFORMED)?;
            if index == Some(wanted) {
                repeat(&mut values, value, &member.kind);
            }
        }
    }
    of_values(&values, &member.kind, rest, found)
}

/// Adds the next value of a repeated member. `null` empties an array, and changes nothing else.
fn repeat<'t>(values: &mut Vec<&'t str>, value: &'t str, kind: &Kind) {
    if value != "null" {
        values.push(value);
    } else if matches!(kind, Kind::Slice(_)) {
        values.clear();
    }
}

/// The values of a repeated member, or one: the last one counts, and objects and elements of arrays are merged.
fn of_values<'t>(
    values: &[&'t str],
    kind: &Kind,
    rest: &[usize],
    found: &mut Vec<&'t str>,
) -> Result<(), RowError> {
    match (kind, values) {
        (_, []) => {}
        (Kind::Struct(shape), _) => of_objects(values, shape, rest, found)?,
        (Kind::Slice(element), [array]) => each_element(array, |_, value| {
            if value == "null" { Ok(()) } else { of_values(&[value], element, rest, found) }
        })?,
        (Kind::Slice(element), arrays) => {
            for values in merged_elements(arrays, element)? {
                of_values(&values, element, rest, found)?;
            }
        }
        (_, [.., last]) => found.push(last),
    }
    Ok(())
}

/// The values of each element of a repeated array. Elements that a shorter array leaves out may come back in a longer
/// one after it, unless an array in between is empty, as `repeated::array` explains.
fn merged_elements<'t>(arrays: &[&'t str], element: &Kind) -> Result<Vec<Vec<&'t str>>, RowError> {
    let (mut elements, mut length) = (Vec::<Vec<_>>::new(), 0);
    for array in arrays {
        length = 0;
        each_element(array, |index, value| {
            length = index + 1;
            elements.resize_with(length.max(elements.len()), Vec::new);
            repeat(&mut elements[index], value, element);
            Ok(())
        })?;
        if length == 0 {
            elements.clear();
        }
    }
    elements.truncate(length);
    Ok(elements)
}

fn each_element<'t>(
    array: &'t str,
    mut each: impl FnMut(usize, &'t str) -> Result<(), RowError>,
) -> Result<(), RowError> {
    let mut scanner = Scanner::new(array);
    scanner.eat(b'[').ok_or(MALFORMED)?;
    let mut index = 0;
    while scanner.peek().ok_or(MALFORMED)? != b']' {
        each(index, scanner.value().ok_or(MALFORMED)?)?;
        index += 1;
        if scanner.peek() == Some(b',') {
            scanner.eat(b',').ok_or(MALFORMED)?;
        }
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
            (r#"{"items": [{"id": 1}], "items": null}"#, &[3, 0], Kind::Int, ""),
            (r#"{"items": [{"id": 1}, {"id": 2}], "items": [{"tags": []}]}"#, &[3, 0], Kind::Int, "1"),
            (
                r#"{"items": [{"id": 1}, {"id": 2}], "items": [{}], "items": [{}, {}]}"#,
                &[3, 0],
                Kind::Int,
                "1 2",
            ),
            (r#"{"items": [{"id": 1}], "items": [], "items": [{}]}"#, &[3, 0], Kind::Int, ""),
            (r#"{"items": [{"tags": ["a", "b"]}], "items": [{"tags": ["c"]}]}"#, &[3, 1], Kind::String, "c"),
            (r#"{"items": [{"tags": ["a"]}], "items": [{"tags": [null]}]}"#, &[3, 1], Kind::String, "a"),
            (r#"{"items": [{"tags": ["a"]}], "items": [{"tags": null}]}"#, &[3, 1], Kind::String, ""),
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
