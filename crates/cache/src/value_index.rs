//! For one member of `SEARCH`: from a value's hash to the orders with that value, sorted.

use std::cmp::Ordering;

use crate::hash_index::HashIndex;
use crate::key_order::KeyOrder;

/// Numbers from here on are lists; lower numbers are slots.
const LISTS: u32 = 1 << 31;

/// Most values belong to one order, which is stored in the table itself; others have a list.
pub(crate) struct ValueIndex {
    table: HashIndex,
    lists: Vec<KeyOrder>,
    /// Size of the lists in bytes.
    listed: usize,
}

/// The orders of one hash.
pub(crate) enum HashMatches<'s> {
    One(u32),
    Many(&'s KeyOrder),
}

impl ValueIndex {
    pub(crate) fn new() -> Self {
        Self { table: HashIndex::new(), lists: Vec::new(), listed: 0 }
    }

    /// The bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.table.bytes() + self.lists.capacity() * size_of::<KeyOrder>() + self.listed
    }

    /// Adds an order. `compare` compares the keys of two orders.
    pub(crate) fn insert(&mut self, hash: u32, id: u32, compare: impl Fn(u32, u32) -> Ordering) {
        let Some(found) = self.table.find(hash) else { return self.table.insert(hash, id) };
        let list = match found.checked_sub(LISTS) {
            Some(list) => list as usize,
            None => {
                let list = self.lists.len();
                let mut both = KeyOrder::default();
                both.insert(found, |other| compare(other, found));
                self.listed += both.bytes();
                self.lists.push(both);
                self.table.replace(hash, found, Some(LISTS + list as u32));
                list
            }
        };
        self.change(list, |ordered| ordered.insert(id, |other| compare(other, id)));
    }

    /// Removes an order.
    pub(crate) fn remove(&mut self, hash: u32, id: u32, compare: impl Fn(u32, u32) -> Ordering) {
        match self.table.find(hash) {
            Some(found) if found >= LISTS => {
                let list = (found - LISTS) as usize;
                self.change(list, |ordered| ordered.remove(|other| compare(other, id)));
            }
            Some(found) if found == id => self.table.replace(hash, id, None),
            _ => {}
        }
    }

    fn change(&mut self, list: usize, change: impl FnOnce(&mut KeyOrder)) {
        let list = &mut self.lists[list];
        self.listed -= list.bytes();
        change(list);
        self.listed += list.bytes();
    }

    /// The orders with that hash; other values may share it.
    pub(crate) fn find(&self, hash: u32) -> Option<HashMatches<'_>> {
        let found = self.table.find(hash)?;
        Some(match found.checked_sub(LISTS) {
            Some(list) => HashMatches::Many(&self.lists[list as usize]),
            None => HashMatches::One(found),
        })
    }
}

impl<'s> HashMatches<'s> {
    pub(crate) fn len(&self) -> usize {
        match self {
            HashMatches::One(_) => 1,
            HashMatches::Many(ordered) => ordered.len(),
        }
    }

    /// The slots before the sought key, last to first. A single slot is returned in any case.
    pub(crate) fn before(self, compare: impl Fn(u32) -> Ordering) -> impl Iterator<Item = u32> {
        let (one, many) = self.parts();
        one.into_iter().chain(many.map(|many| many.before(compare)).into_iter().flatten())
    }

    /// The slots from the sought key on, first to last. A single slot is returned in any case.
    pub(crate) fn since(self, compare: impl Fn(u32) -> Ordering) -> impl Iterator<Item = u32> {
        let (one, many) = self.parts();
        one.into_iter().chain(many.map(|many| many.since(compare)).into_iter().flatten())
    }

    fn parts(self) -> (Option<u32>, Option<&'s KeyOrder>) {
        match self {
            HashMatches::One(id) => (Some(id), None),
            HashMatches::Many(ordered) => (None, Some(ordered)),
        }
    }
}
