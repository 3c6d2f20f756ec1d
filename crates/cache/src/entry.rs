//! An entry: an order as it is inserted.

use order::Body;

use crate::value_hashes::ValueHashes;

/// What `initmemchan` and `memwritechan` carry.
pub struct Entries {
    /// The memory that they belong to.
    pub generation: u64,
    /// Of a chunk of the stream: its last message.
    pub through: Option<u64>,
    /// The orders.
    pub entries: Vec<Entry>,
}

/// An order as memory keeps it.
pub struct Entry {
    /// The order.
    pub body: Body,
    /// The hashes of its values, by which it is found.
    pub hashes: ValueHashes,
    /// Whether it comes from the stream; otherwise from the table.
    pub arrived: bool,
}
