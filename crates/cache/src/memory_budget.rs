//! Which bodies stay when memory has a budget: second-chance eviction, so bodies that are read stay.
//!
//! Bodies wait in a queue to be evicted. A body that was read since it entered the queue goes to its end instead. A
//! slot in the queue may belong to a removed order, and is skipped, or to a newer order that reuses the slot, which is
//! evicted a little early.

use std::collections::VecDeque;

use order::Body;
use prometheus::IntCounter;

/// After this many second chances, the next body is evicted even if it was read, to bound the time under the lock.
const CHANCES: usize = 64;

/// Freed memory that the allocator has not returned yet: one eighth, measured with five million orders.
const FREED: usize = 8;

/// The two reference counts of an `Arc`.
const COUNTS: usize = 2 * size_of::<usize>();

/// The limit of the orders' size, their size, and the queue of bodies to evict.
pub struct MemoryBudget {
    max: usize,
    /// The bytes of all bodies, whole and evicted.
    bodies: usize,
    /// Orders whose bodies are whole, the next to evict first.
    queue: VecDeque<u32>,
    /// Orders that are perhaps not in the table yet, each with the sequence that the position must reach first.
    uncommitted: VecDeque<(u32, u64)>,
    evictions: IntCounter,
    is_warned: bool,
}

