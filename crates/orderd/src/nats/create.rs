//! Creates a stream. If the server refuses, the error says which stream, why, and what to change.
//!
//! `orderd check --settings` predicts the refusal, and words it as `serve` words the server's.

use async_nats::jetstream::Context;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::{Config, Stream};

use super::info::{self, AccountInfo};
use crate::nats::MADE_BY;

/// Default `max_bytes` of the suggested stream, if the server names no limit.
const DEFAULT_MAX_BYTES: u64 = 1 << 30;

/// The setting that selects another stream, for the advice.
#[derive(Clone, Copy)]
pub(crate) struct StreamSetting(pub(crate) &'static str);

impl StreamSetting {
    /// What to do if other streams have the subjects.
    fn of_overlap(self, config: &Config, others: &str) -> String {
        match self.0 {
            "NATS_DEAD_STREAM" => format!("keep dead letters there: NATS_DEAD_STREAM={others}"),
            _ => format!("create {} with other subjects: {}", config.name, by_hand(config, None)),
        }
    }
}

/// Creates the stream; returns an existing one with the same configuration.
///
/// # Errors
/// Which stream can't be created for which subjects, why, and the command that creates it.
pub(crate) async fn create(
    context: &Context,
    config: Config,
    instead: StreamSetting,
) -> anyhow::Result<Stream> {
    let error = match context.create_stream(config.clone()).await {
        Ok(stream) => return Ok(stream),
        Err(error) => error,
    };
    let (reason, code) = match error.kind() {
        CreateStreamErrorKind::JetStream(refused) => (refused.to_string(), refused.error_code()),
        _ => return Err(anyhow::anyhow!("can't create the stream {}: {error}", config.name)),
    };
    Err(anyhow::anyhow!(refusal(context, &config, &reason, code, instead).await))
}

/// Why the stream can't be created, and what to do.
pub(crate) async fn refusal(
    context: &Context,
    config: &Config,
    reason: &str,
    code: ErrorCode,
    instead: StreamSetting,
) -> String {
    let (name, subjects, StreamSetting(setting)) = (&config.name, config.subjects.join(","), instead);
    let head = format!("can't create the stream {name} for {subjects}: {reason}");
    match code {
        ErrorCode::STREAM_SUBJECT_OVERLAP => {
            let others = overlapping(context, config).await.join(", ");
            format!(
                "{head}: {others} takes some of these subjects already; take them out of that stream (nats stream edit \
                 {others} --subjects=…), or {}",
                instead.of_overlap(config, &others)
            )
        }
        ErrorCode::STREAM_NAME_EXIST => {
            format!("{head}; set {setting} to a free name, or give that stream the subjects {subjects}")
        }
        ErrorCode::MAXIMUM_STREAMS_LIMIT => format!(
            "{head}; raise the account's limit of streams (max_streams): orderd needs one for documents and one for \
             dead letters; or remove a stream that is not needed: nats stream rm"
        ),
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => {
            format!("{head}; set NATS_REPLICAS=1, or use a cluster for {} replicas", config.num_replicas)
        }
        ErrorCode::NO_LIMITS => format!(
            "{head}; give the account limits for streams with {} replicas (tier R{0}), or set NATS_REPLICAS to a \
             number that it has limits for",
            config.num_replicas.max(1)
        ),
        ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES => format!(
            "{head}; raise the limit of file storage of the account (max_file) or the server (max_file_store), or \
             remove what is not needed: nats stream purge"
        ),
        _ => {
            let account = info::account(context).await.unwrap_or_default();
            let bytes = max_bytes(&account, config.num_replicas as u64);
            format!("{head}; create it manually: {}", by_hand(config, Some(bytes)))
        }
    }
}

/// Why the server would refuse to create the stream, in its words and with its code, as far as the account's limits and
/// the other streams tell. `planned`: the streams that are created before this one; `is_alone`: the server is not in a
/// cluster. Changes nothing.
pub(crate) async fn predicted_refusal(
    context: &Context,
    config: &Config,
    account: &AccountInfo,
    planned: u64,
    is_alone: bool,
) -> Option<(&'static str, ErrorCode)> {
    let replicas = config.num_replicas as u64;
    let tier = account.tier(replicas);
    let max_streams = u64::try_from(tier.limits.max_streams).ok().filter(|max| *max > 0);
    Some(if is_alone && replicas > 1 {
        ("replicas > 1 not supported in non-clustered mode", ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED)
    } else if !account.has_tier(replicas) {
        ("no JetStream default or applicable tiered limit present", ErrorCode::NO_LIMITS)
    } else if !overlapping(context, config).await.is_empty() {
        ("subjects overlap with an existing stream", ErrorCode::STREAM_SUBJECT_OVERLAP)
    } else if tier.limits.max_bytes_required {
        ("account requires a stream config to have max bytes set", ErrorCode::STREAM_MAX_BYTES_REQUIRED)
    } else if max_streams.is_some_and(|max| tier.streams + planned >= max) {
        ("maximum number of streams reached", ErrorCode::MAXIMUM_STREAMS_LIMIT)
    } else if tier.limits.max_storage == 0 {
        ("insufficient storage resources available", ErrorCode::STORAGE_RESOURCES_EXCEEDED)
    } else {
        return None;
    })
}

/// The other streams with some of the subjects.
pub(crate) async fn overlapping(context: &Context, config: &Config) -> Vec<String> {
    let mut others = Vec::new();
    for subject in &config.subjects {
        let names = info::names(context, subject).await.unwrap_or_default();
        others.extend(names.into_iter().filter(|name| *name != config.name));
    }
    others.sort();
    others.dedup();
    others
}

/// Half of the account's remaining space, at most its limit for one stream.
pub(crate) fn max_bytes(account: &AccountInfo, replicas: u64) -> u64 {
    let tier = account.tier(replicas);
    let limit = |limit: i64| u64::try_from(limit).ok().filter(|&limit| limit > 0);
    let left = limit(tier.limits.max_storage)
        .map(|max| max.saturating_sub(tier.storage.max(tier.reserved_storage)) / 2 / replicas.max(1));
    let bounds = [left, limit(tier.limits.storage_max_stream_bytes), Some(DEFAULT_MAX_BYTES)];
    bounds.into_iter().flatten().min().unwrap_or(DEFAULT_MAX_BYTES).max(1 << 20)
}

/// The command that creates the stream. With `discard=new`, a full stream refuses publishers instead of dropping
/// orders.
pub(crate) fn by_hand(config: &Config, max_bytes: Option<u64>) -> String {
    let mut command = format!(
        "nats stream add {} --subjects='{}' --storage=file --retention=limits --discard=new --replicas={}",
        config.name,
        config.subjects.join(","),
        config.num_replicas.max(1)
    );
    if let Some(bytes) = max_bytes {
        command.push_str(&format!(" --max-bytes={bytes}"));
    }
    // With this metadata, committed messages are purged from it, as from a stream that we created.
    command.push_str(&format!(" --metadata={}={} --defaults", MADE_BY.0, MADE_BY.1));
    command
}
