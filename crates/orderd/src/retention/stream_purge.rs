//! Beside the flow: measures the table's lag behind the stream, warns of limits, and purges committed messages from the
//! stream.
//!
//! Only a stream that orderd created is purged. A message is purged `STREAM_KEEP` after its row was flushed to disk,
//! also on visible standbys, so that a table that loses its last rows gets them again from the stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::{Context, stream::Stream};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::aligned_interval;
use crate::config::Settings;
use crate::dead_letters::store::DeadLetterStore;
use crate::flow_state::{FlowState, Watermark};
use crate::health::{Health, Part};
use crate::metrics::Metrics;
use crate::nats::info::{self, StreamInfo};
use crate::nats::{orders_stream, stored_message};
use crate::postgres::{self, Connection, SHORT_TIMEOUT, Wal};
use crate::warning_rules;

/// Interval of checks; shorter until the first success, because the page shows the result.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
const FIRST_INTERVAL: Duration = Duration::from_millis(200);

/// Minimum number of messages before the position that stay in the stream.
const MIN_KEPT_MESSAGES: u64 = 100_000;

/// Maximum number of positions that are remembered.
const MAX_SAMPLES: u32 = 1000;

/// What the task needs.
pub(crate) struct StreamPurge {
    pub(crate) settings: Arc<Settings>,
    pub(crate) client: Client,
    pub(crate) dead_letters: Arc<DeadLetterStore>,
    pub(crate) flow_state: Arc<FlowState>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: CancellationToken,
}

/// A position, and the end of the WAL at that time.
struct PositionSample {
    seq: u64,
    /// The end of the WAL, read after the position.
    wal: u64,
    taken: Instant,
}

/// The positions of the last `STREAM_KEEP`, oldest first.
#[derive(Default)]
struct PositionHistory {
    samples: VecDeque<PositionSample>,
    /// The sequence up to which all rows have been flushed for `STREAM_KEEP`.
    safe: u64,
}

impl PositionHistory {
    /// Adds a position. If it is lower than the last one, the table lost commits, and the history starts over.
    fn add(&mut self, sample: PositionSample, keep: Duration) {
        let last = self.samples.back();
        if last.is_some_and(|last| last.seq > sample.seq || last.wal > sample.wal) {
            *self = Self::default();
        } else if last.is_some_and(|last| last.taken.elapsed() < keep / MAX_SAMPLES) {
            return;
        }
        self.samples.push_back(sample);
    }

    /// The sequence up to which messages may be purged if the WAL is flushed up to `flushed`.
    fn safe(&mut self, flushed: u64, keep: Duration) -> u64 {
        while let Some(first) = self.samples.front()
            && first.wal <= flushed
            && first.taken.elapsed() >= keep
        {
            self.safe = first.seq;
            self.samples.pop_front();
        }
        self.safe
    }
}

impl StreamPurge {
    /// Runs until it is stopped.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut pause = FIRST_INTERVAL;
        let mut samples = PositionHistory::default();
        let mut connection = None;
        loop {
            tokio::select! {
                () = aligned_interval::next(pause) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
            if self.health.is_up(Part::Intake) {
                match self.run_round(&mut samples, &mut connection).await {
                    Ok(()) => pause = CHECK_INTERVAL,
                    Err(error) => {
                        connection = None;
                        tracing::debug!(error = format!("{error:#}"), "can't query the stream");
                    }
                }
            }
        }
    }

    async fn run_round(
        &self,
        samples: &mut PositionHistory,
        connection: &mut Option<Connection>,
    ) -> anyhow::Result<()> {
        let context = self.settings.nats.jetstream(self.client.clone());
        let Some(table) = self.flow_state.table.borrow().clone() else { return Ok(()) };
        self.metrics.lag.set(self.flow_state.lag().unwrap_or_default().cast_signed());
        let stream = orders_stream::find_or_create(&context, &self.settings.nats).await?;
        let dead = self.dead_letters.subjects().await?;
        let name = stream.cached_info().config.name.clone();
        // Connections may be scarce: closes this one while idle.
        let is_large = stream.cached_info().state.messages > MIN_KEPT_MESSAGES;
        let purges = table.is_self && is_large && orders_stream::is_made_by_orderd(stream.cached_info());
        // A failure to read the account's state does not prevent the purge.
        let warned = self.warn(&context, &name, &dead.stream, purges).await;
        let is_half_full = warned.unwrap_or_else(|error| {
            tracing::debug!(error = format!("{error:#}"), "can't query the state of the account");
            false
        });
        if purges {
            let wal = self.wal(connection).await?;
            let keep = if is_half_full { Duration::ZERO } else { self.settings.stream_keep };
            samples.add(
                PositionSample { seq: table.watermark.seq, wal: wal.inserted, taken: Instant::now() },
                keep,
            );
            let safe = samples.safe(wal.safe, keep);
            self.purge(&context, &stream, table.watermark, safe).await?;
        } else {
            (*samples, *connection) = (PositionHistory::default(), None);
        }
        Ok(())
    }

