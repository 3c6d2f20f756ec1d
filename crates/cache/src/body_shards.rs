//! Bodies by their keys and by their slots, in shards with a lock each.
//!
//! With a single lock on a busy machine, the kernel may preempt the writer while it holds the lock, and all readers
//! wait for ten milliseconds. Here a lock is held for one body, and readers of other shards continue.

use std::cmp::Ordering;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use order::Body;
use parking_lot::RwLock;

use crate::slot_table::SlotTable;

/// Shards grow one by one, so that growth blocks readers only briefly. The lowest bits of a slot, and of its key's
/// hash, are its shard.
const SHARDS: usize = 256;

/// A shard's capacity grows by this fraction: doubling it would leave a quarter of it empty on average.
const GROWTH: usize = 8;

/// The slot in which a query found an order. Another order may occupy it by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub(crate) u32);

pub(crate) struct BodyShards {
    shards: Box<[RwLock<Shard>]>,
    /// Whether reads are recorded, for eviction.
    notes_reads: bool,
    /// Size of the shards' tables.
    bytes: AtomicUsize,
}

/// An index into `bodies`, `read` and `vacant` is a slot without the bits of its shard.
#[derive(Default)]
struct Shard {
    by_hash: SlotTable,
    bodies: Vec<Body>,
    /// One bit per body: whether it was read. Empty if reads are not recorded.
    read: Vec<AtomicU64>,
    /// Indices of removed bodies, for reuse.
    vacant: Vec<u32>,
}

impl BodyShards {
    pub(crate) fn new(notes_reads: bool) -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self { shards, notes_reads, bytes: AtomicUsize::new(0) }
    }

    /// Size in bytes, without the bodies.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Removes all bodies.
    pub(crate) fn clear(&self) {
        self.shards.iter().for_each(|shard| *shard.write() = Shard::default());
        self.bytes.store(0, Relaxed);
    }

    /// Adds a body unless its key is known. Returns its slot.
    pub(crate) fn insert(&self, hash: u32, body: Body) -> Option<u32> {
        let mut shard = self.shard(hash).write();
        if shard.find(hash, body.key_bytes()).is_some() {
            return None;
        }
        let before = shard.bytes();
        let index = shard.put(body);
        if self.notes_reads {
            shard.make_room_for_read(index);
        }
        shard.by_hash.insert(hash, index);
        let grown = shard.bytes() - before;
        // Rare: a write to memory shared between cores is expensive.
        if grown > 0 {
            self.bytes.fetch_add(grown, Relaxed);
        }
        Some(slot(hash, index))
    }

    /// The slot of a key.
    pub(crate) fn find(&self, hash: u32, key: &[u8]) -> Option<u32> {
        self.shard(hash).read().find(hash, key).map(|index| slot(hash, index))
    }

    /// Accesses the body of a key under the shard's lock, and records the read.
    pub(crate) fn read<T>(&self, hash: u32, key: &[u8], look: impl FnOnce(u32, &Body) -> T) -> Option<T> {
        let shard = self.shard(hash).read();
        let index = shard.find(hash, key)?;
        shard.note_read(index);
        Some(look(slot(hash, index), &shard.bodies[index as usize]))
    }

    /// Accesses the body of a key, without recording the read.
    pub(crate) fn peek<T>(&self, hash: u32, key: &[u8], look: impl FnOnce(u32, &Body) -> T) -> Option<T> {
        let shard = self.shard(hash).read();
        let index = shard.find(hash, key)?;
        Some(look(slot(hash, index), &shard.bodies[index as usize]))
    }

    /// Accesses the body of a slot; records the read if `look` returns a value. `None` if the slot is empty, for
    /// example after a new generation began.
    pub(crate) fn read_at<T>(&self, slot: u32, look: impl FnOnce(&Body) -> Option<T>) -> Option<T> {
        let shard = self.shard(slot).read();
        let result = look(shard.bodies.get(index(slot))?);
        if result.is_some() {
            shard.note_read(index(slot) as u32);
        }
        result
    }

    /// Accesses the body of a slot that is in use.
    pub(crate) fn with<T>(&self, slot: u32, look: impl FnOnce(&Body) -> T) -> T {
        look(&self.shard(slot).read().bodies[index(slot)])
    }

    /// Compares the key of a slot's body to this key.
    pub(crate) fn compare(&self, slot: u32, key: &[u8]) -> Ordering {
        self.with(slot, |body| body.key_bytes().cmp(key))
    }

    /// Compares the keys of two slots' bodies.
    pub(crate) fn compare_two(&self, one: u32, other: u32) -> Ordering {
        let other = self.with(other, Body::clone);
        self.compare(one, other.key_bytes())
    }

    /// Replaces a body by another form of it, marked as not read recently.
    pub(crate) fn replace(&self, slot: u32, body: Body) {
        let mut shard = self.shard(slot).write();
        shard.bodies[index(slot)] = body;
        shard.take_read(index(slot));
    }

    /// Removes a body. Calls `meanwhile` before the slot can be reused.
    pub(crate) fn remove(&self, hash: u32, slot: u32, meanwhile: impl FnOnce()) {
        let mut shard = self.shard(hash).write();
        let before = shard.bytes();
        if shard.by_hash.replace(hash, index(slot) as u32, None) {
            // Frees the order's memory now, not when its slot is reused.
            shard.bodies[index(slot)] = Body::none();
            shard.vacant.push(index(slot) as u32);
            meanwhile();
        }
        self.bytes.fetch_add(shard.bytes() - before, Relaxed);
    }

    /// Whether a body was read since the last call.
    pub(crate) fn take_read(&self, slot: u32) -> bool {
        self.shard(slot).read().take_read(index(slot))
    }

    /// The shard of a hash or of a slot.
    fn shard(&self, of: u32) -> &RwLock<Shard> {
        &self.shards[of as usize % SHARDS]
    }
}

