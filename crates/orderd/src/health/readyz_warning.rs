//! The warnings of `/readyz`.

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::finding::Finding;

/// A finding that `/readyz` shows as long as it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) kind: WarningKind,
    /// The affected stream, account, consumer, server, file or table.
    pub(crate) name: String,
    pub(crate) finding: Finding,
}

impl Warning {
    pub(crate) fn new(kind: WarningKind, name: &str, finding: Finding) -> Self {
        Self { kind, name: name.to_owned(), finding }
    }

    /// Whether both concern the same problem, regardless of their figures.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name
    }
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("Warning", 3)?;
        shown.serialize_field("what", self.kind.as_str())?;
        shown.serialize_field("name", &self.name)?;
        shown.serialize_field("text", &self.finding.to_string())?;
        shown.end()
    }
}

/// The kinds of warnings, as `what` in `/readyz` and in `orderd_warning`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WarningKind {
    /// The stream may drop unread messages.
    StreamMayDrop,
    /// The stream is full, or nearly: publishers are refused.
    StreamFull,
    /// The stream accepts no more messages.
    StreamSealed,
    /// The account has no room left, or nearly.
    AccountFull,
    /// Committed messages stay in the stream for less than `STREAM_KEEP`.
    KeptShorter,
    /// Messages left the stream before they were read.
    MessagesLost,
    /// The clock of NATS is ahead of ours.
    ClockSkew,
    /// A file of a setting has changed, and is invalid.
    FileUnusable,
    /// Little memory is left.
    MemoryNearlyFull,
    /// The rows of the table are probably documents of another model.
    LittleInCommon,
    /// Rows older than `KEEP` can't be deleted.
    RowsKept,
    /// Rows that PostgreSQL accepted are not in the table.
    RowsNotStored,
}

impl WarningKind {
    pub(crate) const ALL: [Self; 12] = [
        Self::StreamMayDrop,
        Self::StreamFull,
        Self::StreamSealed,
        Self::AccountFull,
        Self::KeptShorter,
        Self::MessagesLost,
        Self::ClockSkew,
        Self::MemoryNearlyFull,
        Self::FileUnusable,
        Self::LittleInCommon,
        Self::RowsKept,
        Self::RowsNotStored,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::StreamMayDrop => "stream_may_drop",
            Self::StreamFull => "stream_full",
            Self::StreamSealed => "stream_sealed",
            Self::AccountFull => "account_full",
            Self::KeptShorter => "kept_shorter",
            Self::MessagesLost => "messages_lost",
            Self::ClockSkew => "clock_skew",
            Self::MemoryNearlyFull => "memory_nearly_full",
            Self::FileUnusable => "file_unusable",
            Self::LittleInCommon => "little_in_common",
            Self::RowsKept => "rows_kept",
            Self::RowsNotStored => "rows_not_stored",
        }
    }
}
