//! Publishes documents; with JetStream, keeps each until the server has acknowledged it.

use std::collections::VecDeque;
use std::error::Error as _;
use std::time::{Duration, Instant};

use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, Event, HeaderMap};
use bytes::Bytes;
use tokio::sync::watch;

use super::documents::Document;
use super::receipts;
use crate::backoff::Backoff;
use crate::commands::complain;
use crate::receipts::RECEIPT_HEADER;
use crate::wording::counted;

/// Maximum number of unacknowledged messages.
const MAX_UNACKNOWLEDGED: usize = 2048;

/// Time limit for retries while the server does not answer, or has no leader.
const RETRY_LIMIT: Duration = Duration::from_secs(60);

/// A retry that lasts longer is said.
const SILENT_RETRY: Duration = Duration::from_secs(2);

/// Time for the client to report what the server has sent.
const EVENT_DELAY: Duration = Duration::from_millis(200);

/// Answers of a server that will take the message a moment later: a cluster without a leader, or one that starts.
const TRANSIENT: [u64; 4] = [10008, 10009, 10076, 10118];

/// Events of the connection.
#[derive(Clone, Default)]
pub(super) struct ConnectionEvents {
    /// The server denies to publish.
    denied: Option<String>,
    disconnects: u64,
}

/// Records events that concern a publisher.
pub(super) fn note(noted: &watch::Sender<ConnectionEvents>, event: &Event) {
    match event {
        Event::Disconnected => noted.send_modify(|noted| noted.disconnects += 1),
        Event::ServerError(error) => {
            let said = error.to_string();
            let lower = said.to_lowercase();
            if lower.contains("permissions violation") && lower.contains("publish") {
                noted.send_modify(|noted| noted.denied = Some(said));
            }
        }
        _ => {}
    }
}

/// The destination of messages.
pub(super) struct SendTarget {
    pub(super) client: Client,
    pub(super) subject: String,
    /// The stream that acknowledges; `None` with plain NATS publish.
    pub(super) stream: Option<jetstream::stream::Stream>,
    pub(super) noted: watch::Receiver<ConnectionEvents>,
    /// Where receipts are asked for.
    pub(super) receipts: Option<String>,
}

/// Sends to a subject.
pub(super) struct Sender {
    target: SendTarget,
    context: Context,
    limits: MessageLimits,
    number: u64,
    waiting: VecDeque<(NumberedDocument, PublishAckFuture)>,
    /// Number of acknowledged messages; with plain publish, of sent ones.
    pub(super) sent: u64,
}

/// How large a message may be, with its headers.
#[derive(Clone)]
pub(super) struct MessageLimits {
    max_payload: usize,
    /// The stream's name and its `max_msg_size`.
    stream: Option<(String, usize)>,
    /// Makes the ids of this run unlike those of any other.
    run: String,
    /// Where receipts are asked for.
    receipts: Option<String>,
}

#[derive(Clone)]
struct NumberedDocument {
    payload: Bytes,
    id: String,
    /// The subject of its receipt.
    receipt: Option<String>,
    /// Its name in messages.
    name: String,
}

impl MessageLimits {
    fn new(target: &SendTarget) -> Self {
        let limit = target.stream.as_ref().map(|stream| &stream.cached_info().config).and_then(|config| {
            let size = usize::try_from(config.max_message_size).ok()?;
            Some((config.name.clone(), size)).filter(|_| size > 0)
        });
        Self {
            max_payload: target.client.max_payload(),
            stream: limit,
            // A random name, as the client library creates it for replies.
            run: target.client.new_inbox().replace("_INBOX.", ""),
            receipts: target.receipts.clone(),
        }
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    fn receipt(&self, document: &Document, number: u64) -> Option<String> {
        self.receipts.as_ref().map(|inbox| receipts::subject(inbox, number, document.line))
    }

    /// Refuses a document that the server would refuse.
    pub(super) fn check(&self, document: &Document, number: u64) -> anyhow::Result<()> {
        let receipt = self.receipt(document, number);
        let receipt = receipt.map_or(0, |subject| RECEIPT_HEADER.len() + ": \r\n".len() + subject.len());
        let header = "NATS/1.0\r\nNats-Msg-Id: \r\n\r\n".len() + self.id(number).len() + receipt;
        let size = document.bytes.len() + header;
        let too_large = |of: String, limit: usize| {
            anyhow::anyhow!(
                "{}: the document has {} bytes, with its header {size}, and {of} takes {limit} at most",
                document.name(number),
                document.bytes.len()
            )
        };
        if size > self.max_payload {
            return Err(too_large("the NATS server (max_payload)".into(), self.max_payload));
        }
        match &self.stream {
            Some((name, limit)) if size > *limit => {
                Err(too_large(format!("the stream {name} (max_msg_size)"), *limit))
            }
            _ => Ok(()),
        }
    }
}

/// Why a message was not acknowledged.
enum PublishFailure {
    /// The server will never take it.
    Final(String),
    /// The server may accept it a moment later.
    Transient(String),
}

impl Sender {
    pub(super) fn new(target: SendTarget) -> Self {
        let context = jetstream::new(target.client.clone());
        let limits = MessageLimits::new(&target);
        Self { target, context, limits, number: 0, waiting: VecDeque::new(), sent: 0 }
    }

