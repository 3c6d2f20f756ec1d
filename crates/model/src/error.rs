//! Errors of a model: what can't be modelled, where, and what to do.

use std::fmt;

use crate::path::Path;

/// Why samples or a schema give no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No sample was given.
    #[error("no sample was given: name at least one JSON file")]
    NoSample,

    /// The sample is not JSON, or its text can't be decoded.
    #[error("{location}: not valid JSON ({reason}): correct the sample")]
    Syntax {
        /// Where.
        location: SampleLocation,
        /// The parser's message; line and column are relative to the location.
        reason: String,
    },

    /// The document is not an object.
    #[error("{location} is {found}: a sample has to be one JSON object")]
    Root {
        /// Where.
        location: SampleLocation,
        /// The kind that was found.
        found: &'static str,
    },

    /// An object has two members of the same name.
    #[error("{location} is repeated in its object: remove one")]
    Duplicate {
        /// Where.
        location: SampleLocation,
    },

    /// Objects and arrays are nested too deeply to decode safely.
    #[error("{location} is nested deeper than {limit} levels: flatten the sample")]
    TooDeep {
        /// Where.
        location: SampleLocation,
        /// The maximum nesting.
        limit: usize,
    },

    /// More members than a model may have.
    #[error("{location} gives the model more than 10,000 members: leave some out, or set MODEL=any")]
    TooManyMembers {
        /// The object or `properties` with the first that is too many.
        location: SampleLocation,
    },

    /// An integer out of the range of Go's `int`.
    #[error("{location} is a whole number of more than 64 bits: make it a string or give it a fraction")]
    TooBig {
        /// Where.
        location: SampleLocation,
    },

    /// Values of one member have kinds that no single type fits.
    #[error(
        "{location} is {found}, but {other_location} is {other}: make both the same, or leave the member out"
    )]
    Mixed {
        /// Where.
        location: SampleLocation,
        /// What is there.
        found: &'static str,
        /// Where the other kind was first found.
        other_location: Box<SampleLocation>,
        /// What is there.
        other: &'static str,
    },

    /// Only `null` in all samples.
    #[error(
        "{location} is null in every sample, so its type is unknown: give it a value in a sample, or {OR_NO_TYPE}"
    )]
    OnlyNull {
        /// Where.
        location: SampleLocation,
    },

    /// Only empty arrays in all samples.
    #[error(
        "{location} is an empty array in every sample, so its type is unknown: give it an element in a sample, or \
         {OR_NO_TYPE}"
    )]
    OnlyEmpty {
        /// Where.
        location: SampleLocation,
    },

    /// A schema has a keyword that is not supported.
    #[error("{location}: this keyword is not supported, and would be ignored: remove it")]
    Keyword {
        /// The keyword.
        location: SampleLocation,
    },

    /// A part of a schema that a model can't express.
    #[error("{location} {problem}")]
    Schema {
        /// The part.
        location: SampleLocation,
        /// What is wrong, and what is expected.
        problem: String,
    },

    /// Several of these.
    #[error("{}", in_lines(.problems, *.is_cut))]
    Several {
        /// At most 20, in the order in which they were found.
        problems: Vec<Error>,
        /// Whether there are more.
        is_cut: bool,
    },

    /// A schema together with other files.
    #[error("{name} is a JSON Schema, which describes the whole model: pass it alone")]
    SchemaAmongSamples {
        /// The schema's file.
        name: String,
    },
}

/// What else helps if samples don't show the type of a member.
const OR_NO_TYPE: &str = "leave it out of all samples (UNKNOWN then decides what becomes of it), give its type in a JSON \
                          Schema (orderd model infer prints one of other samples), or set MODEL=any";

fn in_lines(problems: &[Error], is_cut: bool) -> String {
    let more = if is_cut { ", and there are more" } else { "" };
    let lines: String = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    format!("{} problems{more}:{lines}", problems.len())
}

/// A location in a sample or schema; shown as `order.json: $.items[0].x`.
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
