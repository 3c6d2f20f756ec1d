//! JSON -> order: a gob value in one pass, or, where rows are `jsonb` or `json`, the document itself, checked.
//!
//! `fast` reads most documents, in half of the time. It gives up on anything unusual; `general`, with `serde_json`'s
//! visitors, then reads the document from its beginning.
//!
//! What is taken has the value that Go's `encoding/json` gives it: missing members are zero, a member that is `null`
//! is left as it is, unknown ones are ignored but counted, names match without regard to case where none matches
//! exactly, of a repeated member the last value counts, but objects and arrays are merged, and half a surrogate pair is
//! `U+FFFD`. Refused are invalid UTF-8, numbers that don't fit, values of another type, `null`, what is not an
//! object, and what is nested deeper than Go reads.

mod fast;
mod general;
mod merge;
mod members;
mod error_offset;

use std::collections::BTreeSet;
use std::fmt;

use model::shape::{Member, Struct};

use self::error_offset::offset;
use crate::document::{by_name, canonical, plain};
use crate::format::RowFormat;
use crate::input_text::without_lone_surrogates;
use crate::layout::OWN_LAYOUT;
use crate::member_name::shortened;
use crate::order::{Body, Order};
use crate::refusal::{Reason, Refusal};
use crate::{SettingError, member_name};

/// Maximum number of names of unknown members that are kept.
const MAX_UNKNOWN_NAMES: usize = 20;

/// Parses payloads one after another, with the same memory.
#[derive(Clone)]
pub struct Parser {
    shape: &'static Struct,
    rules: Rules,
    format: RowFormat,
    state: State,
}

/// What a document must be besides fitting the model.
#[derive(Clone, Default)]
struct Rules {
    /// Members of the document that must be there and not empty.
    required: Vec<usize>,
    /// Required members of documents of any form, by path.
    required_paths: Vec<(String, Vec<String>)>,
    /// Whether objects must be as the model's schema requires.
    checks: bool,
}

/// Members that the model doesn't know: how many there were, and some of their names.
#[derive(Default, Debug, Clone)]
pub struct Unknown {
    /// How often an unknown member was met.
    pub count: u64,
    /// Up to 20 different names, cut at 64 characters.
    pub names: BTreeSet<String>,
}

#[derive(Clone, Default)]
struct State {
    /// The values of members, each after the one that was parsed before it, and the objects made of them.
    out: Vec<u8>,
    /// For each member of the objects that are open: where its value stands in `out`.
    spans: Vec<Option<(usize, usize)>>,
    /// The way to what is being parsed; after an error, to what was wrong.
    path: Vec<Step>,
    unknown: Unknown,
    reason: Option<Reason>,
    /// Where the document starts in memory, and the offset of the wrong value, for errors whose place `serde_json`
    /// doesn't report.
    text_start: usize,
    wrong_at: Option<usize>,
    /// The first required member that is missing or empty.
    missing: Option<usize>,
    /// Whether an object or an array is given more than once.
    repeats: bool,
    /// As [`Rules::checks`].
    checks: bool,
    /// Whether members that the model lacks are refused.
    refuses_unknown: bool,
}

#[derive(Clone)]
enum Step {
    Member(&'static Member),
    Unknown(String),
    Element(usize),
}

impl Parser {
    /// A parser that takes all that fits the model.
    pub fn new(shape: &'static Struct) -> Self {
        Self { shape, rules: Rules::default(), format: RowFormat::Gob, state: State::default() }
    }

    /// A parser that refuses documents in which one of the `required` members is missing, `null` or empty, or something
    /// that the model's schema requires is missing; and where `unknown` members are refused, those that have one.
    ///
    /// # Errors
    /// A required member that the model lacks.
    pub fn checking(
        shape: &'static Struct,
        required: &[String],
        refuses_unknown: bool,
    ) -> Result<Self, SettingError> {
        if shape.any {
            let required_paths =
                required.iter().map(|path| (path.clone(), member_name::of_path(path))).collect();
            let rules = Rules { required_paths, ..Rules::default() };
            return Ok(Self { shape, rules, format: RowFormat::Json, state: State::default() });
        }
        let mut places = Vec::new();
        for name in required {
            let (index, _) = shape.member(name).ok_or_else(|| SettingError::unknown(name, shape))?;
            if !places.contains(&index) {
                places.push(index);
            }
        }
        let state = State { checks: true, refuses_unknown, ..State::default() };
        Ok(Self {
            shape,
            rules: Rules { required: places, checks: true, ..Rules::default() },
            format: RowFormat::Gob,
            state,
        })
    }

    /// From now on, orders are for rows of this format. Until then it is gob.
    pub fn set_format(&mut self, format: RowFormat) {
        self.format = format;
    }

