//! Why a message is refused, as its dead letter says it.

use std::fmt;

/// The kind of a refusal; `orderd dead-letters` selects by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The payload is not UTF-8.
    InvalidUtf8,
    /// The payload is not JSON.
    InvalidJson,
    /// The payload is JSON, but no object.
    NotAnObject,
    /// A member is of another type than in the model.
    WrongType,
    /// A whole number that Go's `int` can't hold, or a number beyond its `float64`; where rows are `jsonb`, of members
    /// that the model lacks too.
    NumberOutOfRange,
    /// A required member is missing, `null` or empty.
    MissingMember,
    /// A member that the model lacks, where these are refused.
    UnknownMember,
    /// A value that a `jsonb` can't hold, or can't give back.
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

    /// The reason as one word, as it stands in headers, metrics and JSON.
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

/// What is wrong with a message and where. Quotes nothing of the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The kind.
    pub reason: Reason,
    /// The kind in words, with what was found and what was expected.
    pub detail: String,
    /// The place in the document, `$.items[0].price`; none where there is no document.
    pub path: Option<String>,
    /// The place in the payload, in bytes from its start: where the wrong value starts, or where the text
    /// stops being JSON; for a missing member, the end of the document.
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
