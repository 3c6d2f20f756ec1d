//! deadchan -> the stream of dead letters, then ack: what could not be taken in, kept with the reason.
//!
//! A dead letter is stored once, whatever is redelivered: its subject holds the key of its message, and the
//! server stores it only while that subject is empty.

use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use order::{Key, Refusal};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use super::Message;
use crate::metrics::Metrics;
use crate::nats::{DEAD_PREFIX, DEAD_STREAM};
use crate::persist::tell::Teller;
use crate::retry::Backoff;

/// How many are on their way to the server at once.
const UNDER_WAY: usize = 64;

/// How long an answer to a look-up is waited for, which never comes if it went with a connection. The intake waits with
/// it, and asks again; a command or a request that erases asks once.
const LOOK_UP: Duration = Duration::from_secs(1);
const ONLY_LOOK_UP: Duration = Duration::from_secs(5);

/// Room for the headers, at most.
const HEADERS: usize = 4096;

/// The longest a reason and a path may be, in bytes, so that all headers together stay below [`HEADERS`].
const TEXT: usize = 1024;

/// The last token of the subject of a second part, where a payload leaves no room for the headers.
pub(crate) const SECOND_PART: &str = "rest";

/// The headers of a dead letter.
pub(crate) mod header {
    pub(crate) const REASON: &str = "Orderd-Reason";
    pub(crate) const DETAIL: &str = "Orderd-Detail";
    pub(crate) const PATH: &str = "Orderd-Path";
    pub(crate) const OFFSET: &str = "Orderd-Offset";
    pub(crate) const SUBJECT: &str = "Orderd-Subject";
    pub(crate) const SEQUENCE: &str = "Orderd-Sequence";
    pub(crate) const TIME: &str = "Orderd-Time";
    pub(crate) const BYTES: &str = "Orderd-Bytes";
    pub(crate) const PARTS: &str = "Orderd-Parts";
}

/// A message and why it is refused.
pub(crate) struct DeadLetter {
    pub(crate) message: Message,
    pub(crate) refusal: Refusal,
}

/// The stream of dead letters.
pub(crate) struct DeadLetters {
    client: Client,
    context: Context,
}

/// The subject under which the dead letter of a message is stored.
pub(crate) fn subject_of(subject: &str, key: &str) -> String {
    format!("{DEAD_PREFIX}.{subject}.{key}")
}

impl DeadLetters {
    pub(crate) fn new(client: Client) -> Self {
        Self { context: jetstream::new(client.clone()), client }
    }

    /// Stores each dead letter and then acknowledges its message, until `deadchan` closes.
    pub(crate) async fn run(
        &self,
        mut deadchan: mpsc::Receiver<DeadLetter>,
        metrics: &Metrics,
        teller: &Teller,
    ) -> anyhow::Result<()> {
        let incoming = stream::poll_fn(move |context| deadchan.poll_recv(context));
        incoming.for_each_concurrent(UNDER_WAY, |letter| self.keep(letter, metrics, teller)).await;
        Ok(())
    }

    /// Waits as long as the server can't be reached: nothing is dropped.
    async fn keep(&self, letter: DeadLetter, metrics: &Metrics, teller: &Teller) {
        metrics.errors.inc();
        let mut backoff = Backoff::default();
        while let Err(error) = self.store(&letter).await {
            tracing::warn!(
                key = letter.message.key.as_str(),
                error = format!("{error:#}"),
                "can't store a dead letter in {DEAD_STREAM}; trying again"
            );
            backoff.wait().await;
        }
        let reason = letter.refusal.reason.as_str();
        metrics.dead_letters.with_label_values(&[reason]).inc();
        tracing::warn!(
            key = letter.message.key.as_str(),
            subject = letter.message.subject.as_str(),
            sequence = letter.message.origin.sequence,
            reason,
            place = letter.refusal.path.as_deref().unwrap_or("$"),
            "message refused, kept as a dead letter"
        );
        letter.message.receipt.acknowledge().await;
        teller.nothing(letter.message.origin.sequence);
    }