    /// The order that `payload` is, under `key`.
    ///
    /// # Errors
    /// A [`Refusal`] that says what is wrong and where, without quoting the payload.
    pub fn parse(&mut self, payload: &[u8], key: &str) -> Result<Order, Refusal> {
        let text = simdutf8::compat::from_utf8(payload).map_err(|error| Refusal {
            reason: Reason::InvalidUtf8,
            detail: "invalid UTF-8".into(),
            path: None,
            offset: Some(error.valid_up_to()),
        })?;
        let plain = self.plain(text, key);
        let key_field = match plain {
            Some(key_field) => key_field,
            None => self.any(text, key)?,
        };
        for (path, names) in &self.rules.required_paths {
            // The text was read, so that it can be.
            if !by_name::has_value(text, names).unwrap_or_default() {
                return Err(Refusal::missing(path, text));
            }
        }
        self.order(text, key, key_field, plain.is_some())
    }

    /// What `text`, which was taken, is in the format of the rows. A plain one has nothing that `fast` does not expect.
    fn order(&mut self, text: &str, key: &str, key_field: u64, is_plain: bool) -> Result<Order, Refusal> {
        let out = &mut self.state.out;
        match self.format {
            RowFormat::Gob => return Ok(Order::new(Body::close(out), key_field)),
            RowFormat::Json => {
                Body::open_document(RowFormat::Json, key, out);
                out.extend_from_slice(text.as_bytes());
            }
            RowFormat::Jsonb => {
                Body::open_document(RowFormat::Jsonb, key, out);
                if !is_plain || plain::write(self.shape, text, out).is_none() {
                    Body::open_document(RowFormat::Jsonb, key, out);
                    canonical::write(self.shape, text, out)?;
                }
            }
        }
        Ok(Order::of_document(Body::close_document(out)))
    }

    /// Reads `text`, unless something about it is unusual, to a gob value. Gives back the number of the key's field.
    fn plain(&mut self, text: &str, key: &str) -> Option<u64> {
        let out = &mut self.state.out;
        Body::open(OWN_LAYOUT as u16, key, out);
        fast::document(self.shape, text, &self.rules, out)
    }

    /// Parses any text, by `serde_json` alone.
    fn any(&mut self, text: &str, key: &str) -> Result<u64, Refusal> {
        let text = without_lone_surrogates(text);
        let Self { shape, rules, state, .. } = self;
        state.open(key);
        let mut key_field = general::document(shape, &text, &rules.required, state)?;
        if state.repeats {
            state.open(key);
            let merged = merge::document(shape, &text, &rules.required, state);
            key_field = merged.map_err(|error| state.refusal(&text, &error))?;
        }
        match state.missing {
            Some(index) => Err(Refusal::missing(shape.members[index].json_name, &text)),
            None => Ok(key_field),
        }
    }

    /// Whether `text` is unusual, or the same to both readers.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn is_the_same_to_both(&mut self, text: &str, key: &str) -> bool {
        let Some(key_field) = self.plain(text, key) else { return true };
        let plain = std::mem::take(&mut self.state.out);
        self.any(text, key).is_ok_and(|other| other == key_field) && self.state.out == plain
    }

    /// The unknown members met since the parser was made.
    pub fn unknown(&self) -> &Unknown {
        &self.state.unknown
    }
}

/// Without what it has read: no order's content in logs.
impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser").field("model", &self.shape.go_name).finish_non_exhaustive()
    }
}

impl State {
    /// Begins an order in `out`, and forgets what was noted of the document before.
    fn open(&mut self, key: &str) {
        Body::open(OWN_LAYOUT as u16, key, &mut self.out);
        self.spans.clear();
        self.path.clear();
        (self.reason, self.wrong_at, self.missing, self.repeats) = (None, None, None, false);
    }

    fn refuse<E: serde::de::Error>(&mut self, reason: Reason, detail: impl fmt::Display) -> E {
        self.reason = Some(reason);
        E::custom(detail)
    }

    /// Notes that a part of the document is wrong.
    fn wrong_at(&mut self, part: &str) {
        self.wrong_at = part.as_ptr().addr().checked_sub(self.text_start);
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
        Refusal { reason, detail, path, offset: self.wrong_at.or_else(|| offset(reason, text, error)) }
    }

    fn nested_too_deep(&self, at: usize) -> Refusal {
        Refusal {
            reason: Reason::InvalidJson,
            detail: "arrays and objects are nested more than 10,000 deep".into(),
            path: (!self.path.is_empty()).then(|| self.path_text()),
            offset: Some(at),
        }
    }

    fn path_text(&self) -> String {
        let mut path = String::from("$");
        for step in &self.path {
            match step {
                Step::Member(member) => {
                    path.push('.');
                    path.push_str(member.json_name);
                }
                Step::Unknown(name) => {
                    path.push('.');
                    path.push_str(name);
                }
                Step::Element(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }

    fn unknown(&mut self, name: &str) {
        self.unknown.count += 1;
        if self.unknown.names.len() < MAX_UNKNOWN_NAMES {
            self.unknown.names.insert(shortened(name));
        }
    }
}

#[cfg(test)]
mod tests;
