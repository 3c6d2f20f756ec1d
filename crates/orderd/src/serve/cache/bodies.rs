//! Bodies by their keys and by their numbers, in shards that each have a lock of their own.
//!
//! With one lock for all, where the machine is full, the kernel takes the core from whoever adds orders and holds it,
//! and all readers wait for ten milliseconds. Here a lock is held for as long as one body takes, and those of other
//! shards read on.

use std::cmp::Ordering;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use order::Body;
use parking_lot::RwLock;

use super::numbers::Numbers;

/// Shards grow one by one, so that no growth holds readers up for longer than a moment. A number's lowest bits are
/// its shard, and so are those of its hash.
const SHARDS: usize = 256;

/// Bodies grow by this part of what is there: to double them would leave a quarter of their room empty.
const GROWTH: usize = 8;

pub(super) struct Bodies {
    shards: Box<[RwLock<Shard>]>,
    /// Whether it is noted which are read.
    notes_reads: bool,
    /// What their tables take.
    bytes: AtomicUsize,
}

/// A place in `bodies`, `read` and `vacant` is a number without its shard.
#[derive(Default)]
struct Shard {
    places: Numbers,
    bodies: Vec<Body>,
    /// A bit for each, whether it was read; none where that is not noted.
    read: Vec<AtomicU64>,
    /// Places of bodies that have left.
    vacant: Vec<u32>,
}

impl Bodies {
    pub(super) fn new(notes_reads: bool) -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self { shards, notes_reads, bytes: AtomicUsize::new(0) }
    }

    /// The bytes that they take, without the bodies themselves.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Takes all bodies out.
    pub(super) fn clear(&self) {
        self.shards.iter().for_each(|shard| *shard.write() = Shard::default());
        self.bytes.store(0, Relaxed);
    }

    /// Adds a body unless its key is known. Gives back its number.
    pub(super) fn insert(&self, hash: u32, body: Body) -> Option<u32> {
        let mut shard = self.shard(hash).write();
        if shard.find(hash, body.key_bytes()).is_some() {
            return None;
        }
        let before = shard.bytes();
        let place = shard.put(body);
        if self.notes_reads {
            shard.make_room_for_read(place);
        }
        shard.places.insert(hash, place);
        let grown = shard.bytes() - before;
        // Seldom, and what is shared between cores is dear.
        if grown > 0 {
            self.bytes.fetch_add(grown, Relaxed);
        }
        Some(number(hash, place))
    }

    /// The number of a key.
    pub(super) fn find(&self, hash: u32, key: &[u8]) -> Option<u32> {
        self.shard(hash).read().find(hash, key).map(|place| number(hash, place))
    }

    /// Looks at the body of a key, and notes that it was read. It stays there meanwhile.
    pub(super) fn read<T>(&self, hash: u32, key: &[u8], look: impl FnOnce(u32, &Body) -> T) -> Option<T> {
        let shard = self.shard(hash).read();
        let place = shard.find(hash, key)?;
        shard.note_read(place);
        Some(look(number(hash, place), &shard.bodies[place as usize]))
    }

    /// Looks at the body of a key, without a note of it.
    pub(super) fn look<T>(&self, hash: u32, key: &[u8], look: impl FnOnce(u32, &Body) -> T) -> Option<T> {
        let shard = self.shard(hash).read();
        let place = shard.find(hash, key)?;
        Some(look(number(hash, place), &shard.bodies[place as usize]))
    }

    /// Looks at the body of a number.
    pub(super) fn with<T>(&self, number: u32, look: impl FnOnce(&Body) -> T) -> T {
        look(&self.shard(number).read().bodies[place(number)])
    }

    /// How the key of a number's body stands to this one.
    pub(super) fn compare(&self, number: u32, key: &[u8]) -> Ordering {
        self.with(number, |body| body.key_bytes().cmp(key))
    }

    /// How the key of one number's body stands to that of the other's.
    pub(super) fn compare_two(&self, one: u32, other: u32) -> Ordering {
        let other = self.with(other, Body::clone);
        self.compare(one, other.key_bytes())
    }

    /// Puts another form of an order's body in its place, as one that nobody has read.
    pub(super) fn replace(&self, number: u32, body: Body) {
        let mut shard = self.shard(number).write();
        shard.bodies[place(number)] = body;
        shard.take_read(place(number));
    }

    /// Takes a body out. `meanwhile` is done before its number can become another's.
    pub(super) fn remove(&self, hash: u32, number: u32, meanwhile: impl FnOnce()) {
        let mut shard = self.shard(hash).write();
        let before = shard.bytes();
        if shard.places.replace(hash, place(number) as u32, None) {
            // Nothing of the order stays until its place is taken.
            shard.bodies[place(number)] = Body::none();
            shard.vacant.push(place(number) as u32);
            meanwhile();
        }
        self.bytes.fetch_add(shard.bytes() - before, Relaxed);
    }

    /// Whether a body was read since the last time that this was asked.
    pub(super) fn take_read(&self, number: u32) -> bool {
        self.shard(number).read().take_read(place(number))
    }

    /// That of a hash or of a number.
    fn shard(&self, of: u32) -> &RwLock<Shard> {
        &self.shards[of as usize % SHARDS]
    }
}

