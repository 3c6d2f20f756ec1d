//! A hash table from hashes to slots. It keeps each hash, so that growing looks at nothing else.

use hashbrown::HashTable;

/// From 32-bit hashes to 32-bit slots; eight bytes and a bit an entry.
#[derive(Default)]
pub(crate) struct SlotTable(HashTable<Bucket>);

#[derive(Clone, Copy)]
struct Bucket {
    hash: u32,
    slot: u32,
}

impl SlotTable {
    /// The bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.allocation_size()
    }

    /// The first slot under that hash of which `is_it` holds.
    pub(crate) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.0
            .find(spread(hash), |bucket| bucket.hash == hash && is_it(bucket.slot))
            .map(|bucket| bucket.slot)
    }

    /// Adds a slot; the caller knows that it is not there.
    pub(crate) fn insert(&mut self, hash: u32, slot: u32) {
        self.0.insert_unique(spread(hash), Bucket { hash, slot }, |bucket| spread(bucket.hash));
    }

    /// Puts `new` in the place of `old`, or takes `old` out. `false`: it was not there.
    pub(crate) fn replace(&mut self, hash: u32, old: u32, new: Option<u32>) -> bool {
        let found = self.0.find_entry(spread(hash), |bucket| bucket.hash == hash && bucket.slot == old);
        let is_there = found.is_ok();
        match (found, new) {
            (Ok(mut entry), Some(new)) => entry.get_mut().slot = new,
            (Ok(entry), None) => drop(entry.remove()),
            (Err(_), _) => {}
        }
        is_there
    }
}

/// hashbrown takes an entry's place from the lowest bits of a 64-bit hash, and tells entries apart by the highest. The
/// lowest of a product come from the lowest of its factors, which all entries of a shard have in common: so the
/// upper half, to which all bits have come, is added below.
fn spread(hash: u32) -> u64 {
    let product = u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn hashes_with_equal_low_bits_spread_over_the_table() {
        let shard = (0..4096_u32).map(|slot| slot << 8 | 7);
        let places: HashSet<_> = shard.map(|hash| spread(hash) % 4096).collect();
        // At random, 0.63 of all places would be taken.
        assert!(places.len() > 2000, "{} places", places.len());
    }
}
