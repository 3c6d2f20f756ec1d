//! Reads one message of a stream by its sequence. `$JS.API.STREAM.MSG.GET` answers in JSON, with headers and payload as
//! bytes, so that the client's parser of headers is not involved.

use async_nats::jetstream::{Context, ErrorCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::info::{ask, found};
use super::micros;
use crate::flow_state::Watermark;

/// A message as stored in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredMessage {
    pub(crate) subject: String,
    pub(crate) sequence: u64,
    /// When it was stored, in nanoseconds since 1970.
    pub(crate) time_ns: i128,
    pub(crate) payload: Vec<u8>,
    /// The raw header lines that it was published with.
    headers: Vec<u8>,
}

impl StoredMessage {
    /// The message's sequence and time, as a watermark.
    pub(crate) fn watermark(&self) -> Watermark {
        Watermark { seq: self.sequence, time: Some(micros(self.time_ns)) }
    }

    /// The value of a header that a server has written; the name is case-sensitive.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines =
            self.headers.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        let values = lines.filter_map(|line| line.split_once(':')).filter(|(named, _)| *named == name);
        values.map(|(_, value)| value.trim()).next()
    }
}

#[derive(Deserialize)]
struct GetResponse {
    message: EncodedMessage,
}

#[derive(Deserialize)]
struct EncodedMessage {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: String,
}

/// The message at this sequence; `None` if the stream does not have it.
///
/// # Errors
/// A server that can't be reached, or answers with an error.
pub(crate) async fn at(
    context: &Context,
    stream: &str,
    sequence: u64,
) -> anyhow::Result<Option<StoredMessage>> {
    get(context, stream, &json!({ "seq": sequence })).await
}

/// The first message on a subject, which may have wildcards, at this sequence or after it.
///
/// # Errors
/// As [`at`].
pub(crate) async fn first_from(
    context: &Context,
    stream: &str,
    subject: &str,
    sequence: u64,
) -> anyhow::Result<Option<StoredMessage>> {
    get(context, stream, &json!({ "seq": sequence, "next_by_subj": subject })).await
}

async fn get(context: &Context, stream: &str, request: &Value) -> anyhow::Result<Option<StoredMessage>> {
    let asked = ask::<GetResponse>(context, format!("STREAM.MSG.GET.{stream}"), request).await?;
    let Some(GetResponse { message }) = found(asked, ErrorCode::NO_MESSAGE_FOUND)? else { return Ok(None) };
    Ok(Some(StoredMessage {
        subject: message.subject,
        sequence: message.seq,
        time_ns: OffsetDateTime::parse(&message.time, &Rfc3339)?.unix_timestamp_nanos(),
        payload: BASE64_STANDARD.decode(message.data)?,
        headers: BASE64_STANDARD.decode(message.hdrs)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_of_the_server_is_found_among_lines_of_any_bytes() {
        let message = |headers: &[u8]| StoredMessage {
            subject: "a".into(),
            sequence: 1,
            time_ns: 1,
            payload: Vec::new(),
            headers: headers.to_vec(),
        };
        let read = message(b"NATS/1.0\r\nFoo: a\rb\r\n\xff: 1\r\nNats-Stream-Source: ORDERS 7 > > a\r\n\r\n");
        assert_eq!(read.header("Nats-Stream-Source"), Some("ORDERS 7 > > a"));
        assert_eq!(read.header("nats-stream-source"), None);
        assert_eq!(message(b"").header("Foo"), None);
    }
}
