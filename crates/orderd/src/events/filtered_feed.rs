//! cache -> readers of `/events` with a filter or with documents: every order that matches, not a sample.
//!
//! Orders are kept as long as there is such a reader, and a minute longer, so that a reader can resume after a
//! disconnect. Each reader filters them itself: hashes first, which nearly always decide. The feed never waits for a
//! reader: a reader whose position has left the ring is disconnected.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache::ValueHashes;
use order::Body;
use parking_lot::RwLock;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::events::live_feed::{Feed, GATHER_INTERVAL};
use cache::{Cache, Criterion, Lookup};

/// Maximum number of orders that a client can resume from: a second at the highest rate.
const MAX_KEPT: usize = 1 << 16;
const MAX_KEPT_BYTES: usize = 32 << 20;

/// How long orders are kept for a reader that was disconnected.
const SUBSCRIBER_GRACE: Duration = Duration::from_secs(60);

/// Maximum number of orders examined under one lock, and of matching orders taken at once.
const MAX_LOOKS: usize = 1024;
const BATCH_EVENTS: usize = 64;

/// The orders that have arrived.
pub(crate) struct FilteredFeed(RwLock<OrderRing>);

struct OrderRing {
    /// Prefix of the event ids. A ring that was emptied gets a new one, so that it recognises no former id.
    run: String,
    orders: VecDeque<(Body, ValueHashes)>,
    bytes: usize,
    /// The number of the next order; those before it are in `orders`.
    next: u64,
    readers: usize,
    /// When the last reader left.
    left: Option<Instant>,
}

/// The filter of a reader, and the parts of each order that it receives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// All must match.
    pub(crate) criteria: Vec<Criterion>,
    /// Documents too.
    pub(crate) full: bool,
}

/// A client of `/events` that gets all orders that match its filter.
pub(crate) struct FilteredReader {
    feed: Arc<Feed>,
    cache: Arc<Cache>,
    changed: watch::Receiver<()>,
    filter: Filter,
    hashes: Vec<(usize, u32)>,
    run: String,
    next: u64,
    stats_seen: u64,
    greeting: Option<Bytes>,
    /// There was more than it took.
    is_behind: bool,
    _slot: OwnedSemaphorePermit,
}

impl FilteredFeed {
    pub(crate) fn new() -> Self {
        Self(RwLock::new(OrderRing {
            run: crate::random::hex::<8>(),
            orders: VecDeque::new(),
            bytes: 0,
            next: 0,
            readers: 0,
            left: None,
        }))
    }

    /// Whether there is a client for all orders, or one may resume.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.read().is_wanted()
    }

    /// Keeps orders that have arrived; drops all of them once there is no such reader any more.
    pub(crate) fn publish(&self, orders: &[(Body, ValueHashes)]) {
        if orders.is_empty() && self.0.read().needs_no_change() {
            return;
        }
        let mut ring = self.0.write();
        if ring.is_wanted() {
            orders.iter().for_each(|order| ring.push(order.clone()));
        } else {
            ring.begin_again();
        }
    }
}

impl OrderRing {
    fn is_wanted(&self) -> bool {
        self.readers > 0 || self.left.is_some_and(|left| left.elapsed() < SUBSCRIBER_GRACE)
    }

    /// Whether publishing without orders has no effect: orders are still wanted, or none are kept.
    fn needs_no_change(&self) -> bool {
        self.is_wanted() || (self.orders.is_empty() && self.left.is_none())
    }

    /// Empties the ring and changes the prefix, so that no earlier id can be resumed.
    fn begin_again(&mut self) {
        (self.orders, self.bytes, self.left) = (VecDeque::new(), 0, None);
        self.run = crate::random::hex::<8>();
    }

    fn first(&self) -> u64 {
        self.next - self.orders.len() as u64
    }

    fn push(&mut self, order: (Body, ValueHashes)) {
        self.bytes += order.0.len();
        self.orders.push_back(order);
        self.next += 1;
        while self.orders.len() > MAX_KEPT || (self.bytes > MAX_KEPT_BYTES && self.orders.len() > 1) {
            self.bytes -= self.orders.pop_front().map_or(0, |(body, _)| body.len());
        }
    }

    /// The number after that of an event, unless it is unknown or what followed it has left the ring.
    fn after(&self, last: &str) -> Option<u64> {
        let number: u64 = last.strip_prefix(&self.run)?.strip_prefix('-')?.parse().ok()?;
        let next = number.wrapping_add(1);
        (self.first()..=self.next).contains(&next).then_some(next)
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }
}

impl FilteredReader {
    /// Subscribes a reader, from the event after `last`, or from now on. `None` if there are too many readers.
    pub(crate) fn new(
        feed: &Arc<Feed>,
        cache: &Arc<Cache>,
        filter: Filter,
        last: Option<&str>,
    ) -> Option<Self> {
        let slot = feed.take_reader_slot()?;
        let changed = feed.changes();
        let hashes = cache.hashes_of_criteria(&filter.criteria);
        let mut ring = feed.unsampled.0.write();
        if !ring.is_wanted() {
            ring.begin_again();
        }
        ring.readers += 1;
        let after = last.map(|last| ring.after(last));
        let greeting = match after {
            Some(None) => {
                format!(
                    "retry: 1000\nid: {}\nevent: reset\ndata: {{}}\n\n",
                    ring.id(ring.next.wrapping_sub(1))
                )
            }
            _ => "retry: 1000\n\n".to_owned(),
        };
        let (run, next) = (ring.run.clone(), after.flatten().unwrap_or(ring.next));
        drop(ring);
        Some(Self {
            feed: feed.clone(),
            cache: cache.clone(),
            changed,
            filter,
            hashes,
            run,
            next,
            stats_seen: 0,
            greeting: Some(greeting.into()),
            is_behind: true,
            _slot: slot,
        })
    }

