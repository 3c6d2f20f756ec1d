//! Slots in the order of their keys, with ranks; pages are cut from this.
//!
//! A list of sorted chunks. Nearly all orders arrive at the end, where an insert is a push. The ranges of a fill grow
//! in the middle, each order right after the previous insert. So the position of the previous insert is tried first:
//! each comparison elsewhere is a cache miss.

use std::cmp::Ordering;

const CHUNK: usize = 1024;

#[derive(Default)]
pub(crate) struct KeyOrder {
    chunks: Vec<Vec<u32>>,
    len: usize,
    /// The chunk and index of the last insert that was not at the end.
    recent: usize,
    recent_at: usize,
}

impl KeyOrder {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bytes that it takes, without itself. Estimated for several chunks: all but the last are about full.
    pub(crate) fn bytes(&self) -> usize {
        let room = match &*self.chunks {
            [chunk] => chunk.capacity(),
            chunks => chunks.len() * CHUNK,
        };
        self.chunks.capacity() * size_of::<Vec<u32>>() + room * size_of::<u32>()
    }

    /// Adds `id`. `compare(other)` compares the other's key to its key.
    pub(crate) fn insert(&mut self, id: u32, compare: impl Fn(u32) -> Ordering) {
        self.len += 1;
        let Some(last) = self.chunks.last_mut() else { return self.chunks.push(vec![id]) };
        if last.last().is_some_and(|&last| compare(last) == Ordering::Less) {
            if last.len() < CHUNK {
                last.push(id);
            } else {
                self.chunks.push(vec![id]);
            }
            return;
        }
        let number = if self.is_in(self.recent, &compare) { self.recent } else { self.chunk_of(&compare) };
        self.recent = number;
        let chunk = &mut self.chunks[number];
        let at = index_near(chunk, self.recent_at, &compare);
        chunk.insert(at, id);
        self.recent_at = at;
        if chunk.len() > CHUNK {
            // If a range of a fill grows in the middle, the chunk is split so that the part before it stays full.
            let split = if at > CHUNK / 4 * 3 { at } else { CHUNK / 2 };
            let rest = chunk.split_off(split);
            chunk.shrink_to(CHUNK);
            self.chunks.insert(number + 1, rest);
            if at >= split {
                (self.recent, self.recent_at) = (number + 1, at - split);
            }
        }
    }

    /// Removes the slot for which `compare` returns `Equal`.
    pub(crate) fn remove(&mut self, compare: impl Fn(u32) -> Ordering) {
        if self.chunks.is_empty() {
            return;
        }
        let number = self.chunk_of(&compare);
        let chunk = &mut self.chunks[number];
        let at = index_in(chunk, &compare);
        if chunk.get(at).is_some_and(|&other| compare(other) == Ordering::Equal) {
            chunk.remove(at);
            self.len -= 1;
            if chunk.is_empty() {
                self.chunks.remove(number);
            }
        }
    }

    /// The chunk of a key: the last one that doesn't start after it.
    fn chunk_of(&self, compare: &impl Fn(u32) -> Ordering) -> usize {
        self.chunks.partition_point(|chunk| starts_before(chunk, compare)).saturating_sub(1)
    }

    /// Whether a chunk is the one for the sought key.
    fn is_in(&self, number: usize, compare: &impl Fn(u32) -> Ordering) -> bool {
        let behind = self.chunks.get(number + 1);
        self.chunks.get(number).is_some_and(|chunk| starts_before(chunk, compare))
            && !behind.is_some_and(|chunk| starts_before(chunk, compare))
    }

    /// The slots of the ranks from `start` on, first to last.
    pub(crate) fn starting_at(&self, start: usize) -> impl Iterator<Item = u32> {
        let mut skipped = 0;
        let mut number = 0;
        while number < self.chunks.len() && skipped + self.chunks[number].len() <= start {
            skipped += self.chunks[number].len();
            number += 1;
        }
        self.chunks[number..].iter().flatten().copied().skip(start - skipped)
    }

    /// The slots whose keys are before the sought key, last to first. `compare` compares a key to it.
    pub(crate) fn before(&self, compare: impl Fn(u32) -> Ordering) -> impl Iterator<Item = u32> {
        let (number, at) = self.split_at(&compare);
        let part = self.chunks.get(number).map_or(&[][..], |chunk| &chunk[..at]);
        part.iter()
            .rev()
            .chain(self.chunks[..number].iter().rev().flat_map(|chunk| chunk.iter().rev()))
            .copied()
    }

