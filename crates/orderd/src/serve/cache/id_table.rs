//! From hashes to numbers, in small steps.
//!
//! It is split into shards that grow one by one, so that no growth holds readers up for longer than a moment.

use super::numbers::Numbers;

const SHARDS: usize = 256;

pub(super) struct IdTable {
    shards: Vec<Numbers>,
    /// What they take.
    bytes: usize,
}

impl IdTable {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Numbers::default()).collect(), bytes: 0 }
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number under that hash.
    pub(super) fn find(&self, hash: u32) -> Option<u32> {
        self.shards[shard(hash)].find(hash, |_| true)
    }

    /// Adds a number; the caller knows that it is not there.
    pub(super) fn insert(&mut self, hash: u32, id: u32) {
        let shard = &mut self.shards[shard(hash)];
        let before = shard.bytes();
        shard.insert(hash, id);
        self.bytes += shard.bytes() - before;
    }

    /// Puts `new` in the place of `old`, or takes `old` out.
    pub(super) fn replace(&mut self, hash: u32, old: u32, new: Option<u32>) {
        self.shards[shard(hash)].replace(hash, old, new);
    }
}

fn shard(hash: u32) -> usize {
    hash as usize % SHARDS
}
