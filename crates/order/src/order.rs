//! An order on its way in: what `orderschan` carries and both branches of the fan-out take.

use crate::Key;

/// A document under its key, as the gob value that a row of ours holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Order {
    key: Key,
    /// The value, which closes with the key's field and the end of the struct.
    value: Box<[u8]>,
    /// Where in the value the key's field starts.
    tail: usize,
}

impl Order {
    pub(crate) fn new(key: Key, value: Box<[u8]>, tail: usize) -> Self {
        Self { key, value, tail }
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The gob value with the key in it, as it stands in the row.
    pub(crate) fn value(&self) -> &[u8] {
        &self.value
    }

    /// The gob value's fields up to that of the key.
    pub(crate) fn fields(&self) -> &[u8] {
        &self.value[..self.tail]
    }
}

/// Shows the key alone: no order's content in logs.
impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A document as memory holds it: its gob value without descriptors and without the key.
///
/// Against ready JSON this is less than half of the bytes and nothing to convert at the start; it costs about
/// a microsecond a read.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(Box<[u8]>);

/// The bytes in front of the value that say by which layout it is read.
const LAYOUT: usize = 2;

impl Body {
    /// `fields` is the value up to the end of its struct, which is added here.
    pub(crate) fn new(layout: u16, fields: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(LAYOUT + fields.len() + 1);
        bytes.extend_from_slice(&layout.to_le_bytes());
        bytes.extend_from_slice(fields);
        bytes.push(0);
        Self(bytes.into_boxed_slice())
    }

    pub(crate) fn layout(&self) -> usize {
        usize::from(u16::from_le_bytes([self.0[0], self.0[1]]))
    }

    pub(crate) fn value(&self) -> &[u8] {
        &self.0[LAYOUT..]
    }

    /// The bytes it takes.
    #[expect(clippy::len_without_is_empty, reason = "a body is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}
