//! memwritechan -> cache: all orders, in memory, for HTTP. Where memory has a bound, some are there by key and
//! hashes alone.
//!
//! One stage writes, any number of requests read. Bodies have small locks, each held for a look-up or for one order;
//! the index has one, held for a page, a search, or a handful of orders. None is held across a wait. Who needs both
//! takes that of the index first.

mod hasher;
mod bodies;
mod numbers;
mod index;
mod id_table;
mod ordered;
mod search;
mod find;
#[cfg(test)]
mod find_tests;
mod ready;
mod bound;
mod evict;
mod read_through;
mod give_way;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hashbrown::DefaultHashBuilder;
use order::{Body, Key, Layouts, RowError, SearchPath};
use parking_lot::{RwLock, RwLockWriteGuard};
use tokio::sync::{mpsc, watch};

use self::bodies::Bodies;
pub(crate) use self::bound::Bound;
pub(crate) use self::find::{Criterion, LIMIT, MAX_LIMIT, NotFound, Page as Found, Query};
pub(crate) use self::hasher::Hasher;
use self::index::Index;
pub(crate) use self::read_through::{Asked, ReadThrough, Row, Unanswered};
use self::ready::Ready;
use super::feed::{Feed, Fresh, Wanted};
use super::{Hashes, Record, Records};

/// Ids on a page.
pub(crate) const PAGE: usize = 50;

/// So many orders are added, or evicted, while readers wait.
const WRITE: usize = 64;

/// The orders in memory.
pub(crate) struct Cache {
    bodies: Bodies,
    /// The JSON of some of them; none where memory has a bound, for bodies.
    ready: Option<Ready>,
    index: RwLock<Contents>,
    layouts: Arc<Layouts>,
    /// By what orders are found.
    search: Vec<SearchPath>,
    /// Whether an order may have several values of one of these.
    has_arrays: bool,
    hashes: DefaultHashBuilder,
    /// Whether bodies may be evicted.
    is_bounded: bool,
    /// Whether readers wait for orders that have to be read from the table.
    is_awaited: AtomicBool,
    /// Everything of the stream up to this message is in memory, once a run has begun.
    applied: AtomicU64,
    /// Everything of the stream up to this message is in the table.
    committed: watch::Sender<u64>,
    /// How many records that were read from the table have been taken in.
    restored: watch::Sender<u64>,
}

struct Contents {
    index: Index,
    /// The how many-th memory this is.
    generation: u64,
    /// The first key that came from the stream: what is only in the table is older.
    first_arrived: Option<Box<str>>,
    /// Orders that have left, so that a copy that is still on its way doesn't bring them back.
    gone: HashMap<Key, Gone>,
    /// What they may take.
    bound: Option<Bound>,
}

