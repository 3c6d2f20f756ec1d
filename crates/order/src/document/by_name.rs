//! Finds values by a path of names, in documents of any shape.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::MALFORMED;
use super::json_tokenizer::{Scanner, unescaped};
use super::number;
use crate::RowError;

/// Maximum number of directly nested arrays on a path. Together with the short paths this bounds the recursion, however
/// deep a document is.
const MAX_NESTED_ARRAYS: usize = 4;

/// The values at a path, without missing ones and `null`. Arrays on the path contribute each element. If a name is
/// repeated, the last value counts.
pub(crate) fn values<'t>(text: &'t str, names: &[String]) -> Result<Vec<&'t str>, RowError> {
    let mut found = Vec::new();
    let value = Scanner::new(text).value().ok_or(MALFORMED)?;
    collect(value, names, 0, &mut found).ok_or(MALFORMED)?;
    Ok(found)
}

fn collect<'t>(value: &'t str, names: &[String], arrays: usize, found: &mut Vec<&'t str>) -> Option<()> {
    let mut scanner = Scanner::new(value);
    match (scanner.peek()?, names.split_first()) {
        (b'[', _) if arrays < MAX_NESTED_ARRAYS => {
            scanner.eat(b'[')?;
            while scanner.peek()? != b']' {
                collect(scanner.value()?, names, arrays + 1, found)?;
                if scanner.peek()? == b',' {
                    scanner.token()?;
                }
            }
        }
        (b'[', _) => {}
        (b'{', Some((wanted, rest))) => {
            let (mut last, mut is_first) = (None, true);
            scanner.eat(b'{')?;
            while let Some(name) = scanner.name(&mut is_first)? {
                let value = scanner.value()?;
                if name == wanted.as_str() {
                    last = Some(value);
                }
            }
            if let Some(value) = last {
                collect(value, rest, 0, found)?;
            }
        }
        (_, None) if value != "null" => found.push(value),
        _ => {}
    }
    Some(())
}

/// Passes each string, number and boolean at a path to `each`, as the text by which a search finds candidates: that of
/// [`by_value`].
pub(crate) fn texts(text: &str, names: &[String], each: &mut dyn FnMut(&[u8])) -> Result<(), RowError> {
    for value in values(text, names)? {
        match string(value)? {
            Some(string) => each(by_value(&string).as_bytes()),
            None if value.starts_with('{') => {}
            None => each(by_value(value).as_bytes()),
        }
    }
    Ok(())
}

