//! Beside the flow: counts the waiting dead letters, for `/metrics` and the page.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::list;
use super::store::DeadLetterStore;
use crate::aligned_interval;
use crate::health::{Health, Part};
use crate::metrics::Metrics;

/// Interval of queries, and of retries until the first answer, because the page shows the count.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
const FIRST_INTERVAL: Duration = Duration::from_millis(200);

/// Counting takes at most this fraction of the time: counting very many is expensive for the server.
const MAX_DUTY_DIVISOR: u32 = 20;

/// What the task needs.
pub(crate) struct DeadLetterCounter {
    pub(crate) store: Arc<DeadLetterStore>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: CancellationToken,
}

/// Shows whether a stream has changed: its first and last sequence, and how many messages it has.
type StreamCounts = (u64, u64, u64);

impl DeadLetterCounter {
    /// Runs until it is stopped.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut pause = FIRST_INTERVAL;
        let mut seen = None;
        loop {
            tokio::select! {
                () = aligned_interval::next(pause) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
            if !self.health.is_up(Part::Intake) {
                continue;
            }
            let begun = Instant::now();
            match self.count(&mut seen).await {
                Ok(()) => pause = COUNT_INTERVAL.max(begun.elapsed() * MAX_DUTY_DIVISOR),
                Err(error) => tracing::debug!(error = format!("{error:#}"), "can't count the dead letters"),
            }
        }
    }

    /// Counts only where the stream has changed.
    async fn count(&self, seen: &mut Option<StreamCounts>) -> anyhow::Result<()> {
        let subjects = self.store.subjects().await?;
        let info = self.store.info(&subjects).await?;
        if info.is_none() {
            // The stream was deleted.
            self.store.open(&subjects.source).await?;
        }
        let state =
            info.map_or((0, 0, 0), |info| (info.state.first_seq, info.state.last_seq, info.state.messages));
        if *seen != Some(state) {
            let count = if state.2 == 0 { 0 } else { list::keys(&self.store).await?.len() };
            self.metrics.dead_letters_waiting.set(count as i64);
            *seen = Some(state);
        }
        Ok(())
    }
}
