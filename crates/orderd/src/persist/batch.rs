//! Chunks of rows that are written together.

use super::encode::Rows;
use crate::ingest::Message;

/// A batch closes at so many orders or bytes.
const ORDERS: usize = 8192;
const BYTES: usize = 16 << 20;

/// One row: the place of its chunk, and its place in that.
pub(super) type Place = (usize, usize);

/// What waits to be written.
#[derive(Default)]
pub(super) struct Batch {
    rows: Vec<Rows>,
    orders: usize,
    bytes: usize,
}

impl Batch {
    pub(super) fn push(&mut self, rows: Rows) {
        self.orders += rows.gobs.len();
        self.bytes += rows.copy.len();
        self.rows.push(rows);
    }

    pub(super) fn has_room(&self) -> bool {
        self.orders < ORDERS && self.bytes < BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What has come together; the next batch begins.
    pub(super) fn take(&mut self) -> Vec<Rows> {
        std::mem::take(self).rows
    }
}

/// Whether no message of these can have a row already.
pub(super) fn is_fresh(batch: &[Rows]) -> bool {
    let is_fresh = |message: &Message| message.origin.deliveries == 1 && !message.replayed;
    batch.iter().all(|rows| rows.orders.messages.iter().all(is_fresh))
}

/// All rows, in their order.
pub(super) fn places(batch: &[Rows]) -> Vec<Place> {
    let chunks = batch.iter().enumerate();
    chunks.flat_map(|(chunk, rows)| (0..rows.gobs.len()).map(move |row| (chunk, row))).collect()
}
