//! A hash table from hashes to slots. It stores the hashes, so that growing reads no keys.

use hashbrown::HashTable;

/// From 32-bit hashes to 32-bit slots; just over eight bytes per entry.
#[derive(Default)]
pub(crate) struct SlotTable(HashTable<Bucket>);

#[derive(Clone, Copy)]
struct Bucket {
    hash: u32,
    slot: u32,
}

impl SlotTable {
    /// Size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.allocation_size()
    }

    /// The first slot with that hash for which `is_it` holds.
    pub(crate) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.0
            .find(spread(hash), |bucket| bucket.hash == hash && is_it(bucket.slot))
            .map(|bucket| bucket.slot)
    }

    /// Adds a slot that the table does not contain.
    pub(crate) fn insert(&mut self, hash: u32, slot: u32) {
        self.0.insert_unique(spread(hash), Bucket { hash, slot }, |bucket| spread(bucket.hash));
    }

    /// Replaces `old` by `new`, or removes it. `false` if `old` was not found.
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

/// hashbrown derives the bucket from the lowest bits of a 64-bit hash, and distinguishes entries by the highest. The
/// lowest bits of a product depend only on the lowest bits of its factors, which all entries of a shard share; so the
/// upper half, which depends on all bits, is added to the lower.
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
        let buckets: HashSet<_> = shard.map(|hash| spread(hash) % 4096).collect();
        // Random hashes would use 0.63 of all buckets.
        assert!(buckets.len() > 2000, "{} buckets", buckets.len());
    }
}
