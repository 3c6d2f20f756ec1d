//! The headers of a stream's messages, from a place on to the end that it has now.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt;

/// How long the server may take for one of them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Shows each message without its payload. The server forgets the consumer by itself.
pub(crate) async fn headers(
    stream: &Stream,
    from: DeliverPolicy,
    mut show: impl FnMut(u64, &Message),
) -> anyhow::Result<()> {
    let config = pull::Config {
        ack_policy: AckPolicy::None,
        deliver_policy: from,
        headers_only: true,
        memory_storage: true,
        inactive_threshold: PATIENCE,
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.context("can't read the stream's headers")?;
    let mut left = consumer.cached_info().num_pending;
    let mut messages = consumer.messages().await?;
    while left > 0 {
        let message = tokio::time::timeout(PATIENCE, messages.next()).await;
        let Some(message) = message.context("the server stopped answering")? else { break };
        let message = message?;
        let info = message.info().map_err(anyhow::Error::from_boxed)?;
        left = info.pending;
        show(info.stream_sequence, &message);
    }
    Ok(())
}
