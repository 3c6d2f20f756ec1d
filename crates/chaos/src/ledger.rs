//! The ledger: what was published, and what the stream acknowledged.

use std::sync::{Mutex, PoisonError};

/// What kind of message it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An order with a unique `order_uid`.
    Good,
    /// What has to end as a dead letter.
    Bad,
    /// No payload at all.
    Empty,
    /// An order that claims the key of a dead letter that is not there: no client can choose a key, so the service must
    /// drop it.
    Forged,
}

/// One message. Its number is its place in the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its place in the stream, once the stream has acknowledged it.
    pub acknowledged: Option<u64>,
}

/// All messages of a round.
#[derive(Default)]
pub struct Ledger {
    seed: u64,
    entries: Mutex<Vec<Entry>>,
}

impl Ledger {
    /// An empty one, whose `order_uid`s carry the seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, entries: Mutex::default() }
    }

    /// Enters a message that is about to be published; gives back its number.
    pub fn enter(&self, kind: Kind) -> usize {
        let mut entries = self.lock();
        entries.push(Entry { kind, acknowledged: None });
        entries.len() - 1
    }

    /// The stream has acknowledged it.
    pub fn acknowledge(&self, number: usize, sequence: u64) {
        if let Some(entry) = self.lock().get_mut(number) {
            entry.acknowledged.get_or_insert(sequence);
        }
    }

    /// All messages until now.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// The places in the stream of the orders that it has acknowledged.
    pub fn acknowledged_orders(&self) -> Vec<u64> {
        let good = |entry: &Entry| (entry.kind == Kind::Good).then_some(entry.acknowledged).flatten();
        self.lock().iter().filter_map(good).collect()
    }

    /// The `order_uid` of a number.
    pub fn uid(&self, number: usize) -> String {
        format!("{}{number}.", self.prefix())
    }

    /// The number behind an `order_uid` that stands anywhere in a payload.
    pub fn number_in(&self, payload: &[u8]) -> Option<usize> {
        let prefix = self.prefix();
        let at = payload.windows(prefix.len()).position(|window| window == prefix.as_bytes())?;
        let digits = payload[at + prefix.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.map(|&digit| char::from(digit)).collect::<String>().parse().ok()
    }

    fn prefix(&self) -> String {
        format!("chaos-{:x}-", self.seed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_payloads() {
        let ledger = Ledger::new(0xab);
        assert_eq!(ledger.number_in(format!("no json {}\u{0}", ledger.uid(42)).as_bytes()), Some(42));
        assert_eq!(ledger.number_in(Ledger::new(0xac).uid(42).as_bytes()), None);
    }
}
