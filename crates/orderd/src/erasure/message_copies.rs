//! Erases a message from a stream, and from the streams that it is sourced from.

use anyhow::Context as _;
use async_nats::jetstream::Context;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, Source, Stream};

use crate::nats::stored_message::{self, StoredMessage};

/// The header with the source of a sourced message: stream and sequence.
const SOURCE_HEADER: &str = "Nats-Stream-Source";

/// Erases a message and the messages that it was sourced from, the original first, so that a second run after a kill
/// still finds the rest. Returns the number of messages.
///
/// # Errors
/// A stream that can't be reached or refuses to delete.
pub(super) async fn delete_all(context: &Context, stream: &Stream, sequence: u64) -> anyhow::Result<u64> {
    let mut copies = Vec::new();
    let mut next = stored_message::at(context, &stream.cached_info().config.name, sequence)
        .await?
        .map(|message| (stream.clone(), message));
    while let Some((stream, message)) = next {
        next = source_of(context, &stream, &message).await?;
        copies.push((stream, message.sequence));
    }
    let count = copies.len() as u64;
    for (stream, sequence) in copies.into_iter().rev() {
        delete(&stream, sequence).await?;
    }
    Ok(count)
}

/// The message of another stream that this one is a copy of.
async fn source_of(
    context: &Context,
    stream: &Stream,
    message: &StoredMessage,
) -> anyhow::Result<Option<(Stream, StoredMessage)>> {
    let Some((source, sequence)) = origin(&stream.cached_info().config, message) else { return Ok(None) };
    let name = &source.name;
    anyhow::ensure!(
        source.external.is_none() && source.domain.is_none(),
        "message {sequence} of the stream {name}, in another account or domain, is the same one: erase it there"
    );
    let stream = match context.get_stream(name).await {
        Ok(stream) => stream,
        Err(error) if is_missing(&error.kind()) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("can't look for it in the stream {name}")),
    };
    let found = stored_message::at(context, name, sequence).await?;
    // Otherwise that stream was recreated, or a publisher wrote the header.
    let found = found.filter(|found| found.payload == message.payload);
    Ok(found.map(|found| (stream, found)))
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn origin<'c>(config: &'c Config, message: &StoredMessage) -> Option<(&'c Source, u64)> {
    if let Some(mirrored) = &config.mirror {
        return Some((mirrored, message.sequence));
    }
    let mut words = message.header(SOURCE_HEADER)?.split(' ');
    // After a colon: the account or domain, if it is another one.
    let name = words.next()?.split(':').next()?;
    let sequence = words.next()?.parse().ok()?;
    let source = config.sources.iter().flatten().find(|source| source.name == name)?;
    Some((source, sequence))
}

async fn delete(stream: &Stream, sequence: u64) -> anyhow::Result<()> {
    let deleted = stream.delete_message(sequence).await;
    deleted.map(drop).with_context(|| {
        let name = &stream.cached_info().config.name;
        format!("the stream {name} does not let message {sequence} be deleted (deny_delete?)")
    })
}
