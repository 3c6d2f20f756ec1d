//! Erasing an order everywhere: table, stream, dead letters, and the memory of every process.
//!
//! Only the order's key and the time are kept, so that neither the stream nor an import brings the order back. The key
//! is stored first: from then on, each process erases what is written of the order, even if the erasure is interrupted.
//! The dead letter is deleted before the messages, so that it is not replayed meanwhile. If nothing of an order is
//! found, its key is not kept.

mod sweeper;
mod message_copies;
mod replays;
mod rows;

use std::collections::HashSet;
use std::fmt;
use std::iter::Sum;
use std::ops::Add;

use anyhow::Context as _;
use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Stream;
use order::Key;
use time::OffsetDateTime;

use self::replays::Replays;
use self::rows::StoredRows;
pub(crate) use self::sweeper::Sweeper;
use crate::config::{Nats, Postgres};
use crate::dead_letters::list;
use crate::dead_letters::store::DeadLetterStore;
use crate::nats::orders_stream;
use crate::nats::stored_message::{self, StoredMessage};
use crate::wording::{counted, shown};

/// Erases orders.
pub(crate) struct Eraser {
    pub(crate) postgres: Postgres,
    pub(crate) nats: Nats,
    pub(crate) client: Client,
}

/// Number of traces of one or several orders.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceCounts {
    pub(crate) rows: u64,
    /// In the stream and in the streams that it sources.
    pub(crate) messages: u64,
    pub(crate) dead_letters: u64,
}

impl TraceCounts {
    pub(crate) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for TraceCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, messages, letters] =
            [(self.rows, "row"), (self.messages, "message"), (self.dead_letters, "dead letter")]
                .map(|(count, thing)| counted(count, thing));
        write!(f, "{rows}, {messages}, {letters}")
    }
}

impl Add for TraceCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            messages: self.messages + other.messages,
            dead_letters: self.dead_letters + other.dead_letters,
        }
    }
}

impl Sum for TraceCounts {
    fn sum<I: Iterator<Item = Self>>(found: I) -> Self {
        found.fold(Self::default(), Add::add)
    }
}

impl Eraser {
    /// Opens the stream, and prepares the connections to the table and the dead letters.
    ///
    /// # Errors
    /// What can't be reached.
    pub(crate) async fn connect(&self) -> anyhow::Result<ConnectedEraser> {
        let context = self.nats.jetstream(self.client.clone());
        let stream = orders_stream::find(&context, &self.nats).await.context("can't find the stream")?;
        Ok(ConnectedEraser {
            rows: StoredRows::new(&self.postgres),
            dead_letters: DeadLetterStore::new(self.client.clone(), &self.nats),
            topic: self.nats.topic.clone(),
            context,
            stream,
            replays: Replays::default(),
        })
    }
}

/// An [`Eraser`] with open connections: finds orders and erases them.
pub(crate) struct ConnectedEraser {
    rows: StoredRows,
    dead_letters: DeadLetterStore,
    topic: String,
    context: Context,
    /// `None`: there is no message either.
    stream: Option<Stream>,
    replays: Replays,
}

/// The remaining data of an order.
#[derive(Default)]
pub(crate) struct OrderTraces {
    has_row: bool,
    /// Sequences in the stream: of its own message, and of its replays.
    messages: Vec<u64>,
    pub(crate) has_dead_letter: bool,
}

impl ConnectedEraser {
    /// The traces of each of these orders. Changes nothing.
    ///
    /// # Errors
    /// What can't be reached.
    pub(crate) async fn find(&mut self, keys: &[String]) -> anyhow::Result<Vec<OrderTraces>> {
        let mut all = Vec::new();
        // Before the replays: if a dead letter is gone by now, its replays are in the stream.
        for key in keys {
            let has_dead_letter = self.dead_letters.has_any_part(key).await;
            let has_dead_letter =
                has_dead_letter.with_context(|| format!("can't look for the dead letter {key}"))?;
            all.push(OrderTraces { has_dead_letter, ..Default::default() });
        }
        self.look_for_replays(keys).await?;
        for (key, traces) in keys.iter().zip(&mut all) {
            let has_row = self.rows.has(key).await;
            traces.has_row =
                has_row.with_context(|| format!("can't look for {} in the table", shown(key)))?;
            traces.messages = self.messages_of(key).await?;
        }
        Ok(all)
    }

