//! An order and its body, which table and memory share.

use std::sync::Arc;

use crate::gob_primitives::{Reader, put_bytes};
use crate::row_format::RowFormat;

/// An order from a message: its body, and what else its row needs.
#[derive(Clone, PartialEq, Eq)]
pub struct Order {
    body: Body,
    /// The number of the key's field in a gob row, as the delta from the field before it.
    key_field: u64,
}

impl Order {
    pub(crate) fn new(body: Body, key_field: u64) -> Self {
        Self { body, key_field }
    }

    /// An order whose row is its document.
    pub(crate) fn of_document(body: Body) -> Self {
        Self { body, key_field: 0 }
    }

    /// The order as memory holds it.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The key.
    pub fn key(&self) -> &str {
        self.body.key()
    }

    pub(crate) fn key_field(&self) -> u64 {
        self.key_field
    }
}

/// Shows the key alone: no order's content in logs.
impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order").field("key", &self.key()).finish_non_exhaustive()
    }
}

/// An order as memory holds it: its key, and its document, or its gob value without descriptors and key, in one shared
/// allocation.
///
/// Compared with JSON, a gob value takes less than half the bytes and the fill need not convert it; a read takes about
/// a microsecond longer.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(Arc<[u8]>);

/// The number of bytes in front that name the value's layout.
const LAYOUT: usize = 2;

/// Instead of a layout: the value was evicted. No layout has this number.
const EVICTED: u16 = u16::MAX;

/// Instead of a layout: the value is a document.
const JSON: u16 = u16::MAX - 1;
const JSONB: u16 = u16::MAX - 2;

impl Body {
    /// The empty body in the slot of an order that was removed.
    pub fn none() -> Self {
        Self::evicted("", &[])
    }

    /// An evicted order: its key, and the hashes of its searchable values.
    pub fn evicted(key: &str, hashes: &[u32]) -> Self {
        let mut bytes = Vec::with_capacity(LAYOUT + 1 + key.len() + size_of_val(hashes));
        Self::open(EVICTED, key, &mut bytes);
        bytes.extend(hashes.iter().flat_map(|hash| hash.to_le_bytes()));
        Self(bytes.into())
    }

    /// Whether the value was evicted.
    pub fn is_evicted(&self) -> bool {
        self.layout() == usize::from(EVICTED)
    }

    /// The hashes of an evicted body; empty for others.
    pub fn hashes(&self) -> impl Iterator<Item = u32> {
        let kept = if self.is_evicted() { self.parts().1.as_chunks().0 } else { &[] };
        kept.iter().copied().map(u32::from_le_bytes)
    }

    /// Begins a body in `bytes`; the value's fields follow.
    pub(crate) fn open(layout: u16, key: &str, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend_from_slice(&layout.to_le_bytes());
        put_bytes(bytes, key.as_bytes());
    }

    /// Begins a body in `bytes`; the document follows.
    pub(crate) fn open_document(format: RowFormat, key: &str, bytes: &mut Vec<u8>) {
        Self::open(if format == RowFormat::Json { JSON } else { JSONB }, key, bytes);
    }

    /// Ends a body that is a document.
    pub(crate) fn close_document(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The format of its row; gob for an evicted body.
    pub(crate) fn format(&self) -> RowFormat {
        match u16::from_le_bytes([self.0[0], self.0[1]]) {
            JSON => RowFormat::Json,
            JSONB => RowFormat::Jsonb,
            _ => RowFormat::Gob,
        }
    }

    /// The document, unless the body is gob.
    pub fn document(&self) -> Option<&str> {
        // The bytes were text, so this can't fail.
        self.format().is_document().then(|| simdutf8::basic::from_utf8(self.value()).unwrap_or_default())
    }

    /// Ends the value and the body.
    pub(crate) fn close(bytes: &mut Vec<u8>) -> Self {
        bytes.push(0);
        Self(bytes.as_slice().into())
    }

    pub(crate) fn layout(&self) -> usize {
        usize::from(u16::from_le_bytes([self.0[0], self.0[1]]))
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        let mut reader = Reader::new(&self.0, LAYOUT);
        // `open` wrote it, so this can't fail.
        let key = reader.bytes().unwrap_or_default();
        (key, &self.0[reader.at()..])
    }

    /// The key.
    pub fn key(&self) -> &str {
        std::str::from_utf8(self.key_bytes()).unwrap_or_default()
    }

    /// The key's bytes, by which keys are compared.
    pub fn key_bytes(&self) -> &[u8] {
        self.parts().0
    }

    /// The document, or the gob value with the end of its struct.
    pub(crate) fn value(&self) -> &[u8] {
        self.parts().1
    }

    /// Size in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a body is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({}, {} bytes)", self.key(), self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order_model::{sample, shape};

    #[test]
    fn an_evicted_body_keeps_key_and_hashes() {
        let body = Body::evicted("1700000000123456789-42", &[7, u32::MAX]);
        assert!(body.is_evicted());
        assert_eq!(body.key(), "1700000000123456789-42");
        assert_eq!(body.hashes().collect::<Vec<_>>(), [7, u32::MAX]);
        assert!(Body::none().is_evicted() && Body::none().hashes().next().is_none());
    }

    #[test]
    fn a_whole_body_is_not_taken_for_an_evicted_one() {
        let order = crate::Parser::new(shape()).parse(sample().as_bytes(), "17-1").unwrap();
        assert!(!order.body().is_evicted() && order.body().hashes().next().is_none());
    }
}
