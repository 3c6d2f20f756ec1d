//! The stream of dead letters: stored, looked up and deleted there.
//!
//! A dead letter is stored once, whatever is redelivered: its subject holds the key of its message, and the
//! server stores it only while that subject is empty.

use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use order::Key;

use super::format::{MAX_HEADERS, Refused, SECOND_PART, header, once, subject_of};
use crate::nats::DEAD_STREAM;
use crate::retry::Backoff;

/// How long an answer to a look-up is waited for, which never comes if it went with a connection. The intake waits with
/// it, and asks again; a command or a request that erases asks once.
const LOOK_UP: Duration = Duration::from_secs(1);
const ONLY_LOOK_UP: Duration = Duration::from_secs(5);

/// The stream of dead letters.
pub(crate) struct DeadLetters {
    client: Client,
    context: Context,
}

impl DeadLetters {
    pub(crate) fn new(client: Client, context: Context) -> Self {
        Self { context, client }
    }

    /// Stores a message once, whatever is redelivered.
    pub(crate) async fn store(&self, refused: &Refused<'_>) -> anyhow::Result<()> {
        let subject = subject_of(refused.subject, refused.key);
        let mut headers = refused.headers();
        let mut payload = refused.payload.clone();
        let room = self.client.max_payload().saturating_sub(MAX_HEADERS);
        if payload.len() > room {
            let rest = payload.split_off(payload.len() / 2);
            // First, so that a reader of the first part finds the second.
            self.publish(format!("{subject}.{SECOND_PART}"), once(), rest).await?;
            headers.insert(header::PARTS, "2");
        }
        self.publish(subject, headers, payload).await
    }

    async fn publish(&self, subject: String, headers: HeaderMap, payload: Bytes) -> anyhow::Result<()> {
        use jetstream::context::PublishErrorKind as Kind;
        let ack = self.context.publish_with_headers(subject, headers, payload).await?;
        match tokio::time::timeout(Duration::from_secs(5), ack.into_future()).await? {
            Ok(_) => Ok(()),
            // The subject is not empty: it is stored already.
            Err(error) if error.kind() == Kind::WrongLastSequence => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the dead letter of that key is stored. Waits as long as the server can't be asked.
    pub(crate) async fn is_stored(&self, subject: &str, key: &str) -> bool {
        let mut backoff = Backoff::default();
        loop {
            // Anything else might be a wildcard, and so the key of whatever is stored.
            if !Key::is_from_stream(key) {
                return false;
            }
            match self.sequence(&subject_of(subject, key), LOOK_UP).await {
                Ok(sequence) => return sequence.is_some(),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "can't look up a dead letter; trying again")
                }
            }
            backoff.wait().await;
        }
    }

    /// Removes the dead letter of an order that is in the table now. Waits as long as the server can't be
    /// reached.
    pub(crate) async fn remove(&self, subject: &str, key: &str) {
        let mut backoff = Backoff::default();
        let subject = subject_of(subject, key);
        while let Err(error) = self.delete_within(LOOK_UP, &subject).await {
            tracing::warn!(error = format!("{error:#}"), "can't remove a dead letter; trying again");
            backoff.wait().await;
        }
    }

    /// Whether a dead letter is stored under this subject.
    pub(crate) async fn is_there(&self, subject: &str) -> anyhow::Result<bool> {
        Ok(self.sequence(subject, ONLY_LOOK_UP).await?.is_some())
    }

    /// Deletes both parts of a dead letter, the first one first: what has no first part is not shown.
    pub(crate) async fn delete(&self, subject: &str) -> anyhow::Result<()> {
        self.delete_within(ONLY_LOOK_UP, subject).await
    }

    async fn delete_within(&self, limit: Duration, subject: &str) -> anyhow::Result<()> {
        let stream = self.context.get_stream_no_info(DEAD_STREAM).await?;
        for subject in [subject.to_owned(), format!("{subject}.{SECOND_PART}")] {
            if let Some(sequence) = self.sequence(&subject, limit).await? {
                stream.delete_message(sequence).await?;
            }
        }
        Ok(())
    }

    async fn sequence(&self, subject: &str, limit: Duration) -> anyhow::Result<Option<u64>> {
        use jetstream::stream::RawMessageErrorKind as Kind;
        let stream = self.context.get_stream_no_info(DEAD_STREAM).await?;
        let asked = stream.get_last_raw_message_by_subject(subject);
        match tokio::time::timeout(limit, asked).await? {
            Ok(found) => Ok((*found.subject == *subject).then_some(found.sequence)),
            Err(error) if error.kind() == Kind::NoMessageFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