    /// Waits for the next orders; `None`: the client was too slow.
    pub(crate) async fn next(&mut self) -> Option<Vec<Bytes>> {
        if let Some(greeting) = self.greeting.take() {
            return Some(vec![greeting]);
        }
        if !self.is_behind {
            tokio::time::sleep(GATHER_INTERVAL).await;
        }
        loop {
            self.changed.borrow_and_update();
            let events = self.take()?;
            if !events.is_empty() {
                return Some(events);
            }
            if self.is_behind {
                tokio::task::yield_now().await;
            } else {
                self.changed.changed().await.ok()?;
            }
        }
    }

    fn take(&mut self) -> Option<Vec<Bytes>> {
        let mut events: Vec<_> =
            self.candidates()?.iter().filter_map(|(number, body)| self.event(*number, body)).collect();
        let (stats, made) = self.feed.stats();
        if made > self.stats_seen {
            self.stats_seen = made;
            // The id of the last order examined, so that a reader resumes from there, however few orders match.
            let id = format!("id: {}-{}\n", self.run, self.next.wrapping_sub(1));
            events.push([id.as_bytes(), &stats].concat().into());
        }
        Some(events)
    }

    /// The next orders that match by their hashes.
    fn candidates(&mut self) -> Option<Vec<(u64, Body)>> {
        let ring = self.feed.unsampled.0.read();
        let skip = self.next.checked_sub(ring.first())? as usize;
        let mut candidates = Vec::new();
        for (body, hashes) in ring.orders.iter().skip(skip).take(MAX_LOOKS) {
            if candidates.len() == BATCH_EVENTS {
                break;
            }
            if self.hashes.iter().all(|&(path_index, hash)| hashes.has(path_index, hash)) {
                candidates.push((self.next, body.clone()));
            }
            self.next += 1;
        }
        self.is_behind = self.next < ring.next;
        Some(candidates)
    }

    /// The event of a matching order, unless it was removed from memory meanwhile.
    fn event(&self, number: u64, body: &Body) -> Option<Bytes> {
        let is_there = self.cache.lookup(body.key()) != Lookup::Miss;
        if !is_there || !self.cache.has_values(body, &self.filter.criteria) {
            return None;
        }
        // A body in memory can be read, or it would not be there.
        let mut data = self.feed.data(body).ok()?;
        if self.filter.full {
            let mut order = Vec::new();
            self.cache.write_body(body, &mut order).ok()?;
            data.truncate(data.len() - 1);
            data.push_str(",\"order\":");
            // A line break in an event's data starts a new `data:` line.
            data.push_str(
                &String::from_utf8_lossy(&order).replace("\r\n", "\n").replace(['\r', '\n'], "\ndata: "),
            );
            data.push('}');
        }
        Some(format!("id: {}-{number}\nevent: order\ndata: {data}\n\n", self.run).into())
    }
}

impl Drop for FilteredReader {
    fn drop(&mut self) {
        let mut ring = self.feed.unsampled.0.write();
        ring.readers -= 1;
        ring.left = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(key: &str) -> (Body, ValueHashes) {
        (Body::evicted(key, &[]), ValueHashes::default())
    }

    #[test]
    fn orders_are_kept_while_somebody_asks_for_them_or_may_come_back() {
        let unsampled = FilteredFeed::new();
        let kept = || unsampled.0.read().orders.len();
        unsampled.publish(&[order("1")]);
        assert_eq!((kept(), unsampled.is_wanted()), (0, false));
        unsampled.0.write().readers = 1;
        unsampled.publish(&[order("1"), order("2")]);
        let last = unsampled.0.read().id(1);
        unsampled.0.write().readers = 0;
        unsampled.0.write().left = Some(Instant::now());
        unsampled.publish(&[order("3")]);
        assert_eq!((kept(), unsampled.0.read().after(&last)), (3, Some(2)));
        unsampled.0.write().left = Instant::now().checked_sub(SUBSCRIBER_GRACE);
        unsampled.publish(&[]);
        assert_eq!((kept(), unsampled.0.read().after(&last)), (0, None));
    }

    #[test]
    fn unsampled_ring_is_bounded() {
        let unsampled = FilteredFeed::new();
        unsampled.0.write().readers = 1;
        let key = "k".repeat(MAX_KEPT_BYTES / 10);
        unsampled.publish(&vec![order(&key); 20]);
        let ring = unsampled.0.read();
        assert!(ring.orders.len() < 11 && ring.bytes <= MAX_KEPT_BYTES, "{} bytes", ring.bytes);
        assert_eq!(ring.next, 20);
        assert_eq!(ring.after(&ring.id(2)), None);
    }
}
