//! memwritechan -> cache: all orders, in memory, for HTTP.
//!
//! One stage writes, any number of requests read. The lock is a plain reader-writer lock: it is held for a
//! look-up or for a handful of orders, never across a wait.

mod id_table;
mod index;
mod ordered;
mod read_through;
mod search;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::DefaultHashBuilder;
use order::{Body, Key, Layouts, Order, RowError, RowReader};
use tokio::sync::mpsc;

use self::index::Index;
pub(crate) use self::read_through::ReadThrough;
use super::feed::{Feed, Fresh};
use super::{MAX_SEARCH, Record};

/// Ids on a page.
pub(crate) const PAGE: usize = 50;

/// Ids that a search gives at most.
pub(crate) const FOUND: usize = 50;

/// So many orders are added while readers wait.
const WRITE: usize = 64;

/// The orders in memory.
pub(crate) struct Cache {
    index: RwLock<Contents>,
    layouts: Arc<Layouts>,
    /// The members that are searched by, as places in the model.
    search: Vec<usize>,
    hashes: DefaultHashBuilder,
}

struct Contents {
    index: Index,
    /// Orders that have left, so that a copy that is still on its way doesn't bring them back.
    gone: HashMap<Key, Gone>,
}

/// Why an order has left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// PostgreSQL refuses its row: it may come again after a mend.
    Refused,
    /// It was erased, and never comes again.
    Forgotten,
}

/// A page of ids, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Ids(Vec<String>),
    /// Past the last page, or nothing is there.
    NotThere,
    /// Pages are counted from 1.
    Zero,
}

impl Cache {
    pub(crate) fn new(layouts: Arc<Layouts>, search: Vec<usize>) -> Arc<Self> {
        let contents = Contents { index: Index::new(search.len()), gone: HashMap::new() };
        Arc::new(Self {
            index: RwLock::new(contents),
            layouts,
            search,
            hashes: DefaultHashBuilder::default(),
        })
    }

    /// Runs until `memwritechan` closes.
    pub(crate) async fn run(
        &self,
        mut memwritechan: mpsc::Receiver<Vec<Record>>,
        feed: &Feed,
    ) -> anyhow::Result<()> {
        while let Some(records) = memwritechan.recv().await {
            // A chunk has arrived or was read, as a whole.
            if records.first().is_some_and(|record| record.arrived) {
                feed.publish(&self.insert(records, feed.room()));
            } else {
                self.insert(records, 0);
            }
        }
        Ok(())
    }

    /// Adds the orders that are not known. Gives back up to `room` of them.
    fn insert(&self, records: Vec<Record>, room: usize) -> Fresh {
        let mut fresh = Fresh::default();
        let mut records = records.into_iter();
        while records.len() > 0 {
            let mut contents = self.write();
            for record in records.by_ref().take(WRITE) {
                if contents.gone.is_empty() || !contents.gone.contains_key(record.body.key()) {
                    let hash = self.hash(record.body.key_bytes());
                    let shown = (fresh.shown.len() < room).then(|| record.body.clone());
                    if contents.index.insert(hash, record) {
                        fresh.count += 1;
                        fresh.shown.extend(shown);
                    }
                }
            }
        }
        fresh
    }

    /// Takes an order out, whether it is here already or still on its way.
    pub(crate) fn retract(&self, key: &Key, why: Gone) {
        let hash = self.hash(key.as_str().as_bytes());
        let mut contents = self.write();
        let known = contents.gone.entry(key.clone()).or_insert(why);
        if why == Gone::Forgotten {
            *known = why;
        }
        let Some(id) = contents.index.find(hash, key.as_str().as_bytes()) else { return };
        let body = contents.index.body(id).clone();
        // A body in memory can be read, or it would not be there.
        if let Ok(hashes) = self.hashes_of(&body) {
            contents.index.remove(hash, id, hashes);
        }
    }

    /// An order that was refused comes again under its key, after a mend. One that was forgotten does not.
    pub(crate) fn readmit(&self, key: &Key) {
        let mut contents = self.write();
        if contents.gone.get(key) == Some(&Gone::Refused) {
            contents.gone.remove(key);
        }
    }

