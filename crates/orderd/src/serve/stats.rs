//! What `stats` events say: counters, rates of the last second, and how the parts are.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::cache::Cache;
use super::restore::Progress;
use crate::health::Health;
use crate::metrics::Metrics;

/// What they are made of.
pub(crate) struct Stats {
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    progress: Arc<Progress>,
    before: Totals,
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
    fn of(arrived: u64, metrics: &Metrics) -> Self {
        Self {
            at: Instant::now(),
            arrived,
            written: metrics.written.get(),
            commits: metrics.latency.get_sample_count(),
            commit_seconds: metrics.latency.get_sample_sum(),
        }
    }
}

impl Stats {
    pub(crate) fn new(
        cache: Arc<Cache>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        progress: Arc<Progress>,
    ) -> Self {
        let before = Totals::of(0, &metrics);
        Self { cache, metrics, health, progress, before }
    }

    /// As of now, with the rates since this was asked before.
    pub(super) fn now(&mut self, arrived: u64, skipped: u64, readers: usize) -> Value {
        let now = Totals::of(arrived, &self.metrics);
        let before = std::mem::replace(&mut self.before, now);
        let (now, metrics) = (&self.before, &self.metrics);
        let seconds = (now.at - before.at).as_secs_f64().max(0.1);
        let rate = |before: u64, now: u64| ((now - before) as f64 / seconds * 10.0).round() / 10.0;
        let commits = now.commits - before.commits;
        let commit_ms = (commits > 0)
            .then(|| ((now.commit_seconds - before.commit_seconds) / commits as f64 * 1e4).round() / 10.0);
        json!({
            "mem_len": self.cache.len(),
            "orders_per_second": rate(before.arrived, now.arrived),
            "committed_per_second": rate(before.written, now.written),
            "commit_ms": commit_ms,
            "arrived": now.arrived,
            "skipped": skipped,
            "committed": now.written,
            "errors": metrics.errors.get(),
            "dead_letters": metrics.dead_letters_waiting.get(),
            "lag": metrics.lag.get(),
            "readers": readers,
            "parts": self.health.report(&self.progress),
        })
    }
}
