//! Search paths: to members, through objects and the elements of arrays.

use std::borrow::Cow;

use model::shape::{Kind, Struct};

use crate::gob_layout::{Node, Plan, StructPlan, Target};
use crate::gob_primitives::{Fault, Reader};
use crate::gob_scan::{Skip, next_field, visit_value};
use crate::order::Body;
use crate::row_codec::{Layouts, RowReader};
use crate::{RowError, SettingError, document, gob_to_json, json_writer, member_name};

/// The path of a searchable member, such as `delivery.email` or `items.nm_id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchPath {
    /// The indices of the members, from the root down.
    steps: Box<[usize]>,
    /// The number of leading steps that contain all arrays; 0 without arrays.
    arrays: usize,
    kind: SearchKind,
    /// With `MODEL=any`, the names on the path; otherwise empty.
    names: Box<[String]>,
}

/// The type of the values at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchKind {
    /// `true` or `false`.
    Bool,
    /// An integer.
    Int,
    /// A float.
    Float,
    /// Text.
    String,
    /// Any of these, with `MODEL=any`.
    Any,
}

/// Parses search paths. They may lead to strings, numbers and booleans, also in arrays. A dot separates names; `\.` is
/// a dot within a name.
///
/// # Errors
/// A name that the model lacks, or an object.
pub fn searchable(shape: &'static Struct, paths: &[String]) -> Result<Vec<SearchPath>, SettingError> {
    paths.iter().map(|path| SearchPath::new(shape, path)).collect()
}

impl SearchKind {
    fn of(self) -> &'static Kind {
        match self {
            Self::Bool => &Kind::Bool,
            Self::Int => &Kind::Int,
            Self::Float => &Kind::Float,
            Self::String | Self::Any => &Kind::String,
        }
    }
}

impl SearchPath {
    fn new(shape: &'static Struct, path: &str) -> Result<Self, SettingError> {
        let names = member_name::of_path(path);
        if shape.any {
            return Ok(Self { steps: [].into(), arrays: 0, kind: SearchKind::Any, names: names.into() });
        }
        let (mut steps, mut arrays, mut at) = (Vec::new(), 0, shape);
        for (step, name) in names.iter().enumerate() {
            let Some((noted, member)) = at.member(name) else {
                let is_one_name = names.len() > 1 && shape.member(path).is_some();
                return Err(if is_one_name {
                    SettingError::dotted(path)
                } else {
                    SettingError::unknown(name, at)
                });
            };
            steps.push(noted);
            let mut kind = &member.kind;
            while let Kind::Slice(element) = kind {
                (kind, arrays) = (element, step + 1);
            }
            let found = match kind {
                Kind::Struct(shape) if step + 1 < names.len() => {
                    at = shape;
                    continue;
                }
                Kind::Struct(_) | Kind::Slice(_) => return Err(SettingError::object(path)),
                _ if step + 1 < names.len() => return Err(SettingError::no_object(path, name)),
                Kind::Bool => SearchKind::Bool,
                Kind::Int => SearchKind::Int,
                Kind::Float => SearchKind::Float,
                Kind::String => SearchKind::String,
            };
            return Ok(Self { steps: steps.into(), arrays, kind: found, names: [].into() });
        }
        Err(SettingError::object(path))
    }

    /// The type of its values.
    pub fn kind(&self) -> SearchKind {
        self.kind
    }

    /// Whether a document may have several values there: the path leads through an array, or `MODEL=any`.
    pub fn is_many(&self) -> bool {
        self.arrays > 0 || self.kind == SearchKind::Any
    }

    /// The index of its first member in the root.
    pub fn root(&self) -> usize {
        self.steps.first().copied().unwrap_or_default()
    }

    /// Whether it is a member of the root with a single value.
    fn is_plain(&self) -> bool {
        self.steps.len() == 1 && !self.is_many()
    }

