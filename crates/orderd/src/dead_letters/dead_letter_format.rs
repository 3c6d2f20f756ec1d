//! The format of a dead letter in its stream: headers, and the payload in one or two parts. No I/O.

use async_nats::HeaderMap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use order::Refusal;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::nats::headers::{MAX_TEXT, printable};
use crate::subject;
use crate::traceparent::{TRACEPARENT, TraceParent};

/// The header in which a replay names its dead letter's key.
pub(crate) const KEY_HEADER: &str = "Orderd-Key";

/// Maximum total bytes of a dead letter's headers.
pub(super) const MAX_HEADERS: usize = 4096;

/// The longest a subject may be in a header, in bytes, so that all headers together stay below `MAX_HEADERS`.
const MAX_SUBJECT: usize = 2048;

/// Ends a subject that was cut: no escaped subject has it.
const CUT: char = '…';

/// The headers of a dead letter.
pub(crate) mod header {
    /// In a note: the sequence of the message that became the order.
    pub(crate) const TAKEN_IN_BY: &str = "Orderd-Taken-In-By";
    /// In a note: that this message did not become the order after all.
    pub(crate) const NOTE_STATE: &str = "Orderd-Note-State";
    /// In a note that the row is from elsewhere: the sequence of the last replay that was skipped for that.
    pub(crate) const SKIPPED_REPLAY: &str = "Orderd-Skipped-Replay";
    pub(crate) const REASON: &str = "Orderd-Reason";
    pub(crate) use crate::nats::headers::{DETAIL, OFFSET, PATH};
    /// The subject that the message was published on, escaped.
    pub(crate) const SUBJECT: &str = "Orderd-Subject";
    pub(crate) const SEQUENCE: &str = "Orderd-Sequence";
    pub(crate) const TIME: &str = "Orderd-Time";
    pub(crate) const BYTES: &str = "Orderd-Bytes";
    pub(crate) const PARTS: &str = "Orderd-Parts";
}

/// A message that is refused, before it is stored.
pub(crate) struct NewDeadLetter<'m> {
    pub(crate) subject: &'m str,
    pub(crate) key: &'m str,
    /// The message's sequence in the stream of orders, and the time there.
    pub(crate) sequence: u64,
    pub(crate) timestamp_ns: i64,
    pub(crate) payload: &'m Bytes,
    pub(crate) refusal: &'m Refusal,
    /// Of the message: a replay has it again.
    pub(crate) traceparent: Option<TraceParent>,
}

/// The stored form of a dead letter: one message, or two.
pub(crate) struct DeadLetterParts {
    pub(crate) headers: HeaderMap,
    pub(crate) first: Bytes,
    pub(crate) second: Option<Bytes>,
}

impl NewDeadLetter<'_> {
    /// In messages of at most `limit` bytes, headers included.
    pub(crate) fn parts(&self, limit: usize) -> DeadLetterParts {
        let mut headers = self.headers(limit);
        let room = limit.saturating_sub(wire_len(&headers));
        if self.payload.len() <= room {
            return DeadLetterParts { headers, first: self.payload.clone(), second: None };
        }
        headers.insert(header::PARTS, "2");
        let room = limit.saturating_sub(wire_len(&headers));
        let first = room.min(self.payload.len() / 2);
        let second = Some(self.payload.slice(first..));
        DeadLetterParts { headers, first: self.payload.slice(..first), second }
    }

    fn headers(&self, limit: usize) -> HeaderMap {
        let text = MAX_TEXT.min(limit / 8);
        let mut headers = once();
        headers.insert(header::REASON, self.refusal.reason.as_str());
        headers.insert(header::DETAIL, printable(&self.refusal.detail, text).as_str());
        if let Some(path) = &self.refusal.path {
            headers.insert(header::PATH, printable(path, text).as_str());
        }
        if let Some(offset) = self.refusal.offset {
            headers.insert(header::OFFSET, offset.to_string().as_str());
        }
        headers.insert(header::SUBJECT, escaped(self.subject, MAX_SUBJECT.min(limit / 4)).as_str());
        headers.insert(header::SEQUENCE, self.sequence.to_string().as_str());
        headers.insert(header::TIME, rfc3339(self.timestamp_ns).as_str());
        headers.insert(header::BYTES, self.payload.len().to_string().as_str());
        if let Some(parent) = self.traceparent {
            headers.insert(TRACEPARENT, parent.to_string().as_str());
        }
        headers
    }
}

/// A dead letter without its payload.
pub(crate) struct DeadLetter {
    /// Its sequence in the stream of dead letters: later ones have larger numbers.
    pub(crate) number: u64,
    pub(crate) key: String,
    headers: HeaderMap,
}

impl DeadLetter {
    pub(crate) fn new(number: u64, key: &str, headers: HeaderMap) -> Self {
        Self { number, key: key.to_owned(), headers }
    }

