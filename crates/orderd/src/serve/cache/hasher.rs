//! Orders and rows -> records: what memory takes in.

use std::sync::Arc;

use order::{Order, RowError, RowFormat, RowReader};

use super::Cache;
use crate::serve::{MAX_SEARCH, Record};

/// Makes records: orders as memory keeps them, with the hashes of what they are searched by.
pub(crate) struct Hasher {
    reader: RowReader,
    cache: Arc<Cache>,
    text: Vec<u8>,
}

impl Hasher {
    pub(super) fn new(cache: Arc<Cache>) -> Self {
        let reader = RowReader::noting(cache.layouts.clone(), &cache.search);
        Self { reader, cache, text: Vec::new() }
    }

    /// The record of an order that has just come in.
    pub(crate) fn record_of(&mut self, order: &Order) -> Result<Record, RowError> {
        let body = order.body().clone();
        let hashes = self.cache.hashes_of(&body, &mut self.text)?;
        Ok(Record { body, hashes, arrived: true })
    }

    /// From now on, rows are of this format. Until then it is gob.
    pub(crate) fn set_format(&mut self, format: RowFormat) {
        self.reader.set_format(format);
    }

    /// The record of a row of the table.
    pub(crate) fn record_of_row(&mut self, id: &str, row: &[u8]) -> Result<Record, RowError> {
        let body = self.reader.read(id, row)?;
        let mut hashes = [0; MAX_SEARCH];
        for (place, hash) in hashes.iter_mut().take(self.cache.search.len()).enumerate() {
            self.text.clear();
            self.reader.write_noted(&body, place, &mut self.text)?;
            *hash = self.cache.hash(&self.text);
        }
        Ok(Record { body, hashes, arrived: false })
    }
}