    pub(super) fn limits(&self) -> &MessageLimits {
        &self.limits
    }

    /// Sends a document; waits where too many are not acknowledged.
    ///
    /// # Errors
    /// A message that the server does not take, this one or an earlier one.
    pub(super) async fn send(&mut self, document: Document) -> anyhow::Result<()> {
        self.number += 1;
        let order = NumberedDocument {
            name: document.name(self.number),
            id: self.limits.id(self.number),
            receipt: self.limits.receipt(&document, self.number),
            payload: document.bytes,
        };
        if self.target.stream.is_none() {
            return self.send_plainly(order).await;
        }
        if self.waiting.len() >= MAX_UNACKNOWLEDGED {
            self.settle_oldest().await?;
        }
        let waiting = match self.publish(&order).await {
            Ok(waiting) => waiting,
            Err(error) => return Err(self.failed(&order, &self.reason(&error))),
        };
        self.waiting.push_back((order, waiting));
        Ok(())
    }

    async fn send_plainly(&mut self, order: NumberedDocument) -> anyhow::Result<()> {
        self.refuse_denied(&order)?;
        let (client, subject) = (self.target.client.clone(), self.target.subject.clone());
        let published = client.publish_with_headers(subject, headers(&order), order.payload.clone());
        match tokio::time::timeout(RETRY_LIMIT, published).await {
            Ok(Ok(())) => self.sent += 1,
            Ok(Err(error)) => return Err(self.failed(&order, &error.to_string())),
            Err(_) => return Err(self.failed(&order, "the connection accepts no data")),
        }
        Ok(())
    }

    async fn publish(&self, order: &NumberedDocument) -> Result<PublishAckFuture, PublishError> {
        let (subject, payload) = (self.target.subject.clone(), order.payload.clone());
        self.context.publish_with_headers(subject, headers(order), payload).await
    }

    /// Waits for the acknowledgement of the oldest message; without one, sends it again with the same id.
    async fn settle_oldest(&mut self) -> anyhow::Result<()> {
        let Some((order, mut waiting)) = self.waiting.pop_front() else { return Ok(()) };
        let begun = Instant::now();
        let mut backoff = Backoff::default();
        let mut is_said = false;
        loop {
            let mut noted = self.target.noted.clone();
            let acknowledged = tokio::select! {
                acknowledged = waiting => acknowledged,
                () = async { drop(noted.wait_for(|noted| noted.denied.is_some()).await) } => {
                    self.refuse_denied(&order)?;
                    return Err(self.failed(&order, "the connection ended"));
                }
            };
            let Err(error) = acknowledged else {
                self.sent += 1;
                return Ok(());
            };
            let reason = match self.failure(&error, begun.elapsed()).await {
                PublishFailure::Final(reason) => return Err(self.failed(&order, &reason)),
                PublishFailure::Transient(reason) => reason,
            };
            if begun.elapsed() > RETRY_LIMIT {
                return Err(self.failed(&order, &reason));
            }
            if !is_said && begun.elapsed() > SILENT_RETRY {
                let left = RETRY_LIMIT.as_secs();
                complain(&format!("not acknowledged: {reason}; retrying for {left} s"));
                is_said = true;
            }
            backoff.wait().await;
            waiting = match self.publish(&order).await {
                Ok(waiting) => waiting,
                Err(error) => return Err(self.failed(&order, &self.reason(&error))),
            };
        }
    }

