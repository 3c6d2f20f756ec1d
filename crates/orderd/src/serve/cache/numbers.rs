//! A hash table from hashes to numbers. It keeps each hash, so that growing looks at nothing else.

use hashbrown::HashTable;

/// From 32-bit hashes to 32-bit numbers; eight bytes and a bit an entry.
#[derive(Default)]
pub(super) struct Numbers(HashTable<Slot>);

#[derive(Clone, Copy)]
struct Slot {
    hash: u32,
    number: u32,
}

impl Numbers {
    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.0.allocation_size()
    }

    /// The first number under that hash of which `is_it` holds.
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.0.find(spread(hash), |slot| slot.hash == hash && is_it(slot.number)).map(|slot| slot.number)
    }

    /// Adds a number; the caller knows that it is not there.
    pub(super) fn insert(&mut self, hash: u32, number: u32) {
        self.0.insert_unique(spread(hash), Slot { hash, number }, |slot| spread(slot.hash));
    }

    /// Puts `new` in the place of `old`, or takes `old` out. `false`: it was not there.
    pub(super) fn replace(&mut self, hash: u32, old: u32, new: Option<u32>) -> bool {
        let found = self.0.find_entry(spread(hash), |slot| slot.hash == hash && slot.number == old);
        let is_there = found.is_ok();
        match (found, new) {
            (Ok(mut entry), Some(new)) => entry.get_mut().number = new,
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
    fn what_shares_its_lowest_bits_lies_all_over_the_table() {
        let shard = (0..4096_u32).map(|number| number << 8 | 7);
        let places: HashSet<_> = shard.map(|hash| spread(hash) % 4096).collect();
        // At random, 0.63 of all places would be taken.
        assert!(places.len() > 2000, "{} places", places.len());
    }
}