    /// The value of a header; empty if missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.as_str())
    }

    /// The message's `traceparent`, if any.
    pub(crate) fn traceparent(&self) -> Option<TraceParent> {
        TraceParent::parse(self.header(TRACEPARENT))
    }

    pub(crate) fn has_two_parts(&self) -> bool {
        self.header(header::PARTS) == "2"
    }

    /// The subject that the message was published on; `None` if that was too long to store.
    pub(crate) fn subject(&self) -> Option<String> {
        let kept = self.header(header::SUBJECT);
        (!kept.is_empty() && !kept.ends_with(CUT)).then(|| subject::from_header(kept))
    }

    /// All but the payload, as JSON.
    pub(crate) fn describe(&self) -> Value {
        let number = |name| self.header(name).parse::<u64>().ok();
        json!({
            "key": self.key,
            "number": self.number,
            "subject": subject::from_header(self.header(header::SUBJECT)),
            "sequence": number(header::SEQUENCE),
            "time": self.header(header::TIME),
            "reason": self.header(header::REASON),
            "detail": self.header(header::DETAIL),
            "path": Some(self.header(header::PATH)).filter(|path| !path.is_empty()),
            "offset": number(header::OFFSET),
            "bytes": number(header::BYTES),
            "trace_id": self.traceparent().map(|parent| parent.trace_id()),
        })
    }

    /// All as JSON, with the payload: in base64, and as text if it is UTF-8.
    pub(crate) fn describe_with(&self, payload: &[u8]) -> Value {
        let mut described = self.describe();
        described["payload_base64"] = BASE64_STANDARD.encode(payload).into();
        described["payload"] = std::str::from_utf8(payload).map_or(Value::Null, Value::from);
        described
    }
}

/// The key of the dead letter that a message with these headers claims to replay.
pub(crate) fn key_of_dead_letter(headers: Option<&HeaderMap>) -> Option<String> {
    Some(headers?.get(KEY_HEADER)?.as_str().to_owned())
}

/// The header by which the server stores a message only while its subject is empty.
pub(super) fn once() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
    headers
}

/// The bytes of headers in a message.
pub(crate) fn wire_len(headers: &HeaderMap) -> usize {
    let lines = headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let name_len = |name: &async_nats::HeaderName| AsRef::<str>::as_ref(name).len();
    let lines: usize =
        lines.map(|(name, value)| name_len(name) + value.as_str().len() + ": \r\n".len()).sum();
    "NATS/1.0\r\n\r\n".len() + lines
}

/// Escapes characters that a header can't contain, and truncates the value.
fn escaped(subject: &str, limit: usize) -> String {
    let mut escaped = subject::to_header(subject);
    if escaped.len() > limit {
        escaped.truncate(limit);
        escaped.push(CUT);
    }
    escaped
}

fn rfc3339(timestamp_ns: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(timestamp_ns));
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use order::Reason;

    const KEY: &str = "1700000000123456789-42";

    fn refusal(text: &str) -> Refusal {
        let (detail, path) = (text.to_owned(), Some(text.to_owned()));
        Refusal { reason: Reason::RefusedByDatabase, detail, path, offset: Some(usize::MAX) }
    }

    fn parts(subject: &str, text: &str, payload: &Bytes, limit: usize) -> DeadLetterParts {
        let refusal = refusal(text);
        let (sequence, timestamp_ns) = (u64::MAX, i64::MAX);
        let traceparent = Some(TraceParent { trace_id: 1, span_id: 1, is_sampled: true });
        NewDeadLetter { subject, key: KEY, sequence, timestamp_ns, payload, refusal: &refusal, traceparent }
            .parts(limit)
    }

    #[test]
    fn headers_stay_within_their_limit_whatever_is_refused() {
        let payload = Bytes::from(vec![b'x'; 1 << 20]);
        for text in ["", "x", &"ы".repeat(5000), &"\r\n".repeat(5000)] {
            for subject in ["a", &"orders.".repeat(600), &"ы".repeat(2000), &"%".repeat(4000)] {
                let parts = parts(subject, text, &payload, 1 << 20);
                let bytes = wire_len(&parts.headers);
                assert!(bytes <= MAX_HEADERS, "{bytes} for {} and {}", subject.len(), text.len());
                for value in parts.headers.iter().flat_map(|(_, values)| values) {
                    assert!(!value.as_str().contains(char::is_control));
                }
            }
        }
    }

    #[test]
    fn both_parts_fit_and_are_the_payload() {
        let once = wire_len(&once());
        for limit in [1024, 4096, 65536, 1 << 20] {
            for less in [0, 1, 50, 300, 500, 1000] {
                let payload: Bytes = (0..limit - less).map(|byte| byte as u8).collect();
                let DeadLetterParts { headers, first, second } = parts("orders.new", "why", &payload, limit);
                assert!(wire_len(&headers) + first.len() <= limit, "{limit} {less}");
                let rest = second.clone().unwrap_or_default();
                assert!(second.is_none() || once + rest.len() <= limit, "{limit} {less}");
                assert_eq!(second.is_some(), headers.get(header::PARTS).is_some());
                assert_eq!([first, rest].concat(), payload);
            }
        }
    }

    #[test]
    fn subject_that_is_cut_is_not_taken_for_a_whole_one() {
        let letter = |subject: &str| {
            DeadLetter::new(1, KEY, parts(subject, "why", &Bytes::from_static(b"{"), 1 << 20).headers)
        };
        for subject in ["orders.new", "orders.*", "a\rb", "заказы"] {
            assert_eq!(letter(subject).subject().as_deref(), Some(subject));
        }
        let long = "orders.".repeat(500);
        assert_eq!(letter(&long).subject(), None);
        assert!(
            letter(&long).describe()["subject"].as_str().is_some_and(|kept| long.starts_with(&kept[..2000]))
        );
    }
}
