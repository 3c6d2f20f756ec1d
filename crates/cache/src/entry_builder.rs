//! Builds entries from orders and rows.

use std::sync::Arc;

use order::{Body, Order, RootMembers, RowError, RowFormat, RowReader, SearchPath};

use crate::cache::Cache;
use crate::entry::Entry;
use crate::value_hashes::ValueHashes;

/// Builds entries: bodies with the hashes of their searchable values.
pub struct EntryBuilder {
    reader: RowReader,
    cache: Arc<Cache>,
    text: Vec<u8>,
}

impl Cache {
    /// Builds entries for this cache.
    pub fn entry_builder(self: &Arc<Self>) -> EntryBuilder {
        EntryBuilder::new(self.clone())
    }
}

impl EntryBuilder {
    pub(crate) fn new(cache: Arc<Cache>) -> Self {
        let roots: Vec<_> = cache.search.iter().map(SearchPath::root).collect();
        let reader = RowReader::noting(cache.layouts.clone(), &roots);
        Self { reader, cache, text: Vec::new() }
    }

    /// The entry of an order from the stream.
    pub fn entry_of(&mut self, order: &Order) -> Result<Entry, RowError> {
        let body = order.body().clone();
        let hashes = match body.document() {
            None => self.cache.hashes_of(&body, &mut self.text)?,
            Some(text) => {
                self.reader.note_document(text)?;
                self.hashes_of_noted(&body)?
            }
        };
        Ok(Entry { body, hashes, arrived: true })
    }

    /// Sets the format of the following rows. The default is gob.
    pub fn set_format(&mut self, format: RowFormat) {
        self.reader.set_format(format);
    }

    /// The entry of a row of the table.
    pub fn entry_of_row(&mut self, id: &str, row: &[u8]) -> Result<Entry, RowError> {
        let body = self.reader.read(id, row)?;
        let hashes = self.hashes_of_noted(&body)?;
        Ok(Entry { body, hashes, arrived: false })
    }

    /// As [`RowReader::shares_member`], of the last row.
    pub fn shares_member(&self) -> bool {
        self.reader.shares_member()
    }

    /// The members of all rows so far.
    pub fn root_members(&self) -> RootMembers {
        self.reader.root_members()
    }

    /// The hashes of the body whose members the reader has recorded.
    fn hashes_of_noted(&mut self, body: &Body) -> Result<ValueHashes, RowError> {
        let mut hashes = ValueHashes::default();
        for (path_index, path) in self.cache.search.iter().enumerate() {
            let mut add = |value: &[u8]| hashes.add(path_index, self.cache.hash(value));
            self.reader.noted_values(body, path_index, path, &mut self.text, &mut add)?;
        }
        hashes.close();
        Ok(hashes)
    }
}
