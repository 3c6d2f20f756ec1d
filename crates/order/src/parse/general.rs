//! The general parser: `serde_json` visitors for the document, for names and for values.

use std::fmt;

use model::shape::{Kind, Member, Struct};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::gob_primitives::{put_bytes, put_float, put_int, put_uint};
use crate::member_name::{self, shortened};
use crate::parse::members::{Members, is_left_out, put_count, zero_element};
use crate::parse::{State, Step};
use crate::payload_text::too_deep;
use crate::refusal::{Reason, Refusal};

/// Parses the document into `state`. Returns the key's field number, as the delta from the last field written. Records
/// the first of the `required` members that is missing or empty.
///
/// # Errors
/// Why the document is refused.
pub(crate) fn document(
    shape: &'static Struct,
    text: &str,
    required: &[usize],
    state: &mut State,
) -> Result<u64, Refusal> {
    let too_deep = too_deep(text);
    // Parses up to the excess nesting, to report an earlier error first.
    let read = &text[..too_deep.unwrap_or(text.len())];
    state.text_start = read.as_ptr().addr();
    let mut deserializer = serde_json::Deserializer::from_str(read);
    let parsed = Document { state, shape, required }.deserialize(&mut deserializer);
    let whole = parsed.and_then(|key_field| deserializer.end().map(|()| key_field));
    whole.map_err(|error| match too_deep {
        Some(at) if error.is_eof() => state.nested_too_deep(at),
        _ => state.refusal(read, &error),
    })
}

/// Parses a single value; returns whether it is not `null`.
#[cfg(test)]
pub(crate) fn value(text: &str, kind: &'static Kind, state: &mut State) -> Option<bool> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let there = Value { state, kind }.deserialize(&mut deserializer).ok()?;
    deserializer.end().is_ok().then_some(there)
}

/// Visits the whole document. Yields the delta of the key's field after the last member.
struct Document<'s> {
    state: &'s mut State,
    shape: &'static Struct,
    required: &'s [usize],
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
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
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    refuse_scalars!(no_object);

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<u64, A::Error> {
        no_object(self.state, "an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<u64, A::Error> {
        let Self { state, shape, required } = self;
        let members = members(state, shape, map)?;
        let is_missing = |index: &usize| match state.spans[*index] {
            None => true,
            Some((from, to)) => {
                let kind = &shape.members[*index].kind;
                matches!(kind, Kind::String | Kind::Slice(_)) && is_left_out(kind, &state.out[from..to])
            }
        };
        state.missing = required.iter().copied().find(is_missing);
        Ok(state.close(shape, members))
    }
}

/// Parses the members of an object. While they come in the model's order, it writes them directly.
fn members<'de, A: MapAccess<'de>>(
    state: &mut State,
    shape: &'static Struct,
    mut map: A,
) -> Result<Members, A::Error> {
    let mut members = Members::begin(state, shape);
    let mut expected = 0;
    let mut missing = if state.checks { shape.required.to_vec() } else { Vec::new() };
    while let Some(found) = map.next_key_seed(Name { state, shape, expected })? {
        let Some(index) = found else {
            map.next_value::<IgnoredAny>()?;
            continue;
        };
        let member = &shape.members[index];
        // Go merges it with the earlier value; `merge` does that.
        state.repeats |= matches!(member.kind, Kind::Struct(_) | Kind::Slice(_)) && members.has(state, index);
        state.path.push(Step::Member(member));
        let (before, start) = members.open(state, shape, index);
        let there = map.next_value_seed(Value { state, kind: &member.kind })?;
        members.wrote(state, shape, index, there, before, start);
        state.path.pop();
        if there || member.nullable {
            missing.retain(|missing| *missing != index);
        }
        expected = index + 1;
    }
    match missing.first() {
        Some(index) if !state.has_passed_required => Err(refuse_missing(state, &shape.members[*index])),
        _ => Ok(members),
    }
}

/// The refusal of an object, at `state.path`, that lacks a member that the schema requires.
fn refuse_missing<E: serde::de::Error>(state: &mut State, member: &'static Member) -> E {
    state.path.push(Step::Member(member));
    state.refuse(Reason::MissingMember, MISSING)
}

/// What is wrong with a member that the schema requires.
pub(crate) const MISSING: &str = "is required, and missing or null";

/// Visits a name. Yields the member's index, `None` if the model lacks it.
struct Name<'s> {
    state: &'s mut State,
    shape: &'static Struct,
    /// The next member in the model's order.
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
        let found = member_name::find(self.shape, self.expected, name);
        if self.state.path.is_empty() {
            self.state.has_known |= found.is_some();
            self.state.has_unknown |= found.is_none();
        }
        if found.is_some() {
            return Ok(found);
        }
        if self.shape.any {
            return Ok(None);
        }
        if self.state.refuses_unknown || (self.state.checks && self.shape.closed) {
            self.state.path.push(Step::Unknown(shortened(name)));
            return Err(self.state.refuse(Reason::UnknownMember, "the model has no such member"));
        }
        self.state.unknown(name);
        Ok(None)
    }
}

/// Reads a value of a known kind and appends it to `state.out`. Yields whether it was not `null`.
pub(crate) struct Value<'s> {
    pub(crate) state: &'s mut State,
    pub(crate) kind: &'s Kind,
}

impl Value<'_> {
    /// Parses an integer; `-0` is one, `-0.0` is not.
    fn whole<E: serde::de::Error>(self, text: &str) -> Result<bool, E> {
        let found = match text.as_bytes().first().copied().unwrap_or_default() {
            b'n' => return Ok(false),
            b'"' => "a string",
            b't' | b'f' => "a boolean",
            b'[' => "an array",
            b'{' => "an object",
            _ if text.contains(['e', 'E']) => "a number with an exponent",
            _ if text.contains('.') => "a number with a fraction",
            _ => {
                if let Ok(number) = text.parse() {
                    put_int(&mut self.state.out, number);
                    return Ok(true);
                }
                self.state.wrong_at(text);
                let detail = "a whole number that doesn't fit into 64 bits";
                return Err(self.state.refuse(Reason::NumberOutOfRange, detail));
            }
        };
        self.state.wrong_at(text);
        self.mismatch(found)
    }

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
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        match self.kind {
            Kind::Int => self.whole(<&RawValue>::deserialize(deserializer)?.get()),
            _ => deserializer.deserialize_any(self),
        }
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
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<bool, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<bool, E> {
        let Kind::Float = self.kind else { return self.mismatch("a number") };
        // Rows do not keep the sign of zero.
        put_float(&mut self.state.out, if value == 0.0 { 0.0 } else { value });
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
                if let Some(member) = state.required_of_null(kind) {
                    return Err(refuse_missing(state, member));
                }
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
        let base = self.state.spans.len();
        let members = members(self.state, shape, map)?;
        self.state.close(shape, members);
        self.state.spans.truncate(base);
        self.state.out.push(0);
        Ok(true)
    }
}
