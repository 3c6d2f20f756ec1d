//! The messages of a stream, from a place on to the end that it has now, for whoever only looks.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt;

/// How long the server may take for a message, and how long it keeps a place that nobody reads from any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many messages are asked for at once.
const READ: u64 = 2048;

/// A look at a stream, before its first message.
pub(crate) struct Scan {
    consumer: PullConsumer,
    /// How many messages there are to see.
    pub(crate) count: u64,
}

impl Scan {
    /// Looks at what `wanted` says: from where on, on which subject, with or without payloads. The server forgets
    /// it by itself.
    pub(crate) async fn new<I>(stream: &Stream<I>, wanted: pull::Config) -> anyhow::Result<Self> {
        let config = pull::Config {
            ack_policy: AckPolicy::None,
            memory_storage: true,
            inactive_threshold: PATIENCE,
            ..wanted
        };
        let consumer = stream.create_consumer(config).await.context("can't read the stream")?;
        let count = consumer.cached_info().num_pending;
        Ok(Self { consumer, count })
    }

    /// Shows the messages with their places, until it is told to stop. What comes meanwhile is not waited for, and
    /// neither is what leaves the stream meanwhile.
    pub(crate) async fn show(
        mut self,
        mut show: impl FnMut(u64, &Message) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        let mut left = self.count;
        while left > 0 {
            let before = left;
            let mut messages = self.consumer.fetch().max_messages(left.min(READ) as usize).messages().await?;
            loop {
                let next = tokio::time::timeout(PATIENCE, messages.next()).await;
                let Some(message) = next.context("the NATS server stopped answering")? else { break };
                let message = message.map_err(anyhow::Error::from_boxed)?;
                let place = message.info().map_err(anyhow::Error::from_boxed)?.stream_sequence;
                if show(place, &message)?.is_break() {
                    return Ok(());
                }
                left = left.saturating_sub(1);
            }
            if left == before && self.consumer.info().await?.num_pending == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Shows each message without its payload.
pub(crate) async fn headers<I>(
    stream: &Stream<I>,
    deliver_policy: DeliverPolicy,
    mut show: impl FnMut(u64, &Message),
) -> anyhow::Result<()> {
    let wanted = pull::Config { deliver_policy, headers_only: true, ..Default::default() };
    let scan = Scan::new(stream, wanted).await?;
    scan.show(|place, message| {
        show(place, message);
        Ok(ControlFlow::Continue(()))
    })
    .await
}
