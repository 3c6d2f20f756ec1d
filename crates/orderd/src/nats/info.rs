//! Information from NATS about streams, consumers and the account, parsed leniently: an unknown value in another
//! program's stream or consumer is not an error.

use std::collections::{BTreeSet, HashMap};

use async_nats::jetstream::Context;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{Error, ErrorCode};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// A stream.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub(crate) struct StreamInfo {
    pub(crate) config: StreamConfig,
    pub(crate) state: StreamState,
    /// When it was created, as RFC 3339.
    pub(crate) created: String,
    /// The server's clock when it answered, as RFC 3339.
    pub(crate) ts: Option<String>,
}

/// The configuration of a stream.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub(crate) struct StreamConfig {
    pub(crate) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) subjects: Vec<String>,
    pub(crate) storage: String,
    pub(crate) retention: String,
    pub(crate) discard: String,
    pub(crate) discard_new_per_subject: bool,
    pub(crate) max_msgs: i64,
    pub(crate) max_consumers: i64,
    pub(crate) max_bytes: i64,
    /// Nanoseconds.
    pub(crate) max_age: i64,
    pub(crate) max_msgs_per_subject: i64,
    pub(crate) num_replicas: u64,
    pub(crate) sealed: bool,
    pub(crate) deny_delete: bool,
    pub(crate) no_ack: bool,
    /// In bytes, including headers; no limit if not positive.
    pub(crate) max_msg_size: i64,
    pub(crate) mirror: Option<StreamSource>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) sources: Vec<StreamSource>,
    pub(crate) subject_transform: Option<SubjectTransform>,
}

/// Another stream from which a stream sources messages.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub(crate) struct StreamSource {
    pub(crate) filter_subject: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) subject_transforms: Vec<SubjectTransform>,
}

/// Messages on `src` are stored under `dest`.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub(crate) struct SubjectTransform {
    pub(crate) src: String,
    pub(crate) dest: String,
}

/// The state of a stream.
#[derive(Deserialize, Clone, Copy, Debug, Default)]
#[serde(default)]
pub(crate) struct StreamState {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) consumer_count: u64,
}

/// A consumer.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub(crate) struct ConsumerInfo {
    pub(crate) name: String,
    pub(crate) config: ConsumerConfig,
    pub(crate) delivered: SequenceInfo,
    pub(crate) ack_floor: SequenceInfo,
    pub(crate) num_ack_pending: u64,
}

/// The configuration of a consumer.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub(crate) struct ConsumerConfig {
    pub(crate) durable_name: Option<String>,
}

/// A sequence of the stream.
#[derive(Deserialize, Clone, Copy, Debug, Default)]
#[serde(default)]
pub(crate) struct SequenceInfo {
    pub(crate) stream_seq: u64,
}

/// The account's limits and usage of JetStream.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub(crate) struct AccountInfo {
    #[serde(flatten)]
    pub(crate) all: Tier,
    /// Limits that depend on the number of replicas: `R1`, `R3`.
    #[serde(deserialize_with = "or_default")]
    pub(crate) tiers: std::collections::BTreeMap<String, Tier>,
}

/// Usage and limits of an account, in total or of a tier.
#[derive(Deserialize, Clone, Copy, Debug, Default)]
#[serde(default)]
pub(crate) struct Tier {
    pub(crate) memory: u64,
    pub(crate) storage: u64,
    pub(crate) reserved_storage: u64,
    pub(crate) streams: u64,
    pub(crate) limits: AccountLimits,
}

/// Limits of an account. -1: no limit. Storage of 0 is none at all.
#[derive(Deserialize, Clone, Copy, Debug)]
#[serde(default)]
pub(crate) struct AccountLimits {
    pub(crate) max_memory: i64,
    pub(crate) max_storage: i64,
    pub(crate) max_streams: i64,
    /// For each stream.
    pub(crate) max_consumers: i64,
    pub(crate) storage_max_stream_bytes: i64,
    pub(crate) max_bytes_required: bool,
}

impl Default for AccountLimits {
    fn default() -> Self {
        Self {
            max_memory: -1,
            max_storage: -1,
            max_streams: -1,
            max_consumers: -1,
            storage_max_stream_bytes: -1,
            max_bytes_required: false,
        }
    }
}

impl AccountInfo {
    /// Whether a stream may have this number of replicas: an account with tiers allows only those.
    pub(crate) fn has_tier(&self, replicas: u64) -> bool {
        self.tiers.is_empty() || self.tiers.contains_key(&tier_name(replicas))
    }

    /// The tier of a stream with this number of replicas.
    pub(crate) fn tier(&self, replicas: u64) -> &Tier {
        self.tiers.get(&tier_name(replicas)).unwrap_or(&self.all)
    }
}

fn tier_name(replicas: u64) -> String {
    format!("R{}", replicas.max(1))
}

