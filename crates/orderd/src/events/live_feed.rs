//! cache -> readers of `/events`: orders as they arrive.
//!
//! An event is serialized once and kept in a ring; a reader is a position in the ring, and is notified of new events.
//! The feed never waits for a reader: a reader whose position has left the ring is disconnected. Above 100 orders a
//! second, only a sample is shown, which bounds the cost for any rate and any number of readers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache::{Cache, Inserted, Lookup, WantedInserts};
use order::{Body, Layouts, RowError, SearchPath};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::aligned_interval;
use crate::events::filtered_feed::FilteredFeed;
use crate::events::sampler::Sampler;
use crate::events::stats::Stats;

/// Maximum number of events that a client can resume from: more than a minute at the highest rate, unless orders are
/// huge.
const MAX_KEPT: usize = 8192;
const MAX_KEPT_BYTES: usize = 4 << 20;

/// Limits of a reader's batch: number of events, and bytes after which no event is added. A slow reader buffers no more
/// than that.
const BATCH_EVENTS: usize = 256;
const BATCH_BYTES: usize = 64 << 10;

/// How long a reader gathers events: otherwise, a thousand readers would wake for each order.
pub(crate) const GATHER_INTERVAL: Duration = Duration::from_millis(50);

/// The orders that came in, for the readers of `/events`.
pub(crate) struct Feed {
    /// Prefix of event ids: a restarted service starts its numbers again.
    run: String,
    layouts: Arc<Layouts>,
    /// The members that an event shows.
    members: Vec<ShownMember>,
    arrived: AtomicU64,
    skipped: AtomicU64,
    ring: Mutex<EventRing>,
    /// All orders, if any reader wants more than samples.
    pub(crate) unsampled: FilteredFeed,
    changed: watch::Sender<()>,
    /// For how many more there is room.
    reader_slots: Arc<Semaphore>,
}

struct ShownMember {
    /// The name in JSON, quoted.
    name: String,
    path: SearchPath,
}

struct OrderEvent {
    key: String,
    text: Bytes,
}

#[derive(Default)]
struct EventRing {
    events: VecDeque<OrderEvent>,
    bytes: usize,
    /// The number of the next event; those before it are in `events`.
    next: u64,
    sampler: Sampler,
    stats: Bytes,
    /// The number of `stats` events so far.
    stats_made: u64,
}

/// A client of `/events` that gets samples.
pub(crate) struct SampledReader {
    feed: Arc<Feed>,
    cache: Arc<Cache>,
    changed: watch::Receiver<()>,
    next: u64,
    stats_seen: u64,
    greeting: Option<Bytes>,
    /// Whether it has been given an id to continue from.
    has_id: bool,
    /// There was more than it took.
    is_behind: bool,
    _slot: OwnedSemaphorePermit,
}

impl Feed {
    /// `search` are the names of the members that events show, and `paths` where documents have them.
    pub(crate) fn new(
        layouts: Arc<Layouts>,
        search: &[String],
        paths: &[SearchPath],
        readers: usize,
    ) -> Arc<Self> {
        let shown = |(name, path): (&String, &SearchPath)| ShownMember {
            name: json!(name).to_string(),
            path: path.clone(),
        };
        Arc::new(Self {
            run: crate::random::hex::<8>(),
            layouts,
            members: search.iter().zip(paths).map(shown).collect(),
            arrived: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            ring: Mutex::default(),
            unsampled: FilteredFeed::new(),
            changed: watch::Sender::new(()),
            reader_slots: Arc::new(Semaphore::new(readers)),
        })
    }

    /// Which of the arriving orders `/events` needs.
    pub(crate) fn wanted(&self) -> WantedInserts {
        WantedInserts { bodies: self.ring().sampler.room(Instant::now()), all: self.unsampled.is_wanted() }
    }

    /// Publishes inserted orders.
    pub(crate) fn publish(&self, inserted: &Inserted) {
        self.arrived.fetch_add(inserted.count as u64, Ordering::Relaxed);
        self.skipped.fetch_add((inserted.count - inserted.bodies.len()) as u64, Ordering::Relaxed);
        self.unsampled.publish(&inserted.all);
        let mut ring = self.ring();
        ring.sampler.note(Instant::now(), inserted.count, inserted.bodies.len());
        if inserted.bodies.is_empty() && inserted.all.is_empty() {
            return;
        }
        for body in &inserted.bodies {
            // A body in memory can be read, or it would not be there.
            if let Ok(data) = self.data(body) {
                let text = format!("id: {}\nevent: order\ndata: {data}\n\n", self.id(ring.next));
                ring.push(OrderEvent { key: body.key().to_owned(), text: text.into() });
            }
        }
        drop(ring);
        self.changed.send_replace(());
    }

    /// Notifies readers of changes.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// A slot for another client; `None`: all slots are in use.
    pub(crate) fn take_reader_slot(&self) -> Option<OwnedSemaphorePermit> {
        self.reader_slots.clone().try_acquire_owned().ok()
    }

