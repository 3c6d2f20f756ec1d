//! The ledger: what was published, and what the stream acknowledged.

use std::sync::{Mutex, PoisonError};

/// The kind of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An order with a unique `order_uid`.
    Good,
    /// A message that must become a dead letter.
    Bad,
    /// A message without payload.
    Empty,
    /// An order with the key of a dead letter that does not exist. No client can choose a key, so the service must drop
    /// it.
    Forged,
}

/// One message. Its number is its index in the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its stream sequence, once the stream has acknowledged it.
    pub acknowledged: Option<u64>,
}

/// All messages of a round.
#[derive(Default)]
pub struct Ledger {
    seed: u64,
    entries: Mutex<Vec<Entry>>,
}

impl Ledger {
    /// An empty ledger, whose `order_uid`s contain the seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, entries: Mutex::default() }
    }

    /// Adds a message that is about to be published; returns its number.
    pub fn enter(&self, kind: Kind) -> usize {
        let mut entries = self.lock();
        entries.push(Entry { kind, acknowledged: None });
        entries.len() - 1
    }

    /// Records the stream's acknowledgement.
    pub fn acknowledge(&self, number: usize, sequence: u64) {
        if let Some(entry) = self.lock().get_mut(number) {
            entry.acknowledged.get_or_insert(sequence);
        }
    }

    /// All messages so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// The stream sequences of acknowledged orders.
    pub fn acknowledged_orders(&self) -> Vec<u64> {
        let good = |entry: &Entry| (entry.kind == Kind::Good).then_some(entry.acknowledged).flatten();
        self.lock().iter().filter_map(good).collect()
    }

    /// The `order_uid` of a number.
    pub fn uid(&self, number: usize) -> String {
        format!("{}{number}.", self.prefix())
    }

    /// The number in an `order_uid` anywhere in a payload.
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