impl MemoryBudget {
    /// A budget of `max` bytes. `evictions` counts evicted bodies.
    pub fn new(max: usize, evictions: IntCounter) -> Self {
        Self {
            max,
            bodies: 0,
            queue: VecDeque::new(),
            uncommitted: VecDeque::new(),
            evictions,
            is_warned: false,
        }
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Size of all orders, if the tables take `tables` bytes.
    pub(crate) fn held(&self, tables: usize) -> usize {
        let queues =
            self.queue.capacity() * size_of::<u32>() + self.uncommitted.capacity() * size_of::<(u32, u64)>();
        let taken = tables + queues + self.bodies;
        taken + taken / FREED
    }

    /// Removes all bodies.
    pub(crate) fn clear(&mut self) {
        (self.bodies, self.queue, self.uncommitted) = (0, VecDeque::new(), VecDeque::new());
    }

    /// Adds a whole body. `through` is the position that the table must reach before the body may be evicted; `None`
    /// where the table has it already.
    pub(crate) fn enter(&mut self, id: u32, body: &Body, through: Option<u64>) {
        self.bodies += allocated(body.len());
        match through {
            Some(through) => self.uncommitted.push_back((id, through)),
            None => self.queue.push_back(id),
        }
    }

    /// The table has everything up to this sequence.
    pub(crate) fn release(&mut self, committed: u64) {
        while let Some((id, _)) = self.uncommitted.pop_front_if(|(_, through)| *through <= committed) {
            self.queue.push_back(id);
        }
    }

    /// Removes a body, whole or evicted.
    pub(crate) fn leave(&mut self, body: &Body) {
        self.bodies -= allocated(body.len());
    }

    /// A whole body was replaced by its evicted form.
    pub(crate) fn evict(&mut self, whole: &Body, evicted: &Body) {
        self.bodies -= allocated(whole.len());
        self.bodies += allocated(evicted.len());
        self.evictions.inc();
    }

    /// The order whose body to evict next, among those that `is_whole` reports as whole. `take_read` reports whether a
    /// body was read since its last call.
    pub(crate) fn next(
        &mut self,
        is_whole: impl Fn(u32) -> bool,
        take_read: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut chances = 0;
        while let Some(id) = self.queue.pop_front() {
            if !is_whole(id) {
                continue;
            }
            if chances == CHANCES || !take_read(id) {
                return Some(id);
            }
            chances += 1;
            self.queue.push_back(id);
        }
        None
    }

    /// Warns once that the budget is too low for any body.
    pub(crate) fn warn(&mut self, tables: usize) {
        if !std::mem::replace(&mut self.is_warned, true) {
            let (max, takes) = (self.max, self.held(tables));
            tracing::warn!(
                max,
                takes,
                "CACHE_MAX_BYTES is too small for keys and index; nothing else stays in memory"
            );
        }
    }
}

/// The allocator's size class for a body: multiples of 16 bytes; above 128 bytes, of an eighth of the next power of
/// two.
fn allocated(len: usize) -> usize {
    let bytes = COUNTS + len;
    bytes.next_multiple_of((bytes.next_power_of_two() / 8).max(16))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    fn budget() -> MemoryBudget {
        MemoryBudget::new(1 << 20, IntCounter::new("evictions", "help").unwrap())
    }

    fn body(len: usize) -> Body {
        Body::evicted(&"k".repeat(len), &[])
    }

    fn entered(count: u32) -> MemoryBudget {
        let mut budget = budget();
        (0..count).for_each(|id| budget.enter(id, &body(10), None));
        budget
    }

    /// The next to evict, when these were read.
    fn next(budget: &mut MemoryBudget, read: &mut HashSet<u32>) -> Option<u32> {
        let read = RefCell::new(read);
        budget.next(|_| true, |id| read.borrow_mut().remove(&id))
    }

    /// The next of those that are there, each with whether it is whole.
    fn next_whole(
        budget: &mut MemoryBudget,
        there: &HashMap<u32, (Body, bool)>,
        read: &mut HashSet<u32>,
    ) -> Option<u32> {
        let read = RefCell::new(read);
        let is_whole = |id| there.get(&id).is_some_and(|(_, whole)| *whole);
        budget.next(is_whole, |id| read.borrow_mut().remove(&id))
    }

    #[test]
    fn order_that_was_read_survives_one_round_of_eviction() {
        let (mut budget, mut read) = (entered(3), HashSet::from([0]));
        assert_eq!(std::iter::from_fn(|| next(&mut budget, &mut read)).collect::<Vec<_>>(), [1, 2, 0]);
    }

    #[test]
    fn order_that_is_read_often_stays_while_others_arrive() {
        let mut budget = entered(3);
        for id in 3..1000 {
            assert_ne!(next(&mut budget, &mut HashSet::from([1])), Some(1));
            budget.enter(id, &body(10), None);
        }
    }

    #[test]
    fn second_chances_have_an_end() {
        let mut budget = entered(1000);
        assert_eq!(next(&mut budget, &mut (0..1000).collect()), Some(CHANCES as u32));
        assert_eq!(budget.queue.len(), 999);
    }

    #[test]
    fn eviction_skips_orders_that_were_removed() {
        let mut budget = entered(4);
        assert_eq!(budget.next(|id| id > 2, |_| false), Some(3));
        assert_eq!(budget.next(|_| true, |_| false), None);
    }

    #[test]
    fn what_is_not_committed_stays() {
        let mut budget = budget();
        (0..3).for_each(|id| budget.enter(id, &body(10), Some(u64::from(id) + 1)));
        assert_eq!(budget.next(|_| true, |_| false), None);
        budget.release(2);
        assert_eq!(budget.next(|_| true, |_| false), Some(0));
        assert_eq!(budget.next(|_| true, |_| false), Some(1));
        assert_eq!(budget.next(|_| true, |_| false), None);
    }

    #[test]
    fn sizes_are_those_of_the_allocator() {
        let given = [3, 48, 49, 112, 113, 145, 624, 625, 1008].map(allocated);
        assert_eq!(given, [32, 64, 80, 128, 160, 192, 640, 768, 1024]);
    }

    proptest! {
        /// After any inserts, reads, removals and evictions, bytes are counted correctly and every whole body can be
        /// evicted.
        #[test]
        fn counts_what_is_there(steps in proptest::collection::vec((0_u8..4, 0_u32..40, 1_usize..2000), 0..300)) {
            let (mut budget, mut read) = (budget(), HashSet::new());
            let mut there: HashMap<u32, (Body, bool)> = HashMap::new();
            for (step, id, len) in steps {
                match step {
                    0 => {
                        if let Some((before, _)) = there.insert(id, (body(len), true)) {
                            budget.leave(&before);
                        }
                        budget.enter(id, &body(len), None);
                    }
                    1 => drop(read.insert(id)),
                    2 => {
                        if let Some((before, _)) = there.remove(&id) {
                            budget.leave(&before);
                        }
                    }
                    _ => {
                        if let Some(id) = next_whole(&mut budget, &there, &mut read) {
                            let before = there.insert(id, (body(1), false)).unwrap().0;
                            budget.evict(&before, &body(1));
                        }
                    }
                }
                let bytes: usize = there.values().map(|(body, _)| allocated(body.len())).sum();
                prop_assert_eq!(budget.bodies, bytes);
            }
            while let Some(id) = next_whole(&mut budget, &there, &mut read) {
                there.get_mut(&id).unwrap().1 = false;
            }
            prop_assert!(there.values().all(|(_, whole)| !whole));
        }
    }
}