    /// The keys of dead letters whose time is before `cutoff`, in nanoseconds since 1970; the oldest first.
    ///
    /// # Errors
    /// The server can't be reached.
    pub(crate) async fn dead_letters_before(&self, cutoff: i128) -> anyhow::Result<Vec<String>> {
        list::keys_before(&self.dead_letters, cutoff).await.context("can't list the dead letters")
    }

    /// Erases an order and says what there was of it. One of which nothing was found is left alone, unless it `is_known`
    /// otherwise and was not erased before. If it had a dead letter, call [`Self::erase_new_replays`] afterwards.
    ///
    /// # Errors
    /// What could not be reached or refuses; running it again continues where it stopped.
    pub(crate) async fn erase(
        &mut self,
        key: &str,
        found: OrderTraces,
        is_known: bool,
    ) -> anyhow::Result<Option<TraceCounts>> {
        // Memory lags behind erasures of other processes.
        let is_there = !found.count().is_nothing() || (is_known && !self.rows.is_erased(key).await?);
        if !is_there {
            return Ok(None);
        }
        // In NATS first: whatever happens next, the table gets the key from there.
        let noted = self.dead_letters.note_erased(key).await;
        noted.with_context(|| format!("can't store in NATS that {} is erased", shown(key)))?;
        let rows = self.rows.erase(key).await;
        let rows = rows.with_context(|| format!("can't erase {} from the table", shown(key)))?;
        let deleted = self.dead_letters.delete(key).await;
        deleted.with_context(|| format!("can't erase the dead letter {key}"))?;
        let messages = self.erase_messages(key, &found.messages).await?;
        Ok(Some(TraceCounts { rows, messages, dead_letters: found.has_dead_letter.into() }))
    }

    /// Erases the messages by which the dead letters of erased orders were replayed before they were gone. Returns their
    /// number.
    ///
    /// # Errors
    /// As [`Self::erase`].
    pub(crate) async fn erase_new_replays(&mut self, keys: &[String]) -> anyhow::Result<u64> {
        if keys.is_empty() {
            return Ok(0);
        }
        self.look_for_replays(keys).await?;
        let mut count = 0;
        for key in keys {
            count += self.erase_messages(key, &self.replays.of(key)).await?;
        }
        Ok(count)
    }

    async fn erase_messages(&mut self, key: &str, sequences: &[u64]) -> anyhow::Result<u64> {
        let Some(stream) = self.stream.clone() else { return Ok(0) };
        let mut count = 0;
        for &sequence in sequences {
            if Key::sequence_of(key) != Some(sequence) {
                self.note_replay(&stream, sequence).await?;
            }
            let erased = message_copies::delete_all(&self.context, &stream, sequence).await;
            count += erased.with_context(|| format!("can't erase {key} from the stream"))?;
        }
        Ok(count)
    }

    /// Stores as erased the key that the message of a replay would have without its header. A process that finds this
    /// message missing from the stream then knows that it was erased, and not lost.
    async fn note_replay(&mut self, stream: &Stream, sequence: u64) -> anyhow::Result<()> {
        let name = &stream.cached_info().config.name;
        let Some(message) = stored_message::at(&self.context, name, sequence).await? else { return Ok(()) };
        let Ok(time) = i64::try_from(message.time_ns) else { return Ok(()) };
        let own = Key::from_stream(time, sequence);
        self.dead_letters.note_erased(own.as_str()).await?;
        self.rows.erase(own.as_str()).await.map(drop)
    }

