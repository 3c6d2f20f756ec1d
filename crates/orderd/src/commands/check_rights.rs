//! The subjects on which the service publishes. `orderd check --settings` tries each with a request that the server
//! refuses for its content, so that only a missing permission shows, and nothing changes.

use async_nats::header::NATS_EXPECTED_STREAM;
use async_nats::{Client, HeaderMap};
use bytes::Bytes;

use crate::config::Nats;
use crate::dead_letters::subjects::DeadLetterSubjects;
use crate::nats::CONSUMER_PREFIX;

/// The rights that a user needs.
pub(crate) const ADVICE: &str =
    "give the user the right: it publishes on $JS.API.> and dead.>, and subscribes to _INBOX.>";

/// A body that no request of JetStream's API accepts.
const NO_REQUEST: &[u8] = b"?";

/// No stream can have this name, so no stream stores a message that expects it.
const NO_STREAM: &str = "-";

/// Sends one message on each subject that the service needs besides those of requests that got an answer already; the
/// server reports each missing permission as an error of the connection. `planned`: streams that would be created.
///
/// # Errors
/// The connection breaks.
pub(crate) async fn try_all(
    client: &Client,
    settings: &Nats,
    subjects: &DeadLetterSubjects,
    planned: &[String],
) -> anyhow::Result<()> {
    let (source, topic) = (&subjects.source, &settings.topic);
    let consumer = format!("{CONSUMER_PREFIX}check");
    let create = planned.iter().map(|name| format!("STREAM.CREATE.{name}"));
    // As `ingest` reads, and as the dead letters are looked up.
    let reads = [
        format!("CONSUMER.CREATE.{source}.{consumer}.{topic}"),
        format!("CONSUMER.MSG.NEXT.{source}.{consumer}"),
        format!("CONSUMER.INFO.{source}.{consumer}"),
        format!("CONSUMER.DELETE.{source}.{consumer}"),
        format!("STREAM.MSG.GET.{source}"),
        format!("STREAM.MSG.GET.{}", subjects.stream),
    ];
    let api = settings.domain.as_ref().map_or("$JS.API".to_owned(), |domain| format!("$JS.{domain}.API"));
    for request in create.chain(reads) {
        client.publish(format!("{api}.{request}"), Bytes::from_static(NO_REQUEST)).await?;
    }
    let mut expects = HeaderMap::new();
    expects.insert(NATS_EXPECTED_STREAM, NO_STREAM);
    client.publish_with_headers(subjects.dead_letter("check"), expects, Bytes::new()).await?;
    Ok(client.flush().await?)
}
