//! A batch: the chunks of rows that one transaction writes.

use std::collections::HashSet;

use super::dead_letter_writer::{DeadLetterWriter, StoringDeadLetters};
use super::encode::EncodedRows;
use crate::flow_state::Gap;
use crate::flow_state::{StreamRun, Watermark};

/// Maximum orders and bytes of a batch.
pub(super) const MAX_ORDERS: usize = 8192;
const MAX_BYTES: usize = 16 << 20;

/// One row: the index of its chunk, and its index in the chunk.
pub(super) type RowIndex = (usize, usize);

/// Chunks to write together, and their dead letters.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) rows: Vec<EncodedRows>,
    /// Stored while the batch is collected.
    pub(super) dead_letters: Vec<StoringDeadLetters>,
    orders: usize,
    bytes: usize,
}

impl Batch {
    /// Drops chunks of an earlier run, because this run rereads them.
    pub(super) fn push_of(&mut self, run: StreamRun, rows: EncodedRows, writer: &DeadLetterWriter) {
        if rows.orders.run.id != run.id {
            return;
        }
        self.dead_letters.extend(writer.begin(&rows.orders));
        self.orders += rows.data.len() + rows.orders.refused.len();
        self.bytes += rows.copy.len();
        self.rows.push(rows);
    }

    pub(super) fn has_room(&self) -> bool {
        self.orders < MAX_ORDERS && self.bytes < MAX_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes the collected batch, and begins the next one.
    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// The watermark that it reaches.
    pub(super) fn through(&self) -> Option<Watermark> {
        self.rows.last().map(|rows| rows.orders.through)
    }
}

/// All rows, in their order.
pub(super) fn row_indexes(batch: &[EncodedRows]) -> Vec<RowIndex> {
    let chunks = batch.iter().enumerate();
    chunks.flat_map(|(chunk, rows)| (0..rows.data.len()).map(move |row| (chunk, row))).collect()
}

/// Whether a key of these rows may already be in the table, or erased: a replayed dead letter has its original key.
pub(super) fn needs_insert(batch: &[EncodedRows], erased: &HashSet<String>) -> bool {
    let is_erased = |key: &str| !erased.is_empty() && erased.contains(key);
    let mut messages = batch.iter().flat_map(|rows| &rows.orders.messages);
    messages.any(|message| message.replayed || is_erased(message.key.as_str()))
}

/// How many messages in a gap are lost; those of erased orders do not count.
pub(super) fn count_lost_messages(gap: &Gap, erased: &HashSet<String>) -> u64 {
    let sequence = |key: &String| key.rsplit_once('-')?.1.parse().ok();
    let are_erased =
        erased.iter().filter_map(sequence).filter(|sequence| gap.contains(sequence)).count() as u64;
    (gap.end - gap.start).saturating_sub(are_erased)
}

/// The position after the rows up to the last of `part` are written, with `rest` still to come.
pub(super) fn watermark_behind(
    batch: &[EncodedRows],
    part: &[RowIndex],
    rest: &[RowIndex],
) -> Option<Watermark> {
    if rest.is_empty() {
        return batch.last().map(|rows| rows.orders.through);
    }
    part.last().map(|&(chunk, row)| batch[chunk].orders.messages[row].position.watermark())
}
