//! JSON -> gob value, straight, without a document in between: what an order costs when it comes in.
//!
//! As lenient as Go's `encoding/json` where nothing is lost by it: missing members are zero, a member that is
//! `null` is left as it is, unknown ones are ignored but counted, names match without regard to ASCII case
//! where none matches exactly, and of a repeated member the last counts. Refused are invalid UTF-8, numbers
//! that don't fit, values of another type, `null`, and what is no object.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::ROOT;
use crate::order::Order;
use crate::refusal::{Reason, Refusal};
use crate::shape::{Kind, Member, Struct};
use crate::wire::{put_bytes, put_float, put_int, put_uint};
use crate::{Key, SettingError};

/// How many names of unknown members are kept, and how long each may be, in characters.
const UNKNOWN_NAMES: usize = 20;
const UNKNOWN_NAME_LENGTH: usize = 64;

/// Parses payloads one after another, with the same memory.
pub struct Parser {
    required: Vec<usize>,
    state: State,
}

/// Members that the model doesn't know: how many there were, and some of their names.
#[derive(Default, Debug, Clone)]
pub struct Unknown {
    /// How often an unknown member was met.
    pub count: u64,
    /// Up to 20 different names, cut at 64 characters.
    pub names: BTreeSet<String>,
}

#[derive(Default)]
struct State {
    /// The values of members, each after the one that was parsed before it, and the objects made of them.
    out: Vec<u8>,
    /// For each member of the objects that are open: where its value stands in `out`.
    spans: Vec<Option<(usize, usize)>>,
    /// The way to what is being parsed; after an error, to what was wrong.
    path: Vec<Step>,
    unknown: Unknown,
    reason: Option<Reason>,
}

#[derive(Clone, Copy)]
enum Step {
    Member(&'static Member),
    Element(usize),
}

impl Parser {
    /// A parser that refuses documents in which one of the `required` members is missing, `null` or empty.
    ///
    /// # Errors
    /// A required member that the model lacks.
    pub fn new(required: &[String]) -> Result<Self, SettingError> {
        let places = required.iter().map(|name| match ROOT.member(name) {
            Some((index, _)) => Ok(index),
            None => Err(SettingError::unknown(name)),
        });
        Ok(Self { required: places.collect::<Result<_, _>>()?, state: State::default() })
    }

    /// The order that `payload` is, under `key`.
    ///
    /// # Errors
    /// A [`Refusal`] that says what is wrong and where, without quoting the payload.
    pub fn parse(&mut self, payload: &[u8], key: Key) -> Result<Order, Refusal> {
        let state = &mut self.state;
        state.out.clear();
        state.spans.clear();
        state.path.clear();
        state.reason = None;
        let text = std::str::from_utf8(payload).map_err(|error| Refusal {
            reason: Reason::InvalidUtf8,
            detail: "invalid UTF-8".into(),
            path: None,
            offset: Some(error.valid_up_to()),
        })?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let parsed = Document { state, required: &self.required }.deserialize(&mut deserializer);
        match parsed.and_then(|key_field| deserializer.end().map(|()| key_field)) {
            Ok(key_field) => Ok(state.order(key, key_field)),
            Err(error) => Err(state.refusal(text, &error)),
        }
    }

    /// The unknown members met since the parser was made.
    pub fn unknown(&self) -> &Unknown {
        &self.state.unknown
    }
}

impl State {
    /// Closes the root: the key as its last field.
    fn order(&mut self, key: Key, key_field: usize) -> Order {
        let tail = self.out.len();
        put_uint(&mut self.out, key_field as u64);
        put_bytes(&mut self.out, key.as_str().as_bytes());
        self.out.push(0);
        Order::new(key, self.out.as_slice().into(), tail)
    }

    fn refuse<E: serde::de::Error>(&mut self, reason: Reason, detail: impl fmt::Display) -> E {
        self.reason = Some(reason);
        E::custom(detail)
    }