    /// Normalizes a value from a query to its form in documents, so that numbers compare by value.
    ///
    /// # Errors
    /// The expected type.
    pub fn text_of(&self, asked: &str) -> Result<String, &'static str> {
        match self.kind {
            SearchKind::String => Ok(asked.to_owned()),
            SearchKind::Bool if ["true", "false"].contains(&asked) => Ok(asked.to_owned()),
            SearchKind::Bool => Err("true or false"),
            SearchKind::Int => number(asked).and_then(|number| number.whole(asked)).ok_or("a whole number"),
            SearchKind::Float => number(asked).map(|_| fraction(asked)).ok_or("a number"),
            SearchKind::Any => Ok(asked.to_owned()),
        }
    }

    /// The text that [`Layouts::values`] passes for values that [`Layouts::has_value`] may find by `asked`.
    pub fn candidate_text<'a>(&self, asked: &'a str) -> Cow<'a, str> {
        match self.kind {
            SearchKind::Any => document::by_name::by_value(asked),
            _ => Cow::Borrowed(asked),
        }
    }

    /// The text of a value that a gob row omits.
    fn zero(&self) -> &'static str {
        match self.kind {
            SearchKind::Bool => "false",
            SearchKind::Int => "0",
            SearchKind::Float => "0.0",
            SearchKind::String | SearchKind::Any => "",
        }
    }
}

impl Layouts {
    /// Passes each value at a path as text: a string unchanged, anything else as JSON; with `MODEL=any`, numbers and
    /// strings that are numbers in one form.
    ///
    /// # Errors
    /// As [`Layouts::write_json`].
    pub fn values(
        &self,
        body: &Body,
        path: &SearchPath,
        text: &mut Vec<u8>,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), RowError> {
        if let Some(document) = body.document() {
            if path.kind == SearchKind::Any {
                return document::by_name::texts(document, &path.names, each);
            }
            return document::search::values(document, self.shape(), &path.steps, path.kind.of(), text, each);
        }
        let plan = self.plan(body.layout())?;
        let mut reader = Reader::new(body.value(), 0);
        Ok(Values { plan, path, text, each }.object(plan.root(), &mut reader, 0)?)
    }

    /// Whether a path has a value, given as [`SearchPath::text_of`] returns it.
    ///
    /// # Errors
    /// As [`Layouts::write_json`].
    pub fn has_value(
        &self,
        body: &Body,
        path: &SearchPath,
        asked: &str,
        text: &mut Vec<u8>,
    ) -> Result<bool, RowError> {
        if let (Some(document), SearchKind::Any) = (body.document(), path.kind) {
            return document::by_name::has(document, &path.names, asked);
        }
        let mut has = false;
        self.values(body, path, text, &mut |value| has |= value == asked.as_bytes())?;
        Ok(has)
    }

    /// Appends the value at a path as JSON, or an array of all values if there may be several.
    ///
    /// # Errors
    /// As [`Layouts::write_json`].
    pub fn write_values_json(
        &self,
        body: &Body,
        path: &SearchPath,
        out: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        if body.document().is_some() && path.is_plain() {
            return self.write_member_json(body, path.root(), out);
        }
        if let (Some(document), SearchKind::Any) = (body.document(), path.kind) {
            match &document::by_name::values(document, &path.names)?[..] {
                [] => out.extend_from_slice(b"null"),
                [one] => out.extend_from_slice(one.as_bytes()),
                several => {
                    out.push(b'[');
                    out.extend_from_slice(several.join(",").as_bytes());
                    out.push(b']');
                }
            }
            return Ok(());
        }
        let mut values = Vec::new();
        self.values(body, path, &mut Vec::new(), &mut |text| {
            if !values.is_empty() {
                values.push(b',');
            }
            match path.kind {
                SearchKind::String => json_writer::string(text, &mut values),
                _ => values.extend_from_slice(text),
            }
        })?;
        let (before, behind) = if path.is_many() { (&b"["[..], &b"]"[..]) } else { (&b""[..], &b""[..]) };
        let missing = if values.is_empty() && !path.is_many() { &b"null"[..] } else { &b""[..] };
        [before, missing, &values, behind].iter().for_each(|part| out.extend_from_slice(part));
        Ok(())
    }
}

