//! The formats of rows: gob, `json`, `jsonb`.

/// The form of `data`, which the type of the column decides. A body in memory is of the same form.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum RowFormat {
    /// `bytea`: the Go `encoding/gob` stream of the order.
    #[default]
    Gob,
    /// `jsonb`: the document, in PostgreSQL's normal form.
    Jsonb,
    /// `json`: the document, byte for byte as it came.
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

    /// Whether a row is the document itself, with what the model does not know, and `null` where it was.
    pub fn is_document(self) -> bool {
        self != Self::Gob
    }
}
