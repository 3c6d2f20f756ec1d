//! An ordered consumer: it acknowledges nothing, starts at any sequence, and is replaced when it fails.
//!
//! The server numbers its deliveries. A missing number means that a message was lost in transit, and ends the consumer;
//! the next consumer starts after the last message received.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::Stream;
use futures_util::{FutureExt, StreamExt};
use order::Key;
use tokio::sync::watch;

use crate::nats::CONSUMER_PREFIX;
use crate::nats::intake_message::{Message, StreamPosition};
use crate::random;

/// Maximum messages and bytes of a chunk, which closes earlier if no more messages are waiting.
const CHUNK_MESSAGES: usize = 256;
const CHUNK_BYTES: usize = 1 << 20;

/// Limits of one pull request. At most two are in flight.
const PULL_MESSAGES: usize = 2048;
const PULL_BYTES: usize = 8 << 20;
const PULL_EXPIRES: Duration = Duration::from_secs(10);
const PULL_HEARTBEAT: Duration = Duration::from_secs(2);

/// How long the server keeps a consumer without a pull request.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(30);

/// A consumer that delivers.
pub(crate) struct OrderedConsumer {
    messages: pull::Stream,
    /// Number of messages delivered so far.
    delivered: u64,
    /// The server's count of deliveries at the last check.
    expected: u64,
    /// How many messages of the topic lay after the last one that it delivered.
    pending: u64,
    /// Reused for each chunk, because the kernel has to zero new memory.
    taken: Vec<async_nats::Message>,
    consumer: PullConsumer,
    /// Changes when the connection breaks.
    cuts: Option<watch::Receiver<u64>>,
}

/// Maximum messages per pull request, as limited by server, account or stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PullLimit(usize);

impl Default for PullLimit {
    fn default() -> Self {
        Self(PULL_MESSAGES)
    }
}

impl PullLimit {
    pub(crate) const ONE: Self = Self(1);

    /// Applies the limit that a refusal names: "Exceeded MaxRequestBatch of 500". Returns whether it names one.
    pub(crate) fn heed(&mut self, refusal: &str) -> bool {
        let limit = refusal
            .split_once("MaxRequestBatch of ")
            .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok());
        match limit {
            Some(limit) if limit < self.0 => {
                self.0 = limit.max(1);
                true
            }
            _ => false,
        }
    }
}

