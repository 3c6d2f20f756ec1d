//! The index: key order and searchable values. No locks, no I/O.

use crate::body_shards::BodyShards;
use crate::entry::Entry;
use crate::key_order::KeyOrder;
use crate::value_hashes::ValueHashes;
use crate::value_index::{HashMatches, ValueIndex};

/// The key order and the value index of all orders. Bodies are elsewhere, under the same slots.
pub(crate) struct Index {
    by_key: KeyOrder,
    by_value: Vec<ValueIndex>,
}

impl Index {
    pub(crate) fn new(by_value: usize) -> Self {
        Self { by_key: KeyOrder::default(), by_value: (0..by_value).map(|_| ValueIndex::new()).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.by_key.bytes() + self.by_value.iter().map(ValueIndex::bytes).sum::<usize>()
    }

    /// Adds an order unless its key is known. Returns its slot.
    pub(crate) fn insert(&mut self, bodies: &BodyShards, hash: u32, entry: Entry) -> Option<u32> {
        let Entry { body, hashes, .. } = entry;
        let id = bodies.insert(hash, body.clone())?;
        self.by_key.insert(id, |other| bodies.compare(other, body.key_bytes()));
        for (path_index, hash) in hashes.iter() {
            self.by_value[path_index].insert(hash, id, |one, other| bodies.compare_two(one, other));
        }
        Some(id)
    }

    /// Prefetches the table entries of orders that will be added next.
    pub(crate) fn prefetch(&self, hashes: &ValueHashes) {
        for (path_index, hash) in hashes.iter() {
            std::hint::black_box(self.by_value[path_index].find(hash).is_some());
        }
    }

    /// Removes an order whose body still exists. `hashes` are those with which it was added.
    pub(crate) fn remove(&mut self, bodies: &BodyShards, id: u32, hashes: &ValueHashes) {
        let compare = |one, other| bodies.compare_two(one, other);
        self.by_key.remove(|other| compare(other, id));
        for (path_index, hash) in hashes.iter() {
            self.by_value[path_index].remove(hash, id, compare);
        }
    }

    /// The slots of the ranks from `start` on.
    pub(crate) fn starting_at(&self, start: usize) -> impl Iterator<Item = u32> {
        self.by_key.starting_at(start)
    }

    /// The smallest candidate set that contains every order with these hashes, each with the index of its path; without
    /// hashes, all orders. `None` if no order has them.
    pub(crate) fn narrowest(&self, hashes: impl Iterator<Item = (usize, u32)>) -> Option<HashMatches<'_>> {
        let mut narrowest = HashMatches::Many(&self.by_key);
        for (path_index, hash) in hashes {
            let found = self.by_value[path_index].find(hash)?;
            if found.len() <= narrowest.len() {
                narrowest = found;
            }
        }
        Some(narrowest)
    }
}
