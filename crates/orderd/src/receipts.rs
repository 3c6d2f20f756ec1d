//! Sends receipts: whether a message was committed or refused, on the subject that the message's header names. At most
//! once: a receipt that can't be sent now is dropped.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use cache::Cache;
use futures_util::FutureExt;
use order::Refusal;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::broadcast;
use tokio::time::timeout;

use crate::config::Settings;
use crate::flow_state::Watermark;
use crate::metrics::Metrics;
use crate::nats::headers::{DETAIL, MAX_TEXT, OFFSET, PATH, printable};
use crate::nats::intake_message::{Message, StreamPosition};
use crate::subject::{self, DEAD_PREFIX};

/// The header that names the subject.
pub(crate) const RECEIPT_HEADER: &str = "Orderd-Receipt";

/// Time limit for a full connection, because waiting delays a commit.
const PUBLISH_TIMEOUT: Duration = Duration::from_millis(100);

/// Receipts wait at most this long for memory. An order that was erased meanwhile never comes.
pub(crate) const MEMORY_TIMEOUT: Duration = Duration::from_secs(2);

/// How far the clock of NATS may be ahead of ours.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// Maximum number of replays to remember.
const MAX_REFUSED_REPLAYS: usize = 10_000;

/// Maximum number of receipts queued for requests of this process.
const MAX_QUEUED: usize = 256;

/// Why a message becomes neither an order nor a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SkipReason {
    Empty,
    /// No dead letter has the key in its header.
    ForeignKey,
    /// The dead letter was dropped.
    Dropped,
    /// The dead letter was accepted already.
    Accepted,
    /// The table has a row with the key of the dead letter, from elsewhere.
    KeyTaken,
    /// The stream of dead letters has no room for the note about a replay.
    NoRoom,
    /// PostgreSQL accepted the row, and the table does not have it: a trigger keeps it out.
    NotStored,
}

impl SkipReason {
    /// In the order of openapi.json; reasons with the same word are adjacent, for `dedup`.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 7] = [
        Self::KeyTaken,
        Self::Accepted,
        Self::NoRoom,
        Self::NotStored,
        Self::Dropped,
        Self::ForeignKey,
        Self::Empty,
    ];

    /// The reason as one word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::ForeignKey => "foreign_key",
            Self::Dropped => "dropped",
            Self::Accepted | Self::KeyTaken => "key_taken",
            Self::NoRoom => "no_room",
            Self::NotStored => "not_stored",
        }
    }

    /// The reason in a sentence.
    fn detail(self) -> &'static str {
        match self {
            Self::Empty => "the message is empty, and is skipped",
            Self::ForeignKey => {
                "the header Orderd-Key names no stored dead letter, so the message is skipped: publish without that \
                 header"
            }
            Self::Dropped => "the dead letter of the header Orderd-Key was dropped",
            Self::Accepted => {
                "the dead letter was accepted already, in another replay or as it was, so the document is not stored"
            }
            Self::KeyTaken => {
                "the table already has a row with the key of this dead letter, so the document is not stored: drop the \
                 dead letter, and publish the document without the header Orderd-Key if it is another one"
            }
            Self::NoRoom => {
                "the stream of dead letters has no room for the note about this replay, so the document is not stored: \
                 make room there, and replay the dead letter again"
            }
            Self::NotStored => {
                "PostgreSQL accepted the row, but the table does not have it: a trigger keeps it out, changes its id or \
                 stores it elsewhere; publish the document again once that is fixed"
            }
        }
    }
}

/// The outcome of a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Receipt {
    /// The reason; `None` where the order is committed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) refused: Option<String>,
    pub(crate) key: String,
    /// The reason in words, the JSON path, and the offset in bytes: in headers, like those of a dead letter.
    #[serde(skip)]
    pub(crate) detail: String,
    #[serde(skip)]
    pub(crate) path: Option<String>,
    #[serde(skip)]
    pub(crate) offset: Option<usize>,
}

