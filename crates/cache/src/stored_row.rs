//! The row of an evicted order, and the trait to look it up.

use order::Body;

/// What the table has under an id.
#[derive(Clone)]
pub enum StoredRow {
    /// An order.
    Order(Body),
    /// The row can't be decoded, or is null.
    Undecodable,
    /// No row yet: its message is in the stream, and the table's position is below it.
    NotRead,
    /// No row.
    NotThere,
}

impl StoredRow {
    /// The decoded order, if there is one.
    pub fn order(&self) -> Option<&Body> {
        if let Self::Order(body) = self { Some(body) } else { None }
    }
}

/// The table can't be reached now.
#[derive(Debug)]
pub struct Unavailable;

/// Answers queries for orders whose bodies were evicted.
pub trait RowSource: Sync {
    /// The rows of these ids, in their order; at most [`MAX_ROWS`](Self::MAX_ROWS) ids.
    fn rows(&self, ids: &[&str]) -> impl Future<Output = Result<Vec<StoredRow>, Unavailable>> + Send;

    /// Maximum number of ids in one call.
    const MAX_ROWS: usize;
}
