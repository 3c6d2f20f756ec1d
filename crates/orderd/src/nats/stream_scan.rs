//! Scans a stream, from a sequence to its current end, for code that only reads. The consumer is deleted at the end of
//! the scan, also after an error.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt;

use crate::random;

/// Time limit for a message, and for the server to delete the consumer after this process was killed.
const NEXT_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages per pull request.
const PULL_MESSAGES: u64 = 2048;

/// A scan of a stream, before its first message.
pub(crate) struct Scan {
    consumer: PullConsumer,
    trace: Trace,
    /// The number of messages to read.
    pub(crate) count: u64,
}

/// A consumer that must be deleted from the server.
struct Trace {
    stream: Stream,
    name: String,
    is_deleted: bool,
}

impl Trace {
    async fn delete(mut self) {
        self.is_deleted = true;
        delete(&self.stream, &self.name).await;
    }
}

/// If the scan was abandoned: by a timeout, or a dropped future.
impl Drop for Trace {
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !self.is_deleted
        {
            let (stream, name) = (self.stream.clone(), std::mem::take(&mut self.name));
            runtime.spawn(async move { delete(&stream, &name).await });
        }
    }
}

async fn delete(stream: &Stream, name: &str) {
    if let Err(error) = stream.delete_consumer(name).await {
        tracing::debug!(%error, "can't delete a consumer; the server will delete it");
    }
}

impl Scan {
    /// Begins a scan. `wanted`: where to start, on which subject, with or without payloads.
    pub(crate) async fn new(stream: &Stream, wanted: pull::Config) -> anyhow::Result<Self> {
        // We choose the name, so that it can be deleted even if the response is not awaited.
        let name = format!("orderd-look-{}", random::hex::<8>());
        let config = pull::Config {
            name: Some(name.clone()),
            ack_policy: AckPolicy::None,
            memory_storage: true,
            inactive_threshold: NEXT_TIMEOUT,
            ..wanted
        };
        let trace = Trace { stream: stream.clone(), name, is_deleted: false };
        let consumer = stream.create_consumer(config).await.context("can't read the stream")?;
        let count = consumer.cached_info().num_pending;
        Ok(Self { consumer, trace, count })
    }

    /// Calls back with each message and its sequence, until the callback stops the scan. Messages that arrive or leave
    /// during the scan may be missing.
    pub(crate) async fn for_each(
        self,
        each: impl FnMut(u64, &Message) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        let Self { consumer, trace, count } = self;
        let shown = scan_all(consumer, count, each).await;
        trace.delete().await;
        shown
    }
}

async fn scan_all(
    mut consumer: PullConsumer,
    count: u64,
    mut each: impl FnMut(u64, &Message) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<()> {
    let mut left = count;
    while left > 0 {
        let before = left;
        let mut messages = consumer.fetch().max_messages(left.min(PULL_MESSAGES) as usize).messages().await?;
        loop {
            let next = tokio::time::timeout(NEXT_TIMEOUT, messages.next()).await;
            let Some(message) = next.context("the NATS server stopped answering")? else { break };
            let message = message.map_err(anyhow::Error::from_boxed)?;
            let sequence = message.info().map_err(anyhow::Error::from_boxed)?.stream_sequence;
            if each(sequence, &message)?.is_break() {
                return Ok(());
            }
            left = left.saturating_sub(1);
        }
        if left == before && consumer.info().await?.num_pending == 0 {
            break;
        }
    }
    Ok(())
}

/// Shows each message without its payload.
pub(crate) async fn headers(
    stream: &Stream,
    deliver_policy: DeliverPolicy,
    mut show: impl FnMut(u64, &Message),
) -> anyhow::Result<()> {
    let wanted = pull::Config { deliver_policy, headers_only: true, ..Default::default() };
    let scan = Scan::new(stream, wanted).await?;
    scan.for_each(|sequence, message| {
        show(sequence, message);
        Ok(ControlFlow::Continue(()))
    })
    .await
}
