//! A bounded cache of the JSON of orders that are read often.
//!
//! Rendering a body as JSON takes a microsecond, copying the JSON a twentieth of that. An order that is read only once
//! is not cached, so that a scan over all orders does not fill the cache.

use parking_lot::RwLock;

/// Number of entries: an order's entry is its slot modulo this.
const ENTRIES: usize = 1 << 14;

/// Longer JSON is not cached. The cache takes at most 32 MiB.
const LONGEST: usize = 2048;

/// No order has this slot.
const NOBODY: u32 = u32::MAX;

pub(crate) struct JsonCache {
    entries: Box<[RwLock<CachedJson>]>,
}

struct CachedJson {
    /// The slot of the JSON's order.
    owner: u32,
    /// The slot of the last miss.
    last: u32,
    json: Box<[u8]>,
}

impl JsonCache {
    pub(crate) fn new() -> Self {
        let entry = || RwLock::new(CachedJson { owner: NOBODY, last: NOBODY, json: Box::default() });
        Self { entries: (0..ENTRIES).map(|_| entry()).collect() }
    }

    /// Appends the JSON of an order, if it is cached.
    pub(crate) fn write_json(&self, id: u32, out: &mut Vec<u8>) -> bool {
        let entry = self.entry(id).read();
        let is_here = entry.owner == id;
        if is_here {
            out.extend_from_slice(&entry.json);
        }
        is_here
    }

    /// Offers the JSON of an order that was read. It is cached if no other order with the same slot was read since the
    /// last time.
    pub(crate) fn note(&self, id: u32, json: &[u8]) {
        if json.len() > LONGEST {
            return;
        }
        let mut entry = self.entry(id).write();
        if entry.last == id {
            *entry = CachedJson { owner: id, last: id, json: json.into() };
        } else {
            entry.last = id;
        }
    }

    /// Removes the JSON of an order, before its slot is reused.
    pub(crate) fn forget(&self, id: u32) {
        let mut entry = self.entry(id).write();
        if entry.owner == id || entry.last == id {
            *entry = CachedJson { owner: NOBODY, last: NOBODY, json: Box::default() };
        }
    }

    /// Removes all JSON.
    pub(crate) fn clear(&self) {
        let empty = || CachedJson { owner: NOBODY, last: NOBODY, json: Box::default() };
        self.entries.iter().for_each(|entry| *entry.write() = empty());
    }

    fn entry(&self, id: u32) -> &RwLock<CachedJson> {
        &self.entries[id as usize % ENTRIES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json_cache: &JsonCache, id: u32) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        json_cache.write_json(id, &mut out).then_some(out)
    }

    #[test]
    fn order_that_is_read_twice_stays_in_the_json_cache() {
        let json_cache = JsonCache::new();
        json_cache.note(7, b"seven");
        assert_eq!(written(&json_cache, 7), None);
        json_cache.note(7, b"seven");
        assert_eq!(written(&json_cache, 7).as_deref(), Some(&b"seven"[..]));
        assert_eq!(written(&json_cache, 8), None);
    }

    #[test]
    fn json_cache_place_goes_to_the_order_that_is_read_more_often() {
        let json_cache = JsonCache::new();
        let [one, other] = [7, 7 + ENTRIES as u32];
        (0..2).for_each(|_| json_cache.note(one, b"one"));
        json_cache.note(other, b"other");
        assert_eq!((written(&json_cache, one).is_some(), written(&json_cache, other)), (true, None));
        json_cache.note(other, b"other");
        assert_eq!((written(&json_cache, one), written(&json_cache, other).is_some()), (None, true));
    }

    #[test]
    fn removed_order_leaves_nothing_in_the_json_cache() {
        let json_cache = JsonCache::new();
        (0..2).for_each(|_| json_cache.note(7, b"seven"));
        json_cache.forget(7);
        assert_eq!(written(&json_cache, 7), None);
        json_cache.note(7, b"another");
        json_cache.forget(7);
        json_cache.note(7, b"another");
        assert_eq!(written(&json_cache, 7), None);
    }

    #[test]
    fn long_json_is_not_cached() {
        let json_cache = JsonCache::new();
        (0..2).for_each(|_| json_cache.note(7, &[b' '; LONGEST + 1]));
        assert_eq!(written(&json_cache, 7), None);
    }
}