    /// Shows warnings in `/readyz`. Returns whether the account has too little space for `STREAM_KEEP`.
    async fn warn(&self, context: &Context, stream: &str, dead: &str, purges: bool) -> anyhow::Result<bool> {
        let mut warned = Vec::new();
        for (name, what) in [(stream, "unread messages"), (dead, "dead letters")] {
            let found = info::stream(context, name).await?;
            found.iter().for_each(|stream| show_stream(&self.metrics, stream));
            warned.extend(found.iter().flat_map(|stream| warning_rules::of_stream(stream, what)));
        }
        let (account, replicas) = (info::account(context).await?, self.settings.nats.replicas);
        warned.extend(warning_rules::of_account(&account, replicas));
        let kept =
            purges.then(|| warning_rules::of_kept(&account, replicas, self.settings.stream_keep)).flatten();
        let is_half_full = kept.is_some();
        warned.extend(kept);
        let skew = Duration::from_secs_f64(self.metrics.clock_skew.get());
        warned.extend(warning_rules::of_clock_skew(skew));
        let (table, topic) = (&self.settings.postgres.table, &self.settings.nats.topic);
        let clear = postgres::position::clear_lost_statement(table, stream, topic);
        warned.extend(warning_rules::of_messages_lost(stream, self.metrics.messages_lost.get(), &clear));
        self.health.warn("stream", warned);
        Ok(is_half_full)
    }

    async fn wal(&self, connection: &mut Option<Connection>) -> anyhow::Result<Wal> {
        let opened = match connection.take().filter(|opened| !opened.client.is_closed()) {
            Some(opened) => opened,
            None => postgres::connect_in_time(&self.settings.postgres).await?.spare(),
        };
        let wal = opened.watched(postgres::wal(&opened.client));
        let wal = timeout(SHORT_TIMEOUT, wal).await?.map_err(postgres::explain)?;
        *connection = Some(opened);
        Ok(wal)
    }

    async fn purge(
        &self,
        context: &Context,
        stream: &Stream,
        position: Watermark,
        safe: u64,
    ) -> anyhow::Result<()> {
        let info = stream.cached_info();
        // Purge many messages at once: each purge has a fixed cost.
        let least = info.state.first_sequence + MIN_KEPT_MESSAGES / 10;
        if safe.saturating_sub(MIN_KEPT_MESSAGES) <= least {
            return Ok(());
        }
        let needed = orders_stream::needed_by_others(context, &info.config.name).await?;
        let floor = safe.min(needed).saturating_sub(MIN_KEPT_MESSAGES);
        if floor <= least {
            tracing::debug!("another durable consumer still needs committed messages");
            return Ok(());
        }
        // A restored stream may have other messages than the table.
        let found = stored_message::at(context, &info.config.name, position.seq).await?;
        let is_same = found.is_some_and(|found| found.watermark() == position);
        if !is_same {
            tracing::debug!("the position is not in this stream; nothing is purged");
            return Ok(());
        }
        let purged = orders_stream::purge_before(stream, &self.settings.nats.topic, floor).await?;
        tracing::debug!(purged, "purged committed messages from the stream");
        self.dead_letters.forget_decided(floor).await?;
        Ok(())
    }
}

/// Sets the metrics of a stream's size and limits.
fn show_stream(metrics: &Metrics, stream: &StreamInfo) {
    let name = &[stream.config.name.as_str()];
    metrics.stream_bytes.with_label_values(name).set(stream.state.bytes.cast_signed());
    metrics.stream_messages.with_label_values(name).set(stream.state.messages.cast_signed());
    for (gauge, limit) in [
        (&metrics.stream_max_bytes, stream.config.max_bytes),
        (&metrics.stream_max_messages, stream.config.max_msgs),
    ] {
        gauge.with_label_values(name).set(limit.max(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seq: u64, wal: u64) -> PositionSample {
        PositionSample { seq, wal, taken: Instant::now() }
    }

    #[tokio::test(start_paused = true)]
    async fn position_is_safe_when_flushed_and_kept_for_long_enough() {
        let keep = Duration::from_secs(60);
        let mut samples = PositionHistory::default();
        samples.add(sample(100, 1000), Duration::ZERO);
        tokio::time::advance(keep).await;
        samples.add(sample(200, 2000), Duration::ZERO);
        assert_eq!(samples.safe(999, keep), 0);
        assert_eq!(samples.safe(5000, keep), 100);
        tokio::time::advance(keep).await;
        assert_eq!(samples.safe(1999, keep), 100);
        assert_eq!(samples.safe(2000, keep), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn table_that_went_back_is_safe_nowhere() {
        let mut samples = PositionHistory::default();
        samples.add(sample(100, 1000), Duration::ZERO);
        assert_eq!(samples.safe(1000, Duration::ZERO), 100);
        samples.add(sample(200, 2000), Duration::ZERO);
        samples.add(sample(150, 1500), Duration::ZERO);
        assert_eq!(samples.safe(1000, Duration::ZERO), 0);
    }
}
