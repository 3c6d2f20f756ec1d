//! What can't be modelled, where it is, and what to do about it.

/// Why there is no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to infer from.
    #[error("no sample was given: name at least one JSON file")]
    NoSample,

    /// The sample is no JSON, or its text is none that can be decoded.
    #[error("{sample}: {path}: not valid JSON ({reason}): correct the sample")]
    Syntax {
        /// The sample's name.
        sample: String,
        /// The JSON path.
        path: String,
        /// What the parser says.
        reason: String,
    },

    /// The document is no object.
    #[error("{sample}: {path} is {found}: a sample has to be one JSON object")]
    Root {
        /// The sample's name.
        sample: String,
        /// The JSON path.
        path: String,
        /// What it is instead.
        found: &'static str,
    },

    /// An object has two members of the same name.
    #[error("{sample}: {path} is there twice in its object: remove one")]
    Duplicate {
        /// The sample's name.
        sample: String,
        /// The JSON path.
        path: String,
    },

    /// Objects and arrays in each other, too deep to decode safely.
    #[error("{sample}: {path} is nested deeper than {limit} levels: flatten the sample")]
    TooDeep {
        /// The sample's name.
        sample: String,
        /// The JSON path.
        path: String,
        /// The deepest level that is taken.
        limit: usize,
    },

    /// A whole number that Go's `int` can't hold.
    #[error("{sample}: {path} is a whole number that 64 bits can't hold: make it a string, or write it with a fraction")]
    TooBig {
        /// The sample's name.
        sample: String,
        /// The JSON path.
        path: String,
    },

    /// The same place holds values of kinds that no one type takes.
    #[error(
        "{sample}: {path} is {found}, but {other_path} in {other_sample} is {other}: \
         make both the same kind, or leave the member out of the samples"
    )]
    Mixed {
        /// The sample's name.
        sample: String,
        /// The JSON path.
        path: String,
        /// What is there.
        found: &'static str,
        /// The sample that was there first.
        other_sample: String,
        /// Its JSON path.
        other_path: String,
        /// What was there first.
        other: &'static str,
    },

    /// Never anything but `null`.
    #[error("{sample}: {path} is null in every sample, so its type is unknown: give it a value in one of them")]
    OnlyNull {
        /// The sample's name.
        sample: String,
        /// The JSON path.
        path: String,
    },

    /// Never anything but an empty array.
    #[error(
        "{sample}: {path} is an empty array in every sample, so the type of its elements is unknown: \
         give it an element in one of them"
    )]
    OnlyEmpty {
        /// The sample's name.
        sample: String,
        /// The JSON path.
        path: String,
    },

    /// The generated source is no Rust; an error of this crate, not of the sample.
    #[error("{sample}: {path}: the generated model is not valid Rust ({reason}): please report it with the sample")]
    Generated {
        /// The first sample's name.
        sample: String,
        /// The JSON path, which is the whole document.
        path: String,
        /// What the parser says.
        reason: String,
    },
}
