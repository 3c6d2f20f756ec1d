//! The headers of the stream's messages, from a mark on: a consumer of this process alone, which acknowledges
//! nothing and gets no payloads. Whatever goes wrong with it, it is made anew from the mark.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{ConsumerErrorKind, Stream};
use futures_util::StreamExt;
use order::Key;

use crate::dead_letters::format::key_of_dead_letter;
use crate::ingest::subscribe::origin;

/// What one pull request asks for.
const PULL_MESSAGES: usize = 2000;
const PULL_EXPIRES: Duration = Duration::from_secs(10);
const PULL_HEARTBEAT: Duration = Duration::from_secs(2);

/// The server removes the consumer of a process that was away for so long.
const AWAY: Duration = Duration::from_secs(30);

pub(super) struct Headers {
    stream: Stream<()>,
    consumer: PullConsumer,
    messages: pull::Stream,
    /// Headers that came, and how many of them the last look has seen.
    count: u64,
    seen: u64,
    /// The stream is read up to here.
    read: u64,
    /// Where the first gap in the stream's sequence began since the last look.
    gap: Option<u64>,
}

/// Why the stream can't be read.
pub(super) enum Refused {
    ForGood(anyhow::Error),
    ForNow(anyhow::Error),
}

impl Headers {
    /// Reads what stands behind `mark`.
    pub(super) async fn start(stream: &Stream<()>, topic: &str, mark: u64) -> Result<Self, Refused> {
        let config = pull::Config {
            description: Some("orderd: what other processes took".into()),
            ack_policy: AckPolicy::None,
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: mark + 1 },
            filter_subject: topic.into(),
            headers_only: true,
            inactive_threshold: AWAY,
            memory_storage: true,
            num_replicas: 1,
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| match error.kind() {
            ConsumerErrorKind::JetStream(_) => Refused::ForGood(error.into()),
            _ => Refused::ForNow(error.into()),
        })?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(PULL_MESSAGES)
            .expires(PULL_EXPIRES)
            .heartbeat(PULL_HEARTBEAT)
            .messages()
            .await
            .map_err(|error| Refused::ForNow(error.into()))?;
        // What left the stream before is a gap too.
        Ok(Self {
            stream: stream.clone(),
            consumer,
            messages,
            count: 0,
            seen: 0,
            read: mark,
            gap: Some(mark),
        })
    }

    /// The next message's place, and the key under which it is in the table, if it is.
    ///
    /// # Errors
    /// What ended the consumer, or headers that were lost on their way.
    pub(super) async fn next(&mut self) -> anyhow::Result<(u64, Option<Key>)> {
        let message = self.messages.next().await.context("the subscription ended")??;
        let origin = message.reply.as_deref().and_then(origin).context("a message without a place")?;
        self.count += 1;
        anyhow::ensure!(origin.delivery == self.count, "headers were lost on their way");
        if origin.sequence > self.read + 1 {
            self.gap.get_or_insert(self.read);
        }
        self.read = origin.sequence;
        let key = match key_of_dead_letter(message.headers.as_ref()) {
            // A dead letter sent again is the order of its own key, if it is one.
            Some(key) => Some(key).filter(|key| Key::is_from_stream(key)).map(Key::from),
            None => Some(Key::from_stream(origin.timestamp_ns, origin.sequence)),
        };
        Ok((origin.sequence, key))
    }

    /// Up to where the stream is read.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// Whether messages left the front of the stream before they came here: gives back the first that is there.
    /// `floor` was asked for before; where nothing more is to come, the stream is read up to it.
    pub(super) async fn is_trimmed(
        &mut self,
        stream: &Stream<()>,
        floor: u64,
    ) -> anyhow::Result<Option<u64>> {
        let is_still = std::mem::replace(&mut self.seen, self.count) == self.count;
        let before = self.read;
        if is_still && self.read < floor {
            let info = self.consumer.get_info().await?;
            if info.num_pending == 0 && info.delivered.consumer_sequence == self.count {
                self.read = floor;
                self.gap.get_or_insert(before);
            }
        }
        let Some(gap) = self.gap else { return Ok(None) };
        let first = stream.get_info().await?.state.first_sequence;
        self.gap = None;
        Ok((first > gap + 1).then_some(first))
    }

    /// Takes the consumer away.
    pub(super) async fn end(self) {
        // Otherwise the server does, some time later.
        drop(self.stream.delete_consumer(&self.consumer.cached_info().name).await);
    }
}