impl Receipt {
    /// The message became neither an order nor a dead letter.
    pub(crate) fn skipped(key: &str, reason: SkipReason) -> Self {
        let refused = Some(reason.as_str().to_owned());
        Self { refused, key: key.into(), detail: reason.detail().into(), path: None, offset: None }
    }

    /// Reads a receipt; `None` where the message is something else.
    pub(crate) fn read(message: &async_nats::Message) -> Option<Self> {
        let receipt: Self = serde_json::from_slice(&message.payload).ok()?;
        let header = |name| Some(message.headers.as_ref()?.get(name)?.as_str().to_owned());
        let detail = header(DETAIL).unwrap_or_default();
        let offset = header(OFFSET).and_then(|offset| offset.parse().ok());
        Some(Self { detail, path: header(PATH), offset, ..receipt })
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !self.detail.is_empty() {
            headers.insert(DETAIL, printable(&self.detail, MAX_TEXT).as_str());
        }
        if let Some(path) = &self.path {
            headers.insert(PATH, printable(path, MAX_TEXT).as_str());
        }
        if let Some(offset) = self.offset {
            headers.insert(OFFSET, offset.to_string().as_str());
        }
        headers
    }
}

/// A receipt, and the subject on which it was requested.
#[derive(Clone)]
pub(crate) struct AddressedReceipt {
    pub(crate) subject: String,
    pub(crate) receipt: Receipt,
}

/// Sends them.
pub(crate) struct Receipts {
    client: Client,
    cache: Arc<Cache>,
    allowed: AllowedSubjects,
    ignored: prometheus::IntCounter,
    /// To requests of this process: its connection does not receive its own messages.
    here: broadcast::Sender<AddressedReceipt>,
    answered: Mutex<Answered>,
    /// Replays whose receipts say that they were refused again: their dead letters show no more whether they were reported.
    refused_replays: Mutex<HashSet<Watermark>>,
}

impl Receipts {
    pub(crate) fn new(client: Client, cache: Arc<Cache>, settings: &Settings, metrics: &Metrics) -> Self {
        let allowed = AllowedSubjects {
            subjects: settings.receipt_subjects.clone(),
            topic: settings.nats.topic.clone(),
        };
        Self {
            client,
            cache,
            allowed,
            ignored: metrics.receipts_ignored.clone(),
            here: broadcast::Sender::new(MAX_QUEUED),
            answered: Mutex::default(),
            refused_replays: Mutex::default(),
        }
    }

    /// This process reads a stream that was created at that time, in microseconds since 1970.
    pub(crate) fn reads_stream(&self, created: i64) {
        let mut answered = self.answered.lock();
        if answered.stream_created != created {
            *answered = Answered { stream_created: created, ..Answered::default() };
        }
    }

    /// This process has moved the position to this message: no further receipts are sent up to it.
    pub(crate) fn note_answered(&self, watermark: Watermark) {
        self.answered.lock().note(watermark);
    }

    /// The same for a position that another process may have moved.
    pub(crate) fn note_answered_by_others(&self, watermark: Watermark) {
        // Anyone may change the row. A time in the future would count later messages as answered.
        let latest = (OffsetDateTime::now_utc() + CLOCK_SKEW).unix_timestamp_nanos() / 1000;
        if watermark.time.is_some_and(|time| i128::from(time) <= latest) {
            self.note_answered(watermark);
        }
    }

    pub(crate) fn answered(&self) -> Answered {
        *self.answered.lock()
    }

