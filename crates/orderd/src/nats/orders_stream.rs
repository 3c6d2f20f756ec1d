//! Finds the stream of orders: the one that stores the topic, the one that `NATS_STREAM` names, or a new one.

use anyhow::Context as _;
use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::{Config, Info, RetentionPolicy, StorageType, Stream};

use crate::config::Nats;
use crate::nats::create::{StreamSetting, create};
use crate::nats::info::{self, ConsumerInfo, StreamConfig};
use crate::nats::{MADE_BY, NatsError, micros, stored_subjects};
use crate::subject;

/// The stream of orders, created if no stream has the topic.
///
/// # Errors
/// A server that can't be reached, several streams with parts of the topic, or a stream that can't have the topic.
pub(crate) async fn find_or_create(context: &Context, settings: &Nats) -> anyhow::Result<Stream> {
    match find_name(context, settings).await? {
        Some(name) => Ok(context.get_stream(name).await?),
        None => create_orders_stream(context, settings).await,
    }
}

/// The stream that orders are read from, if there is one.
///
/// # Errors
/// As [`find_or_create`].
pub(crate) async fn find(context: &Context, settings: &Nats) -> anyhow::Result<Option<Stream>> {
    match find_name(context, settings).await? {
        Some(name) => Ok(Some(context.get_stream(name).await?)),
        None => Ok(None),
    }
}

/// The name of the existing stream of orders; `None` if it must be created. Changes nothing.
///
/// # Errors
/// As [`find_or_create`].
pub(crate) async fn find_name(context: &Context, settings: &Nats) -> anyhow::Result<Option<String>> {
    let topic = &settings.topic;
    let named = info::stream(context, &settings.stream).await?.map(|info| info.config);
    if named.as_ref().is_some_and(|named| stored_subjects::may_have(named, topic)) {
        return Ok(Some(settings.stream.clone()));
    }
    // If streams store the topic under other subjects, or not at all, name the one that was probably meant.
    let mut found = Vec::new();
    for name in info::names(context, topic).await? {
        let info = info::stream(context, &name).await?;
        found.extend(info.map(|info| info.config).filter(|config| stored_subjects::may_have(config, topic)));
    }
    match (&found[..], named) {
        (_, Some(named)) if stored_subjects::is_indirect(&named) => Err(nothing_matches(&named, topic)),
        ([], Some(named)) => Err(nothing_matches(&named, topic)),
        ([], None) => Ok(None),
        ([one], _) => Ok(Some(one.name.clone())),
        (several, _) => {
            let names: Vec<_> = several.iter().map(|config| config.name.as_str()).collect();
            Err(NatsError::Scattered { topic: topic.clone(), streams: names.join(", ") }.into())
        }
    }
}

fn nothing_matches(named: &StreamConfig, topic: &str) -> anyhow::Error {
    let stored = stored_subjects::subjects(named).join(", ");
    NatsError::NothingMatches { stream: named.name.clone(), stored, topic: topic.to_owned() }.into()
}

/// The stream to create if none has the topic.
pub(crate) fn config_of_new(settings: &Nats) -> Config {
    Config {
        name: settings.stream.clone(),
        subjects: vec![settings.topic.clone()],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: settings.replicas,
        metadata: [(MADE_BY.0.to_owned(), MADE_BY.1.to_owned())].into(),
        ..Default::default()
    }
}

async fn create_orders_stream(context: &Context, settings: &Nats) -> anyhow::Result<Stream> {
    let stream = create(context, config_of_new(settings), StreamSetting("NATS_STREAM")).await;
    let stream = stream.with_context(|| format!("no stream takes {}", settings.topic))?;
    tracing::info!(stream = settings.stream, subject = settings.topic, "stream made");
    Ok(stream)
}

/// Warns of a configuration that differs from that of a stream that we create.
pub(crate) fn warn_of_settings(client: &Client, info: &Info, topic: &str) {
    let Config { name: stream, subjects, sources, .. } = &info.config;
    if sources.as_ref().is_some_and(|sources| sources.len() > 1) && !client.is_server_compatible(2, 14, 0) {
        tracing::warn!(
            stream,
            "a NATS server before 2.14 drops a message of one source that has the Nats-Msg-Id of another's: \
             use different ids in each source, or upgrade the server"
        );
    }
    let is_indirect = has_sources(&info.config) || info.config.subject_transform.is_some();
    if !is_indirect && !subjects.iter().any(|taken| subject::covers(taken, topic)) {
        tracing::warn!(
            stream,
            topic,
            subjects = subjects.join(", "),
            "the stream takes only a part of the topic: messages on its other subjects are not read"
        );
    }
}

/// Whether its messages come from other streams.
pub(crate) fn has_sources(config: &Config) -> bool {
    config.mirror.is_some() || config.sources.as_ref().is_some_and(|sources| !sources.is_empty())
}

/// Refuses a stream that removes messages when a consumer acknowledges them. `retention` is as the server writes it.
pub(crate) fn refuse_retention(stream: &str, retention: &str) -> Result<(), NatsError> {
    match retention {
        "" | "limits" => Ok(()),
        other => Err(NatsError::Retention { stream: stream.to_owned(), retention: other.to_owned() }),
    }
}

/// Whether orderd created it and may purge it.
pub(crate) fn is_made_by_orderd(info: &Info) -> bool {
    info.config.metadata.get(MADE_BY.0).is_some_and(|made_by| made_by == MADE_BY.1)
}

/// When it was created, in microseconds since 1970, as `orderd_position` has it.
pub(crate) fn created_micros(info: &Info) -> i64 {
    micros(info.created.unix_timestamp_nanos())
}

/// The durable consumer by which earlier versions kept their position.
const FORMER_DURABLE: &str = "orderd";

/// Up to where the durable consumer of an earlier version has acknowledged everything of the topic; 0 without such a
/// consumer.
pub(crate) async fn acknowledged_before(stream: &Stream, topic: &str) -> anyhow::Result<u64> {
    match stream.consumer_info(FORMER_DURABLE).await {
        // A consumer of another topic belongs to another installation.
        Ok(info) if info.config.filter_subject != topic => Ok(0),
        Ok(info) => Ok(info.ack_floor.stream_sequence),
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// The sequence up to which all other durable consumers have acknowledged the stream's messages.
pub(crate) async fn needed_by_others(context: &Context, stream: &str) -> anyhow::Result<u64> {
    let consumers = info::consumers(context, stream).await?;
    let others = consumers
        .iter()
        .filter(|info| info.config.durable_name.as_ref().is_some_and(|name| name != FORMER_DURABLE));
    Ok(others.map(acknowledged_by).min().unwrap_or(u64::MAX))
}

/// Servers before 2.14 report no ack floor before the first acknowledgement, wherever the consumer begins.
fn acknowledged_by(info: &ConsumerInfo) -> u64 {
    let floor = info.ack_floor.stream_seq;
    if info.num_ack_pending == 0 { floor.max(info.delivered.stream_seq) } else { floor }
}

/// Deletes the messages below `floor`, and returns their number.
pub(crate) async fn purge_before(stream: &Stream, topic: &str, floor: u64) -> anyhow::Result<u64> {
    // Filter by the topic only if the stream has further subjects: a filter costs the server more.
    let purge = match &stream.cached_info().config.subjects[..] {
        [only] if only == topic => stream.purge(),
        _ => stream.purge().filter(topic),
    };
    Ok(purge.sequence(floor).await?.purged)
}
