//! Why a message is refused. The dead letter says the same.

use std::fmt;

/// The kind of a refusal; `orderd dead-letters` selects by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The payload is not UTF-8.
    InvalidUtf8,
    /// The payload is not JSON.
    InvalidJson,
    /// The payload is JSON, but not an object.
    NotAnObject,
    /// A member has another type than in the model.
    WrongType,
    /// An integer out of the range of Go's `int`, or a number out of that of `float64`; with `jsonb` rows also in
    /// unknown members.
    NumberOutOfRange,
    /// A required member is missing, `null` or empty.
    MissingMember,
    /// An unknown member, with `UNKNOWN=refuse`.
    UnknownMember,
    /// A value that `jsonb` can't hold or can't return.
    NotStorable,
    /// PostgreSQL refuses the row.
    RefusedByDatabase,
    /// The NATS client fails at the message.
    UnreadableMessage,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::InvalidUtf8,
        Self::InvalidJson,
        Self::NotAnObject,
        Self::WrongType,
        Self::NumberOutOfRange,
        Self::MissingMember,
        Self::UnknownMember,
        Self::NotStorable,
        Self::RefusedByDatabase,
        Self::UnreadableMessage,
    ];

    /// The reason as one word, for headers, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidJson => "invalid_json",
            Self::NotAnObject => "not_an_object",
            Self::WrongType => "wrong_type",
            Self::NumberOutOfRange => "number_out_of_range",
            Self::MissingMember => "missing_member",
            Self::UnknownMember => "unknown_member",
            Self::NotStorable => "not_storable",
            Self::RefusedByDatabase => "refused_by_database",
            Self::UnreadableMessage => "unreadable_message",
        }
    }
}

/// What is wrong with a message, and where, without quoting the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The kind.
    pub reason: Reason,
    /// The reason in words: what was found, and what was expected.
    pub detail: String,
    /// The JSON path, `$.items[0].price`; `None` without a document.
    pub path: Option<String>,
    /// The byte offset in the payload: the start of the wrong value, or where the text stops being JSON; for a missing
    /// member, the end of the document.
    pub offset: Option<usize>,
}

impl Refusal {
    /// A required member of the document that is missing, `null` or empty.
    pub(crate) fn missing(member: &str, text: &str) -> Self {
        Self {
            reason: Reason::MissingMember,
            detail: "is required, and missing or empty".into(),
            path: Some(format!("$.{member}")),
            // The document's closing bracket.
            offset: Some(text.trim_ascii_end().len().saturating_sub(1)),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.detail)?;
        match self.offset {
            Some(offset) => write!(f, " (byte {offset})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}