impl RowReader {
    /// As [`Layouts::values`], for the body of the last row. `noted` is the index of the path's first member in the
    /// list given to [`RowReader::noting`].
    ///
    /// # Errors
    /// As [`Layouts::values`].
    pub fn noted_values(
        &self,
        body: &Body,
        noted: usize,
        path: &SearchPath,
        text: &mut Vec<u8>,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), RowError> {
        if path.kind == SearchKind::Any {
            return self.layouts().values(body, path, text, each);
        }
        if let Some(document) = body.document() {
            return match self.noted_at(noted) {
                // A `null` may follow an earlier value of the same member.
                Some(start) if !path.is_plain() || document::search::value_at(document, start)?.is_none() => {
                    self.layouts().values(body, path, text, each)
                }
                Some(_) => {
                    text.clear();
                    self.write_noted(body, noted, text)?;
                    each(text);
                    Ok(())
                }
                None => Ok(()),
            };
        }
        if path.is_plain() {
            text.clear();
            self.write_noted(body, noted, text)?;
            each(by_value(path, text));
            return Ok(());
        }
        let plan = self.layouts().plan(body.layout())?;
        let root = &plan.root().fields;
        let field = root.iter().find(|field| field.target == Target::Member(path.root()));
        let mut values = Values { plan, path, text, each };
        match (field, self.noted_at(noted)) {
            (Some(field), Some(start)) => {
                Ok(values.value(&field.node, Reader::new(body.value(), start), 0)?)
            }
            _ => {
                values.left_out(0);
                Ok(())
            }
        }
    }
}

/// Collects the values at a path.
struct Values<'v> {
    plan: &'v Plan,
    path: &'v SearchPath,
    text: &'v mut Vec<u8>,
    each: &'v mut dyn FnMut(&[u8]),
}

impl Values<'_> {
    /// Collects values below the step's member of an object.
    fn object(&mut self, structure: &StructPlan, reader: &mut Reader<'_>, step: usize) -> Result<(), Fault> {
        let Some(&wanted) = self.path.steps.get(step) else { return Ok(()) };
        let mut number = None;
        while let Some(field) = next_field(structure, reader, &mut number)? {
            if field.target == Target::Member(wanted) {
                return self.value(&field.node, *reader, step);
            }
            visit_value(self.plan, &field.node, reader, &mut Skip, 1)?;
        }
        self.left_out(step);
        Ok(())
    }

    /// Collects values below the value of the step's member.
    fn value(&mut self, node: &Node, mut reader: Reader<'_>, step: usize) -> Result<(), Fault> {
        self.text.clear();
        match node {
            Node::Slice(element) => {
                for _ in 0..reader.count()? {
                    self.value(element, reader, step)?;
                    visit_value(self.plan, element, &mut reader, &mut Skip, 1)?;
                }
                return Ok(());
            }
            Node::Struct(index) => return self.object(self.plan.structure(*index), &mut reader, step + 1),
            Node::String => {
                (self.each)(reader.bytes()?);
                return Ok(());
            }
            _ => gob_to_json::write_element(self.plan, node, &mut reader, self.text, 0)?,
        }
        (self.each)(by_value(self.path, self.text));
        Ok(())
    }

    /// The row omits the step's member: an array has no values, anything else is zero.
    fn left_out(&mut self, step: usize) {
        if step >= self.path.arrays {
            (self.each)(self.path.zero().as_bytes());
        }
    }
}

/// Treats `-0` as `0`.
fn by_value<'t>(path: &SearchPath, text: &'t [u8]) -> &'t [u8] {
    if path.kind == SearchKind::Float && text == b"-0.0" { b"0.0" } else { text }
}

/// A decimal number: its digits, without leading and trailing zeros, and their power of ten.
struct Decimal {
    is_negative: bool,
    digits: String,
    power: i64,
}

/// More digits than any number of 64 bits has.
const MAX_DIGITS: i64 = 20;

