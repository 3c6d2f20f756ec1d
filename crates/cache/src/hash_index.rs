//! An index from hashes to slots that grows in small steps.
//!
//! Its shards grow one by one, so that growth blocks readers only briefly.

use crate::slot_table::SlotTable;

const SHARDS: usize = 256;

pub(crate) struct HashIndex {
    shards: Vec<SlotTable>,
    /// Size of the shards in bytes.
    bytes: usize,
}

impl HashIndex {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| SlotTable::default()).collect(), bytes: 0 }
    }

    /// The bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The slot with that hash.
    pub(crate) fn find(&self, hash: u32) -> Option<u32> {
        self.shards[shard(hash)].find(hash, |_| true)
    }

    /// Adds a slot that the index does not contain.
    pub(crate) fn insert(&mut self, hash: u32, id: u32) {
        let shard = &mut self.shards[shard(hash)];
        let before = shard.bytes();
        shard.insert(hash, id);
        self.bytes += shard.bytes() - before;
    }

    /// Replaces `old` by `new`, or removes `old`.
    pub(crate) fn replace(&mut self, hash: u32, old: u32, new: Option<u32>) {
        self.shards[shard(hash)].replace(hash, old, new);
    }
}

fn shard(hash: u32) -> usize {
    hash as usize % SHARDS
}
