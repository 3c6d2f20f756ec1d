//! What is where: from ranks and searched values to orders. No lock in here, and no I/O.

use super::bodies::Bodies;
use super::ordered::Ordered;
use super::search::{Found, Search};
use crate::serve::{Hashes, Record};

/// The order of all orders, and what they are searched by; they themselves are bodies that have the same numbers.
pub(super) struct Index {
    in_order: Ordered,
    searches: Vec<Search>,
}

impl Index {
    pub(super) fn new(searches: usize) -> Self {
        Self { in_order: Ordered::default(), searches: (0..searches).map(|_| Search::new()).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.in_order.len()
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.in_order.bytes() + self.searches.iter().map(Search::bytes).sum::<usize>()
    }

    /// Adds an order unless its key is known. Gives back its number.
    pub(super) fn insert(&mut self, bodies: &Bodies, hash: u32, record: Record) -> Option<u32> {
        let Record { body, hashes, .. } = record;
        let id = bodies.insert(hash, body.clone())?;
        self.in_order.insert(id, |other| bodies.compare(other, body.key_bytes()));
        for (place, hash) in hashes.iter() {
            self.searches[place].insert(hash, id, |one, other| bodies.compare_two(one, other));
        }
        Some(id)
    }

    /// Looks at the places of what will be added next.
    pub(super) fn look_ahead(&self, hashes: &Hashes) {
        for (place, hash) in hashes.iter() {
            std::hint::black_box(self.searches[place].find(hash).is_some());
        }
    }

    /// Takes an order out, as long as its body is still there. `hashes` are those it was added with.
    pub(super) fn remove(&mut self, bodies: &Bodies, id: u32, hashes: &Hashes) {
        let compare = |one, other| bodies.compare_two(one, other);
        self.in_order.remove(|other| compare(other, id));
        for (place, hash) in hashes.iter() {
            self.searches[place].remove(hash, id, compare);
        }
    }

    /// The numbers of the ranks from `start` on.
    pub(super) fn starting_at(&self, start: usize) -> impl Iterator<Item = u32> {
        self.in_order.starting_at(start)
    }

    /// The fewest orders among which all are that have these hashes, each in the member that is searched by at a place;
    /// without any, all orders. `None`: there are none.
    pub(super) fn narrowest(&self, hashes: impl Iterator<Item = (usize, u32)>) -> Option<Found<'_>> {
        let mut narrowest = Found::Many(&self.in_order);
        for (place, hash) in hashes {
            let found = self.searches[place].find(hash)?;
            if found.len() <= narrowest.len() {
                narrowest = found;
            }
        }
        Some(narrowest)
    }
}
