//! The cache: inserts and removals by one stage, and lookups by requests.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hashbrown::DefaultHashBuilder;
use order::{Body, Key, Layouts, RowError, SearchPath};
use parking_lot::{RwLock, RwLockWriteGuard};
use tokio::sync::{Notify, watch};

use crate::body_shards::{BodyShards, Slot};
use crate::entry::Entry;
use crate::index::Index;
use crate::json_cache::JsonCache;
use crate::memory_budget::MemoryBudget;
use crate::value_hashes::ValueHashes;

/// Maximum number of ids on a page.
pub const PAGE_SIZE: usize = 50;

/// Number of orders that are inserted or evicted before waiting readers get the lock.
pub(crate) const WRITE_BATCH: usize = 64;

/// The orders in memory.
pub struct Cache {
    pub(crate) bodies: BodyShards,
    /// The JSON of some orders; `None` if memory has a budget, which is for bodies.
    json_cache: Option<JsonCache>,
    pub(crate) index: RwLock<Contents>,
    pub(crate) layouts: Arc<Layouts>,
    /// The paths of `SEARCH`.
    pub(crate) search: Vec<SearchPath>,
    /// Whether an order may have several values at one of these paths.
    pub(crate) has_arrays: bool,
    hashes: DefaultHashBuilder,
    /// Whether bodies may be evicted.
    pub(crate) is_bounded: bool,
    /// Whether readers wait for orders that have to be read from the table.
    pub(crate) readers_wait: AtomicBool,
    /// The message up to which the stream is in memory, once a run has begun.
    applied: AtomicU64,
    /// The message up to which the stream is in the table.
    pub(crate) committed: watch::Sender<u64>,
    /// How many entries from the table have been inserted.
    filled: watch::Sender<u64>,
    /// Notified after each insertion.
    inserted: Notify,
}

pub(crate) struct Contents {
    pub(crate) index: Index,
    /// The generation of this memory.
    generation: u64,
    /// The first key from the stream: orders that only the table has are older.
    pub(crate) first_arrived: Option<Box<str>>,
    /// Keys of erased orders, so that a copy in flight is not inserted again.
    erased: HashSet<Key>,
    /// The limit of the orders' size.
    pub(crate) budget: Option<MemoryBudget>,
}

/// Which of the newly inserted orders [`Cache::insert`] returns.
#[derive(Clone, Copy, Default)]
pub struct WantedInserts {
    /// Maximum number of bodies.
    pub bodies: usize,
    /// Whether to return all of them, with the hashes of their values.
    pub all: bool,
}

/// Orders that memory did not have.
#[derive(Default)]
pub struct Inserted {
    /// Their number.
    pub count: usize,
    /// At most [`WantedInserts::bodies`] of them.
    pub bodies: Vec<Body>,
    /// All of them, if [`WantedInserts::all`] is set.
    pub all: Vec<(Body, ValueHashes)>,
}

/// What memory has of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// Memory has the order.
    Hit,
    /// Memory has its id and the hashes of its values; its body was evicted.
    Evicted,
    /// Memory does not have it.
    Miss,
}

/// A page of ids, or why it does not exist.
#[derive(Debug, PartialEq, Eq)]
pub enum Page {
    /// Up to [`PAGE_SIZE`] of them, oldest first.
    Ids(Vec<String>),
    /// Page 0, past the last page, or the store is empty.
    NotThere,
}

impl Cache {
    /// `search` are the paths of `SEARCH`.
    pub fn new(layouts: Arc<Layouts>, search: Vec<SearchPath>, budget: Option<MemoryBudget>) -> Arc<Self> {
        let is_bounded = budget.is_some();
        let contents = Contents {
            index: Index::new(search.len()),
            generation: 0,
            first_arrived: None,
            erased: HashSet::new(),
            budget,
        };
        Arc::new(Self {
            bodies: BodyShards::new(is_bounded),
            json_cache: (!is_bounded).then(JsonCache::new),
            index: RwLock::new(contents),
            layouts,
            has_arrays: search.iter().any(SearchPath::is_many),
            search,
            hashes: DefaultHashBuilder::default(),
            is_bounded,
            readers_wait: AtomicBool::new(false),
            applied: AtomicU64::new(u64::MAX),
            committed: watch::Sender::new(0),
            filled: watch::Sender::new(0),
            inserted: Notify::new(),
        })
    }

