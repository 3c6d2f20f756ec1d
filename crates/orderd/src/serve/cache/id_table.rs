//! A hash table from hashes to numbers, which grows in small steps.
//!
//! It is split into shards that grow one by one, so that no growth holds readers up for longer than a moment,
//! and it keeps each hash, so that growing looks at nothing else.

use hashbrown::HashTable;

const SHARDS: usize = 256;

/// From 32-bit hashes to 32-bit numbers; eight bytes and a bit an entry.
pub(super) struct IdTable {
    shards: Vec<HashTable<Slot>>,
    /// What they take.
    bytes: usize,
}

#[derive(Clone, Copy)]
struct Slot {
    hash: u32,
    id: u32,
}

impl IdTable {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| HashTable::new()).collect(), bytes: 0 }
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first number under that hash of which `is_it` holds.
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let shard = &self.shards[shard(hash)];
        shard.find(spread(hash), |slot| slot.hash == hash && is_it(slot.id)).map(|slot| slot.id)
    }

    /// Adds a number; the caller knows that it is not there.
    pub(super) fn insert(&mut self, hash: u32, id: u32) {
        let shard = &mut self.shards[shard(hash)];
        let before = shard.allocation_size();
        shard.insert_unique(spread(hash), Slot { hash, id }, |slot| spread(slot.hash));
        self.bytes += shard.allocation_size() - before;
    }

    /// Puts `new` in the place of `old`, or takes `old` out.
    pub(super) fn replace(&mut self, hash: u32, old: u32, new: Option<u32>) {
        let found =
            self.shards[shard(hash)].find_entry(spread(hash), |slot| slot.hash == hash && slot.id == old);
        match (found, new) {
            (Ok(mut entry), Some(new)) => entry.get_mut().id = new,
            (Ok(entry), None) => drop(entry.remove()),
            (Err(_), _) => {}
        }
    }
}

fn shard(hash: u32) -> usize {
    hash as usize % SHARDS
}

/// hashbrown looks at the lowest and the highest bits of a 64-bit hash.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
