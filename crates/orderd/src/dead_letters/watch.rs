//! Watches for new dead letters and notes about them, whichever process stores them.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use futures_util::TryStreamExt;
use order::Key;
use time::OffsetDateTime;

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

/// Calls `add` with the key, and the sequence of its message in the stream of orders, of each dead letter from `start` on,
/// and of each note that says what became of one, until the subscription ends. `start` moves on.
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
            filter_subjects: subjects.all_with_keys(),
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
        let key = subjects.key(&message.subject).or_else(|| subjects.decided_key(&message.subject));
        if let Some((key, sequence)) = key.and_then(|key| Some((key, Key::sequence_of(key)?))) {
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
