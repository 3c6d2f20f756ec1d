//! Queries by values and times, answered from memory, and from the table where bodies were evicted.

use std::cmp::Ordering;

use order::{Body, Key, RowError};

use crate::body_shards::Slot;
use crate::cache::{Cache, Contents, Lookup};
use crate::stored_row::{RowSource, StoredRow, Unavailable};

/// Default number of ids of a query.
pub const LIMIT: usize = 50;
/// Maximum of [`Query::limit`].
pub const MAX_LIMIT: usize = 1000;

/// Maximum number of orders examined under one lock. It bounds how long the writer and the thread's other requests
/// wait.
const MAX_LOOKS: usize = 1024;

/// The index of a searched member, and a value.
pub type Criterion = (usize, String);

/// A query: which orders to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// All of them must match.
    pub criteria: Vec<Criterion>,
    /// Smallest id, in byte order.
    pub low: String,
    /// Ids must be smaller than this one.
    pub high: Option<String>,
    /// Only ids that have a time.
    pub timed: bool,
    /// Oldest first.
    pub ascending: bool,
    /// Maximum number of ids.
    pub limit: usize,
}

impl Query {
    /// All orders with these values, the newest ones first.
    pub fn newest(criteria: Vec<Criterion>, limit: usize) -> Self {
        Self { criteria, low: String::new(), high: None, timed: false, ascending: false, limit }
    }

    /// Only orders after this id, which need not exist.
    pub fn go_on_after(&mut self, id: &str) {
        if self.ascending {
            // The smallest text after it: no row's id contains that character.
            self.low = self.low.as_str().max(&format!("{id}\0")).to_owned();
        } else if self.high.as_deref().is_none_or(|high| id < high) {
            self.high = Some(id.to_owned());
        }
    }
}

/// The orders that match a query.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// In the query's order.
    pub ids: Vec<String>,
    /// The slot of each of them.
    pub slots: Vec<Slot>,
    /// Whether others follow.
    pub has_more: bool,
}

/// Why a query has no answer.
#[derive(Debug)]
pub enum QueryError {
    /// An evicted order may match, and PostgreSQL can't be reached.
    Unavailable,
    /// A body in memory that can't be read.
    Broken(RowError),
}

/// An order that may be one of them.
struct Candidate {
    id: String,
    slot: Slot,
    /// The body was evicted: all hashes match, but another value may have the same hash.
    to_check: bool,
}

/// Some candidates.
struct CandidateBatch {
    candidates: Vec<Candidate>,
    /// The last examined id, if more may follow.
    end: Option<String>,
}

impl Matches {
    /// The first `limit` of `found`.
    fn of(found: Vec<Candidate>, limit: usize) -> Self {
        let has_more = found.len() > limit;
        let (ids, slots) = found.into_iter().take(limit).map(|one| (one.id, one.slot)).unzip();
        Self { ids, slots, has_more }
    }
}

impl Cache {
    /// The ids of the orders that a query asks for.
    pub async fn search<S: RowSource>(&self, query: &Query, table: &S) -> Result<Matches, QueryError> {
        let mut rest = query.clone();
        let mut found = Vec::new();
        loop {
            let batch = self.batch(&rest, query.limit + 1 - found.len())?;
            found.extend(self.checked(batch.candidates, &query.criteria, table).await?);
            let Some(end) = batch.end.filter(|_| found.len() <= query.limit) else { break };
            rest.go_on_after(&end);
            tokio::task::yield_now().await;
        }
        Ok(Matches::of(found, query.limit))
    }

    /// The ids that have a time and lie before `end`: the oldest ones, `limit` at most.
    pub async fn older_than(&self, end: &str, limit: usize) -> Result<Vec<String>, RowError> {
        let mut rest = Query {
            criteria: Vec::new(),
            low: Key::first_of_time(0),
            high: Some(end.to_owned()),
            timed: true,
            ascending: true,
            limit,
        };
        let mut ids = Vec::new();
        loop {
            let batch = self.batch(&rest, limit - ids.len())?;
            ids.extend(batch.candidates.into_iter().map(|candidate| candidate.id));
            let Some(end) = batch.end.filter(|_| ids.len() < limit) else { return Ok(ids) };
            rest.go_on_after(&end);
            tokio::task::yield_now().await;
        }
    }