    /// The receipts that this process sends from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<AddressedReceipt> {
        self.here.subscribe()
    }

    /// The orders of these messages have just been committed. A receipt is sent once memory has its order too, so that its
    /// receiver finds it by every request; the writer does not wait for that. `answered`: before their batch was written.
    pub(crate) async fn committed<'m>(
        self: &Arc<Self>,
        messages: impl Iterator<Item = &'m Message>,
        answered: Answered,
    ) {
        let committed = |key: &str| Receipt {
            refused: None,
            key: key.to_owned(),
            detail: String::new(),
            path: None,
            offset: None,
        };
        let receipts: Vec<_> = messages
            .filter_map(|message| {
                let subject = asked_for(message.headers.as_ref())?.to_owned();
                if answered.has(message.position) {
                    return None;
                }
                Some(AddressedReceipt { subject, receipt: committed(message.key.as_str()) })
            })
            .collect();
        if receipts.is_empty() {
            return;
        }
        let keys: Vec<_> = receipts.iter().map(|addressed| addressed.receipt.key.clone()).collect();
        if self.cache.wait_inserted(&keys).now_or_never().is_some() {
            return self.send_all(receipts).await;
        }
        let this = self.clone();
        tokio::spawn(async move {
            if timeout(MEMORY_TIMEOUT, this.cache.wait_inserted(&keys)).await.is_err() {
                tracing::debug!("receipts are sent before memory has their documents");
            }
            this.send_all(receipts).await;
        });
    }

    /// The message is stored as a dead letter, and the position has passed it. `answered`: before its batch was written.
    pub(crate) async fn refused(&self, message: &Message, refusal: &Refusal, answered: Answered) {
        if let Some(subject) = asked_for(message.headers.as_ref())
            && !answered.has(message.position)
            && !(message.replayed && self.was_refused(message.position))
        {
            let key = message.key.as_str();
            let refused = Some(refusal.reason.as_str().to_owned());
            let (detail, path) = (refusal.detail.clone(), refusal.path.clone());
            let receipt = Receipt { refused, key: key.into(), detail, path, offset: refusal.offset };
            self.send_all(vec![AddressedReceipt { subject: subject.to_owned(), receipt }]).await;
        }
    }

    /// Whether this replay was refused before.
    fn was_refused(&self, position: StreamPosition) -> bool {
        let mut refused = self.refused_replays.lock();
        if refused.len() >= MAX_REFUSED_REPLAYS {
            refused.clear();
        }
        !refused.insert(position.watermark())
    }

    /// The message is neither an order nor a dead letter. `answered`: before its batch was written.
    pub(crate) async fn skipped(
        &self,
        headers: Option<&HeaderMap>,
        position: StreamPosition,
        key: &str,
        reason: SkipReason,
        answered: Answered,
    ) {
        if let Some(subject) = asked_for(headers)
            && !answered.has(position)
        {
            let receipt = Receipt::skipped(key, reason);
            self.send_all(vec![AddressedReceipt { subject: subject.to_owned(), receipt }]).await;
        }
    }

    /// Sends receipts until the connection takes no more.
    async fn send_all(&self, receipts: Vec<AddressedReceipt>) {
        for addressed in receipts {
            if !self.allowed.has(&addressed.subject) {
                self.ignored.inc();
                continue;
            }
            // Without a listener there is nothing to deliver here.
            let _ = self.here.send(addressed.clone());
            if self.client.connection_state() != State::Connected {
                continue;
            }
            let AddressedReceipt { subject, receipt } = addressed;
            let payload = serde_json::to_vec(&receipt).unwrap_or_default();
            let published =
                self.client.publish_with_headers(subject, receipt.headers(), Bytes::from(payload));
            if !matches!(timeout(PUBLISH_TIMEOUT, published).await, Ok(Ok(()))) {
                tracing::debug!("receipts are dropped: the send buffer of the connection is full");
                return;
            }
        }
    }
}

/// The subject on which a message asks for a receipt.
pub(crate) fn asked_for(headers: Option<&HeaderMap>) -> Option<&str> {
    Some(headers?.get(RECEIPT_HEADER)?.as_str())
}

/// Messages up to this one have had their receipts, from this process or from the writer that it followed. If the table
/// goes back, they are read and committed again, and their publishers must not be answered twice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answered {
    /// Microseconds since 1970.
    stream_created: i64,
    up_to: Watermark,
}