    /// Erases from the table what NATS has noted and the table does not know: it was restored from before that. Gives
    /// back how many orders.
    ///
    /// Notes in NATS what only the table knows: the stream of the notes was lost. `is_there`: the table has a table of
    /// erased keys.
    async fn repeat(&mut self, is_there: bool) -> anyhow::Result<usize> {
        let noted = self.dead_letters.erased().await?;
        if noted.is_empty() && !is_there {
            return Ok(0);
        }
        let known = self.rows.erased().await?;
        let are_noted: HashSet<&String> = noted.iter().collect();
        for key in known.iter().filter(|key| !are_noted.contains(key)) {
            self.dead_letters.note_erased(key).await?;
        }
        let lacking: Vec<_> = noted.into_iter().filter(|key| !known.contains(key)).collect();
        for key in &lacking {
            self.rows.erase(key).await?;
        }
        Ok(lacking.len())
    }

    /// Erases the remains of erased orders from NATS, also copies that another process has stored since that time.
    async fn erase_leftovers(&mut self, keys: &[String], since: OffsetDateTime) -> anyhow::Result<()> {
        if let Some(stream) = &self.stream {
            self.replays.search_since(&self.dead_letters, stream, &self.topic, keys, since).await?;
        }
        for key in keys {
            self.dead_letters.delete(key).await?;
            let sequences = self.messages_of(key).await?;
            self.erase_messages(key, &sequences).await?;
        }
        Ok(())
    }

    /// After a start, erases what NATS still holds of these orders: the dead letters of all, the replays of the recent
    /// ones only.
    async fn finish(&mut self, keys: &HashSet<&str>, recent: &[String]) -> anyhow::Result<()> {
        for key in list::keys_of_parts(&self.dead_letters).await? {
            if keys.contains(key.as_str()) {
                self.dead_letters.delete(&key).await?;
            }
        }
        self.look_for_replays(recent).await?;
        for key in recent {
            self.erase_messages(key, &self.replays.of(key)).await?;
        }
        let Some(stream) = self.stream.clone() else { return Ok(()) };
        let state = &stream.cached_info().state;
        let is_in_stream = |key: &&str| {
            Key::sequence_of(key).is_some_and(|at| (state.first_sequence..=state.last_sequence).contains(&at))
        };
        for key in keys.iter().copied().filter(is_in_stream) {
            if let Some(own) = self.own_message(key).await? {
                self.erase_messages(key, &[own.sequence]).await?;
            }
        }
        Ok(())
    }

    async fn look_for_replays(&mut self, keys: &[String]) -> anyhow::Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let looked = self.replays.search(&self.dead_letters, stream, &self.topic, keys).await;
        looked.context("can't look for dead letters that were sent again")
    }

    /// The original message of an order.
    async fn own_message(&self, key: &str) -> anyhow::Result<Option<StoredMessage>> {
        let (Some(stream), Some(sequence)) = (&self.stream, Key::sequence_of(key)) else { return Ok(None) };
        let message = stored_message::at(&self.context, &stream.cached_info().config.name, sequence).await;
        let message = message.with_context(|| format!("can't look for {key} in the stream"))?;
        // Otherwise the stream was recreated, and this is another message.
        Ok(message.filter(|message| {
            i64::try_from(message.time_ns).is_ok_and(|time| Key::from_stream(time, sequence).as_str() == key)
        }))
    }

    /// The sequences of the order's message and of its replays, as far as they were looked for.
    async fn messages_of(&self, key: &str) -> anyhow::Result<Vec<u64>> {
        let own = self.own_message(key).await?.map(|message| message.sequence);
        Ok(own.into_iter().chain(self.replays.of(key)).collect())
    }
}

impl OrderTraces {
    pub(crate) fn count(&self) -> TraceCounts {
        TraceCounts {
            rows: self.has_row.into(),
            messages: self.messages.len() as u64,
            dead_letters: self.has_dead_letter.into(),
        }
    }
}
