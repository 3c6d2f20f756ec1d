//! memwritechan -> cache: all orders, in memory, for HTTP. Where memory has a bound, some are there by key and
//! hashes alone.
//!
//! One stage writes, any number of requests read. The lock is a plain reader-writer lock: it is held for a
//! look-up or for a handful of orders, never across a wait.

mod hasher;
mod index;
mod id_table;
mod ordered;
mod search;
mod find;
mod ready;
mod bound;
mod evict;
mod read_through;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::DefaultHashBuilder;
use order::{Body, Key, Layouts, RowError};
use tokio::sync::mpsc;

pub(crate) use self::bound::Bound;
pub(crate) use self::find::NotFound;
pub(crate) use self::hasher::Hasher;
use self::index::Index;
pub(crate) use self::read_through::{ReadThrough, Row, Unanswered};
use self::ready::Ready;
use super::feed::{Feed, Fresh};
use super::{MAX_SEARCH, Record};

/// Ids on a page.
pub(crate) const PAGE: usize = 50;

/// So many orders are added, or evicted, while readers wait.
const WRITE: usize = 64;

/// The orders in memory.
pub(crate) struct Cache {
    index: RwLock<Contents>,
    layouts: Arc<Layouts>,
    /// The members that are searched by, as places in the model.
    search: Vec<usize>,
    hashes: DefaultHashBuilder,
    /// Whether bodies may be evicted.
    is_bounded: bool,
    /// Whether readers wait for orders that have to be read from the table.
    is_awaited: AtomicBool,
}

struct Contents {
    index: Index,
    /// Orders that have left, so that a copy that is still on its way doesn't bring them back.
    gone: HashMap<Key, Gone>,
    /// The JSON of some of them; none where memory has a bound, for bodies.
    ready: Option<Ready>,
    /// What they may take.
    bound: Option<Bound>,
}

/// Why an order has left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// PostgreSQL refuses its row: it may come again after a mend.
    Refused,
    /// It was erased, and never comes again.
    Forgotten,
}

/// What memory has of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Known {
    /// All of it.
    Whole,
    /// That it is there; PostgreSQL has to be asked for it.
    Evicted,
    Not,
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
    /// `search` are the places of the members that are searched by.
    pub(crate) fn new(layouts: Arc<Layouts>, search: Vec<usize>, bound: Option<Bound>) -> Arc<Self> {
        let is_bounded = bound.is_some();
        let ready = (!is_bounded).then(Ready::new);
        let contents = Contents { index: Index::new(search.len()), gone: HashMap::new(), ready, bound };
        Arc::new(Self {
            index: RwLock::new(contents),
            layouts,
            search,
            hashes: DefaultHashBuilder::default(),
            is_bounded,
            is_awaited: AtomicBool::new(false),
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
                    if contents.insert(hash, record) {
                        fresh.count += 1;
                        fresh.shown.extend(shown);
                    }
                }
            }
            drop(contents);
            self.make_room();
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
        let Contents { index, ready, bound, .. } = &mut *contents;
        let Some(id) = index.find(hash, key.as_str().as_bytes()) else { return };
        let body = index.body(id).clone();
        // A body in memory can be read, or it would not be there.
        if let Ok(hashes) = self.hashes_of(&body, &mut Vec::new()) {
            index.remove(hash, id, hashes);
            if let Some(ready) = ready {
                ready.forget(id);
            }
            if let Some(bound) = bound {
                bound.leave(&body);
            }
        }
    }

    /// An order that was refused comes again under its key, after a mend. One that was forgotten does not.
    pub(crate) fn readmit(&self, key: &str) {
        // Mostly it was not: readers needn't wait for that to be seen.
        if self.read().gone.get(key) == Some(&Gone::Refused) {
            let gone = &mut self.write().gone;
            if gone.get(key) == Some(&Gone::Refused) {
                gone.remove(key);
            }
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

    /// Appends the JSON of an order, if it is in memory.
    pub(crate) fn write_json(&self, key: &str, out: &mut Vec<u8>) -> Result<Known, RowError> {
        let hash = self.hash(key.as_bytes());
        let contents = self.read();
        let Some(id) = contents.index.find(hash, key.as_bytes()) else { return Ok(Known::Not) };
        let body = contents.index.body(id);
        if let Some(bound) = &contents.bound {
            if body.is_evicted() {
                return Ok(Known::Evicted);
            }
            bound.note_read(id);
        }
        contents.write_json(id, &self.layouts, out).map(|()| Known::Whole)
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

    /// The hashes of what an order is searched by. `text` is room for its values.
    fn hashes_of(&self, body: &Body, text: &mut Vec<u8>) -> Result<[u32; MAX_SEARCH], RowError> {
        let mut hashes = [0; MAX_SEARCH];
        if body.is_evicted() {
            hashes.iter_mut().zip(body.hashes()).for_each(|(hash, kept)| *hash = kept);
            return Ok(hashes);
        }
        for (hash, &member) in hashes.iter_mut().zip(&self.search) {
            text.clear();
            self.layouts.write_member(body, member, text)?;
            *hash = self.hash(text);
        }
        Ok(hashes)
    }

    /// Whether readers wait for orders that have to be read from the table.
    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::Relaxed)
    }

    /// A hasher for whoever makes records.
    pub(crate) fn hasher(self: &Arc<Self>) -> Hasher {
        Hasher::new(self.clone())
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

impl Contents {
    /// Appends the JSON of an order that is here.
    fn write_json(&self, id: u32, layouts: &Layouts, out: &mut Vec<u8>) -> Result<(), RowError> {
        let Some(ready) = &self.ready else { return layouts.write_json(self.index.body(id), out) };
        if !ready.write_json(id, out) {
            let start = out.len();
            layouts.write_json(self.index.body(id), out)?;
            ready.note(id, &out[start..]);
        }
        Ok(())
    }

    /// Adds an order unless its key is known. `true`: it was not.
    fn insert(&mut self, hash: u32, record: Record) -> bool {
        let Some(id) = self.index.insert(hash, record) else { return false };
        if let Some(bound) = &mut self.bound {
            bound.enter(id, self.index.body(id));
        }
        true
    }
}
