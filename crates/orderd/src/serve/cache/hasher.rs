//! Orders and rows -> records: what memory takes in.

use std::sync::Arc;

use order::{Order, RowError, RowFormat, RowReader, SearchPath};

use super::Cache;
use crate::serve::{Hashes, Record};

/// Makes records: orders as memory keeps them, with the hashes of what they are searched by.
pub(crate) struct Hasher {
    reader: RowReader,
    cache: Arc<Cache>,
    text: Vec<u8>,
}

impl Hasher {
    pub(super) fn new(cache: Arc<Cache>) -> Self {
        let roots: Vec<_> = cache.search.iter().map(SearchPath::root).collect();
        let reader = RowReader::noting(cache.layouts.clone(), &roots);
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
        let mut hashes = Hashes::default();
        for (place, path) in self.cache.search.iter().enumerate() {
            let mut add = |value: &[u8]| hashes.add(place, self.cache.hash(value));
            self.reader.noted_values(&body, place, path, &mut self.text, &mut add)?;
        }
        hashes.close();
        Ok(Record { body, hashes, arrived: false })
    }
}
