//! What a dead letter looks like in its stream: subject, headers, parts. No I/O.

use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use order::Refusal;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::nats::DEAD_PREFIX;

/// The header by which a replay says whose dead letter a message is.
pub(crate) const KEY_HEADER: &str = "Orderd-Key";

/// Bytes that all headers of a dead letter take together, at most.
pub(crate) const MAX_HEADERS: usize = 4096;

/// The longest a reason and a path may be, in bytes, so that all headers together stay below [`MAX_HEADERS`].
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

/// A message that is refused, before it is stored.
pub(crate) struct Refused<'m> {
    pub(crate) subject: &'m str,
    pub(crate) key: &'m str,
    /// Its place in the stream of orders, and the time there.
    pub(crate) sequence: u64,
    pub(crate) timestamp_ns: i64,
    pub(crate) payload: &'m bytes::Bytes,
    pub(crate) refusal: &'m Refusal,
}

/// A dead letter without its payload.
pub(crate) struct DeadLetter {
    /// Where it stands in the stream of dead letters: later ones have larger numbers.
    pub(crate) number: u64,
    /// `dead.{subject}.{key}`
    pub(crate) subject: String,
    pub(crate) key: String,
    headers: HeaderMap,
}

/// The subject under which the dead letter of a message is stored.
pub(crate) fn subject_of(subject: &str, key: &str) -> String {
    format!("{DEAD_PREFIX}.{subject}.{key}")
}

/// Whose dead letter a message with these headers says to be.
pub(crate) fn key_of_dead_letter(headers: Option<&HeaderMap>) -> Option<String> {
    Some(headers?.get(KEY_HEADER)?.as_str().to_owned())
}

impl Refused<'_> {
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = once();
        headers.insert(header::REASON, self.refusal.reason.as_str());
        headers.insert(header::DETAIL, cut(&self.refusal.detail));
        if let Some(path) = &self.refusal.path {
            headers.insert(header::PATH, cut(path));
        }
        if let Some(offset) = self.refusal.offset {
            headers.insert(header::OFFSET, offset.to_string().as_str());
        }
        headers.insert(header::SUBJECT, cut(self.subject));
        headers.insert(header::SEQUENCE, self.sequence.to_string().as_str());
        headers.insert(header::TIME, rfc3339(self.timestamp_ns).as_str());
        headers.insert(header::BYTES, self.payload.len().to_string().as_str());
        headers
    }
}

/// The header by which the server stores a message only while its subject is empty.
pub(super) fn once() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
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

impl DeadLetter {
    /// What is stored in a message; none: it is a second part.
    pub(super) fn of(number: u64, message: &Message) -> Option<Self> {
        Self::new(number, message.subject.to_string(), message.headers.clone().unwrap_or_default())
    }

    pub(super) fn new(number: u64, subject: String, headers: HeaderMap) -> Option<Self> {
        let key = subject.rsplit('.').next()?.to_owned();
        (key != SECOND_PART).then_some(Self { number, subject, key, headers })
    }

    /// What a header says; nothing where it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.as_str())
    }

    /// The subject it came by.
    pub(super) fn original_subject(&self) -> &str {
        let rest = self.subject.strip_prefix(DEAD_PREFIX).unwrap_or(&self.subject);
        rest.strip_suffix(&self.key).unwrap_or(rest).trim_matches('.')
    }

    /// All but the payload, as JSON.
    pub(crate) fn describe(&self) -> Value {
        let number = |name| self.header(name).parse::<u64>().ok();
        json!({
            "key": self.key,
            "number": self.number,
            "subject": self.original_subject(),
            "sequence": number(header::SEQUENCE),
            "time": self.header(header::TIME),
            "reason": self.header(header::REASON),
            "detail": self.header(header::DETAIL),
            "path": Some(self.header(header::PATH)).filter(|path| !path.is_empty()),
            "offset": number(header::OFFSET),
            "bytes": number(header::BYTES),
        })
    }

    /// The same with the payload: in base64, and as text where it is.
    pub(crate) fn describe_with(&self, payload: &[u8]) -> Value {
        let mut described = self.describe();
        described["payload_base64"] = BASE64_STANDARD.encode(payload).into();
        described["payload"] = std::str::from_utf8(payload).map_or(Value::Null, Value::from);
        described
    }
}