impl OrderedConsumer {
    /// A consumer that delivers the messages of the topic from the one after sequence `after` on.
    pub(crate) async fn new(
        stream: &Stream,
        topic: &str,
        after: u64,
        limit: PullLimit,
        max_payload: usize,
    ) -> anyhow::Result<Self> {
        let limits = stream.cached_info().config.consumer_limits.clone().unwrap_or_default();
        let inactive = match limits.inactive_threshold {
            most if most.is_zero() => INACTIVE_THRESHOLD,
            most => most.min(INACTIVE_THRESHOLD),
        };
        let config = pull::Config {
            name: Some(format!("{CONSUMER_PREFIX}{}", random::hex::<6>())),
            description: Some("orderd reads this stream; it recreates this consumer when it is gone".into()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
            ack_policy: AckPolicy::None,
            filter_subject: topic.to_owned(),
            inactive_threshold: inactive,
            memory_storage: true,
            num_replicas: 1,
            ..Default::default()
        };
        let consumer: PullConsumer = stream.create_consumer(config).await?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer
            .stream()
            .max_messages_per_batch(limit.0)
            .max_bytes_per_batch(PULL_BYTES.max(2 * max_payload))
            .expires(PULL_EXPIRES)
            .heartbeat(PULL_HEARTBEAT);
        let messages = messages.messages().await?;
        Ok(Self {
            messages,
            delivered: 0,
            expected: 0,
            pending,
            taken: Vec::with_capacity(CHUNK_MESSAGES),
            consumer,
            cuts: None,
        })
    }

    /// Ends it when the connection breaks: messages in flight are then lost.
    pub(crate) fn ending_with(self, cuts: watch::Receiver<u64>) -> Self {
        Self { cuts: Some(cuts), ..self }
    }

    pub(crate) fn name(&self) -> &str {
        &self.consumer.cached_info().name
    }

    /// How many messages of the topic lay after the last one that it delivered.
    pub(crate) fn pending(&self) -> u64 {
        self.pending
    }

    /// Checks that every delivery has arrived. A lost one shows as a gap once another delivery arrives; before that,
    /// the server's count shows it, if it was already that high at the previous check. A paused consumer delivers
    /// nothing and is replaced.
    ///
    /// # Errors
    /// A message is lost, the consumer is paused, or the server can't be reached.
    pub(crate) async fn check_deliveries(&mut self) -> anyhow::Result<()> {
        let (expected, here) = (self.expected, self.delivered);
        anyhow::ensure!(here >= expected, "delivery {expected} is missing; {here} was the last");
        let info = self.consumer.get_info().await?;
        anyhow::ensure!(!info.paused, "the consumer is paused; creating another one");
        self.expected = info.delivered.consumer_sequence;
        Ok(())
    }

    /// Whether all messages of the topic in the stream have arrived.
    pub(crate) async fn has_all(&self) -> anyhow::Result<bool> {
        let info = self.consumer.get_info().await?;
        Ok(info.num_pending == 0 && info.delivered.consumer_sequence == self.delivered)
    }

    /// Waits for a message and receives what has arrived with it. The chunk has the messages before an error.
    ///
    /// # Errors
    /// Why the consumer ended: create another one after the last message of the chunk.
    pub(crate) async fn chunk(&mut self, chunk: &mut Vec<Message>) -> anyhow::Result<()> {
        let ended = tokio::select! {
            biased;
            ended = tokio::task::unconstrained(next_chunk(&mut self.messages, &mut self.taken)) => ended,
            () = cut(&mut self.cuts) => Err(anyhow::anyhow!("the connection that reads the stream was interrupted")),
        };
        let mut delivered = self.delivered;
        let mut gap = None;
        chunk.reserve(self.taken.len());
        for message in self.taken.drain(..) {
            let Some(delivery) = message.reply.as_deref().and_then(parse_ack_subject) else {
                gap.get_or_insert_with(|| "a message without a stream position".to_owned());
                break;
            };
            if delivery.number != delivered + 1 {
                gap.get_or_insert_with(|| format!("delivery {} came after {delivered}", delivery.number));
                break;
            }
            delivered = delivery.number;
            self.pending = delivery.pending;
            chunk.push(message_with_key(message, delivery.position));
        }
        self.taken.clear();
        self.delivered = delivered;
        match gap {
            Some(gap) => Err(anyhow::anyhow!("the consumer has a gap: {gap}")),
            None => ended,
        }
    }
}

/// The key of an order is the time and the sequence that the stream has given its message.
fn message_with_key(message: async_nats::Message, position: StreamPosition) -> Message {
    Message {
        subject: message.subject,
        payload: message.payload,
        headers: message.headers,
        key: Key::from_stream(position.timestamp_ns, position.sequence),
        position,
        replayed: false,
        is_unreadable: false,
    }
}

/// Waits until the connection breaks.
async fn cut(cuts: &mut Option<watch::Receiver<u64>>) {
    match cuts {
        // If the sender is dropped, the client has ended.
        Some(cuts) => drop(cuts.changed().await),
        None => std::future::pending().await,
    }
}

/// Waits for a message, and takes all others that have arrived.
async fn next_chunk(messages: &mut pull::Stream, taken: &mut Vec<async_nats::Message>) -> anyhow::Result<()> {
    let mut bytes = 0;
    let mut next = messages.next().await;
    loop {
        let message = next.ok_or_else(|| anyhow::anyhow!("the subscription ended"))??;
        bytes += message.payload.len();
        taken.push(message.message);
        if taken.len() >= CHUNK_MESSAGES || bytes >= CHUNK_BYTES {
            return Ok(());
        }
        next = match messages.next().now_or_never() {
            Some(next) => next,
            None => return Ok(()),
        };
    }
}

/// A message's position in the stream, and its delivery number.
struct Delivery {
    position: StreamPosition,
    number: u64,
    pending: u64,
}

/// Parses the subject for acknowledgements: `$JS.ACK.{stream}.{consumer}.{deliveries}.{sequence}.{consumer's
/// sequence}.{timestamp}.{pending}`, with domain and account hash before the stream, if the server adds them.
fn parse_ack_subject(reply: &str) -> Option<Delivery> {
    let rest = reply.strip_prefix("$JS.ACK.")?;
    let tokens = rest.split('.').count();
    let mut numbers = rest.split('.').skip(if tokens >= 9 { 5 } else { 3 });
    let sequence = numbers.next()?.parse().ok()?;
    let number = numbers.next()?.parse().ok()?;
    let timestamp_ns = numbers.next()?.parse().ok()?;
    let pending = numbers.next()?.parse().ok()?;
    Some(Delivery { position: StreamPosition { sequence, timestamp_ns }, number, pending })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ack_subject_is_read_in_both_forms() {
        let short = parse_ack_subject("$JS.ACK.ORDERS.orderd.1.17.18.1700000000123456789.5").unwrap();
        assert_eq!(
            (short.position.sequence, short.number, short.position.timestamp_ns),
            (17, 18, 1_700_000_000_123_456_789)
        );
        let long =
            parse_ack_subject("$JS.ACK._.HASH.ORDERS.orderd.1.7.8.1700000000123456789.5.rand").unwrap();
        assert_eq!((long.position.sequence, long.number), (7, 8));
        assert!(parse_ack_subject("$JS.ACK.ORDERS.orderd.1.x.1.1.1").is_none());
        assert!(parse_ack_subject("_INBOX.1").is_none());
    }

    #[test]
    fn pull_limit_follows_a_refusal_that_names_it() {
        let mut limit = PullLimit::default();
        assert!(!limit.heed("consumer deleted"));
        assert!(limit.heed("409 Exceeded MaxRequestBatch of 500"));
        assert_eq!(limit.0, 500);
        assert!(!limit.heed("409 Exceeded MaxRequestBatch of 500"));
        assert!(limit.heed("Exceeded MaxRequestBatch of 0"));
        assert_eq!(limit.0, 1);
    }
}
