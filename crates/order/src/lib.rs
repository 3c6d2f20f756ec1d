//! Converts documents of a shape: JSON, rows of Go's `encoding/gob`, bodies in memory; and their keys. No I/O.
//!
//! ```text
//! payload (JSON) ── Parser ── Order ── Layouts::write_row ── row (gob) ── the table
//!                               │                              │
//!                       RowReader::body                 RowReader::read
//!                               └──────────── Body ────────────┘
//!                                               │
//!                                       Layouts::write_json ── the answer (JSON)
//! ```
//!
//! With `jsonb` or `json` rows, bodies and rows are the document's text instead (`document/`).
//!
//! All code here works with the [shape](model::shape) and names no member. Tests compare it with Rust types of the same
//! model that serde and `gobwire` read and write.

mod key;
mod interface_rows;
mod own_descriptors;
mod document;
mod row_format;
mod payload_text;
mod json_writer;
mod gob_layout;
mod member_name;
mod order;
mod parse;
mod refusal;
mod gob_to_json;
mod row_codec;
mod root_members;
mod search_path;
mod gob_scan;
mod gob_primitives;
mod row_model;

pub use document::survey::{Difference, DifferenceKind, Survey};
pub use key::Key;
pub use order::{Body, Order};
pub use parse::{Parser, Unknown};
pub use refusal::{Reason, Refusal};
pub use root_members::RootMembers;
pub use row_codec::{Layouts, RowReader};
pub use row_format::RowFormat;
pub use row_model::{descriptors, shape_of};
pub use search_path::{SearchKind, SearchPath, searchable};

use model::shape::Struct;

/// Maximum nesting of a value. `crates/model` refuses deeper samples.
pub(crate) const MAX_DEPTH: usize = 100;

/// Why a row of the table can't be decoded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RowError {
    /// It ends too early.
    #[error("it is cut short")]
    Truncated,
    /// A number of more than eight bytes, or a float that is not finite.
    #[error("it contains an invalid number")]
    BadNumber,
    /// A string that is not UTF-8.
    #[error("it holds text that is not UTF-8")]
    Utf8,
    /// A field that the row's descriptors lack.
    #[error("it holds a field that its descriptors lack")]
    UnknownField,
    /// Nested deeper than any model.
    #[error("it is nested too deeply")]
    TooDeep,
    /// Not a JSON document.
    #[error("it is not JSON")]
    NotJson,
    /// JSON `null`, an array or a scalar: damage, which says nothing about the model.
    #[error("it is not a JSON object")]
    NotObject,
    /// Larger than 4 GiB.
    #[error("it is too large")]
    TooLarge,
    /// It holds an interface value, which only `gobwire` can skip.
    #[error("it holds an interface value")]
    Interface,
    /// The type does not match the model's.
    #[error("its type doesn't fit: {0}")]
    Type(String),
    /// `gobwire` refuses it.
    #[error("it is not a gob of the model: {0}")]
    Gob(String),
}

impl RowError {
    fn gob(error: gobwire::Error) -> Self {
        Self::Gob(error.to_string())
    }

    fn at(self, field: &str) -> Self {
        match self {
            Self::Type(what) => Self::Type(format!("field {field} {what}")),
            other => other,
        }
    }
}

/// A setting names a member that the model lacks or that does not suit the setting.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SettingError(String);

impl SettingError {
    fn unknown(name: &str, shape: &Struct) -> Self {
        let known: Vec<_> = shape.members.iter().map(|member| member.json_name).collect();
        Self(format!("the model has no member {name:?}; it has {}", known.join(", ")))
    }

    fn object(path: &str) -> Self {
        Self(format!(
            "{path:?} is an object; documents are found by strings, numbers and booleans, such as {path}.NAME"
        ))
    }

    fn no_object(path: &str, name: &str) -> Self {
        Self(format!("in {path:?}, {name:?} is not an object, and has no members"))
    }

    fn dotted(path: &str) -> Self {
        Self(format!("{path:?} is a path; the member of that name is written {:?}", path.replace('.', "\\.")))
    }
}

/// The built-in model, for unit tests.
#[cfg(test)]
mod order_model {
    use std::sync::LazyLock;

    use model::Model;
    use model::shape::Struct;

    static ORDER: LazyLock<Model> = LazyLock::new(|| Model::order().unwrap());

    pub(crate) fn shape() -> &'static Struct {
        ORDER.shape()
    }

    pub(crate) fn sample() -> &'static str {
        &ORDER.sample
    }
}