    async fn store(&self, letter: &DeadLetter) -> anyhow::Result<()> {
        let subject = subject_of(&letter.message.subject, letter.message.key.as_str());
        let mut headers = headers(letter);
        let mut payload = letter.message.payload.clone();
        let room = self.client.max_payload().saturating_sub(HEADERS);
        if payload.len() > room {
            let rest = payload.split_off(payload.len() / 2);
            // First, so that whoever sees the first part finds the second.
            self.publish(format!("{subject}.{SECOND_PART}"), once(), rest).await?;
            headers.insert(header::PARTS, "2");
        }
        self.publish(subject, headers, payload).await
    }

    async fn publish(&self, subject: String, headers: HeaderMap, payload: Bytes) -> anyhow::Result<()> {
        use jetstream::context::PublishErrorKind as Kind;
        let ack = self.context.publish_with_headers(subject, headers, payload).await?;
        match tokio::time::timeout(Duration::from_secs(5), ack.into_future()).await? {
            Ok(_) => Ok(()),
            // The subject is not empty: it is stored already.
            Err(error) if error.kind() == Kind::WrongLastSequence => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the dead letter of that key is stored. Waits as long as the server can't be asked.
    pub(crate) async fn is_stored(&self, subject: &str, key: &str) -> bool {
        let mut backoff = Backoff::default();
        loop {
            // Anything else might be a wildcard, and so the key of whatever is stored.
            if !Key::is_from_stream(key) {
                return false;
            }
            match self.sequence(&subject_of(subject, key), LOOK_UP).await {
                Ok(sequence) => return sequence.is_some(),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "can't look up a dead letter; trying again")
                }
            }
            backoff.wait().await;
        }
    }

    /// Removes the dead letter of an order that is in the table now. Waits as long as the server can't be
    /// reached.
    pub(crate) async fn remove(&self, subject: &str, key: &str) {
        let mut backoff = Backoff::default();
        let subject = subject_of(subject, key);
        while let Err(error) = self.delete_within(LOOK_UP, &subject).await {
            tracing::warn!(error = format!("{error:#}"), "can't remove a dead letter; trying again");
            backoff.wait().await;
        }
    }

    /// Deletes both parts of a dead letter, the first one first: what has no first part is not shown.
    pub(crate) async fn delete(&self, subject: &str) -> anyhow::Result<()> {
        self.delete_within(ONLY_LOOK_UP, subject).await
    }

    async fn delete_within(&self, limit: Duration, subject: &str) -> anyhow::Result<()> {
        let stream = self.context.get_stream_no_info(DEAD_STREAM).await?;
        for subject in [subject.to_owned(), format!("{subject}.{SECOND_PART}")] {
            if let Some(sequence) = self.sequence(&subject, limit).await? {
                stream.delete_message(sequence).await?;
            }
        }
        Ok(())
    }

    async fn sequence(&self, subject: &str, limit: Duration) -> anyhow::Result<Option<u64>> {
        use jetstream::stream::RawMessageErrorKind as Kind;
        let stream = self.context.get_stream_no_info(DEAD_STREAM).await?;
        let asked = stream.get_last_raw_message_by_subject(subject);
        match tokio::time::timeout(limit, asked).await? {
            Ok(found) => Ok((*found.subject == *subject).then_some(found.sequence)),
            Err(error) if error.kind() == Kind::NoMessageFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn once() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
    headers
}

fn headers(letter: &DeadLetter) -> HeaderMap {
    let DeadLetter { message, refusal } = letter;
    let mut headers = once();
    headers.insert(header::REASON, refusal.reason.as_str());
    headers.insert(header::DETAIL, cut(&refusal.detail));
    if let Some(path) = &refusal.path {
        headers.insert(header::PATH, cut(path));
    }
    if let Some(offset) = refusal.offset {
        headers.insert(header::OFFSET, offset.to_string().as_str());
    }
    headers.insert(header::SUBJECT, cut(&message.subject));
    headers.insert(header::SEQUENCE, message.origin.sequence.to_string().as_str());
    headers.insert(header::TIME, rfc3339(message.origin.timestamp_ns).as_str());
    headers.insert(header::BYTES, message.payload.len().to_string().as_str());
    headers
}

/// Cut to size, and without line breaks, which would end a header.
fn cut(text: &str) -> &str {
    let line_end = text.find(['\r', '\n']).unwrap_or(text.len());
    &text[..text.floor_char_boundary(line_end.min(TEXT))]
}

fn rfc3339(timestamp_ns: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(timestamp_ns));
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}
