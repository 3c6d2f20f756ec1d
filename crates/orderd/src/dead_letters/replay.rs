//! Replays dead letters, and reports the outcome of each.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::{HeaderMap, Subscriber};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::dead_letter_format::{DeadLetter, KEY_HEADER, wire_len};
use super::list;
use super::notes::ReplayState;
use super::store::DeadLetterStore;
use crate::receipts::{AddressedReceipt, RECEIPT_HEADER, Receipt};
use crate::traceparent::TRACEPARENT;

/// Maximum number of messages in flight to the server.
const MAX_IN_FLIGHT: usize = 16;

/// Some replays have no receipt: their payload leaves no room to ask for it, the service sends none, or it is lost. If
/// none arrives for this time, look at dead letters and notes.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// The reason of a refusal without a receipt.
pub(crate) const NOT_REPORTED: &str = "not_reported";

/// Up to so many dead letters are looked up one by one; for more, all are listed first.
const MAX_SINGLE_LOOKUPS: usize = 16;

/// The outcome of a replay.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// It became the order of its key.
    TakenIn,
    /// It was refused again, and stays a dead letter.
    Refused(Receipt),
    /// It was sent; the outcome is not known yet.
    Undecided,
    /// It was accepted or dropped before it was sent.
    Gone,
    /// Payload and key together are larger than NATS accepts.
    TooLarge(String),
    /// It can't be sent, for this reason.
    NotSent(String),
}

impl Outcome {
    /// Refused again, or skipped, as the table's position shows.
    fn not_reported(key: &str) -> Self {
        Self::Refused(Receipt {
            refused: Some(NOT_REPORTED.into()),
            key: key.into(),
            detail: "no receipt arrived; the log of orderd serve has the reason".into(),
            path: None,
            offset: None,
        })
    }

    /// For programs.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::TakenIn => "taken_in",
            Self::Refused(_) => "refused",
            Self::Undecided => "undecided",
            Self::Gone => "gone",
            Self::TooLarge(_) => "too_large",
            Self::NotSent(_) => "not_sent",
        }
    }

    /// As JSON: reason, detail, path and offset of a refusal, or why it was not sent.
    pub(crate) fn describe(&self, key: &str) -> Value {
        let mut described = json!({ "key": key, "outcome": self.as_str() });
        match self {
            Self::Refused(receipt) => {
                described["reason"] = receipt.refused.as_deref().into();
                described["detail"] = receipt.detail.as_str().into();
                described["path"] = receipt.path.as_deref().into();
                described["offset"] = receipt.offset.into();
            }
            Self::TooLarge(why) | Self::NotSent(why) => described["detail"] = why.as_str().into(),
            Self::TakenIn | Self::Undecided | Self::Gone => {}
        }
        described
    }
}

impl From<Receipt> for Outcome {
    fn from(receipt: Receipt) -> Self {
        if receipt.refused.is_some() { Self::Refused(receipt) } else { Self::TakenIn }
    }
}

/// Replays dead letters, with `document` in place of the payload if it is given, and waits for the outcomes, as long as
/// one arrives every `wait`. The service takes it in as the order of that key and removes the dead letter; doing it
/// twice, or being killed in between, makes no second order. One that can't be sent blocks no others. `here` has the
/// receipts that this process sends itself; `position` returns the sequence up to which the table is complete, if that is
/// known; `each` is called with the key before a dead letter is sent, and with the outcome once it is known.
///
/// # Errors
/// NATS can't be reached.
pub(crate) async fn replay(
    store: &DeadLetterStore,
    letters: &[DeadLetter],
    document: Option<Bytes>,
    here: Option<broadcast::Receiver<AddressedReceipt>>,
    wait: Duration,
    position: impl Fn() -> Option<u64>,
    each: impl FnMut(&str, Option<&Outcome>),
) -> anyhow::Result<HashMap<String, Outcome>> {
    let mut inbox = Inbox::open(store, here).await?;
    let prefix = inbox.prefix.clone();
    let each = Mutex::new(each);
    let sending = stream::iter(0..letters.len()).map(|index| {
        let letter = &letters[index];
        (each.lock())(&letter.key, None);
        let (document, receipt) = (document.clone(), format!("{prefix}.{}", letter.key));
        async move { (letter, send(store, letter, document, &receipt).await) }
    });
    let mut sending = std::pin::pin!(sending.buffer_unordered(MAX_IN_FLIGHT));
    let mut outcomes =
        Outcomes { known: HashMap::new(), open: HashMap::new(), latest: Instant::now(), each: &each };
    let (mut is_sent, mut passed) = (false, None);
    while !is_sent || !outcomes.open.is_empty() {
        tokio::select! {
            sent = sending.next(), if !is_sent => match sent {
                Some((letter, sent)) => outcomes.sent(&letter.key, sent),
                None => is_sent = true,
            },
            receipt = inbox.next() => outcomes.decided(receipt.key.clone(), receipt.into()),
            () = tokio::time::sleep(POLL_INTERVAL), if is_sent => {
                for (key, outcome) in found(store, &outcomes.open, passed).await? {
                    outcomes.decided(key, outcome);
                }
                // Used in the next round: receipts come a moment after the position has moved.
                passed = position();
                if outcomes.latest.elapsed() >= wait {
                    break;
                }
            }
        }
    }
    let Outcomes { mut known, open, .. } = outcomes;
    known.extend(open.into_keys().map(|key| (key, Outcome::Undecided)));
    Ok(known)
}

