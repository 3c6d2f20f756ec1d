//! NATS -> natschan: the only place that takes from the stream.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::pull;
use futures_util::{FutureExt, StreamExt};
use order::Key;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Holds, Message, Origin, Receipt, Taken};
use crate::config::Settings;
use crate::dead_letters::format::key_of_dead_letter;
use crate::dead_letters::store::Store;
use crate::health::{Health, Part};
use crate::metrics::Metrics;
use crate::nats::{self, ACK_WAIT, NatsError};
use crate::retry::Backoff;
use crate::streams;

/// A chunk closes at so many messages or bytes, or sooner when nothing more is there.
const CHUNK_MESSAGES: usize = 256;
const CHUNK_BYTES: usize = 1 << 20;

/// What one pull request asks for. Two are under way at most.
const PULL_MESSAGES: usize = 2048;
const PULL_BYTES: usize = 8 << 20;
const PULL_EXPIRES: Duration = Duration::from_secs(10);
const PULL_HEARTBEAT: Duration = Duration::from_secs(2);

/// What the stage needs.
pub(crate) struct Subscribe {
    pub(crate) settings: Arc<Settings>,
    pub(crate) client: Client,
    pub(crate) dead_letters: Arc<Store>,
    pub(crate) holds: Arc<Holds>,
    pub(crate) taken: Arc<Taken>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: CancellationToken,
}

impl Subscribe {
    /// Takes messages until it is told to stop, whatever the server does meanwhile.
    ///
    /// # Errors
    /// A consumer that can't be used, before anything was taken.
    pub(crate) async fn run(self, natschan: mpsc::Sender<Vec<Message>>) -> anyhow::Result<()> {
        let mut backoff = Backoff::default();
        let mut taken_any = false;
        while !self.stop.is_cancelled() {
            let messages = tokio::select! {
                messages = self.messages() => messages,
                () = self.stop.cancelled() => break,
            };
            let ended = match messages {
                Ok(messages) => {
                    taken_any = true;
                    backoff.reset();
                    self.health.up(Part::Intake);
                    self.take(messages, &natschan).await
                }
                Err(error) if !taken_any && error.is::<NatsError>() => return Err(error),
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                self.health.down(Part::Intake, format!("{error:#}"));
                let stopped = self.stop.cancelled();
                tokio::select! { () = backoff.wait() => {}, () = stopped => {} }
            }
        }
        Ok(())
    }

    async fn messages(&self) -> anyhow::Result<pull::Stream> {
        nats::connected(&self.client, &self.settings.nats, &self.health).await?;
        let context = self.settings.nats.jetstream(self.client.clone());
        let stream = streams::stream(&context, &self.settings.nats).await?;
        streams::warn_of(&self.client, stream.cached_info(), &self.settings.nats.topic);
        self.dead_letters.open(&stream.cached_info().config.name).await?;
        let consumer = nats::durable(&stream, &self.settings.nats, &self.settings.durable).await?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(PULL_MESSAGES)
            .max_bytes_per_batch(PULL_BYTES.max(2 * self.client.max_payload()))
            .expires(PULL_EXPIRES)
            .heartbeat(PULL_HEARTBEAT);
        Ok(messages.messages().await?)
    }

