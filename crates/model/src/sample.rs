//! Parses a sample into a tree in which every value knows its path, its text and its kind.
//!
//! Parses level by level over raw text, so that a number's spelling decides its kind (`1.0` is a float, 2^64 is not
//! silently one), and every error knows its path.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::path::Path;
use crate::{Error, SampleLocation, Source};

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
}

impl<'a> Source<'a> {
    pub(crate) fn tree(&self) -> Result<Node<'a>, Error> {
        let root = Path::default();
        let raw: &RawValue = serde_json::from_str(self.json).map_err(|err| self.syntax(&root, &err))?;
        self.node(raw.get(), root, 1)
    }

    /// Refuses an object that repeats a name; the document is valid JSON that is not nested too deeply for serde_json.
    pub(crate) fn refuse_repeats(&self) -> Result<(), Error> {
        self.refuse_repeats_in(self.json.trim_ascii_start(), &Path::default())
    }

    fn refuse_repeats_in(&self, text: &str, path: &Path) -> Result<(), Error> {
        match text.as_bytes().first() {
            Some(b'{') => {
                let Members(members) = serde_json::from_str(text).map_err(|err| self.syntax(path, &err))?;
                self.check_duplicates(path, &members)?;
                members
                    .iter()
                    .try_for_each(|(name, raw)| self.refuse_repeats_in(raw.get(), &path.member(name)))
            }
            Some(b'[') => {
                let elements: Vec<&RawValue> =
                    serde_json::from_str(text).map_err(|err| self.syntax(path, &err))?;
                elements
                    .iter()
                    .enumerate()
                    .try_for_each(|(i, raw)| self.refuse_repeats_in(raw.get(), &path.index(i)))
            }
            _ => Ok(()),
        }
    }

    fn node(&self, text: &'a str, path: Path, depth: usize) -> Result<Node<'a>, Error> {
        let value = match text.as_bytes().first() {
            Some(b'{') => Value::Object(self.object(text, &path, depth)?),
            Some(b'[') => Value::Array(self.array(text, &path, depth)?),
            Some(b'"') => self.decodes::<String>(text, &path).map(|()| Value::String)?,
            Some(b't' | b'f') => Value::Bool,
            Some(b'n') => Value::Null,
            _ => self.number(text, &path)?,
        };
        Ok(Node { path, text, value })
    }

    fn object(&self, text: &'a str, path: &Path, depth: usize) -> Result<Vec<(String, Node<'a>)>, Error> {
        self.check_depth(path, depth)?;
        let Members(members) = serde_json::from_str(text).map_err(|err| self.syntax(path, &err))?;
        self.check_duplicates(path, &members)?;
        let node = |(name, raw): (String, &'a RawValue)| {
            let node = self.node(raw.get(), path.member(&name), depth + 1)?;
            Ok((name, node))
        };
        members.into_iter().map(node).collect()
    }

    fn array(&self, text: &'a str, path: &Path, depth: usize) -> Result<Vec<Node<'a>>, Error> {
        self.check_depth(path, depth)?;
        let elements: Vec<&'a RawValue> =
            serde_json::from_str(text).map_err(|err| self.syntax(path, &err))?;
        let node = |(i, raw): (usize, &'a RawValue)| self.node(raw.get(), path.index(i), depth + 1);
        elements.into_iter().enumerate().map(node).collect()
    }

    /// As in Go: with a fraction or an exponent, a number is a float, whatever its value.
    fn number(&self, text: &str, path: &Path) -> Result<Value<'a>, Error> {
        if text.contains(['.', 'e', 'E']) {
            return self.decodes::<f64>(text, path).map(|()| Value::Float);
        }
        let too_big = |_| Error::TooBig { location: SampleLocation::new(self.name, path) };
        text.parse::<i64>().map(|_| Value::Int).map_err(too_big)
    }

    /// `RawValue` checks only syntax: lone surrogates and numbers like `1e999` are detected here.
    fn decodes<T: DeserializeOwned>(&self, text: &str, path: &Path) -> Result<(), Error> {
        serde_json::from_str::<T>(text).map(drop).map_err(|err| self.syntax(path, &err))
    }

    fn check_depth(&self, path: &Path, depth: usize) -> Result<(), Error> {
        let too_deep = || Error::TooDeep { location: SampleLocation::new(self.name, path), limit: MAX_DEPTH };
        if depth > MAX_DEPTH { Err(too_deep()) } else { Ok(()) }
    }

    fn check_duplicates(&self, path: &Path, members: &[(String, &RawValue)]) -> Result<(), Error> {
        let mut seen = HashSet::new();
        match members.iter().find(|(name, _)| !seen.insert(name.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                Err(Error::Duplicate { location: SampleLocation::new(self.name, &path.member(name)) })
            }
        }
    }

    fn syntax(&self, path: &Path, err: &serde_json::Error) -> Error {
        Error::Syntax { location: SampleLocation::new(self.name, path), reason: err.to_string() }
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