/// The outcomes so far.
struct Outcomes<'e, F> {
    known: HashMap<String, Outcome>,
    /// The replays that were sent and have no outcome yet: the sequences of their messages, by key.
    open: HashMap<String, u64>,
    /// When something happened.
    latest: Instant,
    each: &'e Mutex<F>,
}

impl<F: FnMut(&str, Option<&Outcome>)> Outcomes<'_, F> {
    fn sent(&mut self, key: &str, sent: anyhow::Result<Sent>) {
        self.latest = Instant::now();
        match sent {
            // The receipt may have come first.
            Ok(Sent::As(_)) if self.known.contains_key(key) => {}
            Ok(Sent::As(sequence)) => drop(self.open.insert(key.to_owned(), sequence)),
            Ok(Sent::Not(outcome)) => self.decided(key.to_owned(), outcome),
            Err(error) => self.decided(key.to_owned(), Outcome::NotSent(format!("{error:#}"))),
        }
    }

    fn decided(&mut self, key: String, outcome: Outcome) {
        self.latest = Instant::now();
        self.open.remove(&key);
        if !self.known.contains_key(&key) {
            (self.each.lock())(&key, Some(&outcome));
        }
        self.known.insert(key, outcome);
    }
}

/// What became of a dead letter that was to be sent.
enum Sent {
    /// It was sent: the message has this sequence.
    As(u64),
    Not(Outcome),
}

/// Receives receipts.
struct Inbox {
    /// The prefix of the subjects on which receipts are requested.
    prefix: String,
    receipts: Subscriber,
    /// A connection of the service does not receive its own messages.
    here: Option<broadcast::Receiver<AddressedReceipt>>,
}

impl Inbox {
    async fn open(
        store: &DeadLetterStore,
        here: Option<broadcast::Receiver<AddressedReceipt>>,
    ) -> anyhow::Result<Self> {
        let prefix = store.client.new_inbox();
        let receipts = store.client.subscribe(format!("{prefix}.*")).await?;
        // Otherwise a receipt might be sent before the server knows of the subscription.
        store.client.flush().await?;
        Ok(Self { prefix, receipts, here })
    }