    /// Waits until this number of entries from the table have been inserted.
    pub async fn wait_filled(&self, count: u64) {
        // The sender lives as long as `self`, so this can't fail.
        drop(self.filled.subscribe().wait_for(|&filled| filled >= count).await);
    }

    /// Records that this number of entries from the table are in memory.
    pub fn note_filled(&self, count: u64) {
        self.filled.send_modify(|filled| *filled += count);
    }

    /// Waits until memory has all of these orders; a query then finds them.
    pub async fn wait_inserted(&self, keys: &[impl AsRef<str>]) {
        loop {
            let mut inserted = std::pin::pin!(self.inserted.notified());
            // From here on, no insertion is missed.
            inserted.as_mut().enable();
            if keys.iter().all(|key| self.contains(key.as_ref())) {
                return;
            }
            inserted.await;
        }
    }

    /// Inserts the orders that memory lacks: of a chunk of the stream with the sequence of its last message, otherwise
    /// of the table. Returns the requested ones.
    pub fn insert(
        &self,
        generation: u64,
        entries: Vec<Entry>,
        through: Option<u64>,
        wanted: WantedInserts,
    ) -> Inserted {
        let inserted = self.insert_in_batches(generation, entries, through, wanted);
        self.inserted.notify_waiters();
        inserted
    }

    fn insert_in_batches(
        &self,
        generation: u64,
        entries: Vec<Entry>,
        through: Option<u64>,
        wanted: WantedInserts,
    ) -> Inserted {
        let mut inserted = Inserted::default();
        let mut entries = entries.into_iter();
        let mut contents = self.index.write();
        if through.is_some() && contents.generation == generation {
            contents.note_arrived(entries.as_slice().first());
        }
        loop {
            if contents.generation != generation {
                // The entries belong to an earlier generation.
                return inserted;
            }
            // Prefetch: random accesses to large tables miss the CPU cache. Independent look-ups overlap these misses.
            for entry in entries.as_slice().iter().take(WRITE_BATCH) {
                contents.index.prefetch(&entry.hashes);
            }
            for entry in entries.by_ref().take(WRITE_BATCH) {
                if contents.erased.is_empty() || !contents.erased.contains(entry.body.key()) {
                    let hash = self.hash(entry.body.key_bytes());
                    let shown = (inserted.bodies.len() < wanted.bodies).then(|| entry.body.clone());
                    let whole = wanted.all.then(|| (entry.body.clone(), entry.hashes.clone()));
                    if contents.insert(&self.bodies, hash, entry, through) {
                        inserted.count += 1;
                        inserted.bodies.extend(shown);
                        inserted.all.extend(whole);
                    }
                }
            }
            self.make_room(&mut contents);
            if entries.len() == 0 {
                return inserted;
            }
            // Taking the lock again at once would starve waiting readers.
            RwLockWriteGuard::bump(&mut contents);
        }
    }

    /// Records that the stream up to this message is in memory.
    pub fn note_applied(&self, generation: u64, through: u64) {
        // Under the lock, so that a chunk of an earlier generation does not count for this one.
        let contents = self.index.read();
        if contents.generation == generation {
            self.applied.store(through, Ordering::Release);
        }
    }

    /// A run starts after this message. Memory may already have later messages, which then arrive again, or lack
    /// earlier ones.
    pub fn begin_run(&self, after: u64) {
        let _contents = self.index.write();
        self.applied.fetch_min(after, Ordering::AcqRel);
    }

    /// Orders of later messages are not committed, so their bodies are not evicted.
    pub fn note_committed(&self, seq: u64) {
        self.committed.send_replace(seq);
    }

