//! Errors of a model: what can't be modelled, where, and what to do.

use std::fmt;

use crate::path::Path;

/// Why there is no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to infer from.
    #[error("no sample was given: name at least one JSON file")]
    NoSample,

    /// The sample is not JSON, or its text can't be decoded.
    #[error("{place}: not valid JSON ({reason}): correct the sample")]
    Syntax {
        /// Where.
        place: SampleLocation,
        /// What the parser says; line and column are those within the place.
        reason: String,
    },

    /// The document is not an object.
    #[error("{place} is {found}: a sample has to be one JSON object")]
    Root {
        /// Where.
        place: SampleLocation,
        /// What it is instead.
        found: &'static str,
    },

    /// An object has two members of the same name.
    #[error("{place} is there twice in its object: remove one")]
    Duplicate {
        /// Where.
        place: SampleLocation,
    },

    /// Objects and arrays in each other, too deep to decode safely.
    #[error("{place} is nested deeper than {limit} levels: flatten the sample")]
    TooDeep {
        /// Where.
        place: SampleLocation,
        /// The deepest level that is taken.
        limit: usize,
    },

    /// A whole number that Go's `int` can't hold.
    #[error("{place} is a whole number of more than 64 bits: make it a string or give it a fraction")]
    TooBig {
        /// Where.
        place: SampleLocation,
    },

    /// The same member holds values of kinds that no one type takes.
    #[error("{place} is {found}, but {other_place} is {other}: make both the same, or leave the member out")]
    Mixed {
        /// Where.
        place: SampleLocation,
        /// What is there.
        found: &'static str,
        /// Where another kind of value was first.
        other_place: Box<SampleLocation>,
        /// What is there.
        other: &'static str,
    },

    /// Never anything but `null`.
    #[error("{place} is never anything but null, so its type is unknown: give it a value in a sample")]
    OnlyNull {
        /// Where.
        place: SampleLocation,
    },

    /// Never anything but an empty array.
    #[error("{place} is never anything but an empty array: give it an element in a sample, to show its type")]
    OnlyEmpty {
        /// Where.
        place: SampleLocation,
    },

    /// A schema has a keyword that is not supported.
    #[error("{place}: this keyword is not supported, and would be ignored: remove it")]
    Keyword {
        /// The keyword.
        place: SampleLocation,
    },

    /// A part of a schema that says nothing that a model can have.
    #[error("{place} {problem}")]
    Schema {
        /// The part.
        place: SampleLocation,
        /// What is wrong with it, and what it takes.
        problem: String,
    },

    /// A schema beside other files.
    #[error("{name} is a JSON Schema, which is a whole model: name it alone")]
    SchemaAmongSamples {
        /// The schema's file.
        name: String,
    },
}

/// A place in a sample or schema; shown as `order.json: $.items[0].x`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleLocation {
    /// The sample's name.
    pub sample: String,
    /// The JSON path.
    pub path: String,
}

impl SampleLocation {
    pub(crate) fn new(sample: &str, path: &Path) -> Self {
        Self { sample: sample.to_owned(), path: path.to_string() }
    }
}

impl fmt::Display for SampleLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.sample, self.path)
    }
}
