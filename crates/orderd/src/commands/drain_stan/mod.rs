//! `orderd drain-stan`: moves the remaining messages of a NATS Streaming channel into the stream, each once.
//!
//! A message is acknowledged to NATS Streaming when JetStream has acknowledged it to us, so that none is lost. One
//! that comes again, to this run or to a later one, is looked for in the stream, so that none is there twice.

mod channel;
mod drained;
mod stan_protocol;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishAckFuture;
use bytes::Bytes;

use self::channel::{MAX_IN_FLIGHT, StanChannel, StanServer};
use self::drained::{DrainedMessages, HEADER};
use super::progress::Progress;
use crate::backoff::Backoff;
use crate::cli::DrainStanArgs;
use crate::config::Nats;
use crate::nats::failure::ServerKind;
use crate::nats::{self, orders_stream};

/// The address in the old compose file.
const DEFAULT_SERVER: &str = "nats://127.0.0.1:4223";

/// The channel is empty when nothing has come for so long from a server that answers.
const QUIET_TIME: Duration = Duration::from_secs(3);

/// Receives messages that have arrived, without waiting.
const AT_ONCE: Duration = Duration::ZERO;

/// Time limit for publishing one message.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs until the channel has nothing left for the durable subscription.
///
/// # Errors
/// What could not be reached, or refuses. Run again, it continues where it stopped.
pub async fn run(args: DrainStanArgs) -> anyhow::Result<ExitCode> {
    let settings = Nats::new(&args.nats)?;
    let old = settings.at("STAN_URL", args.from.as_deref(), DEFAULT_SERVER)?;
    let subject = settings.subject(args.subject.as_deref())?;
    let name = args.channel.clone().unwrap_or_else(|| subject.clone());
    let context = settings.jetstream(nats::connect_usable(&settings).await?);
    let orders = orders_stream::find_or_create(&context, &settings).await?;
    let label = format!("{}/{name}", args.cluster);
    let old = nats::connect_once_to(ServerKind::Stan, &old, |_| {}).await.context("STAN_URL")?;
    let server = StanServer::connect(old, &args).await?;
    // Only now: while we are that client, no other run drains.
    let drained = DrainedMessages::find(&context, &orders, &label, settings.replicas).await?;
    let last = server.last(&name).await?;
    let channel = server.take(&args, &name).await?;
    let mut drain =
        Drain { context, subject, label, drained, channel, last, waiting: VecDeque::new(), known: 0 };
    let progress = drain.run().await?;
    let known = drain.known;
    drain.channel.close().await?;
    let line = progress.finish("messages");
    super::print(&format!("{line}; {known} more were there already\n"))?;
    Ok(ExitCode::SUCCESS)
}

struct Drain {
    context: Context,
    subject: String,
    /// `{cluster}/{channel}`
    label: String,
    drained: DrainedMessages,
    channel: StanChannel,
    /// The last message that was in the channel at the start.
    last: Option<u64>,
    /// Published, in the channel's order, and not acknowledged by JetStream yet.
    waiting: VecDeque<(StanMessage, PublishAckFuture)>,
    /// Number of received messages that were already in the stream.
    known: u64,
}

#[derive(Clone)]
struct StanMessage {
    sequence: u64,
    payload: Bytes,
}

impl Drain {
    async fn run(&mut self) -> anyhow::Result<Progress> {
        let mut progress = None;
        loop {
            let patience = if self.waiting.is_empty() { QUIET_TIME } else { AT_ONCE };
            let Some(message) = self.channel.next(patience).await? else {
                if self.settle_oldest(progress.as_ref()).await? {
                    continue;
                }
                self.channel.ping().await?;
                // It answers, and nothing came in between.
                let Some(progress) = progress else { return Ok(Progress::new(Some(0), "messages")) };
                return Ok(progress);
            };
            let last = self.last.unwrap_or(message.sequence);
            let left = (last + 1).saturating_sub(message.sequence);
            let progress = progress.get_or_insert_with(|| Progress::new(Some(left), "messages"));
            if self.waiting.iter().any(|(sent, _)| sent.sequence == message.sequence) {
                // On its way; it is acknowledged when it has arrived.
            } else if self.drained.has(message.sequence, message.redelivered)? {
                self.known += 1;
                self.channel.acknowledge(message.sequence).await?;
            } else {
                let sent = StanMessage { sequence: message.sequence, payload: message.payload };
                let waiting = self.publish(&sent).await?;
                self.waiting.push_back((sent, waiting));
            }
            if self.waiting.len() >= MAX_IN_FLIGHT {
                self.settle_oldest(Some(progress)).await?;
            }
        }
    }

    async fn publish(&self, sent: &StanMessage) -> anyhow::Result<PublishAckFuture> {
        let source = format!("{}/{}", self.label, sent.sequence);
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, source.as_str());
        // Within the duplicate window the server itself sees that it has it.
        headers.insert(async_nats::header::NATS_MESSAGE_ID, format!("stan/{source}").as_str());
        let published =
            self.context.publish_with_headers(self.subject.clone(), headers, sent.payload.clone()).await;
        published.with_context(|| format!("can't publish message {} on {}", sent.sequence, self.subject))
    }

    /// Waits for JetStream to have the oldest one that was published, and acknowledges it to NATS Streaming. `false`:
    /// nothing is waiting.
    async fn settle_oldest(&mut self, progress: Option<&Progress>) -> anyhow::Result<bool> {
        let Some((sent, mut waiting)) = self.waiting.pop_front() else { return Ok(false) };
        let begun = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            match waiting.await {
                Ok(_) => break,
                Err(error) if begun.elapsed() > SILENCE_TIMEOUT => {
                    return Err(error)
                        .with_context(|| format!("the stream rejects message {}", sent.sequence));
                }
                Err(_) => backoff.wait().await,
            }
            waiting = self.publish(&sent).await?;
        }
        self.drained.sequences.insert(sent.sequence);
        if let Some(progress) = progress {
            progress.add(1);
        }
        self.channel.acknowledge(sent.sequence).await?;
        Ok(true)
    }
}