/// Why an order has left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// It was erased, and never comes again.
    Erased,
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
    /// `search` is by what orders are found.
    pub(crate) fn new(layouts: Arc<Layouts>, search: Vec<SearchPath>, bound: Option<Bound>) -> Arc<Self> {
        let is_bounded = bound.is_some();
        let contents = Contents {
            index: Index::new(search.len()),
            generation: 0,
            first_arrived: None,
            gone: HashMap::new(),
            bound,
        };
        Arc::new(Self {
            bodies: Bodies::new(is_bounded),
            ready: (!is_bounded).then(Ready::new),
            index: RwLock::new(contents),
            layouts,
            has_arrays: search.iter().any(SearchPath::is_many),
            search,
            hashes: DefaultHashBuilder::default(),
            is_bounded,
            is_awaited: AtomicBool::new(false),
            applied: AtomicU64::new(u64::MAX),
            committed: watch::Sender::new(0),
            restored: watch::Sender::new(0),
        })
    }

    /// Runs until `memwritechan` closes.
    pub(crate) async fn run(
        &self,
        mut memwritechan: mpsc::Receiver<Records>,
        feed: &Feed,
    ) -> anyhow::Result<()> {
        let mut committed = self.committed.subscribe();
        loop {
            let received = tokio::select! {
                received = memwritechan.recv() => received,
                _ = committed.changed(), if self.is_bounded => {
                    self.make_room(&mut self.index.write());
                    continue;
                }
            };
            let Some(Records { generation, through, records }) = received else { return Ok(()) };
            // A chunk has arrived or was read, as a whole.
            if let Some(through) = through {
                feed.publish(&self.insert(generation, records, Some(through), feed.wanted()));
                self.note_applied(generation, through);
            } else if records.first().is_some_and(|record| record.arrived) {
                feed.publish(&self.insert(generation, records, None, feed.wanted()));
            } else {
                let count = records.len() as u64;
                self.insert(generation, records, None, Wanted::default());
                self.restored.send_modify(|restored| *restored += count);
            }
        }
    }

    /// Waits until so many records that were read from the table have been taken in.
    pub(crate) async fn has_restored(&self, count: u64) {
        // It can't end before this does.
        drop(self.restored.subscribe().wait_for(|&restored| restored >= count).await);
    }

    /// Adds the orders that are not known: those of a chunk of the stream with the sequence of its last message, else the
    /// table has them. Gives back those that are wanted.
    fn insert(&self, generation: u64, records: Vec<Record>, through: Option<u64>, wanted: Wanted) -> Fresh {
        let mut fresh = Fresh::default();
        let mut records = records.into_iter();
        let mut contents = self.index.write();
        if through.is_some() && contents.generation == generation {
            contents.note_arrived(records.as_slice().first());
        }
        loop {
            if contents.generation != generation {
                // Of a memory that is no more.
                return fresh;
            }
            // Places in tables this large are far from the core. Looked at by themselves, with nothing between that
            // depends on them, they are waited for together and not one after the other.
            for record in records.as_slice().iter().take(WRITE) {
                contents.index.look_ahead(&record.hashes);
            }
            for record in records.by_ref().take(WRITE) {
                if contents.gone.is_empty() || !contents.gone.contains_key(record.body.key()) {
                    let hash = self.hash(record.body.key_bytes());
                    let shown = (fresh.shown.len() < wanted.shown).then(|| record.body.clone());
                    let whole = wanted.all.then(|| (record.body.clone(), record.hashes.clone()));
                    if contents.insert(&self.bodies, hash, record, through) {
                        fresh.count += 1;
                        fresh.shown.extend(shown);
                        fresh.all.extend(whole);
                    }
                }
            }
            self.make_room(&mut contents);
            if records.len() == 0 {
                return fresh;
            }
            // Taken again at once, it would never be got by who waits for it.
            RwLockWriteGuard::bump(&mut contents);
        }
    }

    fn note_applied(&self, generation: u64, through: u64) {
        // Under the lock, so that what belongs to a memory that is no more is not counted for the next one.
        let contents = self.index.read();
        if contents.generation == generation {
            self.applied.store(through, Ordering::Release);
        }
    }

    /// A run begins behind this message. Memory may be further, which then comes again, or not as far.
    pub(crate) fn begin_run(&self, after: u64) {
        let _contents = self.index.write();
        self.applied.fetch_min(after, Ordering::AcqRel);
    }

    /// Bodies of orders whose messages lie behind this one are not committed, and so not evicted.
    pub(crate) fn note_committed(&self, seq: u64) {
        self.committed.send_replace(seq);
    }

    /// Empties memory: what is on its way to the one before is dropped. Erased keys stay erased.
    pub(crate) fn begin_generation(&self, generation: u64) {
        let mut contents = self.index.write();
        contents.generation = generation;
        contents.first_arrived = None;
        self.applied.store(u64::MAX, Ordering::Release);
        contents.index = Index::new(self.search.len());
        if let Some(bound) = &mut contents.bound {
            bound.clear();
        }
        self.bodies.clear();
        self.ready.iter().for_each(Ready::clear);
    }

    /// The memory that there is now.
    pub(crate) fn generation(&self) -> u64 {
        self.index.read().generation
    }

    /// Up to which message everything of the stream is in memory.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Takes an order out of this memory that the table does not have. It may come again.
    pub(crate) fn remove(&self, generation: u64, key: &str) {
        let mut contents = self.index.write();
        if contents.generation == generation {
            self.take_out(&mut contents, key);
        }
    }

    /// Takes an order out, whether it is here already or still on its way.
    pub(crate) fn retract(&self, key: &Key, why: Gone) {
        let mut contents = self.index.write();
        contents.gone.insert(key.clone(), why);
        self.take_out(&mut contents, key.as_str());
    }

    fn take_out(&self, contents: &mut Contents, key: &str) {
        let hash = self.hash(key.as_bytes());
        let Some(id) = self.bodies.find(hash, key.as_bytes()) else { return };
        let body = self.bodies.with(id, Body::clone);
        // A body in memory can be read, or it would not be there.
        if let Ok(hashes) = self.hashes_of(&body, &mut Vec::new()) {
            contents.index.remove(&self.bodies, id, &hashes);
            self.bodies.remove(hash, id, || self.ready.iter().for_each(|ready| ready.forget(id)));
            if let Some(bound) = &mut contents.bound {
                bound.leave(&body);
            }
        }
    }

    /// How many orders there are.
    pub(crate) fn len(&self) -> usize {
        self.index.read().index.len()
    }

    /// Whether an order is in memory.
    pub(crate) fn contains(&self, key: &str) -> bool {
        self.bodies.find(self.hash(key.as_bytes()), key.as_bytes()).is_some()
    }

    /// What memory has of an order.
    pub(crate) fn known(&self, key: &str) -> Known {
        let known = |_, body: &Body| if body.is_evicted() { Known::Evicted } else { Known::Whole };
        self.bodies.look(self.hash(key.as_bytes()), key.as_bytes(), known).unwrap_or(Known::Not)
    }

    /// Appends the JSON of an order, if it is in memory.
    pub(crate) fn write_json(&self, key: &str, out: &mut Vec<u8>) -> Result<Known, RowError> {
        let write = |id, body: &Body| match &self.ready {
            _ if body.is_evicted() => Ok(Known::Evicted),
            // It is ready already.
            _ if body.document().is_some() => self.layouts.write_json(body, out).map(|()| Known::Whole),
            Some(ready) if ready.write_json(id, out) => Ok(Known::Whole),
            ready => {
                let start = out.len();
                self.layouts.write_json(body, out)?;
                ready.iter().for_each(|ready| ready.note(id, &out[start..]));
                Ok(Known::Whole)
            }
        };
        self.bodies.read(self.hash(key.as_bytes()), key.as_bytes(), write).unwrap_or(Ok(Known::Not))
    }

    /// A page of ids, oldest first; `None` is the last one.
    pub(crate) fn page(&self, number: Option<usize>) -> Page {
        let contents = self.index.read();
        let last = contents.index.len().div_ceil(PAGE);
        let number = number.unwrap_or(last);
        if last == 0 || number > last {
            return Page::NotThere;
        }
        let Some(before) = number.checked_sub(1) else { return Page::Zero };
        let ids = contents.index.starting_at(before * PAGE).take(PAGE);
        Page::Ids(ids.map(|id| self.bodies.with(id, |body| body.key().to_owned())).collect())
    }

    /// By what an order is found. `text` is room for its values.
    fn hashes_of(&self, body: &Body, text: &mut Vec<u8>) -> Result<Hashes, RowError> {
        if body.is_evicted() {
            return Ok(Hashes::of_kept(body.hashes(), self.has_arrays));
        }
        let mut hashes = Hashes::default();
        for (place, path) in self.search.iter().enumerate() {
            let mut add = |value: &[u8]| hashes.add(place, self.hash(value));
            self.layouts.values(body, path, text, &mut add)?;
        }
        hashes.close();
        Ok(hashes)
    }

    /// A hasher for whoever makes records.
    pub(crate) fn hasher(self: &Arc<Self>) -> Hasher {
        Hasher::new(self.clone())
    }

    fn hash(&self, bytes: &[u8]) -> u32 {
        (self.hashes.hash_one(bytes) >> 32) as u32
    }
}

