//! Parses a sample into a tree in which every value knows its path, its text and its kind.
//!
//! Parses level by level over raw text, so that a number's spelling decides its kind (`1.0` is a float, 2^64 is not
//! silently one), and every error knows its path.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::path::Path;
use crate::problems::Problems;
use crate::{Error, Source};

/// Maximum nesting. Deeper values could not be decoded: serde_json stops at 128.
pub(crate) const MAX_DEPTH: usize = 100;

#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) path: Path,
    pub(crate) text: &'a str,
    pub(crate) value: Value<'a>,
}

#[derive(Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool,
    Int,
    Float,
    String,
    Array(Vec<Node<'a>>),
    Object(Vec<(String, Node<'a>)>),
    /// It has a problem.
    Invalid,
}

impl<'a> Source<'a> {
    /// `None` if it is not JSON.
    pub(crate) fn tree(&self, problems: &mut Problems) -> Option<Node<'a>> {
        let root = Path::default();
        let raw: &RawValue = self.parsed(self.json, &root, problems)?;
        Some(self.node(raw.get(), root, 1, problems))
    }

    /// Refuses an object that repeats a name; the document is valid JSON that is not nested too deeply for serde_json.
    pub(crate) fn refuse_repeats(&self, problems: &mut Problems) {
        self.refuse_repeats_in(self.json.trim_ascii_start(), &Path::default(), problems);
    }

    fn refuse_repeats_in(&self, text: &'a str, path: &Path, problems: &mut Problems) {
        match text.as_bytes().first() {
            Some(b'{') => {
                let Some(Members(members)) = self.parsed(text, path, problems) else { return };
                for (name, raw) in self.without_repeated(members, path, problems) {
                    self.refuse_repeats_in(raw.get(), &path.member(&name), problems);
                }
            }
            Some(b'[') => {
                let elements: Vec<&RawValue> = self.parsed(text, path, problems).unwrap_or_default();
                for (index, raw) in elements.into_iter().enumerate() {
                    self.refuse_repeats_in(raw.get(), &path.index(index), problems);
                }
            }
            _ => {}
        }
    }

    fn node(&self, text: &'a str, path: Path, depth: usize, problems: &mut Problems) -> Node<'a> {
        let value = match text.as_bytes().first() {
            Some(b'{') => self.object(text, &path, depth, problems).map(Value::Object),
            Some(b'[') => self.array(text, &path, depth, problems).map(Value::Array),
            Some(b'"') => self.parsed::<String>(text, &path, problems).map(|_| Value::String),
            Some(b't' | b'f') => Some(Value::Bool),
            Some(b'n') => Some(Value::Null),
            _ => self.number(text, &path, problems),
        };
        Node { path, text, value: value.unwrap_or(Value::Invalid) }
    }

    fn object(
        &self,
        text: &'a str,
        path: &Path,
        depth: usize,
        problems: &mut Problems,
    ) -> Option<Vec<(String, Node<'a>)>> {
        self.check_depth(path, depth, problems)?;
        let Members(members) = self.parsed(text, path, problems)?;
        let members = self.without_repeated(members, path, problems).into_iter();
        let node = |(name, raw): (String, &'a RawValue)| {
            let node = self.node(raw.get(), path.member(&name), depth + 1, problems);
            (name, node)
        };
        Some(members.map(node).collect())
    }

    fn array(
        &self,
        text: &'a str,
        path: &Path,
        depth: usize,
        problems: &mut Problems,
    ) -> Option<Vec<Node<'a>>> {
        self.check_depth(path, depth, problems)?;
        let elements: Vec<&'a RawValue> = self.parsed(text, path, problems)?;
        let elements = elements.into_iter().enumerate();
        Some(elements.map(|(i, raw)| self.node(raw.get(), path.index(i), depth + 1, problems)).collect())
    }

    /// As in Go: with a fraction or an exponent, a number is a float, whatever its value.
    fn number(&self, text: &str, path: &Path, problems: &mut Problems) -> Option<Value<'a>> {
        if text.contains(['.', 'e', 'E']) {
            return self.parsed::<f64>(text, path, problems).map(|_| Value::Float);
        }
        if text.parse::<i64>().is_err() {
            problems.add(self.name, path, |location| Error::TooBig { location });
            return None;
        }
        Some(Value::Int)
    }

    /// `RawValue` checks only syntax: lone surrogates and numbers like `1e999` are detected where they are parsed.
    fn parsed<T: Deserialize<'a>>(&self, text: &'a str, path: &Path, problems: &mut Problems) -> Option<T> {
        match serde_json::from_str(text) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let reason = error.to_string();
                problems.add(self.name, path, |location| Error::Syntax { location, reason });
                None
            }
        }
    }

    fn check_depth(&self, path: &Path, depth: usize, problems: &mut Problems) -> Option<()> {
        if depth > MAX_DEPTH {
            problems.add(self.name, path, |location| Error::TooDeep { location, limit: MAX_DEPTH });
            return None;
        }
        Some(())
    }

    /// The members, of repeated ones the first.
    fn without_repeated(
        &self,
        members: Vec<(String, &'a RawValue)>,
        path: &Path,
        problems: &mut Problems,
    ) -> Vec<(String, &'a RawValue)> {
        let mut seen = HashSet::new();
        let mut kept = Vec::with_capacity(members.len());
        for (name, raw) in members {
            if seen.insert(name.clone()) {
                kept.push((name, raw));
            } else {
                problems.add(self.name, &path.member(&name), |location| Error::Duplicate { location });
            }
        }
        kept
    }
}

/// The members of an object in order, including repeated ones.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
