//! Orders in doubt: their messages alone don't show whether they are rows, because this process refused the message, or
//! because it became a dead letter or was replayed. `fill/doubt_resolver` looks the row up once the position has
//! passed the message.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The orders in doubt, each with the sequence that the position must reach before its row is looked up.
#[derive(Clone, Default)]
pub(crate) struct OrdersInDoubt {
    orders: Arc<Mutex<HashMap<String, u64>>>,
    added: Arc<Notify>,
}

impl OrdersInDoubt {
    /// Adds an order, to be looked up once the position has reached `sequence`.
    pub(crate) fn add(&self, key: &str, sequence: u64) {
        let mut orders = self.orders();
        let after = orders.entry(key.to_owned()).or_insert(sequence);
        *after = sequence.max(*after);
        drop(orders);
        self.added.notify_one();
    }

    fn orders(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The orders whose message the position has passed, each with that message's sequence.
    pub(crate) fn passed(&self, seq: u64) -> Vec<(String, u64)> {
        let orders = self.orders();
        let passed = orders.iter().filter(|(_, after)| **after <= seq);
        passed.map(|(key, after)| (key.clone(), *after)).collect()
    }

    /// Removes an order that was looked up. It stays in doubt if it was added again meanwhile.
    pub(crate) fn resolve(&self, key: &str, after: u64) {
        let mut orders = self.orders();
        if orders.get(key) == Some(&after) {
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
    fn order_in_doubt_waits_for_its_last_message() {
        let in_doubt = OrdersInDoubt::default();
        in_doubt.add("1-1", 1);
        in_doubt.add("1-1", 5);
        in_doubt.add("1-2", 2);
        assert_eq!(in_doubt.passed(4), [("1-2".to_owned(), 2)]);
        in_doubt.resolve("1-2", 2);
        in_doubt.resolve("1-1", 1);
        assert_eq!(in_doubt.passed(5), [("1-1".to_owned(), 5)]);
    }
}