impl Shard {
    fn find(&self, hash: u32, key: &[u8]) -> Option<u32> {
        self.by_hash.find(hash, |index| self.bodies[index as usize].key_bytes() == key)
    }

    fn put(&mut self, body: Body) -> u32 {
        if let Some(index) = self.vacant.pop() {
            self.bodies[index as usize] = body;
            self.take_read(index as usize);
            return index;
        }
        if self.bodies.len() == self.bodies.capacity() {
            self.bodies.reserve_exact(self.bodies.len() / GROWTH + 4);
        }
        self.bodies.push(body);
        self.bodies.len() as u32 - 1
    }

    fn make_room_for_read(&mut self, index: u32) {
        if self.read.len() <= word(index as usize).0 {
            self.read.push(AtomicU64::new(0));
        }
    }

    fn note_read(&self, index: u32) {
        let (word, bit) = word(index as usize);
        // If the bit is set already, skips the write, which would invalidate other cores' caches.
        if let Some(word) = self.read.get(word).filter(|word| word.load(Relaxed) & bit == 0) {
            word.fetch_or(bit, Relaxed);
        }
    }

    fn take_read(&self, index: usize) -> bool {
        let (word, bit) = word(index);
        self.read.get(word).is_some_and(|word| word.fetch_and(!bit, Relaxed) & bit != 0)
    }

    fn bytes(&self) -> usize {
        self.by_hash.bytes()
            + self.bodies.capacity() * size_of::<Body>()
            + self.read.capacity() * size_of::<AtomicU64>()
            + self.vacant.capacity() * size_of::<u32>()
    }
}

fn slot(hash: u32, index: u32) -> u32 {
    index * SHARDS as u32 + hash % SHARDS as u32
}

fn index(slot: u32) -> usize {
    slot as usize / SHARDS
}

fn word(index: usize) -> (usize, u64) {
    (index / 64, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Few hashes for many keys, to provoke collisions.
    fn hash(key: &str) -> u32 {
        key.len() as u32 + 256 * (u32::from(key.as_bytes()[0]) % 3)
    }

    fn find(bodies: &BodyShards, key: &str) -> Option<u32> {
        bodies.find(hash(key), key.as_bytes())
    }

    #[test]
    fn what_was_read_is_said_once_and_not_of_the_next_in_its_place() {
        let bodies = BodyShards::new(true);
        let slot = bodies.insert(7, Body::evicted("a", &[])).unwrap();
        bodies.read(7, b"a", |_, _| ()).unwrap();
        assert!(bodies.take_read(slot) && !bodies.take_read(slot));
        bodies.read(7, b"a", |_, _| ()).unwrap();
        bodies.replace(slot, Body::evicted("a", &[1]));
        assert!(!bodies.take_read(slot));
        bodies.read(7, b"a", |_, _| ()).unwrap();
        bodies.remove(7, slot, || ());
        assert_eq!(bodies.insert(7, Body::evicted("b", &[])), Some(slot));
        assert!(!bodies.take_read(slot));
    }

    #[test]
    fn reads_that_are_not_noted_take_no_memory() {
        let (noted, not) = (BodyShards::new(true), BodyShards::new(false));
        for bodies in [&noted, &not] {
            bodies.insert(7, Body::evicted("a", &[])).unwrap();
        }
        assert!(not.bytes() < noted.bytes());
    }

    proptest! {
        #[test]
        fn is_a_map(steps in proptest::collection::vec((0_u8..3, "[a-f]{1,2}"), 0..400)) {
            let (bodies, mut map) = (BodyShards::new(true), HashMap::<String, u32>::new());
            for (step, key) in steps {
                match (step, map.get(&key).copied()) {
                    (0, known) => {
                        let slot = bodies.insert(hash(&key), Body::evicted(&key, &[]));
                        prop_assert_eq!(slot.is_none(), known.is_some());
                        map.extend(slot.map(|slot| (key, slot)));
                    }
                    (1, Some(slot)) => {
                        let mut is_done = false;
                        bodies.remove(hash(&key), slot, || is_done = true);
                        prop_assert!(is_done);
                        map.remove(&key);
                    }
                    (2, Some(slot)) => bodies.replace(slot, Body::evicted(&key, &[1])),
                    _ => prop_assert_eq!(find(&bodies, &key), None),
                }
            }
            for (key, &slot) in &map {
                prop_assert_eq!(find(&bodies, key), Some(slot));
                prop_assert_eq!(bodies.with(slot, |body| body.key().to_owned()), key.as_str());
                let read = bodies.read(hash(key), key.as_bytes(), |slot, body| (slot, body.key().to_owned()));
                prop_assert_eq!(read, Some((slot, key.clone())));
                for (other, &slot) in &map {
                    prop_assert_eq!(bodies.compare(slot, key.as_bytes()), other.cmp(key));
                    prop_assert_eq!(bodies.compare_two(slot, map[key]), other.cmp(key));
                }
            }
            let slots: std::collections::HashSet<_> = map.values().collect();
            prop_assert_eq!(slots.len(), map.len());
            let bytes: usize = bodies.shards.iter().map(|shard| shard.read().bytes()).sum();
            prop_assert_eq!(bodies.bytes(), bytes);
        }
    }
}
