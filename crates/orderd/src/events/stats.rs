//! The `stats` events: counters, rates of the last second, and the state of the parts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache::Cache;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::fill_progress::FillProgress;
use crate::health::Health;
use crate::metrics::Metrics;

/// Rates over a shorter time are not meaningful: the previous ones stay.
const MIN_INTERVAL: Duration = Duration::from_millis(500);

/// The sources of the statistics.
pub(crate) struct Stats {
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    progress: Arc<FillProgress>,
    parts_changed: watch::Receiver<()>,
    before: Totals,
    rates: Rates,
}

/// Rates per second, to a tenth.
#[derive(Clone, Copy, Default)]
struct Rates {
    arrived: f64,
    written: f64,
    /// Arrival to commit, in milliseconds; `None` where nothing was committed.
    commit_ms: Option<f64>,
}

/// Counters from which rates are computed.
struct Totals {
    at: Instant,
    arrived: u64,
    written: u64,
    commits: u64,
    commit_seconds: f64,
}

impl Totals {
    fn of(arrived: u64, metrics: &Metrics) -> Self {
        Self {
            at: Instant::now(),
            arrived,
            written: metrics.written.get(),
            commits: metrics.latency.get_sample_count(),
            commit_seconds: metrics.latency.get_sample_sum(),
        }
    }

    fn since(&self, before: &Self) -> Rates {
        let seconds = (self.at - before.at).as_secs_f64();
        let tenths = |number: f64| (number * 10.0).round() / 10.0;
        let rate = |before: u64, now: u64| tenths((now - before) as f64 / seconds);
        let commits = self.commits - before.commits;
        Rates {
            arrived: rate(before.arrived, self.arrived),
            written: rate(before.written, self.written),
            commit_ms: (commits > 0)
                .then(|| tenths((self.commit_seconds - before.commit_seconds) / commits as f64 * 1e3)),
        }
    }
}

impl Stats {
    pub(crate) fn new(
        cache: Arc<Cache>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        progress: Arc<FillProgress>,
    ) -> Self {
        let before = Totals::of(0, &metrics);
        let parts_changed = health.changes();
        Self { cache, metrics, health, progress, parts_changed, before, rates: Rates::default() }
    }

    /// Waits until a component goes up or down.
    pub(crate) async fn parts_changed(&mut self) {
        // The sender lives as long as `health`, which is here.
        let _ = self.parts_changed.changed().await;
    }

    /// The current statistics, with rates since the previous call.
    pub(crate) fn now(&mut self, arrived: u64, skipped: u64, readers: usize) -> Value {
        // Later changes are sent with the next event.
        self.parts_changed.mark_unchanged();
        let now = Totals::of(arrived, &self.metrics);
        if now.at - self.before.at >= MIN_INTERVAL {
            self.rates = now.since(&self.before);
            self.before = now;
        }
        let (rates, metrics) = (self.rates, &self.metrics);
        json!({
            // As `/mem_len`, which refuses then.
            "mem_len": (!self.progress.is_misfit()).then(|| self.cache.count()),
            "orders_per_second": rates.arrived,
            "committed_per_second": rates.written,
            "commit_ms": rates.commit_ms,
            "arrived": arrived,
            "skipped": skipped,
            "committed": metrics.written.get(),
            "errors": metrics.errors.get(),
            "dead_letters": metrics.dead_letters_waiting.get(),
            "lag": metrics.lag.get(),
            "readers": readers,
            "parts": self.health.report(&self.progress.counts()),
        })
    }
}