    fn refusal(&self, text: &str, error: &serde_json::Error) -> Refusal {
        // serde_json adds the line and column, which the offset says already.
        let mut detail = error.to_string();
        if let Some(at) = detail.rfind(" at line ") {
            detail.truncate(at);
        }
        let reason = match self.reason {
            Some(reason) => reason,
            // What serde_json says of `1e999`, and it has no other way of saying so.
            None if detail == "number out of range" => Reason::NumberOutOfRange,
            None => Reason::InvalidJson,
        };
        let path = (!self.path.is_empty() || self.reason.is_some()).then(|| self.path_text());
        Refusal { reason, detail, path, offset: offset(reason, text, error) }
    }

    fn path_text(&self) -> String {
        let mut path = String::from("$");
        for step in &self.path {
            match step {
                Step::Member(member) => {
                    path.push('.');
                    path.push_str(member.json_name);
                }
                Step::Element(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }

    fn unknown(&mut self, name: &str) {
        self.unknown.count += 1;
        if self.unknown.names.len() < UNKNOWN_NAMES {
            self.unknown.names.insert(name.chars().take(UNKNOWN_NAME_LENGTH).collect());
        }
    }

    /// Joins the values of an object's members, which begin at `start` in whatever order they came, into a
    /// gob struct in their place, without its end. Gives back the number of the field after the last one
    /// written, as a delta from it.
    fn assemble(&mut self, shape: &Struct, start: usize, base: usize) -> usize {
        let assembled = self.out.len();
        let mut delta = 1;
        for (index, member) in shape.members.iter().enumerate() {
            match self.spans[base + index] {
                Some((from, to)) if !is_left_out(&member.kind, &self.out[from..to]) => {
                    put_uint(&mut self.out, delta);
                    self.out.extend_from_within(from..to);
                    delta = 1;
                }
                None if matches!(member.kind, Kind::Struct(_)) => {
                    // Go leaves out zero values, but never a struct.
                    put_uint(&mut self.out, delta);
                    zero_struct(&mut self.out, &member.kind);
                    delta = 1;
                }
                _ => delta += 1,
            }
        }
        self.out.drain(start..assembled);
        self.spans.truncate(base);
        delta as usize
    }
}

fn zero_struct(out: &mut Vec<u8>, kind: &Kind) {
    let Kind::Struct(shape) = kind else { return };
    let mut delta = 1;
    for member in shape.members {
        if matches!(member.kind, Kind::Struct(_)) {
            put_uint(out, delta);
            zero_struct(out, &member.kind);
            delta = 1;
        } else {
            delta += 1;
        }
    }
    out.push(0);
}

/// Whether Go would leave the value out of its struct: each zero value is the one byte 0.
fn is_left_out(kind: &Kind, value: &[u8]) -> bool {
    value == [0] && !matches!(kind, Kind::Struct(_))
}

/// The place of an error: where the wrong value starts, or else the byte at which the text went wrong.
fn offset(reason: Reason, text: &str, error: &serde_json::Error) -> Option<usize> {
    if error.is_eof() {
        return Some(text.len());
    }
    let last = place(text, error.line(), error.column())?;
    match reason {
        Reason::WrongType | Reason::NumberOutOfRange | Reason::NotAnObject => Some(value_start(text, last)),
        _ => Some(last),
    }
}

/// The offset in bytes of a line and column that `serde_json` counts from 1 and in bytes.
fn place(text: &str, line: usize, column: usize) -> Option<usize> {
    let line_start = match line.checked_sub(2) {
        None => 0,
        Some(newline) => memchr::memchr_iter(b'\n', text.as_bytes()).nth(newline)? + 1,
    };
    Some((line_start + column.saturating_sub(1)).min(text.len()))
}

/// Where a value starts of which `serde_json` has read up to `last`: all of a scalar, of an array or object
/// the opening and what may stand before the first element.
fn value_start(text: &str, last: usize) -> usize {
    let read = text.as_bytes().get(..=last).unwrap_or(text.as_bytes()).trim_ascii_end();
    let Some((end, before)) = read.split_last() else { return 0 };
    match end {
        b'"' => opening_quote(before),
        b'[' | b'{' => before.len(),
        b']' | b'}' | b',' | b':' => before.iter().rposition(|byte| matches!(byte, b'[' | b'{')).unwrap_or(0),
        _ => before.iter().rposition(|byte| !is_of_scalar(*byte)).map_or(0, |at| at + 1),
    }
}

/// The last quote that is not escaped.
fn opening_quote(text: &[u8]) -> usize {
    let escaped = |at: usize| text[..at].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1;
    memchr::memrchr_iter(b'"', text).find(|&at| !escaped(at)).unwrap_or(0)
}

/// Whether a byte may stand in a number, `true`, `false` or `null`.
fn is_of_scalar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// The whole document. Its value is the delta of the key's field after the last member.
struct Document<'s> {
    state: &'s mut State,
    required: &'s [usize],
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! refuse_scalars {
    ($refuse:ident) => {
        fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Self::Value, E> {
            $refuse(self.state, "a boolean")
        }
        fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Self::Value, E> {
            $refuse(self.state, "a number")
        }
        fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Self::Value, E> {
            $refuse(self.state, "a number")
        }
        fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Self::Value, E> {
            $refuse(self.state, "a number")
        }
        fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
            $refuse(self.state, "a string")
        }
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            $refuse(self.state, "null")
        }
    };
}

fn no_object<T, E: serde::de::Error>(state: &mut State, found: &str) -> Result<T, E> {
    Err(state.refuse(Reason::NotAnObject, format_args!("{found} where the document, an object, belongs")))
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    refuse_scalars!(no_object);

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<usize, A::Error> {
        no_object(self.state, "an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<usize, A::Error> {
        let state = self.state;
        members(state, &ROOT, map)?;
        for &index in self.required {
            let member = &ROOT.members[index];
            let missing = match state.spans[index] {
                None => true,
                Some((from, to)) => {
                    matches!(member.kind, Kind::String | Kind::Slice(_)) && state.out[from..to] == [0]
                }
            };
            if missing {
                state.path.push(Step::Member(member));
                return Err(state.refuse(Reason::MissingMember, "is required, and missing or empty"));
            }
        }
        Ok(state.assemble(&ROOT, 0, 0))
    }
}

/// Parses the members of an object; their values stand in `state.out` in the order in which they came.
fn members<'de, A: MapAccess<'de>>(
    state: &mut State,
    shape: &'static Struct,
    mut map: A,
) -> Result<(), A::Error> {
    let base = state.spans.len();
    state.spans.resize(base + shape.members.len(), None);
    let mut expected = 0;
    while let Some(found) = map.next_key_seed(Name { state, shape, expected })? {
        let Some(index) = found else {
            map.next_value::<IgnoredAny>()?;
            continue;
        };
        let member = &shape.members[index];
        state.path.push(Step::Member(member));
        let start = state.out.len();
        if map.next_value_seed(Value { state, kind: &member.kind })? {
            state.spans[base + index] = Some((start, state.out.len()));
        }
        state.path.pop();
        expected = index + 1;
    }
    Ok(())
}

/// A member's name; its value is the member's index, `None` for one that the model lacks.
struct Name<'s> {
    state: &'s mut State,
    shape: &'static Struct,
    /// The member that comes next where members come in the model's order, as they mostly do.
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Option<usize>, E> {
        let members = self.shape.members;
        if members.get(self.expected).is_some_and(|member| member.json_name == name) {
            return Ok(Some(self.expected));
        }
        let exact = members.iter().position(|member| member.json_name == name);
        let found =
            exact.or_else(|| members.iter().position(|member| member.json_name.eq_ignore_ascii_case(name)));
        if found.is_none() {
            self.state.unknown(name);
        }
        Ok(found)
    }
}

/// A value of a known kind, appended to `state.out`. Its value is whether there was one: `null` is none.
struct Value<'s> {
    state: &'s mut State,
    kind: &'static Kind,
}

impl Value<'_> {
    fn mismatch<E: serde::de::Error>(self, found: &str) -> Result<bool, E> {
        let expected = match self.kind {
            Kind::Bool => "a boolean",
            Kind::Int => "a whole number",
            Kind::Float => "a number",
            Kind::String => "a string",
            Kind::Struct(_) => "an object",
            Kind::Slice(_) => "an array",
        };
        Err(self.state.refuse(Reason::WrongType, format_args!("{found} where {expected} belongs")))
    }

