//! The formats of rows: gob, `json`, `jsonb`.

/// The format of `data`, which the column's type decides. Bodies in memory have the same format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum RowFormat {
    /// `bytea`: the Go `encoding/gob` stream of the order.
    #[default]
    Gob,
    /// `jsonb`: the document, in PostgreSQL's normal form.
    Jsonb,
    /// `json`: the payload, byte for byte.
    Json,
}

impl RowFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Gob, Self::Jsonb, Self::Json];

    /// The type of the column, as SQL names it.
    pub fn column_type(self) -> &'static str {
        match self {
            Self::Gob => "bytea",
            Self::Jsonb => "jsonb",
            Self::Json => "json",
        }
    }

    /// The bytes before a document's text in PostgreSQL's binary format: `jsonb` has a version.
    pub(crate) fn prefix(self) -> &'static [u8] {
        if self == Self::Jsonb { &[1] } else { &[] }
    }

    /// Whether a row is the document itself, which keeps unknown members and `null`.
    pub fn is_document(self) -> bool {
        self != Self::Gob
    }
}
