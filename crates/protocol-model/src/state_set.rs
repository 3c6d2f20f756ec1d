//! A set of states that numbers them in the order of their insertion: open addressing over one vector.

use std::hash::{Hash, Hasher};

/// A set of states.
pub(crate) struct StateSet<S> {
    states: Vec<S>,
    /// Half of the hash, and the number of the state plus one; (0, 0) is a free slot.
    slots: Vec<(u32, u32)>,
}

impl<S> Default for StateSet<S> {
    fn default() -> Self {
        Self { states: Vec::new(), slots: vec![(0, 0); 1 << 10] }
    }
}

impl<S: Eq + Hash> StateSet<S> {
    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    pub(crate) fn get(&self, number: usize) -> Option<&S> {
        self.states.get(number)
    }

    /// The number of a state, and whether it is new.
    pub(crate) fn insert(&mut self, state: S) -> (usize, bool) {
        let hash = hash_of(&state);
        match self.slot_of(hash, &state) {
            Ok(number) => (number, false),
            Err(slot) => {
                self.states.push(state);
                let number = self.states.len();
                self.slots[slot] = (half(hash), u32::try_from(number).unwrap_or(u32::MAX));
                if number * 2 > self.slots.len() {
                    self.grow();
                }
                (number - 1, true)
            }
        }
    }

    pub(crate) fn find(&self, state: &S) -> Option<usize> {
        self.slot_of(hash_of(state), state).ok()
    }

    /// The number of a state, or the free slot for it.
    fn slot_of(&self, hash: u64, state: &S) -> Result<usize, usize> {
        let mut slot = self.slot(hash);
        loop {
            match self.slots[slot] {
                (_, 0) => return Err(slot),
                (other, number) if other == half(hash) && self.states[number as usize - 1] == *state => {
                    return Ok(number as usize - 1);
                }
                _ => slot = (slot + 1) % self.slots.len(),
            }
        }
    }

    fn slot(&self, hash: u64) -> usize {
        usize::try_from(hash % self.slots.len() as u64).unwrap_or(0)
    }

    fn grow(&mut self) {
        self.slots = vec![(0, 0); self.slots.len() * 4];
        for (number, state) in (1..).zip(&self.states) {
            let hash = hash_of(state);
            let mut slot = self.slot(hash);
            while self.slots[slot].1 != 0 {
                slot = (slot + 1) % self.slots.len();
            }
            self.slots[slot] = (half(hash), number);
        }
    }
}

fn hash_of<S: Hash>(state: &S) -> u64 {
    let mut hasher = WordHasher::default();
    state.hash(&mut hasher);
    hasher.finish()
}

fn half(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or(0)
}

/// Collects bytes into words and multiplies them: states are some hundred bytes each, hashed a million times.
#[derive(Default)]
struct WordHasher {
    hash: u64,
    word: u64,
    bits: u32,
}

impl WordHasher {
    fn mix(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u8(byte));
    }

    fn write_u8(&mut self, byte: u8) {
        self.word |= u64::from(byte) << self.bits;
        self.bits += 8;
        if self.bits == 64 {
            self.mix(self.word);
            (self.word, self.bits) = (0, 0);
        }
    }

    /// The number of a variant; there are few.
    fn write_isize(&mut self, variant: isize) {
        self.write_u8(variant.to_le_bytes()[0]);
    }

    /// The length of an array, which is always the same.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        let mut last = Self { hash: self.hash, word: 0, bits: 0 };
        last.mix(self.word);
        last.hash ^ (last.hash >> 29)
    }
}