    /// Hands chunks on until the subscription fails or it is told to stop.
    async fn take(
        &self,
        mut messages: pull::Stream,
        natschan: &mpsc::Sender<Vec<Message>>,
    ) -> anyhow::Result<()> {
        // Kept from chunk to chunk: to grow it anew for each one is to be given, and to clear, new pages.
        let mut taken = Vec::with_capacity(CHUNK_MESSAGES);
        loop {
            let ended = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                ended = tokio::task::unconstrained(chunk(&mut messages, &mut taken)) => ended,
            };
            if !taken.is_empty() {
                let chunk = self.receive(&mut taken);
                if natschan.send(chunk).await.is_err() {
                    break;
                }
            }
            ended?;
        }
        drop(chunk(&mut messages, &mut taken).now_or_never());
        // Never handed on, so that giving back what is held gives back these too.
        drop(self.receive(&mut taken));
        Ok(())
    }

    /// Empties `taken`.
    fn receive(&self, taken: &mut Vec<async_nats::Message>) -> Vec<Message> {
        self.metrics.handled.inc_by(taken.len() as u64);
        let mut origins = Vec::with_capacity(taken.len());
        let mut replies = Vec::with_capacity(taken.len());
        taken.retain_mut(|message| {
            let origin = message.reply.as_deref().and_then(origin);
            if origin.is_none() {
                let reply = message.reply.as_deref();
                tracing::error!(reply, "message without a place in the stream, left there");
                return false;
            }
            origins.extend(origin);
            replies.extend(message.reply.take());
            true
        });
        // Whether a dead letter that is sent again will be an order here is known only when it was looked for;
        // another process may take it in before.
        let is_plain = |raw: &async_nats::Message| key_of_dead_letter(raw.headers.as_ref()).is_none();
        let plain = taken.iter().zip(&origins).filter(|(raw, _)| is_plain(raw));
        self.taken.add(plain.map(|(_, origin)| origin.sequence));
        let receipts = self.holds.take(replies);
        let messages = taken.drain(..).zip(origins).zip(receipts);
        messages.map(|((raw, origin), receipt)| self.message(raw, origin, receipt)).collect()
    }

    fn message(&self, raw: async_nats::Message, origin: Origin, receipt: Receipt) -> Message {
        if origin.deliveries > 1 {
            self.metrics.redelivered.inc();
        }
        Message {
            subject: raw.subject,
            payload: raw.payload,
            headers: raw.headers,
            key: Key::from_stream(origin.timestamp_ns, origin.sequence),
            origin,
            replayed: false,
            receipt,
        }
    }
}

/// Waits for a message and takes whatever is there with it.
///
/// # Errors
/// What ended the subscription; what was taken before it counts.
async fn chunk(messages: &mut pull::Stream, taken: &mut Vec<async_nats::Message>) -> anyhow::Result<()> {
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

/// Where a message stands, from its ack subject:
/// `$JS.ACK.{stream}.{consumer}.{deliveries}.{sequence}.{consumer's sequence}.{timestamp}.{pending}`, with the
/// domain and the account's hash before the stream where the server puts them.
pub(crate) fn origin(reply: &str) -> Option<Origin> {
    let rest = reply.strip_prefix("$JS.ACK.")?;
    let tokens = rest.split('.').count();
    let mut numbers = rest.split('.').skip(if tokens >= 9 { 4 } else { 2 });
    let deliveries = numbers.next()?.parse().ok()?;
    let sequence = numbers.next()?.parse().ok()?;
    let delivery = numbers.next()?.parse().ok()?;
    let timestamp_ns = numbers.next()?.parse().ok()?;
    Some(Origin { sequence, timestamp_ns, deliveries, delivery })
}

/// Tells the server again and again that what is held is being worked on, until it is told to stop.
pub(crate) async fn extend_held(holds: Arc<Holds>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(ACK_WAIT / 10);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = async { holds.wait_for_any().await; ticks.tick().await; } => holds.extend(ACK_WAIT * 2 / 5).await,
            () = stop.cancelled() => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_of_the_ack_subject() {
        let short = origin("$JS.ACK.ORDERS.orderd.2.17.18.1700000000123456789.5").unwrap();
        assert_eq!(
            (short.deliveries, short.sequence, short.delivery, short.timestamp_ns),
            (2, 17, 18, 1_700_000_000_123_456_789)
        );
        let long = origin("$JS.ACK._.HASH.ORDERS.orderd.1.7.8.1700000000123456789.5.rand").unwrap();
        assert_eq!((long.deliveries, long.sequence, long.timestamp_ns), (1, 7, 1_700_000_000_123_456_789));
        assert!(origin("$JS.ACK.ORDERS.orderd.x.1.1.1.1").is_none());
        assert!(origin("_INBOX.1").is_none());
    }
}
