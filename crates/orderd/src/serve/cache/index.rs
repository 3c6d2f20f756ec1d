//! What is where: from keys, ranks and searched values to orders. No lock in here, and no I/O.

use std::cmp::Ordering;

use order::Body;

use super::id_table::IdTable;
use super::ordered::Ordered;
use super::search::{Found, Search};
use crate::serve::{MAX_SEARCH, Record};

/// Entries are allocated so many at a time, so that growing never moves the ones that are there.
const SEGMENT: usize = 1 << 14;

/// All orders in memory. An order's number is its place in `segments`.
pub(super) struct Index {
    segments: Vec<Vec<Body>>,
    /// Places of orders that have left.
    vacant: Vec<u32>,
    by_key: IdTable,
    in_order: Ordered,
    searches: Vec<Search>,
}

impl Index {
    pub(super) fn new(searches: usize) -> Self {
        Self {
            segments: Vec::new(),
            vacant: Vec::new(),
            by_key: IdTable::new(),
            in_order: Ordered::default(),
            searches: (0..searches).map(|_| Search::new()).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.in_order.len()
    }

    /// The bytes that it takes, without the bodies.
    pub(super) fn bytes(&self) -> usize {
        let segments = self.segments.len() * SEGMENT * size_of::<Body>();
        let searches: usize = self.searches.iter().map(Search::bytes).sum();
        let vacant = self.vacant.capacity() * size_of::<u32>();
        segments + vacant + self.by_key.bytes() + self.in_order.bytes() + searches
    }

    pub(super) fn find(&self, hash: u32, key: &[u8]) -> Option<u32> {
        self.by_key.find(hash, |id| self.body(id).key_bytes() == key)
    }

    pub(super) fn body(&self, id: u32) -> &Body {
        &self.segments[id as usize / SEGMENT][id as usize % SEGMENT]
    }

    /// Adds an order unless its key is known. Gives back its number.
    pub(super) fn insert(&mut self, hash: u32, record: Record) -> Option<u32> {
        if self.find(hash, record.body.key_bytes()).is_some() {
            return None;
        }
        let Record { body, hashes, .. } = record;
        let id = self.place(body);
        self.by_key.insert(hash, id);
        let Self { segments, in_order, searches, .. } = self;
        in_order.insert(id, |other| compare(segments, other, id));
        for (search, hash) in searches.iter_mut().zip(hashes) {
            search.insert(hash, id, |one, other| compare(segments, one, other));
        }
        Some(id)
    }

    /// Puts another form of an order's body in its place.
    pub(super) fn replace(&mut self, id: u32, body: Body) {
        self.segments[id as usize / SEGMENT][id as usize % SEGMENT] = body;
    }

    fn place(&mut self, body: Body) -> u32 {
        if let Some(id) = self.vacant.pop() {
            self.replace(id, body);
            return id;
        }
        if self.segments.last().is_none_or(|segment| segment.len() == SEGMENT) {
            self.segments.push(Vec::with_capacity(SEGMENT));
        }
        let last = self.segments.len() - 1;
        self.segments[last].push(body);
        (last * SEGMENT + self.segments[last].len() - 1) as u32
    }

    /// Takes an order out. `hashes` are those it was added with.
    pub(super) fn remove(&mut self, hash: u32, id: u32, hashes: [u32; MAX_SEARCH]) {
        let Self { segments, in_order, searches, .. } = self;
        in_order.remove(|other| compare(segments, other, id));
        for (search, hash) in searches.iter_mut().zip(hashes) {
            search.remove(hash, id, |one, other| compare(segments, one, other));
        }
        self.by_key.replace(hash, id, None);
        // Nothing of the order stays until its place is taken.
        self.replace(id, Body::none());
        self.vacant.push(id);
    }

    /// The numbers of the ranks from `start` on.
    pub(super) fn starting_at(&self, start: usize) -> impl Iterator<Item = u32> {
        self.in_order.starting_at(start)
    }

    /// The orders that may have a value of that hash in the member that is searched by at `place`.
    pub(super) fn search(&self, place: usize, hash: u32) -> Option<Found<'_>> {
        self.searches[place].find(hash)
    }
}

fn compare(segments: &[Vec<Body>], one: u32, other: u32) -> Ordering {
    let key = |id: u32| segments[id as usize / SEGMENT][id as usize % SEGMENT].key_bytes();
    key(one).cmp(key(other))
}
