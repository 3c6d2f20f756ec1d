//! Eviction: removes bodies to stay within the memory budget, and puts them back when they are read.

use order::Body;
use parking_lot::RwLockWriteGuard;
use tokio::sync::watch;

use crate::cache::{Cache, Contents, WRITE_BATCH};

impl Cache {
    /// The memory that orders take, and their limit; `None` if they have no budget.
    pub fn held(&self) -> Option<(usize, usize)> {
        let contents = self.index.read();
        contents.budget.as_ref().map(|budget| (budget.held(self.tables(&contents)), budget.max()))
    }

    /// The bytes of everything but bodies.
    fn tables(&self, contents: &Contents) -> usize {
        contents.index.bytes() + self.bodies.bytes()
    }

    /// The table's position, as it moves. Uncommitted orders are not evicted.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    /// Whether bodies may be evicted.
    pub fn is_bounded(&self) -> bool {
        self.is_bounded
    }

    /// Evicts bodies that had to stay until their commit, if memory is above its budget.
    pub fn evict_committed(&self) {
        self.make_room(&mut self.index.write());
    }

    /// Puts bodies that were read from the table back into their evicted orders.
    pub fn put_back(&self, bodies: &[Body]) {
        if !self.is_bounded || bodies.is_empty() {
            return;
        }
        let mut contents = self.index.write();
        for bodies in bodies.chunks(WRITE_BATCH) {
            bodies.iter().for_each(|body| self.put_back_one(&mut contents, body));
            self.make_room(&mut contents);
            RwLockWriteGuard::bump(&mut contents);
        }
    }

    /// Puts back one body, unless its order was removed meanwhile.
    fn put_back_one(&self, contents: &mut Contents, body: &Body) {
        let Some(budget) = &mut contents.budget else { return };
        let Some(id) = self.bodies.find(self.hash(body.key_bytes()), body.key_bytes()) else { return };
        let before = self.bodies.with(id, Body::clone);
        if before.is_evicted() {
            budget.leave(&before);
            budget.enter(id, body, None);
            self.bodies.replace(id, body.clone());
        }
    }

    /// Evicts bodies until memory is within the budget, a few at a time, so that readers get the lock in between.
    pub(crate) fn make_room(&self, contents: &mut RwLockWriteGuard<'_, Contents>) {
        while self.is_bounded && self.evict(contents) {
            RwLockWriteGuard::bump(contents);
        }
    }

    /// `true`: there may be more to evict.
    fn evict(&self, contents: &mut Contents) -> bool {
        let mut text = Vec::new();
        let committed = *self.committed.borrow();
        contents.budget.iter_mut().for_each(|budget| budget.release(committed));
        for _ in 0..WRITE_BATCH {
            let tables = self.tables(contents);
            let Some(budget) = &mut contents.budget else { return false };
            if budget.held(tables) <= budget.max() {
                return false;
            }
            let is_whole = |id| self.bodies.with(id, |body| !body.is_evicted());
            let Some(id) = budget.next(is_whole, |id| self.bodies.take_read(id)) else {
                budget.warn(tables);
                return false;
            };
            let body = self.bodies.with(id, Body::clone);
            // A body in memory can be read, or it would not be there.
            let Ok(hashes) = self.hashes_of(&body, &mut text) else { continue };
            let evicted = Body::evicted(body.key(), &hashes.kept(self.search.len(), self.has_arrays));
            budget.evict(&body, &evicted);
            self.bodies.replace(id, evicted);
        }
        true
    }
}
