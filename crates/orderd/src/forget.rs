//! Erasing an order everywhere: table, stream, dead letters, and the memory of every process.
//!
//! Its key is kept with the time, and nothing else of it, so that neither a redelivery nor an import brings it
//! back. The table is first: from then on nobody writes the order any more, wherever this stops.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::Client;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::jetstream::{self, Context};
use futures_util::TryStreamExt;
use order::Key;
use tokio_postgres::types::Type;
use tokio_util::sync::CancellationToken;

use crate::config::{Nats, Postgres};
use crate::ingest::dead_letters::DeadLetters;
use crate::nats::{self, DEAD_PREFIX};
use crate::postgres::{self, Connection, describe};
use crate::serve::cache::{Cache, Gone};

/// How often each process looks for what was forgotten, here or elsewhere.
const EVERY: Duration = Duration::from_secs(1);

/// In so many looks after the first, a row is erased again.
const AGAIN: u32 = 60;

/// Erases orders.
pub(crate) struct Forget {
    pub(crate) postgres: Postgres,
    pub(crate) nats: Nats,
    pub(crate) client: Client,
}

impl Forget {
    /// Erases one order; one that is not there is kept from ever coming.
    ///
    /// # Errors
    /// What could not be reached or refuses; running it again goes on where it stopped.
    pub(crate) async fn forget(&self, key: &str) -> anyhow::Result<()> {
        self.erase_row(key).await.context("can't erase it from the table")?;
        let context = jetstream::new(self.client.clone());
        let subject = self.erase_message(&context, key).await.context("can't erase it from the stream")?;
        self.erase_dead_letter(&context, key, subject).await.context("can't erase its dead letter")
    }

    async fn erase_row(&self, key: &str) -> anyhow::Result<()> {
        let mut connection = postgres::connect_once(&self.postgres).await?;
        let (table, forgotten) = (self.postgres.table.quoted(), postgres::forgotten(&self.postgres.table));
        postgres::make_forgotten(&connection.client, &self.postgres.table)
            .await
            .map_err(postgres::explain)?;
        let both = connection.client.transaction().await.map_err(postgres::explain)?;
        for statement in [
            format!("INSERT INTO {forgotten} (id) VALUES ($1) ON CONFLICT (id) DO NOTHING"),
            format!("DELETE FROM {table} WHERE id = $1"),
        ] {
            both.query_typed(&statement, &[(&key, Type::TEXT)]).await.map_err(postgres::explain)?;
        }
        both.commit().await.map_err(postgres::explain)
    }

