//! The stream that orders are taken from: the one that takes the topic, the one that `NATS_STREAM` gathers from
//! others, or one that is made.

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Config, Info, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{ErrorCode, consumer};
use futures_util::TryStreamExt;
use serde::Deserialize;
use serde_json::json;

use crate::config::Nats;
use crate::nats::{MADE_BY, NatsError};
use crate::subject;

/// The stream that orders are taken from; made where no stream takes the topic.
///
/// # Errors
/// A server that can't be asked, or several streams of which none has all.
pub(crate) async fn stream(context: &Context, settings: &Nats) -> anyhow::Result<Stream> {
    match find(context, settings).await? {
        Some(stream) => Ok(stream),
        None => make(context, settings).await,
    }
}

/// The stream that orders are taken from, if there is one.
///
/// # Errors
/// A server that can't be asked, or several streams of which none has all.
pub(crate) async fn find(context: &Context, settings: &Nats) -> anyhow::Result<Option<Stream>> {
    let mut found = taking(context, &settings.topic).await?;
    if !found.contains(&settings.stream)
        && let Some(stream) = gathering(context, &settings.stream).await?
    {
        return Ok(Some(stream));
    }
    found.sort_by_key(|name| *name != settings.stream);
    match &found[..] {
        [] => Ok(None),
        [name] => Ok(Some(context.get_stream(name).await?)),
        [name, ..] if *name == settings.stream => Ok(Some(context.get_stream(name).await?)),
        names => {
            let (topic, streams) = (settings.topic.clone(), names.join(", "));
            Err(NatsError::Scattered { topic, streams }.into())
        }
    }
}

/// The names of the streams with a subject that the topic may mean.
async fn taking(context: &Context, topic: &str) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Names {
        streams: Option<Vec<String>>,
    }
    match context.request("STREAM.NAMES", &json!({ "subject": topic })).await? {
        Response::Ok(Names { streams }) => Ok(streams.unwrap_or_default()),
        Response::Err { error } => Err(error.into()),
    }
}

/// The stream of that name, if it has its messages from others.
async fn gathering(context: &Context, name: &str) -> anyhow::Result<Option<Stream>> {
    match context.get_stream(name).await {
        Ok(stream) => Ok(Some(stream).filter(|stream| gathers(&stream.cached_info().config))),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(refused) if refused.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Ok(None)
            }
            _ => Err(error.into()),
        },
    }
}

fn gathers(config: &Config) -> bool {
    config.mirror.is_some() || config.sources.as_ref().is_some_and(|sources| !sources.is_empty())
}

async fn make(context: &Context, settings: &Nats) -> anyhow::Result<Stream> {
    let stream = context
        .create_stream(Config {
            name: settings.stream.clone(),
            subjects: vec![settings.topic.clone()],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            num_replicas: settings.replicas,
            metadata: [(MADE_BY.0.to_owned(), MADE_BY.1.to_owned())].into(),
            ..Default::default()
        })
        .await
        .map_err(|error| {
            anyhow::anyhow!(
                "no stream takes {} and {} can't be made: {error}; make a stream for it, or set NATS_STREAM to a free name",
                settings.topic,
                settings.stream
            )
        })?;
    tracing::info!(stream = settings.stream, subject = settings.topic, "stream made");
    Ok(stream)
}

/// Says what is not as on a stream that we make.
pub(crate) fn warn_of(client: &Client, info: &Info, topic: &str) {
    let Config { name: stream, subjects, retention, sources, .. } = &info.config;
    if sources.as_ref().is_some_and(|sources| sources.len() > 1) && !client.is_server_compatible(2, 14, 0) {
        tracing::warn!(
            stream,
            "a NATS server before 2.14 drops a message of one source that has the Nats-Msg-Id of another's: give the \
             publishers of each source ids of their own, or upgrade the server"
        );
    }
    if *retention != RetentionPolicy::Limits {
        tracing::warn!(
            stream,
            "the stream does not keep what is acknowledged (its retention is not limits): a replica that is \
             away misses orders until it reads the table again"
        );
    }
    if !gathers(&info.config) && !subjects.iter().any(|taken| subject::covers(taken, topic)) {
        tracing::warn!(
            stream,
            topic,
            subjects = subjects.join(", "),
            "the stream takes only a part of the topic: what is published on its other subjects is not taken in"
        );
    }
}

/// Up to where nobody needs the stream's messages: each durable consumer has acknowledged them, also those that
/// are not ours.
pub(crate) async fn settled_by_all(stream: &Stream) -> anyhow::Result<u64> {
    let consumers: Vec<consumer::Info> = stream.consumers().try_collect().await?;
    let durable = consumers.iter().filter(|info| info.config.durable_name.is_some());
    Ok(durable.map(settled_by).min().unwrap_or(0))
}

/// Servers before 2.14 know no ack floor until something is acknowledged, wherever the consumer begins.
fn settled_by(info: &consumer::Info) -> u64 {
    let floor = info.ack_floor.stream_sequence;
    if info.num_ack_pending == 0 { floor.max(info.delivered.stream_sequence) } else { floor }
}