    /// Like [`search`](Self::search), if memory alone has the result at once.
    pub fn search_at_once(&self, query: &Query) -> Option<Matches> {
        let CandidateBatch { candidates, end } = self.batch(query, query.limit + 1).ok()?;
        let has_more = candidates.len() > query.limit;
        if candidates.iter().any(|candidate| candidate.to_check) || (end.is_some() && !has_more) {
            return None;
        }
        Some(Matches::of(candidates, query.limit))
    }

    /// Appends the JSON of the newest order with a value, and returns its id. `None` if no order has it, or if memory
    /// alone can't answer at once.
    pub fn write_newest_at_once(&self, criterion: &Criterion, out: &mut Vec<u8>) -> Option<String> {
        let hash = self.hash_of_criterion(criterion);
        let contents = self.index.read();
        let found = contents.index.narrowest(std::iter::once(hash))?;
        let mut slots = found.before(|_| Ordering::Less).take(MAX_LOOKS);
        let start = out.len();
        let newest = slots.find_map(|slot| {
            self.bodies.read_at(slot, |body| {
                // Written before the value is compared, which is rarely another one: the CPU then waits for the JSON and for
                // the body's value at the same time.
                let Ok(Lookup::Hit) = self.write_body_at(slot, body, out) else {
                    // An evicted order may have the value.
                    out.truncate(start);
                    return Some(None);
                };
                if self.matches(body, std::slice::from_ref(criterion)).unwrap_or(false) {
                    return Some(Some(body.key().to_owned()));
                }
                out.truncate(start);
                None
            })
        });
        newest.flatten()
    }

    /// The page, if memory has all orders that could be on it although the fill is not complete: orders from the stream
    /// are newer than all orders that only the table has.
    pub fn without_table(&self, query: &Query, page: Matches) -> Option<Matches> {
        let contents = self.index.read();
        let first = contents.first_arrived.as_deref()?;
        if query.low.as_str() >= first {
            return Some(page);
        }
        let is_full = !query.ascending && page.ids.len() == query.limit;
        let is_newer = is_full && page.ids.last().is_some_and(|last| last.as_str() >= first);
        // Older ones may follow from the table.
        is_newer.then_some(Matches { has_more: true, ..page })
    }

    /// The hashes of the criteria, each with the index of its path.
    pub fn hashes_of_criteria(&self, criteria: &[Criterion]) -> Vec<(usize, u32)> {
        criteria.iter().map(|criterion| self.hash_of_criterion(criterion)).collect()
    }

    fn hash_of_criterion(&self, (path_index, value): &Criterion) -> (usize, u32) {
        (*path_index, self.hash(self.search[*path_index].candidate_text(value).as_bytes()))
    }

    /// Whether a whole order has all of these values.
    pub fn has_values(&self, body: &Body, criteria: &[Criterion]) -> bool {
        // A body that was in memory can be read.
        self.matches(body, criteria).unwrap_or(false)
    }

    /// Appends the JSON of an order that may have been evicted since.
    pub fn write_body(&self, body: &Body, out: &mut Vec<u8>) -> Result<(), RowError> {
        self.layouts.write_json(body, out)
    }

    /// Up to `room` candidates for a query, as far as memory knows.
    fn batch(&self, query: &Query, room: usize) -> Result<CandidateBatch, RowError> {
        let hashes = self.hashes_of_criteria(&query.criteria);
        let mut batch = CandidateBatch { candidates: Vec::new(), end: None };
        let contents = self.index.read();
        for (looked, slot) in self.walk(&contents, query, &hashes).enumerate() {
            let looked_at = self.bodies.with(slot, |body| self.visit(slot, body, query, &hashes));
            match looked_at? {
                Visited::Beyond => break,
                Visited::Passed => {}
                Visited::Candidate(candidate) => batch.candidates.push(candidate),
            }
            if batch.candidates.len() == room || looked + 1 == MAX_LOOKS {
                batch.end = Some(self.bodies.with(slot, |body| body.key().to_owned()));
                break;
            }
        }
        Ok(batch)
    }

