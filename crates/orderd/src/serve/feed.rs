//! cache -> readers of `/events`: what comes in, as it does.
//!
//! An event's bytes are made once and kept in a ring; a reader is a place in the ring that is told when there
//! is more. Nobody waits for a reader: one whose place has left the ring is dropped. Above [`SHOWN`] orders a
//! second only some are shown, so that the cost has a bound whatever the rate and however many read.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use order::model::ROOT;
use order::shape::Kind;
use order::{Body, Key, Layouts, RowError};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use crate::metrics::Metrics;

/// Orders shown in any second.
pub(crate) const SHOWN: usize = 100;

/// How much can be asked for again: more than a minute of the highest rate, unless orders are huge.
const KEPT: usize = 8192;
const KEPT_BYTES: usize = 4 << 20;

/// Events that a reader takes at once.
const BATCH: usize = 256;

/// How long a reader gathers events: a thousand readers would otherwise be woken for each single order.
const GATHER: Duration = Duration::from_millis(50);

/// What came in, for whoever reads along.
pub(crate) struct Feed {
    /// What an event's id starts with: another run of the service numbers its events anew.
    run: String,
    layouts: Arc<Layouts>,
    /// The members that an event shows.
    members: Vec<Shown>,
    arrived: AtomicU64,
    skipped: AtomicU64,
    ring: Mutex<Ring>,
    changed: watch::Sender<()>,
}

struct Shown {
    /// The name in JSON, quoted.
    name: String,
    place: usize,
    is_text: bool,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<Bytes>,
    bytes: usize,
    /// The number of the next event; those before it are in `events`.
    next: u64,
    /// When the orders of the last second were shown.
    shown: VecDeque<Instant>,
    stats: Bytes,
    /// How often `stats` were made.
    stats_made: u64,
}

/// Orders of a chunk that memory didn't have.
#[derive(Default)]
pub(crate) struct Fresh {
    pub(crate) count: usize,
    /// Those that are shown.
    pub(crate) shown: Vec<(Key, Body)>,
}

/// One who reads along.
pub(crate) struct Reader {
    feed: Arc<Feed>,
    changed: watch::Receiver<()>,
    next: u64,
    stats_seen: u64,
    greeting: Option<Bytes>,
}

impl Feed {
    /// `search` are the names of the members that events show, `places` where the model has them.
    pub(crate) fn new(layouts: Arc<Layouts>, search: &[String], places: &[usize]) -> Arc<Self> {
        let shown = |(name, &place): (&String, &usize)| Shown {
            name: json!(name).to_string(),
            place,
            is_text: matches!(ROOT.members[place].kind, Kind::String),
        };
        Arc::new(Self {
            run: crate::random::hex::<8>(),
            layouts,
            members: search.iter().zip(places).map(shown).collect(),
            arrived: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            ring: Mutex::default(),
            changed: watch::Sender::new(()),
        })
    }

    /// How many orders may be shown now.
    pub(crate) fn room(&self) -> usize {
        let mut ring = self.ring();
        while ring.shown.front().is_some_and(|shown| shown.elapsed() >= Duration::from_secs(1)) {
            ring.shown.pop_front();
        }
        SHOWN - ring.shown.len().min(SHOWN)
    }

    /// Shows what has come in.
    pub(crate) fn publish(&self, fresh: &Fresh) {
        self.arrived.fetch_add(fresh.count as u64, Ordering::Relaxed);
        self.skipped.fetch_add((fresh.count - fresh.shown.len()) as u64, Ordering::Relaxed);
        if fresh.shown.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut ring = self.ring();
        for (key, body) in &fresh.shown {
            // A body in memory can be read, or it would not be there.
            if let Ok(data) = self.data(key, body) {
                let event = format!("id: {}\nevent: order\ndata: {data}\n\n", self.id(ring.next));
                ring.push(event.into());
            }
            ring.shown.push_back(now);
        }
        drop(ring);
        self.changed.send_replace(());
    }

