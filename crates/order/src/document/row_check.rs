//! Checks a row's document against the model, finds the members of its root, and removes the spaces of a `jsonb`.

use model::shape::{Kind, Struct};

use super::MALFORMED;
use super::json_tokenizer::{Blanks, LeftOut, Scanner};
use crate::RowError;
use crate::member_name;

/// Integers of fewer characters than this fit into 64 bits. Numbers without an exponent of fewer characters than the
/// next constant fit into a double.
const SURELY_FITS: usize = 18;
const SURELY_FINITE: usize = 300;

/// A member of a document's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RootMember {
    /// The member of the model with that index, and where its value starts.
    Value(usize, usize),
    /// The member of the model with that index; it is `null`.
    Null(usize),
    /// The model lacks it.
    Unknown,
}

/// Checks the types of the model's members at every depth; `null` fits every type. Calls `member` with each member of
/// the root; of a repeated one, the last value counts.
pub(crate) fn check(text: &str, shape: &Struct, member: impl FnMut(RootMember)) -> Result<(), RowError> {
    document(Scanner::new(text), shape, member)
}

/// The same, and appends the text of a `jsonb` without the spaces that PostgreSQL prints after colons and commas.
/// Starts of members refer to the appended text. After an error, the appended text is invalid.
pub(crate) fn check_unspaced(
    text: &str,
    shape: &Struct,
    out: &mut Vec<u8>,
    member: impl FnMut(RootMember),
) -> Result<(), RowError> {
    document(Scanner::with(text, LeftOut::new(out)), shape, member)
}

fn document<B: Blanks>(
    mut scanner: Scanner<'_, B>,
    shape: &Struct,
    mut member: impl FnMut(RootMember),
) -> Result<(), RowError> {
    if scanner.peek() != Some(b'{') {
        return Err(RowError::NotObject);
    }
    object(&mut scanner, shape, &mut member)?;
    scanner.end().ok_or(MALFORMED)
}

fn object<B: Blanks>(
    scanner: &mut Scanner<'_, B>,
    shape: &Struct,
    member: &mut impl FnMut(RootMember),
) -> Result<(), RowError> {
    scanner.eat(b'{').ok_or(MALFORMED)?;
    let (mut expected, mut is_first) = (0, true);
    while let Some(name) = scanner.name(&mut is_first).ok_or(MALFORMED)? {
        let Some(index) = member_name::find(shape, expected, &name) else {
            member(RootMember::Unknown);
            scanner.value().ok_or(MALFORMED)?;
            continue;
        };
        expected = index + 1;
        let (known, first) = (&shape.members[index], scanner.peek());
        member(match first {
            Some(b'n') => RootMember::Null(index),
            _ => RootMember::Value(index, scanner.kept_at()),
        });
        value(scanner, &known.kind).map_err(|error| error.at(known.json_name))?;
    }
    Ok(())
}

fn value<B: Blanks>(scanner: &mut Scanner<'_, B>, kind: &Kind) -> Result<(), RowError> {
    let first = scanner.peek().ok_or(MALFORMED)?;
    let fits = match (kind, first) {
        (_, b'n') => scanner.scalar().ok_or(MALFORMED)? == "null",
        (Kind::Bool, b't' | b'f') => matches!(scanner.scalar().ok_or(MALFORMED)?, "true" | "false"),
        (Kind::String, b'"') => scanner.string().is_some(),
        (Kind::Int, b'-' | b'0'..=b'9') => is_whole(scanner.scalar().ok_or(MALFORMED)?),
        (Kind::Float, b'-' | b'0'..=b'9') => is_finite(scanner.scalar().ok_or(MALFORMED)?),
        (Kind::Struct(shape), b'{') => return object(scanner, shape, &mut |_| {}),
        (Kind::Slice(element), b'[') => return elements(scanner, element),
        _ => false,
    };
    if fits { Ok(()) } else { Err(RowError::Type("is of another type than in the model".into())) }
}

fn elements<B: Blanks>(scanner: &mut Scanner<'_, B>, kind: &Kind) -> Result<(), RowError> {
    scanner.eat(b'[').ok_or(MALFORMED)?;
    if scanner.peek() == Some(b']') {
        return scanner.eat(b']').ok_or(MALFORMED);
    }
    loop {
        value(scanner, kind)?;
        match scanner.token() {
            Some(b',') => {}
            Some(b']') => return Ok(()),
            _ => return Err(MALFORMED),
        }
    }
}

/// As in the intake: 64 bits, without a fraction or an exponent.
pub(super) fn is_whole(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() <= SURELY_FITS || number.parse::<i64>().is_ok())
}

pub(super) fn is_finite(number: &str) -> bool {
    let is_sure = number.len() < SURELY_FINITE && memchr::memchr2(b'e', b'E', number.as_bytes()).is_none();
    is_sure || number.parse().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use model::{Model, Source};

    use super::*;

    #[test]
    fn blanks_are_left_out_and_members_found_where_they_then_are() {
        let json = r#"{"a": "x", "n": 1, "to": {"city": "c"}, "items": [{"id": 1}]}"#;
        let model = Model::new("a", &[Source { name: "a.json", json }]).unwrap();
        for (printed, canonical) in [
            ("{}", "{}"),
            (r#"{"a": "two words, and: more", "n": -12}"#, r#"{"a":"two words, and: more","n":-12}"#),
            (
                r#"{"x": {"a b": [1, 2, {"c": " \" "}]}, "a": " ", "to": {"y": [], "city": null}, "n": 3}"#,
                r#"{"x":{"a b":[1,2,{"c":" \" "}]},"a":" ","to":{"y":[],"city":null},"n":3}"#,
            ),
            (r#"{"items": [{"id": 1}, {"z": "é "}], "n": 3}"#, r#"{"items":[{"id":1},{"z":"é "}],"n":3}"#),
        ] {
            let (mut kept, mut found, mut expected) = (b"before".to_vec(), Vec::new(), Vec::new());
            let noted = check_unspaced(printed, model.shape(), &mut kept, |member| found.push(member));
            noted.unwrap();
            assert_eq!(String::from_utf8(kept).unwrap(), format!("before{canonical}"));
            check(canonical, model.shape(), |member| expected.push(member)).unwrap();
            assert_eq!(found, expected, "{printed}");
        }
        for cut in [r#"{"a": "x"#, r#"{"a": "x"} {"#, r#"{"x": [1, 2"#, "[]", ""] {
            assert!(check_unspaced(cut, model.shape(), &mut Vec::new(), |_| {}).is_err(), "{cut}");
        }
    }
}
