//! From orders to answers: `initmemchan + memchan -> memwritechan -> cache`, and on to who reads along.

pub(crate) mod restore;
pub(crate) mod follow;
pub(crate) mod fan_in;
pub(crate) mod cache;
pub(crate) mod feed;
pub(crate) mod unsampled;
pub(crate) mod stats;
mod hashes;
mod sampler;

use order::Body;

pub(crate) use self::hashes::Hashes;

/// How many members orders can be searched by.
pub(crate) const MAX_SEARCH: usize = 8;

/// What `initmemchan` and `memwritechan` carry.
pub(crate) struct Records {
    /// The memory that they belong to.
    pub(crate) generation: u64,
    /// Of a chunk of the stream: its last message.
    pub(crate) through: Option<u64>,
    pub(crate) records: Vec<Record>,
}

/// An order as memory keeps it.
pub(crate) struct Record {
    pub(crate) body: Body,
    /// By what it is found.
    pub(crate) hashes: Hashes,
    /// Whether it has just come in, or was read from the table.
    pub(crate) arrived: bool,
}