    fn data(&self, key: &Key, body: &Body) -> Result<String, RowError> {
        let mut data = format!("{{\"id\":{}", json!(key.as_str()));
        for Shown { name, place, is_text } in &self.members {
            let mut text = Vec::new();
            self.layouts.write_member(body, *place, &mut text)?;
            let text = String::from_utf8_lossy(&text);
            let value = if *is_text { json!(text).to_string() } else { text.into_owned() };
            data.push_str(&format!(",{name}:{value}"));
        }
        data.push('}');
        Ok(data)
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    /// Someone reads along, from the event after `last`, or from now on.
    pub(crate) fn reader(self: &Arc<Self>, last: Option<&str>) -> Reader {
        let changed = self.changed.subscribe();
        let ring = self.ring();
        let after = last.map(|last| self.after(&ring, last));
        // So that one who loses the connection before any order has come can still go on from here.
        let id = self.id(ring.next.wrapping_sub(1));
        let greeting = match after {
            Some(Some(_)) => "retry: 1000\n\n".to_owned(),
            Some(None) => format!("retry: 1000\nid: {id}\nevent: reset\ndata: {{}}\n\n"),
            None => format!("retry: 1000\nid: {id}\n\n"),
        };
        let next = after.flatten().unwrap_or(ring.next);
        drop(ring);
        Reader { feed: self.clone(), changed, next, stats_seen: 0, greeting: Some(greeting.into()) }
    }

    /// The number after that of an event, unless it is unknown or what followed it has left the ring.
    fn after(&self, ring: &Ring, last: &str) -> Option<u64> {
        let number: u64 = last.strip_prefix(&self.run)?.strip_prefix('-')?.parse().ok()?;
        let next = number.wrapping_add(1);
        (ring.first()..=ring.next).contains(&next).then_some(next)
    }

    /// Makes `stats` once a second, until told to stop.
    pub(crate) async fn run(
        self: Arc<Self>,
        cache: Arc<Cache>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut before = Totals::of(&self, &metrics);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return Ok(()),
            }
            let now = Totals::of(&self, &metrics);
            let stats = self.stats(&before, &now, &cache, &metrics);
            let mut ring = self.ring();
            ring.stats = format!("event: stats\ndata: {stats}\n\n").into();
            ring.stats_made += 1;
            drop(ring);
            self.changed.send_replace(());
            before = now;
        }
    }

    fn stats(&self, before: &Totals, now: &Totals, cache: &Cache, metrics: &Metrics) -> serde_json::Value {
        let seconds = (now.at - before.at).as_secs_f64().max(0.1);
        let rate = |before: u64, now: u64| ((now - before) as f64 / seconds * 10.0).round() / 10.0;
        let commits = now.commits - before.commits;
        let commit_ms = (commits > 0)
            .then(|| ((now.commit_seconds - before.commit_seconds) / commits as f64 * 1e4).round() / 10.0);
        json!({
            "mem_len": cache.len(),
            "orders_per_second": rate(before.arrived, now.arrived),
            "committed_per_second": rate(before.written, now.written),
            "commit_ms": commit_ms,
            "arrived": now.arrived,
            "skipped": self.skipped.load(Ordering::Relaxed),
            "committed": now.written,
            "errors": metrics.errors.get(),
            "dead_letters": metrics.dead_letters_waiting.get(),
            "lag": metrics.lag.get(),
            "readers": self.changed.receiver_count(),
        })
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn first(&self) -> u64 {
        self.next - self.events.len() as u64
    }

    fn push(&mut self, event: Bytes) {
        self.bytes += event.len();
        self.events.push_back(event);
        self.next += 1;
        while self.events.len() > KEPT || (self.bytes > KEPT_BYTES && self.events.len() > 1) {
            self.bytes -= self.events.pop_front().map_or(0, |event| event.len());
        }
    }
}

impl Reader {
    /// What there is to read, once there is; `None`: it was too slow.
    pub(crate) async fn next(&mut self) -> Option<Vec<Bytes>> {
        if let Some(greeting) = self.greeting.take() {
            return Some(vec![greeting]);
        }
        tokio::time::sleep(GATHER).await;
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
        let ring = self.feed.ring();
        let skip = self.next.checked_sub(ring.first())?;
        let mut events: Vec<_> = ring.events.iter().skip(skip as usize).take(BATCH).cloned().collect();
        self.next += events.len() as u64;
        if ring.stats_made > self.stats_seen {
            self.stats_seen = ring.stats_made;
            events.push(ring.stats.clone());
        }
        Some(events)
    }
}

/// What rates are made of.
struct Totals {
    at: Instant,
    arrived: u64,
    written: u64,
    commits: u64,
    commit_seconds: f64,
}

impl Totals {
    fn of(feed: &Feed, metrics: &Metrics) -> Self {
        Self {
            at: Instant::now(),
            arrived: feed.arrived.load(Ordering::Relaxed),
            written: metrics.written.get(),
            commits: metrics.latency.get_sample_count(),
            commit_seconds: metrics.latency.get_sample_sum(),
        }
    }
}
