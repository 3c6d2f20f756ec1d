//! Beside the flow: how far behind the stream we are, and purging what all of it lies behind us.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::{Context, consumer::Info, stream::Stream};
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::dead_letters::store::Store;
use crate::health::{Health, Part, Position};
use crate::metrics::Metrics;
use crate::nats::{MADE_BY, info};
use crate::pace;
use crate::streams;
use crate::warnings;

/// How often the server is asked, and how soon again until it has answered once: the page shows what it says.
const EVERY: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_millis(200);

/// So many acknowledged messages are kept, for replicas that are behind.
const KEPT: u64 = 100_000;

/// What the task needs.
pub(crate) struct Housekeeping {
    pub(crate) settings: Arc<Settings>,
    pub(crate) client: Client,
    pub(crate) dead_letters: Arc<Store>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: CancellationToken,
}

impl Housekeeping {
    /// Runs until told to stop.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut pause = SOON;
        loop {
            tokio::select! {
                () = pace::next(pause) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
            if self.health.is_up(Part::Intake) {
                match self.keep_house().await {
                    Ok(()) => pause = EVERY,
                    Err(error) => {
                        let error = format!("{error:#}");
                        tracing::debug!(error, "can't ask for the state of the consumer");
                    }
                }
            }
        }
    }

    async fn keep_house(&self) -> anyhow::Result<()> {
        let context = self.settings.nats.jetstream(self.client.clone());
        let stream = streams::stream(&context, &self.settings.nats).await?;
        let consumer = stream.consumer_info(&self.settings.durable).await?;
        self.metrics.lag.set(consumer.num_pending as i64);
        self.metrics.unacknowledged.set(consumer.num_ack_pending as i64);
        self.health.set_position(Position {
            seq: consumer.ack_floor.stream_sequence,
            behind: consumer.num_pending + consumer.num_ack_pending as u64,
        });
        let name = stream.cached_info().config.name.clone();
        // Where the account may not be asked, the stream is purged all the same.
        if let Err(error) = self.warn(&context, &name, &consumer).await {
            tracing::debug!(error = format!("{error:#}"), "can't ask for the state of the account");
        }
        self.purge(&context, &stream, consumer.ack_floor.stream_sequence).await
    }

    /// What publishers and operators have to know.
    async fn warn(&self, context: &Context, stream: &str, consumer: &Info) -> anyhow::Result<()> {
        let mut warned = Vec::new();
        let dead = self.dead_letters.location().await?;
        for (name, what) in [(stream, "orders that nobody has read"), (&dead.stream, "dead letters")] {
            let found = info::stream(context, name).await?;
            warned.extend(found.iter().flat_map(|stream| warnings::of_stream(stream, what)));
        }
        warned.extend(warnings::of_consumer(stream, &consumer.name, consumer.paused));
        warned.extend(warnings::of_account(&info::account(context).await?, self.settings.nats.replicas));
        let skew = Duration::from_secs_f64(self.metrics.clock_skew.get());
        warned.extend(warnings::of_clock_skew(skew));
        self.health.warn("housekeeping", warned);
        Ok(())
    }

    /// From a stream that we made, what lies well below the ack floor of each durable consumer.
    async fn purge(&self, context: &Context, stream: &Stream, floor: u64) -> anyhow::Result<()> {
        let info = stream.cached_info();
        let ours = info.config.metadata.get(MADE_BY.0).is_some_and(|made_by| made_by == MADE_BY.1);
        // Not for a handful: a purge costs the server as much as many messages.
        let least = info.state.first_sequence + KEPT / 10;
        if !ours || floor.saturating_sub(KEPT) <= least {
            return Ok(());
        }
        let floor =
            floor.min(streams::settled_by_all(context, &info.config.name).await?).saturating_sub(KEPT);
        if floor <= least {
            tracing::debug!("another durable consumer still needs what this one has acknowledged");
            return Ok(());
        }
        let topic = &self.settings.nats.topic;
        // By the topic only where somebody has given the stream more subjects: it costs the server more.
        let purge = match &info.config.subjects[..] {
            [only] if only == topic => stream.purge(),
            _ => stream.purge().filter(topic),
        };
        let purged = purge.sequence(floor).await?.purged;
        tracing::debug!(purged, "purged what is acknowledged from the stream");
        Ok(())
    }
}
