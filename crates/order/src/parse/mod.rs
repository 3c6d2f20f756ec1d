//! JSON -> order: a gob value in one pass, or, with `jsonb` or `json` rows, the checked document.
//!
//! `fast` parses most documents, in half of the time. It gives up on anything unusual; `general`, with visitors for
//! `serde_json`, then parses the document from its beginning.
//!
//! The result is that of Go's `encoding/json`: missing members are zero; `null` leaves a member unchanged; unknown
//! members are ignored, but counted; names match ignoring case if none matches exactly; the last value of a repeated
//! member counts, but objects and arrays are merged; a lone surrogate becomes `U+FFFD`. Refused are invalid UTF-8,
//! numbers out of range, values of another type, anything but an object, and nesting beyond Go's limit.

mod fast;
mod general;
mod merge;
mod members;
mod error_offset;

use std::collections::BTreeSet;
use std::fmt;

use model::shape::{Kind, Member, Struct};

use self::error_offset::offset;
use crate::document::{by_name, canonical, plain};
use crate::gob_layout::OWN_LAYOUT;
use crate::member_name::shortened;
use crate::order::{Body, Order};
use crate::payload_text::without_lone_surrogates;
use crate::refusal::{Reason, Refusal};
use crate::row_format::RowFormat;
use crate::{SettingError, member_name};

/// Maximum number of names of unknown members to remember: names come from outside, and may be different in each
/// document.
const MAX_UNKNOWN_NAMES: usize = 1000;

/// Parses payloads, reusing its buffers.
#[derive(Clone)]
pub struct Parser {
    shape: &'static Struct,
    rules: Rules,
    format: RowFormat,
    state: State,
}

/// What a document must satisfy besides the model's types.
#[derive(Clone, Default)]
struct Rules {
    /// Members of the root that must be present and not empty.
    required: Vec<usize>,
    /// Required members with `MODEL=any`, by path.
    required_paths: Vec<(String, Vec<String>)>,
    /// Whether to check the schema's `required`.
    checks: bool,
}

/// Members that the model lacks: their number, and some of their names.
#[derive(Default, Debug, Clone)]
pub struct Unknown {
    /// Occurrences of unknown members.
    pub count: u64,
    /// Up to 1,000 different names, cut at 64 characters.
    pub names: BTreeSet<String>,
    /// Whether there were more.
    pub has_more: bool,
}

impl Unknown {
    fn add(&mut self, name: &str) {
        self.count += 1;
        if self.has_more || self.names.contains(name) {
            return;
        }
        let name = shortened(name);
        if self.names.len() < MAX_UNKNOWN_NAMES {
            self.names.insert(name);
        } else {
            self.has_more = !self.names.contains(&name);
        }
    }
}

#[derive(Clone, Default)]
struct State {
    /// The values of members in the order of parsing, and the objects assembled from them.
    out: Vec<u8>,
    /// For each member of open objects: the range of its value in `out`.
    spans: Vec<Option<(usize, usize)>>,
    /// The JSON path of the current value; after an error, of the wrong one.
    path: Vec<Step>,
    unknown: Unknown,
    reason: Option<Reason>,
    /// The document's address, and the offset of the wrong value, for errors whose position `serde_json` doesn't
    /// report.
    text_start: usize,
    wrong_at: Option<usize>,
    /// The first required member that is missing or empty.
    missing: Option<usize>,
    /// Whether an object or an array is repeated.
    repeats: bool,
    /// As [`Rules::checks`].
    checks: bool,
    /// Objects may lack required members, because they are merged later.
    has_passed_required: bool,
    /// Unknown members were counted before.
    has_counted_unknown: bool,
    /// Whether members that the model lacks are refused.
    refuses_unknown: bool,
    /// Whether the document's root has members of the model, and others.
    has_known: bool,
    has_unknown: bool,
}

#[derive(Clone)]
enum Step {
    Member(&'static Member),
    Unknown(String),
    Element(usize),
}

impl Parser {
    /// A parser that accepts every document that fits the model.
    pub fn new(shape: &'static Struct) -> Self {
        Self { shape, rules: Rules::default(), format: RowFormat::Gob, state: State::default() }
    }

    /// A parser that also refuses documents in which a `required` member is missing, `null` or empty, or which lack a
    /// member that the schema requires; and, if told so, documents with unknown members.
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
        let mut required_members = Vec::new();
        for name in required {
            let (index, _) = shape.member(name).ok_or_else(|| SettingError::unknown(name, shape))?;
            if !required_members.contains(&index) {
                required_members.push(index);
            }
        }
        let state = State { checks: true, refuses_unknown, ..State::default() };
        Ok(Self {
            shape,
            rules: Rules { required: required_members, checks: true, ..Rules::default() },
            format: RowFormat::Gob,
            state,
        })
    }

    /// The same parser, which refuses documents with unknown members.
    pub fn refusing_unknown(mut self) -> Self {
        self.state.refuses_unknown = true;
        self
    }

