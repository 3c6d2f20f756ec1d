//! Erasing an order everywhere: table, stream, dead letters, and the memory of every process.
//!
//! Its key is kept with the time, and nothing else of it, so that neither a redelivery nor an import brings it
//! back. The key is first: from then on what is written of the order is erased again, wherever this stops. The
//! dead letter goes before the messages, so that none is sent again meanwhile.

mod follow;
mod message;

use std::collections::HashSet;

use anyhow::Context as _;
use async_nats::Client;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use async_nats::jetstream::{self, Context, Message};
use order::Key;
use tokio_postgres::types::Type;

pub(crate) use self::follow::Follower;
use crate::config::{Nats, Postgres};
use crate::dead_letters::format::{key_of_dead_letter, subject_of};
use crate::dead_letters::list;
use crate::dead_letters::store::DeadLetters;
use crate::postgres::{self, Unanswered};
use crate::{scan, streams};

/// Erases orders.
pub(crate) struct Eraser {
    pub(crate) postgres: Postgres,
    pub(crate) nats: Nats,
    pub(crate) client: Client,
}

impl Eraser {
    /// Erases orders; one that is not there is kept from ever coming. `each` is called after each.
    ///
    /// # Errors
    /// What could not be reached or refuses; running it again goes on where it stopped.
    pub(crate) async fn erase(&self, keys: &[String], each: impl Fn()) -> anyhow::Result<()> {
        let context = jetstream::new(self.client.clone());
        for key in keys {
            let erased = tokio::time::timeout(postgres::STUCK, self.erase_row(key)).await;
            let erased = erased.unwrap_or_else(|_| Err(Unanswered::Silent.into()));
            erased.with_context(|| format!("can't erase {key} from the table"))?;
            self.erase_from_nats(&context, key).await?;
            each();
        }
        let first = keys.iter().filter_map(|key| sequence(key)).min();
        let Some(start_sequence) = first.and_then(|first| first.checked_add(1)) else { return Ok(()) };
        self.erase_replays(&context, keys, DeliverPolicy::ByStartSequence { start_sequence }).await
    }

    async fn erase_row(&self, key: &str) -> anyhow::Result<()> {
        if key.contains('\0') {
            // PostgreSQL has no such text.
            return Ok(());
        }
        let mut connection = postgres::connect_once(&self.postgres).await?;
        let (table, erased) = (self.postgres.table.quoted(), postgres::erased(&self.postgres.table));
        postgres::make_erased(&connection.client, &self.postgres.table).await.map_err(postgres::explain)?;
        let both = connection.client.transaction().await.map_err(postgres::explain)?;
        for statement in [
            format!("INSERT INTO {erased} (id) VALUES ($1) ON CONFLICT (id) DO NOTHING"),
            format!("DELETE FROM {table} WHERE id = $1"),
        ] {
            both.query_typed(&statement, &[(&key, Type::TEXT)]).await.map_err(postgres::explain)?;
        }
        both.commit().await.map_err(postgres::explain)
    }

    async fn erase_from_nats(&self, context: &Context, key: &str) -> anyhow::Result<()> {
        let stream = streams::stream(context, &self.nats).await?;
        let message = message_of(&stream, key).await?;
        let subject = message.as_ref().map(|message| subject_of(&message.subject, key));
        let erased = self.erase_dead_letter(context, key, subject).await;
        erased.with_context(|| format!("can't erase the dead letter {key}"))?;
        let Some(message) = message else { return Ok(()) };
        let erased = message::erase(context, &stream, message.sequence).await;
        erased.with_context(|| format!("can't erase {key} from the stream"))
    }

    /// Whether there was one; where its subject is not known, it is found by its key.
    async fn erase_dead_letter(
        &self,
        context: &Context,
        key: &str,
        subject: Option<String>,
    ) -> anyhow::Result<bool> {
        let found = match subject {
            Some(subject) => Some(subject),
            None => list::find(context, key).await?.map(|letter| letter.subject),
        };
        let Some(subject) = found else { return Ok(false) };
        DeadLetters::new(self.client.clone()).delete(&subject).await?;
        Ok(true)
    }

    /// The messages by which dead letters of these orders were sent again.
    async fn erase_replays(
        &self,
        context: &Context,
        keys: &[String],
        from: DeliverPolicy,
    ) -> anyhow::Result<()> {
        let stream = streams::stream(context, &self.nats).await?;
        let info = stream.cached_info();
        let last = info.state.last_sequence;
        let none = matches!(from, DeliverPolicy::ByStartSequence { start_sequence } if start_sequence > last);
        // A work queue has one consumer, and nothing of what that has acknowledged.
        if none || info.config.retention == RetentionPolicy::WorkQueue {
            return Ok(());
        }
        let keys: HashSet<&str> = keys.iter().map(String::as_str).collect();
        let mut found = Vec::new();
        let show = |sequence, message: &Message| {
            let key = key_of_dead_letter(message.headers.as_ref());
            found.extend(key.filter(|key| keys.contains(key.as_str())).map(|_| sequence));
        };
        scan::headers(&stream, from, show).await?;
        for sequence in found {
            message::erase(context, &stream, sequence).await?;
        }
        Ok(())
    }
}

/// The message by which an order came.
async fn message_of(stream: &Stream, key: &str) -> anyhow::Result<Option<StreamMessage>> {
    let Some(sequence) = sequence(key) else { return Ok(None) };
    let Some(message) = message::raw(stream, sequence).await? else { return Ok(None) };
    let timestamp = i64::try_from(message.time.unix_timestamp_nanos())?;
    // Else the stream was made anew, and this is another message.
    Ok(Some(message).filter(|_| Key::from_stream(timestamp, sequence).as_str() == key))
}

/// The place in the stream that a key names.
fn sequence(key: &str) -> Option<u64> {
    Some(key).filter(|key| Key::is_from_stream(key))?.split_once('-')?.1.parse().ok()
}
