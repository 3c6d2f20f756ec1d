//! Bodies leave memory for others, and come back from the table.

use order::Body;
use parking_lot::RwLockWriteGuard;

use super::{Cache, Contents, WRITE};

impl Cache {
    /// What orders take in memory, and what they may; `None` where they have no bound.
    pub(crate) fn held(&self) -> Option<(usize, usize)> {
        let contents = self.index.read();
        contents.bound.as_ref().map(|bound| (bound.held(self.tables(&contents)), bound.max()))
    }

    /// The bytes that all takes but bodies.
    fn tables(&self, contents: &Contents) -> usize {
        contents.index.bytes() + self.bodies.bytes()
    }

    /// Bodies were read from the table: those of evicted orders are whole again.
    pub(super) fn put_back(&self, bodies: &[Body]) {
        if !self.is_bounded || bodies.is_empty() {
            return;
        }
        let mut contents = self.index.write();
        for bodies in bodies.chunks(WRITE) {
            bodies.iter().for_each(|body| self.put_back_one(&mut contents, body));
            self.make_room(&mut contents);
            RwLockWriteGuard::bump(&mut contents);
        }
    }

    /// The body of an order that was evicted. One that has left meanwhile stays away.
    fn put_back_one(&self, contents: &mut Contents, body: &Body) {
        let Some(bound) = &mut contents.bound else { return };
        let Some(id) = self.bodies.find(self.hash(body.key_bytes()), body.key_bytes()) else { return };
        let before = self.bodies.with(id, Body::clone);
        if before.is_evicted() {
            bound.leave(&before);
            bound.enter(id, body, None);
            self.bodies.replace(id, body.clone());
        }
    }

    /// Evicts bodies until the rest is within the bound, a few at a time, so that readers get in between.
    pub(super) fn make_room(&self, contents: &mut RwLockWriteGuard<'_, Contents>) {
        while self.is_bounded && self.evict(contents) {
            RwLockWriteGuard::bump(contents);
        }
    }

    /// `true`: there may be more to evict.
    fn evict(&self, contents: &mut Contents) -> bool {
        let mut text = Vec::new();
        let committed = *self.committed.borrow();
        contents.bound.iter_mut().for_each(|bound| bound.release(committed));
        for _ in 0..WRITE {
            let tables = self.tables(contents);
            let Some(bound) = &mut contents.bound else { return false };
            if bound.held(tables) <= bound.max() {
                return false;
            }
            let is_whole = |id| self.bodies.with(id, |body| !body.is_evicted());
            let Some(id) = bound.next(is_whole, |id| self.bodies.take_read(id)) else {
                bound.warn(tables);
                return false;
            };
            let body = self.bodies.with(id, Body::clone);
            // A body in memory can be read, or it would not be there.
            let Ok(hashes) = self.hashes_of(&body, &mut text) else { continue };
            let evicted = Body::evicted(body.key(), &hashes.kept(self.search.len(), self.has_arrays));
            bound.evict(&body, &evicted);
            self.bodies.replace(id, evicted);
        }
        true
    }
}
