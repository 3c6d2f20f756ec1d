//! Creates a stream. If the server refuses, the error says which stream, why, and what to create manually.

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
        _ => {
            let account = info::account(context).await.unwrap_or_default();
            let bytes = max_bytes(&account, config.num_replicas as u64);
            format!("{head}; create it manually: {}", by_hand(config, Some(bytes)))
        }
    }
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