    /// Empties memory for a new generation; entries of the previous generation that arrive later are dropped. Erased
    /// keys stay erased.
    pub fn begin_generation(&self, generation: u64) {
        let mut contents = self.index.write();
        contents.generation = generation;
        contents.first_arrived = None;
        self.applied.store(u64::MAX, Ordering::Release);
        contents.index = Index::new(self.search.len());
        if let Some(budget) = &mut contents.budget {
            budget.clear();
        }
        self.bodies.clear();
        self.json_cache.iter().for_each(JsonCache::clear);
    }

    /// The current generation.
    pub fn generation(&self) -> u64 {
        self.index.read().generation
    }

    /// The message up to which the stream is in memory.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Removes an order that the table lacks. It may be inserted again.
    pub fn remove(&self, generation: u64, key: &str) {
        let mut contents = self.index.write();
        if contents.generation == generation {
            self.take_out(&mut contents, key);
        }
    }

    /// Removes an order whose row is not what memory has, so that the row can be inserted in its place.
    pub fn remove_unlike(&self, generation: u64, row: &Body) {
        let mut contents = self.index.write();
        let hash = self.hash(row.key_bytes());
        let is_other = |_, body: &Body| !body.is_evicted() && body != row;
        if contents.generation == generation
            && self.bodies.peek(hash, row.key_bytes(), is_other).unwrap_or(false)
        {
            self.take_out(&mut contents, row.key());
        }
    }

    /// Removes an order permanently, also if it is still in flight.
    pub fn erase(&self, key: &Key) {
        let mut contents = self.index.write();
        contents.erased.insert(key.clone());
        self.take_out(&mut contents, key.as_str());
    }

    /// Whether the order with that key was removed permanently.
    pub fn is_erased(&self, key: &str) -> bool {
        let contents = self.index.read();
        !contents.erased.is_empty() && contents.erased.contains(&Key::from(key))
    }

    pub(crate) fn take_out(&self, contents: &mut Contents, key: &str) {
        let hash = self.hash(key.as_bytes());
        let Some(id) = self.bodies.find(hash, key.as_bytes()) else { return };
        let body = self.bodies.with(id, Body::clone);
        // A body in memory can be read, or it would not be there.
        if let Ok(hashes) = self.hashes_of(&body, &mut Vec::new()) {
            contents.index.remove(&self.bodies, id, &hashes);
            self.bodies
                .remove(hash, id, || self.json_cache.iter().for_each(|json_cache| json_cache.forget(id)));
            if let Some(budget) = &mut contents.budget {
                budget.leave(&body);
            }
        }
    }

    /// The layouts of bodies.
    pub fn layouts(&self) -> &Arc<Layouts> {
        &self.layouts
    }

    /// Whether readers wait for orders that have to be read from the table.
    pub fn set_readers_wait(&self, wait: bool) {
        self.readers_wait.store(wait, Ordering::Relaxed);
    }

    /// The number of orders.
    pub fn count(&self) -> usize {
        self.index.read().index.len()
    }

    /// Whether an order is in memory.
    pub fn contains(&self, key: &str) -> bool {
        self.bodies.find(self.hash(key.as_bytes()), key.as_bytes()).is_some()
    }

    /// What memory has of an order.
    pub fn lookup(&self, key: &str) -> Lookup {
        let lookup = |_, body: &Body| if body.is_evicted() { Lookup::Evicted } else { Lookup::Hit };
        self.bodies.peek(self.hash(key.as_bytes()), key.as_bytes(), lookup).unwrap_or(Lookup::Miss)
    }

    /// Appends the JSON of an order, if it is in memory.
    pub fn write_json(&self, key: &str, out: &mut Vec<u8>) -> Result<Lookup, RowError> {
        let write = |slot, body: &Body| self.write_body_at(slot, body, out);
        self.bodies.read(self.hash(key.as_bytes()), key.as_bytes(), write).unwrap_or(Ok(Lookup::Miss))
    }

    /// The same, for an order that was found in a slot: if it is still there, this saves the look-up.
    pub fn write_json_at(&self, slot: Slot, key: &str, out: &mut Vec<u8>) -> Result<Lookup, RowError> {
        let write =
            |body: &Body| (body.key_bytes() == key.as_bytes()).then(|| self.write_body_at(slot.0, body, out));
        self.bodies.read_at(slot.0, write).unwrap_or_else(|| self.write_json(key, out))
    }