    /// The last `stats`, as an event without an id, and their number.
    pub(crate) fn stats(&self) -> (Bytes, u64) {
        let ring = self.ring();
        (ring.stats.clone(), ring.stats_made)
    }

    /// An order as events show it.
    pub(crate) fn data(&self, body: &Body) -> Result<String, RowError> {
        let mut data = format!("{{\"id\":{},\"members\":{{", json!(body.key()));
        for (index, ShownMember { name, path }) in self.members.iter().enumerate() {
            let mut value = Vec::new();
            self.layouts.write_values_json(body, path, &mut value)?;
            let comma = if index == 0 { "" } else { "," };
            data.push_str(&format!("{comma}{name}:{}", String::from_utf8_lossy(&value)));
        }
        data.push_str("}}");
        Ok(data)
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    /// Subscribes a reader, from the event after `last`, or from now on. `None` if there are too many readers.
    pub(crate) fn reader(self: &Arc<Self>, cache: &Arc<Cache>, last: Option<&str>) -> Option<SampledReader> {
        let slot = self.take_reader_slot()?;
        let changed = self.changed.subscribe();
        let ring = self.ring();
        let after = last.map(|last| self.after(&ring, last));
        let id = self.id(ring.next.wrapping_sub(1));
        let greeting = match after {
            Some(Some(_)) => "retry: 1000\n\n".to_owned(),
            Some(None) => format!("retry: 1000\nid: {id}\nevent: reset\ndata: {{}}\n\n"),
            // The id comes with the first event that has data: clients ignore a block without data, and its id too.
            None => "retry: 1000\n\n".to_owned(),
        };
        let next = after.flatten().unwrap_or(ring.next);
        drop(ring);
        let greeting = Some(greeting.into());
        Some(SampledReader {
            feed: self.clone(),
            cache: cache.clone(),
            changed,
            next,
            stats_seen: 0,
            greeting,
            has_id: after.is_some(),
            // Existing events are sent at once.
            is_behind: true,
            _slot: slot,
        })
    }

    /// The number after that of an event, unless it is unknown or what followed it has left the ring.
    fn after(&self, ring: &EventRing, last: &str) -> Option<u64> {
        let number: u64 = last.strip_prefix(&self.run)?.strip_prefix('-')?.parse().ok()?;
        let next = number.wrapping_add(1);
        (ring.first()..=ring.next).contains(&next).then_some(next)
    }

    /// Publishes `stats` once a second, and when a component goes up or down, until it is stopped.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut stats: Stats,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            let readers = self.changed.receiver_count();
            let (arrived, skipped) =
                (self.arrived.load(Ordering::Relaxed), self.skipped.load(Ordering::Relaxed));
            self.show_stats(&stats.now(arrived, skipped, readers));
            tokio::select! {
                () = aligned_interval::next(Duration::from_secs(1)) => {}
                () = stats.parts_changed() => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    fn show_stats(&self, stats: &Value) {
        let mut ring = self.ring();
        ring.stats = format!("event: stats\ndata: {stats}\n\n").into();
        ring.stats_made += 1;
        drop(ring);
        self.changed.send_replace(());
    }

    fn ring(&self) -> MutexGuard<'_, EventRing> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventRing {
    fn first(&self) -> u64 {
        self.next - self.events.len() as u64
    }

    fn push(&mut self, event: OrderEvent) {
        self.bytes += event.text.len();
        self.events.push_back(event);
        self.next += 1;
        while self.events.len() > MAX_KEPT || (self.bytes > MAX_KEPT_BYTES && self.events.len() > 1) {
            self.bytes -= self.events.pop_front().map_or(0, |event| event.text.len());
        }
    }
}

impl SampledReader {
    /// Waits for the next events; `None`: the client was too slow.
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
            self.changed.changed().await.ok()?;
        }
    }

    fn take(&mut self) -> Option<Vec<Bytes>> {
        self.is_behind = false;
        let ring = self.feed.ring();
        let skip = self.next.checked_sub(ring.first())?;
        let (mut events, mut bytes) = (Vec::new(), 0);
        for OrderEvent { key, text } in ring.events.iter().skip(skip as usize) {
            self.is_behind = events.len() == BATCH_EVENTS || bytes >= BATCH_BYTES;
            if self.is_behind {
                break;
            }
            self.next += 1;
            // The order may have been erased since.
            if self.cache.lookup(key) != Lookup::Miss {
                bytes += text.len();
                events.push(text.clone());
            }
        }
        if ring.stats_made > self.stats_seen {
            self.stats_seen = ring.stats_made;
            // So that a reader that loses the connection before the first order can resume from here.
            let id = (!self.has_id).then(|| format!("id: {}\n", self.feed.id(self.next.wrapping_sub(1))));
            self.has_id = true;
            events.push(
                id.map_or_else(|| ring.stats.clone(), |id| [id.as_bytes(), &ring.stats].concat().into()),
            );
        }
        Some(events)
    }
}
