//! Orders that this process can't decide from a message alone: it refused them, or they became dead letters or were
//! replayed. `fill/follow` asks the table for each once the position has passed its message.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Orders of which only the table knows what became of them, each with the sequence of the message that decides it.
#[derive(Clone, Default)]
pub(crate) struct Undecided {
    orders: Arc<Mutex<HashMap<String, u64>>>,
    added: Arc<Notify>,
}

impl Undecided {
    /// The table is asked for `key` once the position has passed `sequence`.
    pub(crate) fn add(&self, key: &str, sequence: u64) {
        let mut orders = self.orders();
        let decided_at = orders.entry(key.to_owned()).or_insert(sequence);
        *decided_at = sequence.max(*decided_at);
        drop(orders);
        self.added.notify_one();
    }

    fn orders(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The orders whose message the position has passed, each with that message's sequence.
    pub(crate) fn passed(&self, seq: u64) -> Vec<(String, u64)> {
        let orders = self.orders();
        let passed = orders.iter().filter(|(_, decided_at)| **decided_at <= seq);
        passed.map(|(key, decided_at)| (key.clone(), *decided_at)).collect()
    }

    /// The table was asked for `key`. It stays undecided where it was added again meanwhile.
    pub(crate) fn decided(&self, key: &str, decided_at: u64) {
        let mut orders = self.orders();
        if orders.get(key) == Some(&decided_at) {
            orders.remove(key);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.orders().is_empty()
    }

    /// Waits until one is added.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undecided_order_waits_for_the_last_message_that_decides_it() {
        let undecided = Undecided::default();
        undecided.add("1-1", 1);
        undecided.add("1-1", 5);
        undecided.add("1-2", 2);
        assert_eq!(undecided.passed(4), [("1-2".to_owned(), 2)]);
        undecided.decided("1-2", 2);
        undecided.decided("1-1", 1);
        assert_eq!(undecided.passed(5), [("1-1".to_owned(), 5)]);
    }
}
