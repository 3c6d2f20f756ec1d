//! JSON -> gob value, straight, without a document in between: what an order costs when it comes in.
//!
//! Most documents are plain and read by `plain`, in half of the time; all others by `serde_json` and our visitors.
//!
//! As lenient as Go's `encoding/json` where nothing is lost by it: missing members are zero, a member that is
//! `null` is left as it is, unknown ones are ignored but counted, names match without regard to ASCII case
//! where none matches exactly, and of a repeated member the last counts. Refused are invalid UTF-8, numbers
//! that don't fit, values of another type, `null`, and what is no object.

mod plain;
mod visit;
mod members;
mod place;

use std::collections::BTreeSet;
use std::fmt;

use self::place::offset;
use crate::SettingError;
use crate::model::ROOT;
use crate::order::{Body, Order};
use crate::refusal::{Reason, Refusal};
use crate::rows::OURS;
use crate::shape::Member;

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
        let mut places = Vec::new();
        for name in required {
            let (index, _) = ROOT.member(name).ok_or_else(|| SettingError::unknown(name))?;
            if !places.contains(&index) {
                places.push(index);
            }
        }
        Ok(Self { required: places, state: State::default() })
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
        match self.plain(text, key) {
            Some(order) => Ok(order),
            None => self.any(text, key),
        }
    }

    /// The order that `text` is, unless something about it is unusual.
    fn plain(&mut self, text: &str, key: &str) -> Option<Order> {
        let out = &mut self.state.out;
        Body::open(OURS as u16, key, out);
        let key_field = plain::document(text, &self.required, out)?;
        Some(Order::new(Body::close(out), key_field))
    }

    /// The same of any text, by `serde_json` alone.
    fn any(&mut self, text: &str, key: &str) -> Result<Order, Refusal> {
        let state = &mut self.state;
        Body::open(OURS as u16, key, &mut state.out);
        state.spans.clear();
        state.path.clear();
        state.reason = None;
        let key_field = visit::document(text, &self.required, state)?;
        Ok(Order::new(Body::close(&mut state.out), key_field))
    }

    /// Whether `text` is unusual, or the same to both readers.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn is_the_same_to_both(&mut self, text: &str, key: &str) -> bool {
        self.plain(text, key).is_none_or(|order| self.any(text, key).is_ok_and(|other| other == order))
    }

    /// The unknown members met since the parser was made.
    pub fn unknown(&self) -> &Unknown {
        &self.state.unknown
    }
}

impl State {
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
}

#[cfg(test)]
mod tests;
