//! Watches for new dead letters, whichever process stores them.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use futures_util::TryStreamExt;
use time::OffsetDateTime;

use super::dead_letter_format::header;
use super::store::DeadLetterStore;

/// Maximum clock difference between servers of one cluster.
const MAX_SKEW: Duration = Duration::from_secs(60);

/// Time after which the server deletes a consumer without pull requests.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(30);

/// From where on dead letters are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchStart {
    /// Dead letters of messages since this time, in microseconds since 1970; `None`: all.
    Since(Option<i64>),
    /// Dead letters after this sequence of their stream.
    After(u64),
}

/// Calls `add` with the key and the stream sequence of each dead letter from `start` on, until the subscription ends.
/// `start` moves on.
///
/// # Errors
/// A server that can't be reached, or refuses.
pub(crate) async fn watch(
    store: &DeadLetterStore,
    start: &mut WatchStart,
    mut add: impl FnMut(&str, u64),
) -> anyhow::Result<()> {
    let subjects = store.subjects().await?;
    let stream = store.context.get_stream(&subjects.stream).await?;
    let last = stream.cached_info().state.last_sequence;
    let deliver_policy = match *start {
        WatchStart::After(after) if after <= last => {
            DeliverPolicy::ByStartSequence { start_sequence: after + 1 }
        }
        WatchStart::Since(Some(micros)) => since(micros)?,
        // Also covers a recreated stream, whose sequences begin with 1.
        WatchStart::After(_) | WatchStart::Since(None) => DeliverPolicy::All,
    };
    let consumer: PullConsumer = stream
        .create_consumer(pull::Config {
            deliver_policy,
            filter_subject: subjects.all_dead_letters(),
            ack_policy: AckPolicy::None,
            headers_only: true,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: INACTIVE_THRESHOLD,
            ..Default::default()
        })
        .await?;
    let mut messages = consumer.messages().await?;
    while let Some(message) = messages.try_next().await? {
        let number = message.info().map_err(anyhow::Error::from_boxed)?.stream_sequence;
        *start = WatchStart::After(number);
        let sequence = message.headers.as_ref().and_then(|headers| headers.get(header::SEQUENCE));
        if let Some(key) = subjects.key(&message.subject)
            && let Some(sequence) = sequence.and_then(|sequence| sequence.as_str().parse().ok())
        {
            add(key, sequence);
        }
    }
    anyhow::bail!("the subscription ended")
}

/// A dead letter is stored after its message was, by a clock that may differ.
pub(super) fn since(micros: i64) -> anyhow::Result<DeliverPolicy> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)?;
    Ok(DeliverPolicy::ByStartTime { start_time: time - MAX_SKEW })
}
