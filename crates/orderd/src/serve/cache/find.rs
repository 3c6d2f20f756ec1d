//! Orders by their values, newest first: from memory, and where bodies were evicted from what the table says.

use order::{Body, RowError};

use super::{Cache, ReadThrough, Row, Unanswered};

/// Ids that a search gives at most.
pub(crate) const FOUND: usize = 50;

/// A place among the members that are searched by, and a value.
pub(crate) type Criterion = (usize, String);

/// Why nothing can be said.
#[derive(Debug)]
pub(crate) enum NotFound {
    /// An evicted order may be one of them, and PostgreSQL can't be asked.
    Unanswered,
    Broken(RowError),
}

/// An order that may be one of them.
struct Candidate {
    id: String,
    /// Its body was evicted: all hashes are right, and a value may be another with the same hash.
    to_check: bool,
}

impl Cache {
    /// The ids of the orders that have all of these values, newest first.
    pub(crate) async fn search(
        &self,
        criteria: &[Criterion],
        read_through: &ReadThrough,
    ) -> Result<Vec<String>, NotFound> {
        let mut ids = Vec::new();
        let mut before = None;
        loop {
            let candidates = self.candidates(criteria, before.as_deref())?;
            let is_last = candidates.len() < FOUND;
            before = candidates.last().map(|last| last.id.clone());
            ids.extend(self.checked(candidates, criteria, read_through).await?);
            if is_last || ids.len() >= FOUND {
                ids.truncate(FOUND);
                return Ok(ids);
            }
        }
    }

    /// The same, if memory alone can tell.
    pub(crate) fn search_at_once(&self, criteria: &[Criterion]) -> Option<Vec<String>> {
        let candidates = self.candidates(criteria, None).ok()?;
        let is_sure = candidates.iter().all(|candidate| !candidate.to_check);
        is_sure.then(|| candidates.into_iter().map(|candidate| candidate.id).collect())
    }

    /// Those before `before`, as far as memory can tell.
    fn candidates(&self, criteria: &[Criterion], before: Option<&str>) -> Result<Vec<Candidate>, RowError> {
        let contents = self.index.read();
        let found = criteria
            .iter()
            .map(|(place, value)| contents.index.search(*place, self.hash(value.as_bytes())))
            .collect::<Option<Vec<_>>>();
        let rarest = found.and_then(|found| found.into_iter().min_by_key(|found| found.len()));
        let Some(rarest) = rarest else { return Ok(Vec::new()) };
        let is_before = |body: &Body| before.is_none_or(|before| body.key_bytes() < before.as_bytes());
        let mut candidates = Vec::new();
        for id in rarest.newest_first() {
            let body = self.bodies.with(id, Body::clone);
            if is_before(&body) && self.matches(&body, criteria)? {
                candidates.push(Candidate { id: body.key().to_owned(), to_check: body.is_evicted() });
                if candidates.len() == FOUND {
                    break;
                }
            }
        }
        Ok(candidates)
    }

    /// The ids of those that are what they seem to be.
    async fn checked(
        &self,
        candidates: Vec<Candidate>,
        criteria: &[Criterion],
        read_through: &ReadThrough,
    ) -> Result<Vec<String>, NotFound> {
        let unsure = candidates.iter().filter(|candidate| candidate.to_check);
        let mut rows = read_through.rows(unsure.map(|candidate| candidate.id.as_str())).await?.into_iter();
        let mut ids = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let row = if candidate.to_check { rows.next() } else { None };
            let is_one = match row {
                Some(Row::Order(body)) => self.matches(&body, criteria)?,
                // Not committed yet, or it has just left.
                Some(Row::NotThere | Row::NotRead) => self.contains(&candidate.id),
                Some(Row::Undecodable) => false,
                None => true,
            };
            if is_one {
                ids.push(candidate.id);
            }
        }
        Ok(ids)
    }

    /// Whether an order has all of these values; of an evicted one, whether it has their hashes.
    fn matches(&self, body: &Body, criteria: &[Criterion]) -> Result<bool, RowError> {
        if body.is_evicted() {
            let hashes = self.hashes_of(body, &mut Vec::new())?;
            return Ok(criteria.iter().all(|(place, value)| hashes[*place] == self.hash(value.as_bytes())));
        }
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
}

impl From<RowError> for NotFound {
    fn from(error: RowError) -> Self {
        Self::Broken(error)
    }
}

impl From<Unanswered> for NotFound {
    fn from(_: Unanswered) -> Self {
        Self::Unanswered
    }
}
