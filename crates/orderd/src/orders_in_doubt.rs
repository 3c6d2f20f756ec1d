//! Orders in doubt: their messages alone don't show whether they are rows, because this process refused the message, or
//! because it became a dead letter or was replayed. `fill/doubt_resolver` looks the row up once the position has
//! passed the message.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The orders in doubt, by key.
#[derive(Clone, Default)]
pub(crate) struct OrdersInDoubt {
    orders: Arc<Mutex<HashMap<String, Doubt>>>,
    added: Arc<Notify>,
}

/// What is known of an order in doubt.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// The sequence that the position must reach before the row is looked up.
    pub(crate) after: u64,
    /// The number of the dead letter with its key, if one was stored.
    pub(crate) dead_letter: Option<u64>,
    /// Whether this process refuses its message.
    pub(crate) is_refused_here: bool,
}

impl OrdersInDoubt {
    /// Adds an order, to be looked up once the position has reached `sequence`.
    pub(crate) fn add(&self, key: &str, sequence: u64) {
        self.merge(key, Doubt { after: sequence, ..Doubt::default() });
    }

    /// The same, for a message that this process refuses.
    pub(crate) fn add_refused(&self, key: &str, sequence: u64) {
        self.merge(key, Doubt { after: sequence, is_refused_here: true, ..Doubt::default() });
    }

    /// Adds the order of the message at `sequence`, of which a dead letter with that number was stored.
    pub(crate) fn add_dead_letter(&self, key: &str, sequence: u64, number: u64) {
        self.merge(key, Doubt { after: sequence, dead_letter: Some(number), ..Doubt::default() });
    }

    fn merge(&self, key: &str, added: Doubt) {
        let mut orders = self.orders();
        let doubt = orders.entry(key.to_owned()).or_default();
        doubt.after = doubt.after.max(added.after);
        doubt.dead_letter = doubt.dead_letter.max(added.dead_letter);
        doubt.is_refused_here |= added.is_refused_here;
        drop(orders);
        self.added.notify_one();
    }

    fn orders(&self) -> MutexGuard<'_, HashMap<String, Doubt>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The orders whose message the position has passed.
    pub(crate) fn passed(&self, seq: u64) -> Vec<(String, Doubt)> {
        let orders = self.orders();
        let passed = orders.iter().filter(|(_, doubt)| doubt.after <= seq);
        passed.map(|(key, doubt)| (key.clone(), *doubt)).collect()
    }

    /// Removes an order that was looked up. It stays in doubt if it was added again meanwhile.
    pub(crate) fn resolve(&self, key: &str, looked_up: Doubt) {
        let mut orders = self.orders();
        if orders.get(key) == Some(&looked_up) {
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
        let doubt = |after| Doubt { after, ..Doubt::default() };
        in_doubt.add("1-1", 1);
        in_doubt.add("1-1", 5);
        in_doubt.add("1-2", 2);
        assert_eq!(in_doubt.passed(4), [("1-2".to_owned(), doubt(2))]);
        in_doubt.resolve("1-2", doubt(2));
        in_doubt.resolve("1-1", doubt(1));
        assert_eq!(in_doubt.passed(5), [("1-1".to_owned(), doubt(5))]);
    }

    #[test]
    fn dead_letter_that_is_stored_during_the_look_up_is_looked_at_too() {
        let in_doubt = OrdersInDoubt::default();
        in_doubt.add("1-1", 1);
        let looked_up = Doubt { after: 1, ..Doubt::default() };
        in_doubt.add_dead_letter("1-1", 1, 7);
        in_doubt.resolve("1-1", looked_up);
        assert_eq!(in_doubt.passed(1), [("1-1".to_owned(), Doubt { dead_letter: Some(7), ..looked_up })]);
    }
}