    /// The sought slot, if it is there, and those with larger keys, in order.
    pub(crate) fn since(&self, compare: impl Fn(u32) -> Ordering) -> impl Iterator<Item = u32> {
        let (number, at) = self.split_at(&compare);
        self.chunks[number..].iter().flatten().skip(at).copied()
    }

    /// The chunk, and the index in it, of the first key that is not before the sought key.
    fn split_at(&self, compare: &impl Fn(u32) -> Ordering) -> (usize, usize) {
        let number = self.chunk_of(compare);
        (number, self.chunks.get(number).map_or(0, |chunk| index_in(chunk, compare)))
    }
}

fn starts_before(chunk: &[u32], compare: &impl Fn(u32) -> Ordering) -> bool {
    chunk.first().is_some_and(|&first| compare(first) != Ordering::Greater)
}

/// The index of a key in a chunk.
fn index_in(chunk: &[u32], compare: &impl Fn(u32) -> Ordering) -> usize {
    match chunk.last() {
        Some(&last) if compare(last) == Ordering::Less => chunk.len(),
        _ => chunk.partition_point(|&other| compare(other) == Ordering::Less),
    }
}

/// The same, by galloping search from an index near the key.
fn index_near(chunk: &[u32], near: usize, compare: &impl Fn(u32) -> Ordering) -> usize {
    let is_before = |at: usize| chunk.get(at).is_some_and(|&other| compare(other) == Ordering::Less);
    let (mut from, mut to, mut step) = (near.min(chunk.len()), near.min(chunk.len()), 1);
    if is_before(from) {
        while is_before(to) {
            (from, to) = (to + 1, (to + step).min(chunk.len()));
            step *= 2;
        }
    } else {
        while from > 0 && !is_before(from - 1) {
            (to, from) = (from - 1, from.saturating_sub(step));
            step *= 2;
        }
    }
    from + chunk[from..to].partition_point(|&other| compare(other) == Ordering::Less)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn add(ordered: &mut KeyOrder, id: u32) {
        ordered.insert(id, |other| other.cmp(&id));
    }

    #[test]
    fn chunks_that_grow_at_their_end_stay_full() {
        let mut ordered = KeyOrder::default();
        let far = 1_000_000;
        add(&mut ordered, far);
        (0..10 * CHUNK as u32).for_each(|id| add(&mut ordered, id));
        assert!(ordered.chunks.len() <= 12, "{} chunks", ordered.chunks.len());
    }

    #[test]
    fn key_between_keys_of_another_writer_is_inserted_near_the_last_one() {
        let (mut ordered, looks) = (KeyOrder::default(), std::cell::Cell::new(0));
        for first in 0..4 {
            for id in (0..2_000).map(|n| 4 * n + first) {
                ordered.insert(id, |other| {
                    looks.set(looks.get() + 1);
                    other.cmp(&id)
                });
            }
        }
        assert_eq!(ordered.starting_at(0).collect::<Vec<_>>(), (0..8_000).collect::<Vec<_>>());
        assert!(looks.get() < 8 * 8_000, "{} looks", looks.get());
    }

    proptest! {
        #[test]
        fn is_a_sorted_list(
            ids in proptest::collection::hash_set(0_u32..20_000, 0..6_000),
            removed in proptest::collection::vec(0_u32..20_000, 0..2_000),
            start in 0_usize..7_000,
        ) {
            let mut ordered = KeyOrder::default();
            let mut expected: std::collections::BTreeSet<u32> = ids.iter().copied().collect();
            ids.iter().for_each(|&id| add(&mut ordered, id));
            for id in &removed {
                ordered.remove(|other| other.cmp(id));
                expected.remove(id);
            }
            let expected: Vec<_> = expected.into_iter().collect();
            prop_assert_eq!(ordered.len(), expected.len());
            prop_assert_eq!(ordered.starting_at(0).collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(
                ordered.starting_at(start).take(50).collect::<Vec<_>>(),
                expected.iter().skip(start).take(50).copied().collect::<Vec<_>>()
            );
            for sought in [0, start as u32 * 3, 20_000].into_iter().chain(expected.get(start).copied()) {
                let compare = |other: u32| other.cmp(&sought);
                prop_assert_eq!(
                    ordered.before(compare).collect::<Vec<_>>(),
                    expected.iter().rev().copied().filter(|&id| id < sought).collect::<Vec<_>>()
                );
                prop_assert_eq!(
                    ordered.since(compare).collect::<Vec<_>>(),
                    expected.iter().copied().filter(|&id| id >= sought).collect::<Vec<_>>()
                );
            }
        }
    }
}
