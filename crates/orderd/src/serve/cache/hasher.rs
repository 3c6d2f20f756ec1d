//! Orders and rows -> records: what memory takes in.

use std::sync::Arc;

use order::{Body, Order, RowError, RowReader};

use super::Cache;
use crate::serve::Record;

/// Makes records: orders as memory keeps them, with the hashes of what they are searched by.
pub(crate) struct Hasher {
    reader: RowReader,
    cache: Arc<Cache>,
    text: Vec<u8>,
}

impl Hasher {
    pub(super) fn new(cache: Arc<Cache>) -> Self {
        Self { reader: RowReader::new(cache.layouts.clone()), cache, text: Vec::new() }
    }

    /// The record of an order that has just come in.
    pub(crate) fn record_of(&mut self, order: &Order) -> Result<Record, RowError> {
        self.record(order.body().clone(), true)
    }

    /// The record of a row of the table.
    pub(crate) fn record_of_row(&mut self, id: &str, row: &[u8]) -> Result<Record, RowError> {
        let body = self.reader.read(id, row)?;
        self.record(body, false)
    }

    fn record(&mut self, body: Body, arrived: bool) -> Result<Record, RowError> {
        let hashes = self.cache.hashes_of(&body, &mut self.text)?;
        Ok(Record { body, hashes, arrived })
    }
}