/// NATS writes an empty list as `null`.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Sends a request to JetStream's API.
///
/// # Errors
/// No answer, an answer that can't be parsed, or the server's error.
pub(crate) async fn ask<T: DeserializeOwned>(
    context: &Context,
    subject: String,
    payload: &Value,
) -> anyhow::Result<Result<T, Error>> {
    Ok(match context.request(subject, payload).await? {
        Response::Ok(answer) => Ok(answer),
        Response::Err { error } => Err(error),
    })
}

/// A stream; `None` if it does not exist.
///
/// # Errors
/// A server that can't be reached, or answers with an error.
pub(crate) async fn stream(context: &Context, name: &str) -> anyhow::Result<Option<StreamInfo>> {
    found(ask(context, format!("STREAM.INFO.{name}"), &json!({})).await?, ErrorCode::STREAM_NOT_FOUND)
}

/// The subjects within `filter` under which a stream has messages; empty if it does not exist.
///
/// # Errors
/// A server that can't be reached, or answers with an error.
pub(crate) async fn subjects(context: &Context, name: &str, filter: &str) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct SubjectsPage {
        total: usize,
        state: PageState,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct PageState {
        #[serde(deserialize_with = "or_default")]
        subjects: HashMap<String, IgnoredAny>,
    }
    let mut all = BTreeSet::new();
    let mut offset = 0;
    loop {
        let wanted = json!({ "subjects_filter": filter, "offset": offset });
        let asked = ask(context, format!("STREAM.INFO.{name}"), &wanted).await?;
        let page: SubjectsPage = found(asked, ErrorCode::STREAM_NOT_FOUND)?.unwrap_or_default();
        offset += page.state.subjects.len();
        let is_last = page.state.subjects.is_empty() || offset >= page.total;
        all.extend(page.state.subjects.into_keys());
        if is_last {
            return Ok(all.into_iter().collect());
        }
    }
}

/// All consumers of a stream.
///
/// # Errors
/// A server that can't be reached, or answers with an error.
pub(crate) async fn consumers(context: &Context, stream: &str) -> anyhow::Result<Vec<ConsumerInfo>> {
    #[derive(Deserialize)]
    struct ConsumersPage {
        #[serde(default)]
        total: usize,
        #[serde(default, deserialize_with = "or_default")]
        consumers: Vec<ConsumerInfo>,
    }
    let mut all = Vec::new();
    loop {
        let payload = json!({ "offset": all.len() });
        let page: ConsumersPage = ask(context, format!("CONSUMER.LIST.{stream}"), &payload).await??;
        let is_last = page.consumers.is_empty();
        all.extend(page.consumers);
        if is_last || all.len() >= page.total {
            return Ok(all);
        }
    }
}

/// The names of the streams with subjects that overlap this one.
///
/// # Errors
/// A server that can't be reached, or answers with an error.
pub(crate) async fn names(context: &Context, subject: &str) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct StreamNames {
        #[serde(default, deserialize_with = "or_default")]
        streams: Vec<String>,
    }
    let names: StreamNames = ask(context, "STREAM.NAMES".into(), &json!({ "subject": subject })).await??;
    Ok(names.streams)
}

/// The account.
///
/// # Errors
/// A server that can't be reached, or answers with an error.
pub(crate) async fn account(context: &Context) -> anyhow::Result<AccountInfo> {
    Ok(ask(context, "INFO".into(), &json!({})).await??)
}

pub(super) fn found<T>(asked: Result<T, Error>, missing: ErrorCode) -> anyhow::Result<Option<T>> {
    match asked {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.error_code() == missing => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_null_or_missing_fields_of_nats_do_not_hide_a_stream() {
        let text = r#"{"config":{"name":"S","subjects":null,"storage":"tape","sources":null,"what":{"is":1}},
            "state":{"messages":7,"bytes":70,"first_seq":1,"last_seq":7}}"#;
        let stream: StreamInfo = serde_json::from_str(text).unwrap();
        assert_eq!((stream.config.storage.as_str(), stream.state.messages), ("tape", 7));
        let text = r#"{"name":"c","config":{"durable_name":"c","ack_policy":"sometimes","priority_policy":"prioritized",
            "priority_groups":["a"]},"ack_floor":{"consumer_seq":1,"stream_seq":5},"num_ack_pending":2}"#;
        let consumer: ConsumerInfo = serde_json::from_str(text).unwrap();
        assert_eq!((consumer.ack_floor.stream_seq, consumer.num_ack_pending), (5, 2));
        let text = r#"{"memory":1,"storage":2,"limits":{"max_storage":-1},"tiers":{"R3":{"storage":9,"limits":{"max_storage":10}}}}"#;
        let account: AccountInfo = serde_json::from_str(text).unwrap();
        assert_eq!((account.tier(1).storage, account.tier(3).limits.max_storage), (2, 10));
    }
}
