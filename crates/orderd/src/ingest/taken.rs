//! Which messages of the stream this process has no need to look for: those that it was given, and those of which
//! another process has told what became of them. What else is settled, another process took.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many ranges are kept of what others tell: whoever tells of every other message fills no memory.
const MOST: usize = 10_000;

/// Sequences in the stream, as ranges: a process that is alone has one, whatever the rate.
#[derive(Default)]
pub(crate) struct Taken {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// When the durable consumer was made, in ns, by which all tell that they mean the same sequences. 0: not known.
    made: i64,
    ranges: Ranges,
}

/// First to last, none of which touch.
type Ranges = BTreeMap<u64, u64>;

impl Taken {
    /// These were given to this process.
    pub(crate) fn add(&self, sequences: impl Iterator<Item = u64>) {
        add_all(&mut self.known().ranges, sequences);
    }

    /// Of these, another process that had its messages by the durable made then has told what became of them.
    pub(crate) fn add_told(&self, made: i64, sequences: impl Iterator<Item = u64>) {
        let mut known = self.known();
        if made != 0 && made == known.made && known.ranges.len() < MOST {
            add_all(&mut known.ranges, sequences);
        }
    }

    /// Whether all of these are known.
    pub(crate) fn has_all(&self, sequences: RangeInclusive<u64>) -> bool {
        let held = around(&self.known().ranges, *sequences.start());
        sequences.is_empty() || held.is_some_and(|(_, last)| last >= *sequences.end())
    }

    /// Up to where all that follows this one is known.
    pub(crate) fn reach(&self, sequence: u64) -> u64 {
        around(&self.known().ranges, sequence + 1).map_or(sequence, |(_, last)| last)
    }

    /// Up to this one, nobody asks any more.
    pub(crate) fn forget_up_to(&self, sequence: u64) {
        let Known { ranges, .. } = &mut *self.known();
        let held = around(ranges, sequence);
        *ranges = ranges.split_off(&(sequence + 1));
        if let Some((_, last)) = held.filter(|&(_, last)| last > sequence) {
            ranges.insert(sequence + 1, last);
        }
    }

    /// The durable consumer was made then; what is known stays.
    pub(crate) fn set_made(&self, made: i64) {
        self.known().made = made;
    }

    /// When the durable consumer was made.
    pub(crate) fn made(&self) -> i64 {
        self.known().made
    }

    /// The stream counts anew.
    pub(crate) fn clear(&self) {
        self.known().ranges.clear();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add_all(ranges: &mut Ranges, sequences: impl Iterator<Item = u64>) {
    let mut run: Option<(u64, u64)> = None;
    for sequence in sequences {
        run = match run {
            Some((first, last)) if sequence.checked_sub(1) == Some(last) => Some((first, sequence)),
            whole => {
                add(ranges, whole);
                Some((sequence, sequence))
            }
        };
    }
    add(ranges, run);
}

/// The range that has this sequence.
fn around(ranges: &Ranges, sequence: u64) -> Option<(u64, u64)> {
    let (&first, &last) = ranges.range(..=sequence).next_back()?;
    (last >= sequence).then_some((first, last))
}

/// Adds a range and joins it with those that it meets.
fn add(ranges: &mut Ranges, range: Option<(u64, u64)>) {
    let Some((mut first, mut last)) = range else { return };
    while let Some((&start, &end)) = ranges.range(..=last.saturating_add(1)).next_back() {
        if end.saturating_add(1) < first {
            break;
        }
        ranges.remove(&start);
        (first, last) = (first.min(start), last.max(end));
    }
    ranges.insert(first, last);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_one_process_takes_is_one_range() {
        let taken = Taken::default();
        taken.add(1..=1000);
        taken.add([1003, 1002, 1001].into_iter());
        assert_eq!(taken.known().ranges, BTreeMap::from([(1, 1003)]));
    }

    #[test]
    fn what_is_told_counts_for_the_same_durable_and_within_bounds() {
        let taken = Taken::default();
        taken.add_told(0, 1..=1);
        taken.set_made(7);
        taken.add_told(6, 1..=1);
        assert_eq!(taken.reach(0), 0);
        taken.add(2..=2);
        taken.add_told(7, [1, 3].into_iter());
        assert_eq!((taken.reach(0), taken.reach(3), taken.has_all(1..=4)), (3, 3, false));
        for sequence in 0..2 * MOST as u64 {
            taken.add_told(7, std::iter::once(u64::MAX - 2 * sequence));
        }
        assert!(taken.known().ranges.len() <= MOST);
    }

    proptest! {
        #[test]
        fn is_a_set(steps in prop::collection::vec((0..3_u8, 1..40_u64, 0..6_u64), 0..60)) {
            let (taken, mut set) = (Taken::default(), BTreeSet::new());
            for (step, first, more) in steps {
                match step {
                    0 | 1 => {
                        taken.add(first..=first + more);
                        set.extend(first..=first + more);
                    }
                    _ => {
                        taken.forget_up_to(first);
                        set.retain(|&sequence| sequence > first);
                    }
                }
                for first in 1..46 {
                    let has = (first..=first + more).all(|sequence| set.contains(&sequence));
                    prop_assert_eq!(taken.has_all(first..=first + more), has);
                    prop_assert_eq!(taken.reach(first - 1), (first..).find(|next| !set.contains(next)).unwrap() - 1);
                }
                let ranges = taken.known().ranges.clone();
                let apart = ranges.iter().zip(ranges.iter().skip(1)).all(|((_, last), (next, _))| last + 1 < *next);
                prop_assert!(apart);
            }
        }
    }
}