    async fn failure(&self, error: &PublishError, elapsed: Duration) -> PublishFailure {
        let reason = self.reason(error);
        match error.kind() {
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => PublishFailure::Transient(reason),
            // A cluster does not answer while it elects a leader, either.
            PublishErrorKind::StreamNotFound if elapsed < SILENT_RETRY || self.has_stream().await => {
                PublishFailure::Transient(reason)
            }
            _ => match refusal(error) {
                Some(code) if TRANSIENT.contains(&code) => PublishFailure::Transient(reason),
                _ => PublishFailure::Final(reason),
            },
        }
    }

    /// Whether a stream has the subject, as far as the server answers.
    async fn has_stream(&self) -> bool {
        self.context.stream_by_subject(self.target.subject.clone()).await.is_ok()
    }

    fn reason(&self, error: &PublishError) -> String {
        let subject = &self.target.subject;
        let stream = self.target.stream.as_ref().map_or("", |stream| &stream.cached_info().config.name);
        match error.kind() {
            PublishErrorKind::StreamNotFound => format!(
                "no stream takes the subject {subject}: add it to a stream, or send with --core if the messages need not be stored"
            ),
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
                format!("the server does not answer for {subject}; does NATS run there, with JetStream?")
            }
            _ => match error.source() {
                Some(cause) => format!("the stream {stream} refuses a message on {subject}: {cause}"),
                None => format!("the stream {stream} refuses a message on {subject}: {error}"),
            },
        }
    }

    fn refuse_denied(&self, order: &NumberedDocument) -> anyhow::Result<()> {
        match self.target.noted.borrow().denied.as_deref() {
            Some(said) => {
                let subject = &self.target.subject;
                Err(self.failed(order, &format!("the server denies publishing on {subject} ({said})")))
            }
            None => Ok(()),
        }
    }

    fn failed(&self, order: &NumberedDocument, reason: &str) -> anyhow::Error {
        anyhow::anyhow!("{} was not sent: {reason}", order.name)
    }

    /// Waits until the server has taken all.
    ///
    /// # Errors
    /// A message that the server does not take.
    pub(super) async fn finish(&mut self) -> anyhow::Result<()> {
        while !self.waiting.is_empty() {
            self.settle_oldest().await?;
        }
        let flushed = tokio::time::timeout(RETRY_LIMIT, self.target.client.flush()).await;
        match flushed {
            Ok(flushed) => flushed?,
            Err(_) => {
                anyhow::bail!("the NATS server does not answer: it is unknown which messages it has")
            }
        }
        if self.target.stream.is_some() {
            return Ok(());
        }
        // The client reports earlier messages of the server a moment after its answer.
        let mut noted = self.target.noted.clone();
        drop(tokio::time::timeout(EVENT_DELAY, noted.wait_for(|noted| noted.denied.is_some())).await);
        let noted = self.target.noted.borrow().clone();
        if let Some(said) = noted.denied {
            self.sent = 0;
            anyhow::bail!("the server denies publishing on {} ({said})", self.target.subject);
        }
        anyhow::ensure!(
            noted.disconnects == 0,
            "the connection was lost meanwhile: with --core, some of the messages may be missing"
        );
        Ok(())
    }

    /// After a failure: waits for messages in flight, so that their number is known.
    pub(super) async fn settle_rest(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for (_, waiting) in waiting {
            if self.target.noted.borrow().denied.is_some() {
                return;
            }
            self.sent += u64::from(waiting.await.is_ok());
        }
    }

    /// The summary beside an error.
    pub(super) fn so_far(&self, noun: &str) -> String {
        let verb = if self.target.stream.is_some() { "acknowledged" } else { "sent" };
        format!("{} {verb}", counted(self.sent, noun))
    }
}

/// The number of the server's refusal.
fn refusal(error: &PublishError) -> Option<u64> {
    let refused = error.source()?.downcast_ref::<jetstream::Error>()?;
    let ErrorCode(code) = refused.error_code();
    Some(code)
}

fn headers(order: &NumberedDocument) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, order.id.as_str());
    if let Some(receipt) = &order.receipt {
        headers.insert(RECEIPT_HEADER, receipt.as_str());
    }
    headers
}