    /// Whether the document that was parsed last has a member of the model at its root, or no members at all. Otherwise
    /// it is a document of another model, of which a gob row has nothing.
    pub fn shares_member(&self) -> bool {
        self.state.has_known || !self.state.has_unknown || self.shape.any
    }

    /// Sets the row format of the following orders. The default is gob.
    pub fn set_format(&mut self, format: RowFormat) {
        self.format = format;
    }

    /// Parses `payload` as the order `key`.
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
            // The text is valid JSON, so this does not fail.
            if !by_name::has_value(text, names).unwrap_or_default() {
                return Err(Refusal::missing(path, text));
            }
        }
        self.order(text, key, key_field, plain.is_some())
    }

    /// Converts the accepted `text` to the row format. `is_plain`: `fast` has parsed it.
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

    /// Parses `text` with `fast`. Returns the number of the key's field; `None` if the text is unusual.
    fn plain(&mut self, text: &str, key: &str) -> Option<u64> {
        // `fast` gives up on unknown members.
        (self.state.has_known, self.state.has_unknown) = (false, false);
        let out = &mut self.state.out;
        Body::open(OWN_LAYOUT as u16, key, out);
        fast::document(self.shape, text, &self.rules, out)
    }

    /// Parses any text with `general`.
    fn any(&mut self, text: &str, key: &str) -> Result<u64, Refusal> {
        let text = without_lone_surrogates(text);
        let Self { shape, rules, state, .. } = self;
        state.open(key);
        let parsed = general::document(shape, &text, &rules.required, state);
        let is_merged = match &parsed {
            Ok(_) => state.repeats,
            // An object may have its required members in another occurrence.
            Err(refusal) => refusal.reason == Reason::MissingMember && state.is_repeated(shape, &text, key),
        };
        let key_field = if is_merged {
            state.open(key);
            let merged = merge::document(shape, &text, &rules.required, state);
            merged.map_err(|error| state.refusal(&text, &error))?
        } else {
            parsed?
        };
        match state.missing {
            Some(index) => Err(Refusal::missing(shape.members[index].json_name, &text)),
            None => Ok(key_field),
        }
    }

    /// Whether both parsers give the same result for `text`, or `fast` gives up.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn is_the_same_to_both(&mut self, text: &str, key: &str) -> bool {
        let Some(key_field) = self.plain(text, key) else { return true };
        let plain = std::mem::take(&mut self.state.out);
        self.any(text, key).is_ok_and(|other| other == key_field) && self.state.out == plain
    }

    /// The unknown members since the parser was created.
    pub fn unknown(&self) -> &Unknown {
        &self.state.unknown
    }
}

/// Omits content: orders must not get into logs.
impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser").field("model", &self.shape.go_name).finish_non_exhaustive()
    }
}

impl State {
    /// Begins an order in `out`, and resets the state of the previous document.
    fn open(&mut self, key: &str) {
        Body::open(OWN_LAYOUT as u16, key, &mut self.out);
        self.spans.clear();
        self.path.clear();
        (self.reason, self.wrong_at, self.missing, self.repeats) = (None, None, None, false);
        (self.has_known, self.has_unknown) = (false, false);
    }

    /// Whether a document that lacks a required member is otherwise valid, and has a repeated object or array.
    fn is_repeated(&mut self, shape: &'static Struct, text: &str, key: &str) -> bool {
        self.open(key);
        (self.has_passed_required, self.has_counted_unknown) = (true, true);
        let is_valid = general::document(shape, text, &[], self).is_ok();
        (self.has_passed_required, self.has_counted_unknown) = (false, false);
        is_valid && self.repeats
    }

    /// A member that the schema requires, and that a `null` in the array at `path` therefore lacks.
    fn required_of_null(&self, kind: &Kind) -> Option<&'static Member> {
        let Kind::Struct(shape) = kind else { return None };
        let array = self.path.iter().rev().find_map(|step| match step {
            Step::Member(member) => Some(member),
            Step::Unknown(_) | Step::Element(_) => None,
        });
        let may_be_null = !self.checks || self.has_passed_required || array?.nullable_elements;
        let first = shape.required.first().filter(|_| !may_be_null)?;
        Some(&shape.members[*first])
    }

    fn refuse<E: serde::de::Error>(&mut self, reason: Reason, detail: impl fmt::Display) -> E {
        self.reason = Some(reason);
        E::custom(detail)
    }

    /// Records the part of the document that is wrong.
    fn wrong_at(&mut self, part: &str) {
        self.wrong_at = part.as_ptr().addr().checked_sub(self.text_start);
    }

    fn refusal(&self, text: &str, error: &serde_json::Error) -> Refusal {
        // serde_json appends line and column, which the offset replaces.
        let mut detail = error.to_string();
        if let Some(at) = detail.rfind(" at line ") {
            detail.truncate(at);
        }
        let reason = match self.reason {
            Some(reason) => reason,
            // The text is serde_json's only sign of a number like `1e999`.
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
        if !self.has_counted_unknown {
            self.unknown.add(name);
        }
    }
}

#[cfg(test)]
mod tests;