    /// Gives back the subject that the message had, if it was there.
    async fn erase_message(&self, context: &Context, key: &str) -> anyhow::Result<Option<String>> {
        let Some(sequence) = Some(key).filter(|key| Key::is_from_stream(key)).and_then(sequence) else {
            return Ok(None);
        };
        let stream = nats::stream(context, &self.nats).await?;
        let message = match stream.get_raw_message(sequence).await {
            Ok(message) => message,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let timestamp = i64::try_from(message.time.unix_timestamp_nanos())?;
        if Key::from_stream(timestamp, sequence).as_str() != key {
            // The stream was made anew, and this is another message.
            return Ok(None);
        }
        delete(&stream, sequence).await?;
        Ok(Some(message.subject.to_string()))
    }

    async fn erase_dead_letter(
        &self,
        context: &Context,
        key: &str,
        subject: Option<String>,
    ) -> anyhow::Result<()> {
        let dead_letters = DeadLetters::new(self.client.clone());
        if let Some(subject) = subject {
            return dead_letters.delete(&crate::ingest::dead_letters::subject_of(&subject, key)).await;
        }
        // The message is gone from the stream, and its subject with it: look at them all.
        let stream = nats::dead_stream(context).await?;
        let mut subjects = stream.info_with_subjects(format!("{DEAD_PREFIX}.>")).await?;
        while let Some((subject, _)) = subjects.try_next().await? {
            if subject.rsplit('.').next() == Some(key) {
                dead_letters.delete(&subject).await?;
            }
        }
        Ok(())
    }
}

fn sequence(key: &str) -> Option<u64> {
    key.split_once('-')?.1.parse().ok()
}

async fn delete(stream: &Stream, sequence: u64) -> anyhow::Result<()> {
    let deleted = stream.delete_message(sequence).await;
    deleted.map(drop).with_context(|| {
        let name = &stream.cached_info().config.name;
        format!("the stream {name} does not let message {sequence} be deleted (deny_delete?)")
    })
}

/// Takes out of memory what was forgotten, by whomever, until told to stop.
pub(crate) async fn follow(
    settings: Postgres,
    cache: Arc<Cache>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut follower = Follower { settings, cache, seen: HashMap::new(), newest: None };
    loop {
        let followed = tokio::select! {
            followed = follower.follow() => followed,
            () = stop.cancelled() => return Ok(()),
        };
        if let Err(error) = followed {
            tracing::debug!(error = describe(&error), "can't look for forgotten orders");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

struct Follower {
    settings: Postgres,
    cache: Arc<Cache>,
    /// What was forgotten, and how often its row is still to be erased again.
    seen: HashMap<String, u32>,
    /// When the latest of it was forgotten, by PostgreSQL's clock; none: nothing was looked at yet.
    newest: Option<f64>,
}

impl Follower {
    /// Looks again and again on one connection.
    async fn follow(&mut self) -> Result<(), tokio_postgres::Error> {
        let connection = postgres::connect(&self.settings).await?;
        let forgotten = postgres::forgotten(&self.settings.table);
        let there = format!("SELECT to_regclass('{}') IS NOT NULL", forgotten.replace('\'', "''"));
        loop {
            let is_there: bool = match connection.client.query_typed(&there, &[]).await?.first() {
                Some(row) => row.try_get(0)?,
                None => false,
            };
            if is_there {
                self.look(&connection).await?;
                self.erase_again(&connection).await?;
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// What was forgotten since the last look, however long ago that was: this process may have been stopped.
    async fn look(&mut self, connection: &Connection) -> Result<(), tokio_postgres::Error> {
        let forgotten = postgres::forgotten(&self.settings.table);
        // Some seconds twice: a row is seen when it is committed, and has the time at which that began.
        let query = format!(
            "SELECT id, extract(epoch FROM forgotten_at)::float8, forgotten_at > now() - interval '1 minute'
             FROM {forgotten} WHERE forgotten_at > to_timestamp($1) - interval '1 minute'"
        );
        let since = self.newest.unwrap_or_default();
        let mut newest = since;
        for row in connection.client.query_typed(&query, &[(&since, Type::FLOAT8)]).await? {
            let (id, at, lately): (String, f64, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            newest = newest.max(at);
            if !self.seen.contains_key(&id) {
                self.cache.retract(&Key::from(id.as_str()), Gone::Forgotten);
                // What was forgotten before the start was in nobody's hands here.
                let again = if lately || self.newest.is_some() { AGAIN } else { 0 };
                self.seen.insert(id, again);
            }
        }
        self.newest = Some(newest);
        Ok(())
    }

    /// A row that was being written when its key was forgotten is erased again. Counted in looks: the time may
    /// have passed while this process was stopped.
    async fn erase_again(&mut self, connection: &Connection) -> Result<(), tokio_postgres::Error> {
        let again: Vec<&str> =
            self.seen.iter().filter(|(_, left)| **left > 0).map(|(id, _)| id.as_str()).collect();
        if again.is_empty() {
            return Ok(());
        }
        let erase = format!("DELETE FROM {} WHERE id = ANY($1)", self.settings.table.quoted());
        connection.client.query_typed(&erase, &[(&again, Type::TEXT_ARRAY)]).await?;
        self.seen.values_mut().for_each(|left| *left = left.saturating_sub(1));
        Ok(())
    }
}