impl Contents {
    fn note_arrived(&mut self, record: Option<&Record>) {
        let Some(key) = record.map(|record| record.body.key()) else { return };
        if self.first_arrived.as_deref().is_none_or(|first| key < first) {
            self.first_arrived = Some(key.into());
        }
    }

    /// Adds an order unless its key is known. `true`: it was not.
    fn insert(&mut self, bodies: &Bodies, hash: u32, record: Record, through: Option<u64>) -> bool {
        let Some(id) = self.index.insert(bodies, hash, record) else { return false };
        if let Some(bound) = &mut self.bound {
            bodies.with(id, |body| bound.enter(id, body, through));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn who_asks_for_an_order_waits_for_nobody_who_has_the_index() {
        let cache = Cache::new(
            Arc::new(Layouts::new(model::Model::order().unwrap().shape()).unwrap()),
            Vec::new(),
            None,
        );
        let record = |key| Record { body: Body::evicted(key, &[]), hashes: Hashes::default(), arrived: true };
        let records = vec![record("17-1"), record("17-1"), record("17-2")];
        assert_eq!(cache.insert(0, records, None, Wanted::default()).count, 2);
        let written = cache.index.write();
        let (answer, answered) = std::sync::mpsc::channel();
        let asked = cache.clone();
        std::thread::spawn(move || {
            let known = ["17-1", "17-3"].map(|key| asked.write_json(key, &mut Vec::new()).unwrap());
            answer.send((known, asked.contains("17-2"))).unwrap();
        });
        let answer = answered.recv_timeout(Duration::from_secs(10));
        drop(written);
        assert_eq!(answer, Ok(([Known::Evicted, Known::Not], true)));
    }

    #[tokio::test]
    async fn what_was_read_from_the_table_is_restored_when_it_is_in_memory() {
        let layouts = Arc::new(Layouts::new(model::Model::order().unwrap().shape()).unwrap());
        let cache = Cache::new(layouts.clone(), Vec::new(), None);
        let feed = Feed::new(layouts, &[], &[], 1);
        let record =
            |key, arrived| Record { body: Body::evicted(key, &[]), hashes: Hashes::default(), arrived };
        for (chunk, restored) in [(vec![record("17-1", true)], 0), (vec![record("17-2", false)], 1)] {
            assert!(cache.has_restored(1).now_or_never().is_none());
            let (memwritechan, memwritechan_out) = mpsc::channel(1);
            memwritechan.send(Records { generation: 0, through: None, records: chunk }).await.unwrap();
            drop(memwritechan);
            cache.run(memwritechan_out, &feed).await.unwrap();
            assert!(cache.has_restored(restored).now_or_never().is_some());
        }
        assert_eq!(cache.len(), 2);
    }
}
