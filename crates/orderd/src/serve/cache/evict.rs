//! Bodies leave memory for others, and come back from the table.

use order::Body;

use super::{Cache, Contents, WRITE};

impl Cache {
    /// What orders take in memory, and what they may; `None` where they have no bound.
    pub(crate) fn held(&self) -> Option<(usize, usize)> {
        let contents = self.read();
        contents.bound.as_ref().map(|bound| (bound.held(contents.index.bytes()), bound.max()))
    }

    /// Bodies were read from the table: those of evicted orders are whole again.
    pub(super) fn put_back(&self, bodies: &[Body]) {
        let bodies = if self.is_bounded { bodies } else { &[] };
        for bodies in bodies.chunks(WRITE) {
            let mut contents = self.write();
            for body in bodies {
                contents.put_back(self.hash(body.key_bytes()), body);
            }
            drop(contents);
            self.make_room();
        }
    }

    /// Evicts bodies until the rest is within the bound, a few at a time, so that readers get in between.
    pub(super) fn make_room(&self) {
        while self.is_bounded && self.evict() {}
    }

    /// `true`: there may be more to evict.
    fn evict(&self) -> bool {
        let mut text = Vec::new();
        let mut contents = self.write();
        let Contents { index, bound: Some(bound), .. } = &mut *contents else { return false };
        for _ in 0..WRITE {
            if bound.held(index.bytes()) <= bound.max() {
                return false;
            }
            let Some(id) = bound.next(|id| !index.body(id).is_evicted()) else {
                bound.warn(index.bytes());
                return false;
            };
            let body = index.body(id);
            // A body in memory can be read, or it would not be there.
            let Ok(hashes) = self.hashes_of(body, &mut text) else { continue };
            let evicted = Body::evicted(body.key(), &hashes[..self.search.len()]);
            bound.evict(body, &evicted);
            index.replace(id, evicted);
        }
        true
    }
}

impl Contents {
    /// The body of an order that was evicted. One that has left meanwhile stays away.
    fn put_back(&mut self, hash: u32, body: &Body) {
        let Self { index, bound: Some(bound), .. } = self else { return };
        let Some(id) = index.find(hash, body.key_bytes()) else { return };
        if index.body(id).is_evicted() {
            bound.leave(index.body(id));
            bound.enter(id, body);
            index.replace(id, body.clone());
        }
    }
}
