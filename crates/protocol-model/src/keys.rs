//! A set of orders, by key. The key of an order is its number.

use std::fmt;

/// An order's number: A is 0, B is 1.
pub(crate) type Order = u8;

/// The name of an order in a trace.
pub(crate) fn letter(order: Order) -> char {
    char::from(b'A' + order)
}

/// A set of keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Keys(u8);

impl Keys {
    pub(crate) fn has(self, key: Order) -> bool {
        self.0 & (1 << key) != 0
    }

    pub(crate) fn add(&mut self, key: Order) {
        self.0 |= 1 << key;
    }

    pub(crate) fn remove(&mut self, key: Order) {
        self.0 &= !(1 << key);
    }

    pub(crate) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Order> {
        (0..8).filter(move |&key| self.has(key))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|key| write!(out, "{}", letter(key)))
    }
}