    /// Never returns where no receipt comes.
    async fn next(&mut self) -> Receipt {
        loop {
            let here = async {
                match &mut self.here {
                    Some(here) => here.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(message) = self.receipts.next() => {
                    if let Some(receipt) = Receipt::read(&message) {
                        return receipt;
                    }
                }
                Ok(sent) = here => {
                    if sent.subject.strip_prefix(&self.prefix).is_some_and(|rest| rest.starts_with('.')) {
                        return sent.receipt;
                    }
                }
                // Neither comes any more, or some were missed: those that are gone are looked for.
                else => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }
}

/// The outcomes that dead letters and notes show, of those that were sent; `passed` is the sequence up to which the table
/// is complete, if that is known. That a dead letter is gone shows nothing: another document may have become the order.
async fn found(
    store: &DeadLetterStore,
    sent: &HashMap<String, u64>,
    passed: Option<u64>,
) -> anyhow::Result<Vec<(String, Outcome)>> {
    let waiting: HashSet<String> = if sent.len() > MAX_SINGLE_LOOKUPS {
        list::keys(store).await?.into_iter().collect()
    } else {
        HashSet::new()
    };
    let may_be_known = |(key, sequence): &(String, u64)| !waiting.contains(key) || Some(*sequence) <= passed;
    let asked: Vec<_> =
        sent.iter().map(|(key, sequence)| (key.clone(), *sequence)).filter(may_be_known).collect();
    let asked = stream::iter(asked).map(|(key, sequence)| async move {
        let outcome = match store.replay_state(&key, sequence).await? {
            ReplayState::TakenIn => Outcome::TakenIn,
            ReplayState::NotAccepted(reason) if Some(sequence) <= passed => match reason {
                Some(reason) => Outcome::Refused(Receipt::skipped(&key, reason)),
                None => Outcome::not_reported(&key),
            },
            ReplayState::NotAccepted(_) | ReplayState::Open => return Ok(None),
        };
        Ok(Some((key, outcome)))
    });
    asked.buffer_unordered(MAX_IN_FLIGHT).try_filter_map(async |outcome| Ok(outcome)).try_collect().await
}

/// Publishes it with its key and the subject for its receipt.
///
/// # Errors
/// NATS does not answer.
async fn send(
    store: &DeadLetterStore,
    letter: &DeadLetter,
    document: Option<Bytes>,
    receipt: &str,
) -> anyhow::Result<Sent> {
    let payload = match document {
        Some(document) => document,
        None => match store.payload(letter).await? {
            Some(payload) => payload,
            None => return Ok(Sent::Not(Outcome::Gone)),
        },
    };
    let Some(subject) = letter.subject() else {
        let why = "its original subject is too long to be stored with it; publish its payload there yourself";
        return Ok(Sent::Not(Outcome::NotSent(why.into())));
    };
    let headers = match headers(letter, receipt, payload.len(), store.client.max_payload()) {
        Ok(headers) => headers,
        Err(outcome) => return Ok(Sent::Not(outcome)),
    };
    let sent = store.context.publish_with_headers(subject.clone(), headers, payload).await;
    let sent = match sent {
        Ok(acknowledged) => acknowledged.await,
        Err(error) => Err(error),
    };
    match sent {
        Ok(stored) => Ok(Sent::As(stored.sequence)),
        Err(error) if matches!(error.kind(), PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe) => {
            Err(error).with_context(|| format!("can't send {} again", letter.key))
        }
        Err(error) => Ok(Sent::Not(Outcome::NotSent(format!("NATS rejects it on {subject}: {error}")))),
    }
}

/// Headers that leave room for the payload: without a receipt, the dead letter shows the outcome, and a trace is only
/// followed.
fn headers(letter: &DeadLetter, receipt: &str, bytes: usize, limit: usize) -> Result<HeaderMap, Outcome> {
    let mut with_key = HeaderMap::new();
    with_key.insert(KEY_HEADER, letter.key.as_str());
    let mut with_receipt = with_key.clone();
    with_receipt.insert(RECEIPT_HEADER, receipt);
    if let Some(parent) = letter.traceparent() {
        let mut with_trace = with_receipt.clone();
        with_trace.insert(TRACEPARENT, parent.to_string().as_str());
        if wire_len(&with_trace) + bytes <= limit {
            return Ok(with_trace);
        }
    }
    if wire_len(&with_receipt) + bytes <= limit {
        return Ok(with_receipt);
    }
    let wanted = wire_len(&with_key) + bytes;
    if wanted <= limit {
        return Ok(with_key);
    }
    Err(Outcome::TooLarge(format!(
        "its payload of {bytes} bytes and the header with its key are more than the {limit} bytes that NATS takes; raise \
         max_payload of the NATS server by {} bytes, or send a shorter document in its place (--with)",
        wanted - limit
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipt_gives_way_to_the_payload_and_the_key_does_not() {
        let letter = DeadLetter::new(1, "1700000000123456789-42", HeaderMap::new());
        let receipt = "_INBOX.abcdefgh.1700000000123456789-42";
        let headers = |bytes| headers(&letter, receipt, bytes, 1000);
        let with_receipt = headers(0).unwrap();
        assert!(with_receipt.get(RECEIPT_HEADER).is_some());
        let mut with_key = HeaderMap::new();
        with_key.insert(KEY_HEADER, letter.key.as_str());
        let (most, more) = (1000 - wire_len(&with_receipt), 1000 - wire_len(&with_key));
        assert!(headers(most).unwrap().get(RECEIPT_HEADER).is_some());
        for bytes in [most + 1, more] {
            let given = headers(bytes).unwrap();
            assert!(given.get(RECEIPT_HEADER).is_none() && given.get(KEY_HEADER).is_some());
        }
        let Err(Outcome::TooLarge(why)) = headers(more + 7) else { panic!("it is too large") };
        assert!(why.contains("max_payload of the NATS server by 7 bytes"), "{why}");
    }
}