    /// The same, for the body in a slot.
    pub(crate) fn write_body_at(
        &self,
        slot: u32,
        body: &Body,
        out: &mut Vec<u8>,
    ) -> Result<Lookup, RowError> {
        match &self.json_cache {
            _ if body.is_evicted() => Ok(Lookup::Evicted),
            // A document is JSON already.
            _ if body.document().is_some() => self.layouts.write_json(body, out).map(|()| Lookup::Hit),
            Some(json_cache) if json_cache.write_json(slot, out) => Ok(Lookup::Hit),
            json_cache => {
                let start = out.len();
                self.layouts.write_json(body, out)?;
                json_cache.iter().for_each(|json_cache| json_cache.note(slot, &out[start..]));
                Ok(Lookup::Hit)
            }
        }
    }

    /// A page of ids, oldest first; `None` is the last one.
    pub fn page(&self, number: Option<usize>) -> Page {
        let contents = self.index.read();
        let last = contents.index.len().div_ceil(PAGE_SIZE);
        let number = number.unwrap_or(last);
        if last == 0 || number > last {
            return Page::NotThere;
        }
        let Some(before) = number.checked_sub(1) else { return Page::NotThere };
        let ids = contents.index.starting_at(before * PAGE_SIZE).take(PAGE_SIZE);
        Page::Ids(ids.map(|id| self.bodies.with(id, |body| body.key().to_owned())).collect())
    }

    /// The hashes of an order's searchable values. `text` is a buffer for the values.
    pub(crate) fn hashes_of(&self, body: &Body, text: &mut Vec<u8>) -> Result<ValueHashes, RowError> {
        if body.is_evicted() {
            return Ok(ValueHashes::of_kept(body.hashes(), self.has_arrays));
        }
        let mut hashes = ValueHashes::default();
        for (path_index, path) in self.search.iter().enumerate() {
            let mut add = |value: &[u8]| hashes.add(path_index, self.hash(value));
            self.layouts.values(body, path, text, &mut add)?;
        }
        hashes.close();
        Ok(hashes)
    }

    pub(crate) fn hash(&self, bytes: &[u8]) -> u32 {
        (self.hashes.hash_one(bytes) >> 32) as u32
    }
}

impl Contents {
    pub(crate) fn note_arrived(&mut self, entry: Option<&Entry>) {
        let Some(key) = entry.map(|entry| entry.body.key()) else { return };
        if self.first_arrived.as_deref().is_none_or(|first| key < first) {
            self.first_arrived = Some(key.into());
        }
    }

    /// Inserts an order unless its key is known. Returns whether it was inserted.
    fn insert(&mut self, bodies: &BodyShards, hash: u32, entry: Entry, through: Option<u64>) -> bool {
        let Some(id) = self.index.insert(bodies, hash, entry) else { return false };
        if let Some(budget) = &mut self.budget {
            bodies.with(id, |body| budget.enter(id, body, through));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn reader_of_an_order_does_not_wait_for_the_lock_of_the_index() {
        let cache = Cache::new(
            Arc::new(Layouts::new(model::Model::order().unwrap().shape()).unwrap()),
            Vec::new(),
            None,
        );
        let entry =
            |key| Entry { body: Body::evicted(key, &[]), hashes: ValueHashes::default(), arrived: true };
        let entries = vec![entry("17-1"), entry("17-1"), entry("17-2")];
        assert_eq!(cache.insert(0, entries, None, WantedInserts::default()).count, 2);
        let written = cache.index.write();
        let (answer, answered) = std::sync::mpsc::channel();
        let asked = cache.clone();
        std::thread::spawn(move || {
            let found = ["17-1", "17-3"].map(|key| asked.write_json(key, &mut Vec::new()).unwrap());
            answer.send((found, asked.contains("17-2"))).unwrap();
        });
        let answer = answered.recv_timeout(Duration::from_secs(10));
        drop(written);
        assert_eq!(answer, Ok(([Lookup::Evicted, Lookup::Miss], true)));
    }
}
