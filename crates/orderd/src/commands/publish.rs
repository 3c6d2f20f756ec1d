//! `orderd publish`: sends orders to NATS, each with an id of its own, so that a retry is no second order.

use std::collections::VecDeque;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader, Split};

use super::progress::Progress;
use crate::cli::PublishArgs;
use crate::config::{ConfigError, Nats};
use crate::retry::Backoff;
use crate::{nats, streams};

/// How many may wait for the server's acknowledgement at once.
const UNACKNOWLEDGED: usize = 2048;

/// One order a day.
const LEAST_RATE: f64 = 0.000_01;

/// How long one order is tried before the command fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends what is asked for. 0: the server has acknowledged all of it.
///
/// # Errors
/// What could not be sent, and why.
pub async fn run(args: PublishArgs) -> anyhow::Result<ExitCode> {
    if !args.rate.is_finite() || args.rate < 0.0 || (args.rate > 0.0 && args.rate < LEAST_RATE) {
        let takes = "takes orders a second: 0 for as fast as it can, or 0.00001 and more";
        return Err(ConfigError::new("--rate", takes).into());
    }
    let settings = Nats::new(&args.nats)?;
    let subject = settings.subject(args.subject.as_deref())?;
    let mut orders = Orders::open(&args).await?;
    let client = nats::connect_once(&settings).await?;
    let context = jetstream::new(client.clone());
    if !args.core {
        nats::refuse_unusable(&client).await?;
        streams::stream(&context, &settings).await?;
    }
    let mut sender = Sender::new(client, context, subject, args.core);
    let progress = Progress::new(args.from.is_none().then_some(args.count), "orders");
    let begun = Instant::now();
    let mut sent = 0_u32;
    while let Some(order) = orders.next().await? {
        if args.rate > 0.0 {
            let due = begun + Duration::from_secs_f64(f64::from(sent) / args.rate);
            tokio::time::sleep_until(due.into()).await;
        }
        sender.send(order).await?;
        sent += 1;
        progress.add(1);
    }
    sender.finish().await?;
    super::print(&format!("{}\n", progress.finish("orders")))?;
    Ok(ExitCode::SUCCESS)
}

/// Where orders come from: the sample, made new for each, or the lines of a file.
enum Orders {
    Sample {
        sample: Value,
        left: u64,
        made: i64,
    },
    /// Split into bytes and not into text: they are sent as they are.
    Lines(Split<Box<dyn AsyncBufRead + Unpin + Send>>),
}

impl Orders {
    async fn open(args: &PublishArgs) -> anyhow::Result<Self> {
        let Some(file) = &args.from else {
            let sample = serde_json::from_str(order::model::SAMPLE)?;
            let made = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
            return Ok(Self::Sample { sample, left: args.count, made });
        };
        let reader: Box<dyn AsyncBufRead + Unpin + Send> = if file == Path::new("-") {
            Box::new(BufReader::new(tokio::io::stdin()))
        } else {
            let opened = tokio::fs::File::open(file).await;
            Box::new(BufReader::new(opened.with_context(|| format!("can't read {}", file.display()))?))
        };
        Ok(Self::Lines(reader.split(b'\n')))
    }

    async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        match self {
            Self::Sample { left: 0, .. } => Ok(None),
            Self::Sample { sample, left, made } => {
                *left -= 1;
                *made += 1;
                Ok(Some(renewed(sample, *made)?))
            }
            Self::Lines(lines) => loop {
                match lines.next_segment().await.context("can't read the orders")? {
                    Some(line) if line.trim_ascii().is_empty() => {}
                    line => return Ok(line.map(Bytes::from)),
                }
            },
        }
    }
}

/// The sample with those members made new that it has.
fn renewed(sample: &mut Value, number: i64) -> anyhow::Result<Bytes> {
    let fresh = [
        ("order_uid", Value::from(format!("{number:016x}test"))),
        ("sm_id", Value::from(number)),
        ("date_created", Value::from(OffsetDateTime::now_utc().format(&Rfc3339)?)),
    ];
    for (name, value) in fresh {
        if let Some(member) = sample.get_mut(name) {
            *member = value;
        }
    }
    Ok(serde_json::to_vec(sample)?.into())
}

/// Sends, and with JetStream remembers each order until it is acknowledged.
struct Sender {
    client: Client,
    context: Context,
    subject: String,
    core: bool,
    /// Makes the ids of this run unlike those of any other.
    run: String,
    number: u64,
    waiting: VecDeque<(Order, PublishAckFuture)>,
}

#[derive(Clone)]
struct Order {
    payload: Bytes,
    id: String,
}

impl Sender {
    fn new(client: Client, context: Context, subject: String, core: bool) -> Self {
        // A random name of the client library's, which it makes for replies.
        let run = client.new_inbox().replace("_INBOX.", "");
        Self { client, context, subject, core, run, number: 0, waiting: VecDeque::new() }
    }

    async fn send(&mut self, payload: Bytes) -> anyhow::Result<()> {
        self.number += 1;
        let order = Order { payload, id: format!("{}-{}", self.run, self.number) };
        if self.core {
            let published =
                self.client.publish_with_headers(self.subject.clone(), headers(&order), order.payload);
            return Ok(published.await?);
        }
        if self.waiting.len() >= UNACKNOWLEDGED {
            self.settle_oldest().await?;
        }
        let waiting = self.publish(&order).await?;
        self.waiting.push_back((order, waiting));
        Ok(())
    }

    async fn publish(&self, order: &Order) -> anyhow::Result<PublishAckFuture> {
        let published = self
            .context
            .publish_with_headers(self.subject.clone(), headers(order), order.payload.clone())
            .await;
        published.with_context(|| format!("can't publish on {}", self.subject))
    }

    /// Waits for the acknowledgement of the oldest order; sends it again, with the same id, where none comes.
    async fn settle_oldest(&mut self) -> anyhow::Result<()> {
        let Some((order, mut waiting)) = self.waiting.pop_front() else { return Ok(()) };
        let begun = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            match waiting.await {
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() > PATIENCE => {
                    return Err(error).context("the server did not acknowledge an order");
                }
                Err(_) => backoff.wait().await,
            }
            waiting = self.publish(&order).await?;
        }
    }

    async fn finish(mut self) -> anyhow::Result<()> {
        while !self.waiting.is_empty() {
            self.settle_oldest().await?;
        }
        Ok(self.client.flush().await?)
    }
}

fn headers(order: &Order) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, order.id.as_str());
    headers
}
