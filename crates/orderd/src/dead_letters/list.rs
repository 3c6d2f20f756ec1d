//! Dead letters as the stream has them: listed, found by their keys, read whole, and sent into the topic again.

use std::ops::ControlFlow;

use anyhow::Context as _;
use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use bytes::Bytes;
use order::Key;

use super::format::{DeadLetter, KEY_HEADER, SECOND_PART, header};
use crate::nats::{self, DEAD_PREFIX};
use crate::scan::{self, Scan};

/// How many messages are read at once, at most, to find the newest.
const READ: u64 = 1024;

/// How many tokens the subject of an order may have, for its dead letter to be found by its key.
const TOKENS: usize = 16;

/// All of them, oldest first.
pub(crate) async fn all(context: &Context) -> anyhow::Result<Vec<DeadLetter>> {
    let stream = nats::dead_stream(context).await?;
    let mut found = Vec::new();
    scan::headers(&stream, DeliverPolicy::All, |number, message| {
        found.extend(DeadLetter::of(number, message));
    })
    .await?;
    Ok(found)
}

/// The newest, or the newest with a number below `before`; newest first, `count` at most.
///
/// The stream can only be read forwards, and has gaps where dead letters were taken in or dropped. So a stretch
/// of it is looked at that becomes longer while it holds too few, and shorter where it holds too many to read.
pub(crate) async fn newest(
    context: &Context,
    before: Option<u64>,
    count: usize,
) -> anyhow::Result<Vec<DeadLetter>> {
    let stream = nats::dead_stream(context).await?;
    let state = &stream.cached_info().state;
    let mut end = before.unwrap_or(u64::MAX).min(state.last_sequence + 1);
    let mut behind = from(&stream, end).await?.count;
    let mut length = READ / 4;
    let mut found = Vec::new();
    while found.len() < count && end > state.first_sequence {
        let start = end.saturating_sub(length).max(state.first_sequence);
        let mut stretch = from(&stream, start).await?;
        let left = stretch.count;
        stretch.count = left.saturating_sub(behind);
        if stretch.count > READ {
            length /= 2;
            continue;
        }
        found.extend(below(stretch, end).await?.into_iter().rev());
        (end, behind, length) = (start, left, length.saturating_mul(4));
    }
    found.truncate(count);
    Ok(found)
}

async fn from(stream: &Stream, start: u64) -> anyhow::Result<Scan> {
    let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: start.max(1) };
    Scan::new(stream, pull::Config { deliver_policy, headers_only: true, ..Default::default() }).await
}

/// Those with a number below `end`.
async fn below(scan: Scan, end: u64) -> anyhow::Result<Vec<DeadLetter>> {
    let mut found = Vec::new();
    scan.show(|number, message| {
        if number >= end {
            return Ok(ControlFlow::Break(()));
        }
        found.extend(DeadLetter::of(number, message));
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    Ok(found)
}

/// The dead letter of that key.
pub(crate) async fn find(context: &Context, key: &str) -> anyhow::Result<Option<DeadLetter>> {
    // Anything else might be a wildcard, and so the key of whatever is stored.
    if !Key::is_from_stream(key) {
        return Ok(None);
    }
    let stream = nats::dead_stream(context).await?;
    for tokens in 1..=TOKENS {
        let subject = format!("{DEAD_PREFIX}{}.{key}", ".*".repeat(tokens));
        if let Some(found) = last(&stream, &subject).await? {
            return Ok(DeadLetter::new(found.sequence, found.subject.to_string(), found.headers));
        }
    }
    Ok(None)
}

/// The whole payload, put together where it is in two parts; none where it was taken in or dropped meanwhile.
pub(crate) async fn payload(context: &Context, letter: &DeadLetter) -> anyhow::Result<Option<Bytes>> {
    let stream = context.get_stream_no_info(nats::DEAD_STREAM).await?;
    let Some(first) = last(&stream, &letter.subject).await? else { return Ok(None) };
    if letter.header(header::PARTS) != "2" {
        return Ok(Some(first.payload));
    }
    let rest = last(&stream, &format!("{}.{SECOND_PART}", letter.subject)).await?;
    Ok(rest.map(|rest| [first.payload, rest.payload].concat().into()))
}

async fn last<I>(stream: &Stream<I>, subject: &str) -> anyhow::Result<Option<StreamMessage>> {
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Publishes it with its key. The service takes it as the order of that key and removes the dead letter; doing
/// it twice, or being killed in between, makes no second order. One that is still refused stays as it is.
pub(crate) async fn replay(context: &Context, letter: &DeadLetter) -> anyhow::Result<()> {
    let Some(payload) = payload(context, letter).await? else { return Ok(()) };
    let mut headers = HeaderMap::new();
    headers.insert(KEY_HEADER, letter.key.as_str());
    let subject = letter.original_subject();
    let sent = context.publish_with_headers(subject.to_owned(), headers, payload).await?;
    sent.await.with_context(|| format!("can't send {} into {subject} again", letter.key))?;
    Ok(())
}
