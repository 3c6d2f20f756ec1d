//! An entry: an order as it is inserted.

use order::Body;

use crate::value_hashes::ValueHashes;

/// The chunks of `initmemchan` and `memwritechan`.
pub struct Entries {
    /// The generation that they belong to.
    pub generation: u64,
    /// The last message of a chunk of the stream.
    pub through: Option<u64>,
    /// The orders.
    pub entries: Vec<Entry>,
}

/// An order to insert.
pub struct Entry {
    /// The order.
    pub body: Body,
    /// The hashes of its searchable values.
    pub hashes: ValueHashes,
    /// Whether it came from the stream and not from the table.
    pub arrived: bool,
}