    /// How many orders there are.
    pub(crate) fn len(&self) -> usize {
        self.read().index.len()
    }

    /// Whether an order is in memory.
    pub(crate) fn contains(&self, key: &str) -> bool {
        let hash = self.hash(key.as_bytes());
        self.read().index.find(hash, key.as_bytes()).is_some()
    }

    /// Appends the JSON of an order; `false`: it is not in memory.
    pub(crate) fn write_json(&self, key: &str, out: &mut Vec<u8>) -> Result<bool, RowError> {
        let hash = self.hash(key.as_bytes());
        let contents = self.read();
        match contents.index.find(hash, key.as_bytes()) {
            Some(id) => self.layouts.write_json(contents.index.body(id), out).map(|()| true),
            None => Ok(false),
        }
    }

    /// A page of ids, oldest first; `None` is the last one.
    pub(crate) fn page(&self, number: Option<usize>) -> Page {
        let contents = self.read();
        let last = contents.index.len().div_ceil(PAGE);
        let number = number.unwrap_or(last);
        if last == 0 || number > last {
            return Page::NotThere;
        }
        let Some(before) = number.checked_sub(1) else { return Page::Zero };
        let ids = contents.index.starting_at(before * PAGE).take(PAGE);
        Page::Ids(ids.map(|id| contents.index.body(id).key().to_owned()).collect())
    }

    /// The ids of the orders that have all of these values, newest first. A criterion is a place among the
    /// members that are searched by, and a value.
    pub(crate) fn search(&self, criteria: &[(usize, String)]) -> Result<Vec<String>, RowError> {
        let contents = self.read();
        let candidates = criteria
            .iter()
            .map(|(place, value)| contents.index.search(*place, self.hash(value.as_bytes())))
            .collect::<Option<Vec<_>>>();
        let rarest = candidates.and_then(|found| found.into_iter().min_by_key(|found| found.len()));
        let Some(rarest) = rarest else { return Ok(Vec::new()) };
        let mut ids = Vec::new();
        for id in rarest.newest_first() {
            if self.matches(contents.index.body(id), criteria)? {
                ids.push(contents.index.body(id).key().to_owned());
                if ids.len() == FOUND {
                    break;
                }
            }
        }
        Ok(ids)
    }

    fn matches(&self, body: &Body, criteria: &[(usize, String)]) -> Result<bool, RowError> {
        let mut text = Vec::new();
        for (place, value) in criteria {
            text.clear();
            self.layouts.write_member(body, self.search[*place], &mut text)?;
            if text != value.as_bytes() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn hashes_of(&self, body: &Body) -> Result<[u32; MAX_SEARCH], RowError> {
        let mut hashes = [0; MAX_SEARCH];
        let mut text = Vec::new();
        for (hash, &member) in hashes.iter_mut().zip(&self.search) {
            text.clear();
            self.layouts.write_member(body, member, &mut text)?;
            *hash = self.hash(&text);
        }
        Ok(hashes)
    }

    /// A hasher for whoever makes records.
    pub(crate) fn hasher(self: &Arc<Self>) -> Hasher {
        Hasher { reader: RowReader::new(self.layouts.clone()), cache: self.clone(), text: Vec::new() }
    }

    fn hash(&self, bytes: &[u8]) -> u32 {
        (self.hashes.hash_one(bytes) >> 32) as u32
    }

    fn read(&self) -> RwLockReadGuard<'_, Contents> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes records: orders as memory keeps them, with the hashes of what they are searched by.
pub(crate) struct Hasher {
    reader: RowReader,
    cache: Arc<Cache>,
    text: Vec<u8>,
}

impl Hasher {
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
        let mut hashes = [0; MAX_SEARCH];
        for (hash, &member) in hashes.iter_mut().zip(&self.cache.search) {
            self.text.clear();
            self.cache.layouts.write_member(&body, member, &mut self.text)?;
            *hash = self.cache.hash(&self.text);
        }
        Ok(Record { body, hashes, arrived })
    }
}