/// Parses a JSON number, which may also have a plus sign or leading zeros.
fn number(text: &str) -> Option<Decimal> {
    let (is_negative, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent_digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let parts = [whole, fraction, exponent_digits];
    let is_number =
        parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    let all = is_number.then(|| [whole, fraction].concat())?;
    // An exponent out of range counts as the largest.
    let far = if exponent.starts_with('-') { i64::MIN / 4 } else { i64::MAX / 4 };
    let exponent = exponent.parse().unwrap_or(far).clamp(i64::MIN / 4, i64::MAX / 4);
    let digits = all.trim_end_matches('0');
    let power = exponent - fraction.len() as i64 + (all.len() - digits.len()) as i64;
    Some(Decimal { is_negative, digits: digits.trim_start_matches('0').to_owned(), power })
}

impl Decimal {
    /// The text of an integer; `None` if it has a fraction. A number out of range stays as given.
    fn whole(&self, asked: &str) -> Option<String> {
        if self.digits.is_empty() {
            return Some("0".into());
        }
        if self.power < 0 {
            return None;
        }
        if self.digits.len() as i64 + self.power > MAX_DIGITS {
            return Some(asked.to_owned());
        }
        let sign = if self.is_negative { "-" } else { "" };
        Some(format!("{sign}{}{}", self.digits, "0".repeat(self.power as usize)))
    }
}

/// The text of a float. A number out of range stays as given.
fn fraction(asked: &str) -> String {
    let Some(number) = asked.parse().ok().filter(|number: &f64| number.is_finite()) else {
        return asked.to_owned();
    };
    let mut text = Vec::new();
    json_writer::float(if number == 0.0 { 0.0 } else { number }, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(kind: SearchKind) -> SearchPath {
        SearchPath { steps: [0].into(), arrays: 0, kind, names: [].into() }
    }

    #[test]
    fn a_dot_divides_names_unless_it_is_escaped() {
        for (path, expected) in [
            ("a", &["a"][..]),
            ("a.b.c", &["a", "b", "c"]),
            (r"a\.b.c", &["a.b", "c"]),
            (r"a\\.b", &[r"a\", "b"]),
            (r"a\b\", &[r"a\b\"]),
            (".a.", &["", "a", ""]),
            ("", &[""]),
        ] {
            assert_eq!(member_name::of_path(path), expected, "{path}");
        }
    }

    #[test]
    fn numbers_are_asked_for_by_value() {
        let whole = path(SearchKind::Int);
        for (asked, text) in [
            ("12", "12"),
            ("+12", "12"),
            ("012", "12"),
            ("12.0", "12"),
            ("1.2e1", "12"),
            ("1200E-2", "12"),
            ("-0", "0"),
            ("0e99999999999999999999", "0"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("9007199254740993.00", "9007199254740993"),
            ("1e30", "1e30"),
            ("1e99999999999999999999", "1e99999999999999999999"),
        ] {
            assert_eq!(whole.text_of(asked).as_deref(), Ok(text), "{asked}");
        }
        for asked in
            ["", "-", "1.5", "12e-1", "1e-99999999999999999999", "x", "1 2", "0x1", "inf", "1.", ".5", "1e"]
        {
            assert_eq!(whole.text_of(asked), Err("a whole number"), "{asked}");
        }
        let fraction = path(SearchKind::Float);
        for (asked, text) in [
            ("12", "12.0"),
            ("0.10", "0.1"),
            ("1e2", "100.0"),
            ("-0.0", "0.0"),
            ("1e400", "1e400"),
            ("1e-400", "0.0"),
        ] {
            assert_eq!(fraction.text_of(asked).as_deref(), Ok(text), "{asked}");
        }
        for asked in ["", "inf", "NaN", "infinity", "1,5", "1e"] {
            assert_eq!(fraction.text_of(asked), Err("a number"), "{asked}");
        }
        assert_eq!(path(SearchKind::Bool).text_of("yes"), Err("true or false"));
        assert_eq!(path(SearchKind::String).text_of("012").as_deref(), Ok("012"));
    }
}