    /// The slots of candidates for a query, in its order, from its start.
    fn walk<'c>(
        &'c self,
        contents: &'c Contents,
        query: &'c Query,
        hashes: &[(usize, u32)],
    ) -> Box<dyn Iterator<Item = u32> + 'c> {
        let Some(found) = contents.index.narrowest(hashes.iter().copied()) else {
            return Box::new(std::iter::empty());
        };
        if query.ascending {
            return Box::new(found.since(|slot| self.bodies.compare(slot, query.low.as_bytes())));
        }
        let compare = |slot| match &query.high {
            Some(high) => self.bodies.compare(slot, high.as_bytes()),
            None => Ordering::Less,
        };
        Box::new(found.before(compare))
    }

    fn visit(
        &self,
        slot: u32,
        body: &Body,
        query: &Query,
        hashes: &[(usize, u32)],
    ) -> Result<Visited, RowError> {
        let id = body.key();
        let (is_low, is_high) =
            (id < query.low.as_str(), query.high.as_deref().is_some_and(|high| id >= high));
        if is_low || is_high {
            let is_beyond = if query.ascending { is_high } else { is_low };
            return Ok(if is_beyond { Visited::Beyond } else { Visited::Passed });
        }
        let matches = (!query.timed || Key::has_time(id))
            && if body.is_evicted() {
                self.may_match(body, hashes)?
            } else {
                self.matches(body, &query.criteria)?
            };
        let to_check = body.is_evicted() && !query.criteria.is_empty();
        Ok(if matches {
            Visited::Candidate(Candidate { id: id.to_owned(), slot: Slot(slot), to_check })
        } else {
            Visited::Passed
        })
    }

    /// Confirms candidates by their rows.
    async fn checked<S: RowSource>(
        &self,
        mut candidates: Vec<Candidate>,
        criteria: &[Criterion],
        table: &S,
    ) -> Result<Vec<Candidate>, QueryError> {
        let mut are_ones = Vec::with_capacity(candidates.len());
        for some in candidates.chunks(S::MAX_ROWS) {
            let unsure = some.iter().filter(|candidate| candidate.to_check);
            let unsure: Vec<_> = unsure.map(|candidate| candidate.id.as_str()).collect();
            let mut rows = table.rows(&unsure).await?.into_iter();
            for Candidate { id, to_check, .. } in some {
                let row = if *to_check { rows.next() } else { None };
                let is_one = match row {
                    Some(StoredRow::Order(body)) => self.matches(&body, criteria)?,
                    // Not committed yet, or it has just left.
                    Some(StoredRow::NotThere | StoredRow::NotRead) => self.contains(id),
                    Some(StoredRow::Undecodable) => false,
                    None => true,
                };
                are_ones.push(is_one);
            }
        }
        let mut are_ones = are_ones.into_iter();
        candidates.retain(|_| are_ones.next().unwrap_or_default());
        Ok(candidates)
    }

    /// Whether an evicted order has these hashes.
    fn may_match(&self, body: &Body, hashes: &[(usize, u32)]) -> Result<bool, RowError> {
        let has = self.hashes_of(body, &mut Vec::new())?;
        Ok(hashes.iter().all(|&(path_index, hash)| has.has(path_index, hash)))
    }

    /// Whether an order has all of these values.
    fn matches(&self, body: &Body, criteria: &[Criterion]) -> Result<bool, RowError> {
        let mut text = Vec::new();
        for (path_index, value) in criteria {
            if !self.layouts.has_value(body, &self.search[*path_index], value, &mut text)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether a candidate matches, as far as memory shows.
enum Visited {
    Candidate(Candidate),
    Passed,
    /// Neither this order nor later ones are in the query's range.
    Beyond,
}

impl From<RowError> for QueryError {
    fn from(error: RowError) -> Self {
        Self::Broken(error)
    }
}

impl From<Unavailable> for QueryError {
    fn from(_: Unavailable) -> Self {
        Self::Unavailable
    }
}