impl Shard {
    fn find(&self, hash: u32, key: &[u8]) -> Option<u32> {
        self.places.find(hash, |place| self.bodies[place as usize].key_bytes() == key)
    }

    fn put(&mut self, body: Body) -> u32 {
        if let Some(place) = self.vacant.pop() {
            self.bodies[place as usize] = body;
            self.take_read(place as usize);
            return place;
        }
        if self.bodies.len() == self.bodies.capacity() {
            self.bodies.reserve_exact(self.bodies.len() / GROWTH + 4);
        }
        self.bodies.push(body);
        self.bodies.len() as u32 - 1
    }

    fn make_room_for_read(&mut self, place: u32) {
        if self.read.len() <= word(place as usize).0 {
            self.read.push(AtomicU64::new(0));
        }
    }

    fn note_read(&self, place: u32) {
        let (word, bit) = word(place as usize);
        // Most have been read before; then no other core's cache is disturbed.
        if let Some(word) = self.read.get(word).filter(|word| word.load(Relaxed) & bit == 0) {
            word.fetch_or(bit, Relaxed);
        }
    }

    fn take_read(&self, place: usize) -> bool {
        let (word, bit) = word(place);
        self.read.get(word).is_some_and(|word| word.fetch_and(!bit, Relaxed) & bit != 0)
    }

    fn bytes(&self) -> usize {
        self.places.bytes()
            + self.bodies.capacity() * size_of::<Body>()
            + self.read.capacity() * size_of::<AtomicU64>()
            + self.vacant.capacity() * size_of::<u32>()
    }
}

fn number(hash: u32, place: u32) -> u32 {
    place * SHARDS as u32 + hash % SHARDS as u32
}

fn place(number: u32) -> usize {
    number as usize / SHARDS
}

fn word(place: usize) -> (usize, u64) {
    (place / 64, 1 << (place % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Few hashes for many keys, so that some are shared.
    fn hash(key: &str) -> u32 {
        key.len() as u32 + 256 * (u32::from(key.as_bytes()[0]) % 3)
    }

    fn find(bodies: &Bodies, key: &str) -> Option<u32> {
        bodies.find(hash(key), key.as_bytes())
    }

    #[test]
    fn what_was_read_is_said_once_and_not_of_the_next_in_its_place() {
        let bodies = Bodies::new(true);
        let number = bodies.insert(7, Body::evicted("a", &[])).unwrap();
        bodies.read(7, b"a", |_, _| ()).unwrap();
        assert!(bodies.take_read(number) && !bodies.take_read(number));
        bodies.read(7, b"a", |_, _| ()).unwrap();
        bodies.replace(number, Body::evicted("a", &[1]));
        assert!(!bodies.take_read(number));
        bodies.read(7, b"a", |_, _| ()).unwrap();
        bodies.remove(7, number, || ());
        assert_eq!(bodies.insert(7, Body::evicted("b", &[])), Some(number));
        assert!(!bodies.take_read(number));
    }

    #[test]
    fn where_reads_are_not_noted_they_take_nothing() {
        let (noted, not) = (Bodies::new(true), Bodies::new(false));
        for bodies in [&noted, &not] {
            bodies.insert(7, Body::evicted("a", &[])).unwrap();
        }
        assert!(not.bytes() < noted.bytes());
    }

    proptest! {
        #[test]
        fn is_a_map(steps in proptest::collection::vec((0_u8..3, "[a-f]{1,2}"), 0..400)) {
            let (bodies, mut map) = (Bodies::new(true), HashMap::<String, u32>::new());
            for (step, key) in steps {
                match (step, map.get(&key).copied()) {
                    (0, known) => {
                        let number = bodies.insert(hash(&key), Body::evicted(&key, &[]));
                        prop_assert_eq!(number.is_none(), known.is_some());
                        map.extend(number.map(|number| (key, number)));
                    }
                    (1, Some(number)) => {
                        let mut is_done = false;
                        bodies.remove(hash(&key), number, || is_done = true);
                        prop_assert!(is_done);
                        map.remove(&key);
                    }
                    (2, Some(number)) => bodies.replace(number, Body::evicted(&key, &[1])),
                    _ => prop_assert_eq!(find(&bodies, &key), None),
                }
            }
            for (key, &number) in &map {
                prop_assert_eq!(find(&bodies, key), Some(number));
                prop_assert_eq!(bodies.with(number, |body| body.key().to_owned()), key.as_str());
                let read = bodies.read(hash(key), key.as_bytes(), |number, body| (number, body.key().to_owned()));
                prop_assert_eq!(read, Some((number, key.clone())));
                for (other, &number) in &map {
                    prop_assert_eq!(bodies.compare(number, key.as_bytes()), other.cmp(key));
                    prop_assert_eq!(bodies.compare_two(number, map[key]), other.cmp(key));
                }
            }
            let numbers: std::collections::HashSet<_> = map.values().collect();
            prop_assert_eq!(numbers.len(), map.len());
            let bytes: usize = bodies.shards.iter().map(|shard| shard.read().bytes()).sum();
            prop_assert_eq!(bodies.bytes(), bytes);
        }
    }
}