impl Answered {
    fn note(&mut self, position: Watermark) {
        if position.time > self.up_to.time {
            self.up_to = position;
        }
    }

    /// In a stream that was restored, other messages have the same sequences, and later times.
    fn has(&self, position: StreamPosition) -> bool {
        let message = position.watermark();
        message.seq <= self.up_to.seq && message.time <= self.up_to.time
    }
}

/// The allowed subjects of receipts, so that publishers can't make the service publish elsewhere.
struct AllowedSubjects {
    /// With wildcards.
    subjects: Vec<String>,
    topic: String,
}

impl AllowedSubjects {
    /// Whether it is a literal subject within these, and not one that NATS or the intake reads.
    fn has(&self, subject: &str) -> bool {
        subject::is_valid(subject)
            && !subject::is_wild(subject)
            && !subject.contains(char::is_control)
            && !subject.starts_with('$')
            && subject.split('.').next() != Some(DEAD_PREFIX)
            && self.subjects.iter().any(|wide| subject::covers(wide, subject))
            && !subject::covers(&self.topic, subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(subjects: &[&str], topic: &str) -> AllowedSubjects {
        let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
        AllowedSubjects { subjects, topic: topic.to_owned() }
    }

    #[test]
    fn receipts_go_only_where_they_may() {
        let inboxes = allowed(&["_INBOX.>"], "TESTING");
        for subject in ["_INBOX.a", "_INBOX.a.b-1"] {
            assert!(inboxes.has(subject), "{subject}");
        }
        for subject in [
            "",
            "_INBOX",
            "_INBOX.*",
            "_INBOX.>",
            "_INBOX.a..b",
            "_INBOX.a b",
            "$JS.API.X",
            "dead.a",
            "TESTING",
            "a",
        ] {
            assert!(!inboxes.has(subject), "{subject}");
        }
        assert!(!allowed(&["_INBOX.>"], "_INBOX.orders.>").has("_INBOX.orders.a"), "within the topic");
        let all = allowed(&["done.*", ">"], "orders.>");
        assert!(all.has("done.a") && all.has("x"));
        for subject in
            ["$JS.API.STREAM.DELETE.ORDERS", "$SYS.x", "dead.ORDERS.TESTING.1-1", "dead", "orders.a"]
        {
            assert!(!all.has(subject), "{subject}");
        }
        assert!(!allowed(&[], "TESTING").has("_INBOX.a"));
    }

    #[test]
    fn a_message_that_is_read_again_is_not_answered_again() {
        let at = |seq, time| Watermark { seq, time: Some(time) };
        let message = |sequence, micros: i64| StreamPosition { sequence, timestamp_ns: micros * 1000 };
        let mut answered = Answered::default();
        assert!(!answered.has(message(1, 10)));
        answered.note(at(5, 500));
        assert!(answered.has(message(1, 100)) && answered.has(message(5, 500)));
        assert!(!answered.has(message(6, 600)));
        // The table goes back.
        answered.note(at(2, 200));
        assert!(answered.has(message(5, 500)));
        answered.note(Watermark { seq: 9, time: None });
        assert!(!answered.has(message(6, 600)));
        // The stream goes back.
        assert!(!answered.has(message(1, 700)));
        answered.note(at(1, 700));
        assert!(answered.has(message(1, 700)) && !answered.has(message(2, 800)));
    }

    #[test]
    fn a_receipt_says_no_more_than_it_has_to() {
        let (key, detail, path) = ("1-1".to_owned(), "why".to_owned(), Some("$.a".to_owned()));
        let refused = Receipt { refused: Some("wrong_type".into()), key, detail, path, offset: Some(7) };
        let text = |receipt: &Receipt| serde_json::to_string(receipt).unwrap();
        assert_eq!(text(&refused), r#"{"refused":"wrong_type","key":"1-1"}"#);
        assert_eq!(text(&Receipt { refused: None, ..refused }), r#"{"key":"1-1"}"#);
    }
}
