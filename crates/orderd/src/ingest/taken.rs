//! Which orders of the stream this process was given. What is settled and was not given to it, another
//! process took.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sequences in the stream, as ranges: a process that is alone has one, whatever the rate.
#[derive(Default)]
pub(crate) struct Taken {
    ranges: Mutex<Ranges>,
}

/// First to last, none of which touch.
type Ranges = BTreeMap<u64, u64>;

impl Taken {
    /// These were given to this process.
    pub(crate) fn add(&self, sequences: impl Iterator<Item = u64>) {
        let mut ranges = self.ranges();
        let mut run: Option<(u64, u64)> = None;
        for sequence in sequences {
            run = match run {
                Some((first, last)) if sequence == last + 1 => Some((first, sequence)),
                whole => {
                    add(&mut ranges, whole);
                    Some((sequence, sequence))
                }
            };
        }
        add(&mut ranges, run);
    }

    /// Whether all of these were given to this process.
    pub(crate) fn has_all(&self, sequences: RangeInclusive<u64>) -> bool {
        let held = around(&self.ranges(), *sequences.start());
        sequences.is_empty() || held.is_some_and(|(_, last)| last >= *sequences.end())
    }

    /// Up to this one, nobody asks any more.
    pub(crate) fn forget_up_to(&self, sequence: u64) {
        let mut ranges = self.ranges();
        let held = around(&ranges, sequence);
        *ranges = ranges.split_off(&(sequence + 1));
        if let Some((_, last)) = held.filter(|&(_, last)| last > sequence) {
            ranges.insert(sequence + 1, last);
        }
    }

    /// The stream counts anew.
    pub(crate) fn clear(&self) {
        self.ranges().clear();
    }

    fn ranges(&self) -> MutexGuard<'_, Ranges> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        assert_eq!(*taken.ranges(), BTreeMap::from([(1, 1003)]));
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
                }
                let ranges = taken.ranges();
                let apart = ranges.iter().zip(ranges.iter().skip(1)).all(|((_, last), (next, _))| last + 1 < *next);
                prop_assert!(apart);
            }
        }
    }
}