/// Whether a path has a value: strings compare exactly, numbers by value.
pub(crate) fn has(text: &str, names: &[String], asked: &str) -> Result<bool, RowError> {
    for value in values(text, names)? {
        let is_equal = match string(value)? {
            Some(string) => string == asked,
            None => !value.starts_with('{') && by_value(value) == by_value(asked),
        };
        if is_equal {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The text of a value that is a string.
fn string(value: &str) -> Result<Option<Cow<'_, str>>, RowError> {
    if !value.starts_with('"') {
        return Ok(None);
    }
    let raw = value.get(1..value.len() - 1).ok_or(MALFORMED)?;
    Ok(Some(unescaped(raw)))
}

/// A text that is the same for all values that one query may find where no model declares the type: numbers, also as
/// strings, are the same however they are written.
pub(crate) fn by_value(text: &str) -> Cow<'_, str> {
    let begins_as_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if !begins_as_number || serde_json::from_str::<IgnoredAny>(text).is_err() || text.trim_ascii() != text {
        return Cow::Borrowed(text);
    }
    // Numbers that `numeric` can't hold are compared as text.
    let Ok(number) = number::canonical(text) else { return Cow::Borrowed(text) };
    if !number.contains('.') {
        return number;
    }
    Cow::Owned(number.trim_end_matches('0').trim_end_matches('.').to_owned())
}

/// Whether a path has a value other than `null`, `""`, `[]` and `{}`.
pub(crate) fn has_value(text: &str, names: &[String]) -> Result<bool, RowError> {
    let is_empty = |value: &str| {
        let mut scanner = Scanner::new(value);
        let begins = scanner.token();
        value == "\"\"" || (begins == Some(b'{') && scanner.peek() == Some(b'}'))
    };
    Ok(values(text, names)?.iter().any(|value| !is_empty(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, path: &[&str]) -> String {
        let names: Vec<_> = path.iter().map(|name| (*name).to_owned()).collect();
        values(text, &names).unwrap().join(" ")
    }

    #[test]
    fn values_are_found_by_their_names_at_any_depth() {
        for (text, path, expected) in [
            (r#"{"a":1,"b":{"a":2}}"#, &["a"][..], "1"),
            (r#"{"a":1,"b":{"a":2}}"#, &["b", "a"], "2"),
            (r#"{"a":1,"\u0061":2,"A":3}"#, &["a"], "2"),
            (r#"{"a":1,"a":null}"#, &["a"], ""),
            (r#"{"a":[{"b":1},{"b":[2,3]},{},null,4]}"#, &["a", "b"], "1 2 3"),
            (r#"{"a":[[[[1]]]]}"#, &["a"], "1"),
            (r#"{"a":[[[[[1]]]]]}"#, &["a"], ""),
            (r#"{"a":{"b":{}}}"#, &["a", "b"], "{}"),
            (r#"{"a":"x"}"#, &["a", "b"], ""),
            (r#" { "a.b" : { "" : true } } "#, &["a.b", ""], "true"),
        ] {
            assert_eq!(found(text, path), expected, "{text} {path:?}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(9_999), "]".repeat(9_999));
        assert_eq!(found(&deep, &["a"]), "");
        assert!(values("{\"a\":[1", &["a".to_owned()]).is_err());
    }

    #[test]
    fn values_without_a_model_are_compared_as_numbers_where_they_are_numbers() {
        for (one, other) in [
            ("12", "12"),
            ("12.0", "12"),
            ("1.2e1", "12"),
            ("-0.0", "0"),
            ("0.10", "0.1"),
            ("1e999", "1e999"),
            ("012", "012"),
            ("+7", "+7"),
            ("12 ", "12 "),
            ("1 2", "1 2"),
            ("-", "-"),
            ("Ann", "Ann"),
        ] {
            assert_eq!(by_value(one), other, "{one}");
        }
        let mut found = Vec::new();
        let text = r#"{"a":["\"x\u0416\"","1.50",1.5,true,null,{"b":1},"tail\""]}"#;
        let mut each = |text: &[u8]| found.push(String::from_utf8(text.to_vec()).unwrap());
        texts(text, &["a".to_owned()], &mut each).unwrap();
        assert_eq!(found, ["\"xЖ\"", "1.5", "1.5", "true", "tail\""]);
    }

    #[test]
    fn text_is_found_exactly_and_numbers_by_value() {
        let text = r#"{"a":["1e2","1.10",7.0,true,{"b":1}]}"#;
        let has = |asked: &str| has(text, &["a".to_owned()], asked).unwrap();
        for asked in ["1e2", "1.10", "7", "7.0", "0.7e1", "true"] {
            assert!(has(asked), "{asked}");
        }
        for asked in ["100", "1E2", "1.1", "1.100", "TRUE", "8", ""] {
            assert!(!has(asked), "{asked}");
        }
    }

    #[test]
    fn empty_values_are_no_values() {
        for (text, expected) in [
            (r#"{"a":""}"#, false),
            (r#"{"a":{ }}"#, false),
            (r#"{"a":[]}"#, false),
            (r#"{"a":[""]}"#, false),
            (r#"{"a":0}"#, true),
            (r#"{"a":false}"#, true),
            (r#"{"a":["","x"]}"#, true),
            (r#"{"a":{"b":null}}"#, true),
        ] {
            assert_eq!(has_value(text, &["a".to_owned()]).unwrap(), expected, "{text}");
        }
    }
}