    fn unfit<E: serde::de::Error>(self, what: &str) -> Result<bool, E> {
        Err(self.state.refuse(Reason::NumberOutOfRange, what))
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the model")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<bool, E> {
        let Kind::Bool = self.kind else { return self.mismatch("a boolean") };
        put_uint(&mut self.state.out, u64::from(value));
        Ok(true)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<bool, E> {
        match self.kind {
            Kind::Int => put_int(&mut self.state.out, value),
            Kind::Float => put_float(&mut self.state.out, value as f64),
            _ => return self.mismatch("a number"),
        }
        Ok(true)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<bool, E> {
        match (self.kind, i64::try_from(value)) {
            (Kind::Int, Ok(value)) => put_int(&mut self.state.out, value),
            (Kind::Int, Err(_)) => return self.unfit("a whole number that doesn't fit into 64 bits"),
            (Kind::Float, _) => put_float(&mut self.state.out, value as f64),
            _ => return self.mismatch("a number"),
        }
        Ok(true)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<bool, E> {
        match self.kind {
            Kind::Float if value == 0.0 => put_float(&mut self.state.out, 0.0),
            Kind::Float => put_float(&mut self.state.out, value),
            // What serde_json makes of `-0`.
            Kind::Int if value == 0.0 && value.is_sign_negative() => put_int(&mut self.state.out, 0),
            Kind::Int => {
                return self.unfit("a number with a fraction or an exponent, or too large for 64 bits, where a whole number belongs");
            }
            _ => return self.mismatch("a number"),
        }
        Ok(true)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<bool, E> {
        let Kind::String = self.kind else { return self.mismatch("a string") };
        put_bytes(&mut self.state.out, value.as_bytes());
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        let Kind::Slice(kind) = self.kind else { return self.mismatch("an array") };
        let state = self.state;
        let start = state.out.len();
        // Room for a count of one byte, which most have.
        state.out.push(0);
        let mut count = 0;
        loop {
            state.path.push(Step::Element(count));
            let Some(there) = elements.next_element_seed(Value { state, kind })? else { break };
            if !there {
                zero_element(&mut state.out, kind);
            }
            state.path.pop();
            count += 1;
        }
        state.path.pop();
        put_count(&mut state.out, start, count);
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        let Kind::Struct(shape) = self.kind else { return self.mismatch("an object") };
        let (start, base) = (self.state.out.len(), self.state.spans.len());
        members(self.state, shape, map)?;
        self.state.assemble(shape, start, base);
        self.state.out.push(0);
        Ok(true)
    }
}

/// An element that is `null` is zero, as a member is.
fn zero_element(out: &mut Vec<u8>, kind: &Kind) {
    match kind {
        Kind::Struct(_) => zero_struct(out, kind),
        _ => out.push(0),
    }
}

/// Writes the count of a slice whose elements follow the byte kept free for it at `start`.
fn put_count(out: &mut Vec<u8>, start: usize, count: usize) {
    if count < 0x80 {
        out[start] = count as u8;
    } else {
        let mut bytes = Vec::with_capacity(9);
        put_uint(&mut bytes, count as u64);
        out.splice(start..=start, bytes);
    }
}
