//! What became of messages that were refused before, for a process that becomes the writer and reads them again.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use order::Key;
use tokio::time::timeout;

use super::notes::{NoteState, TakenInNote};
use super::store::DeadLetterStore;
use super::watch;
use crate::backoff::Backoff;
use crate::flow_state::Watermark;
use crate::nats;
use crate::nats::stream_scan::Scan;

/// How long to try to list the notes, while NATS does not answer.
const NOTES_TIMEOUT: Duration = Duration::from_secs(60);
/// How long to try to list dead letters, which is not as important.
const LETTERS_TIMEOUT: Duration = Duration::from_secs(10);

/// What is known of messages that were refused before.
#[derive(Default)]
pub(crate) struct RefusedBefore {
    /// What became of the dead letters of messages that are read again, by key: the sequence of the message that became
    /// the order; `None`: it was dropped.
    decided: HashMap<String, Option<u64>>,
    /// The keys of messages that the position has passed and whose keys are rows, by their notes. If the writer was killed
    /// after the commit, the dead letters of those that were accepted are still there.
    pub(crate) rows: HashMap<String, NoteState>,
    /// The same, with a note that the dead letter was dropped. If the table has the row, that note is left of a drop which
    /// met with a replay, and must go: a table that goes back would lose the order.
    pub(crate) dropped_rows: HashSet<String>,
    /// The keys that have dead letters, of messages that are read again.
    letters: HashSet<String>,
}

impl RefusedBefore {
    /// Looks for the dead letters of messages behind `after` in the stream of orders, and for the notes about them. Waits
    /// while NATS does not answer.
    pub(crate) async fn find(store: &DeadLetterStore, after: Watermark) -> Self {
        let mut found = Self::default();
        let adding = timeout(NOTES_TIMEOUT, async {
            let mut backoff = Backoff::default();
            loop {
                match nats::uninterrupted(&store.client, found.add_notes(store, after)).await {
                    Some(Ok(())) => break,
                    Some(Err(error)) => {
                        let error = format!("{error:#}");
                        tracing::debug!(error, "can't list what became of dead letters; retrying");
                        backoff.wait().await;
                    }
                    None => {}
                }
            }
        });
        if adding.await.is_err() {
            tracing::warn!(
                seconds = NOTES_TIMEOUT.as_secs(),
                "can't list what became of all dead letters: messages of dropped or corrected ones may become documents"
            );
        }
        let adding = async {
            loop {
                let added = nats::uninterrupted(&store.client, found.add_letters(store, after)).await;
                if let Some(added) = added {
                    break added;
                }
            }
        };
        let adding = timeout(LETTERS_TIMEOUT, adding).await;
        if let Err(error) = adding.map_err(anyhow::Error::from).flatten() {
            tracing::warn!(
                error = format!("{error:#}"),
                "can't list all dead letters: those of messages that are accepted now may stay; orderd verify names them"
            );
        }
        found
    }

    /// What became of the dead letter of that key, if the message at `sequence` did not become its order: another one did,
    /// whose sequence this is, or it was dropped.
    pub(crate) fn decided_otherwise(&self, key: &str, sequence: u64) -> Option<Option<u64>> {
        self.decided.get(key).copied().filter(|by| *by != Some(sequence))
    }

    pub(crate) fn has_letter(&self, key: &str) -> bool {
        self.letters.contains(key)
    }

    async fn add_notes(&mut self, store: &DeadLetterStore, after: Watermark) -> anyhow::Result<()> {
        let subjects = store.subjects().await?;
        let mut dropped = HashSet::new();
        let mut rows = HashMap::new();
        let add = |message: &Message| {
            let Some(key) = subjects.decided_key(&message.subject) else { return };
            let is_read_again = Key::sequence_of(key) > Some(after.seq);
            if message.subject.as_str() == subjects.dropped(key) {
                dropped.insert(key.to_owned());
                return;
            }
            // A note of an accepted replay that names no message decides nothing, nor does one of a refused replay.
            let Some(note) = TakenInNote::read(message.headers.as_ref()) else { return };
            if note.state == NoteState::Refused {
                return;
            }
            if is_read_again {
                self.decided.insert(key.to_owned(), Some(note.by));
            } else if note.by <= after.seq {
                rows.insert(key.to_owned(), note.state);
            }
        };
        each_since(store, after, subjects.all_decided().into(), add).await?;
        self.dropped_rows = dropped.iter().filter(|key| rows.contains_key(*key)).cloned().collect();
        self.rows = rows.into_iter().filter(|(key, _)| !dropped.contains(key)).collect();
        // A drop is noted only where the table has no row, so it takes precedence.
        self.decided.extend(dropped.into_iter().map(|key| (key, None)));
        Ok(())
    }

    async fn add_letters(&mut self, store: &DeadLetterStore, after: Watermark) -> anyhow::Result<()> {
        let subjects = store.subjects().await?;
        let add = |message: &Message| {
            let key = subjects.key(&message.subject);
            self.letters.extend(key.filter(|key| Key::sequence_of(key) > Some(after.seq)).map(str::to_owned));
        };
        each_since(store, after, vec![subjects.all_dead_letters()], add).await
    }
}

/// Calls `add` with all that is stored with these subjects since the message at `after` was. There may be a million older
/// dead letters.
async fn each_since(
    store: &DeadLetterStore,
    after: Watermark,
    filter_subjects: Vec<String>,
    mut add: impl FnMut(&Message),
) -> anyhow::Result<()> {
    let subjects = store.subjects().await?;
    if store.info(&subjects).await?.is_none() {
        return Ok(());
    }
    let stream = store.context.get_stream(&subjects.stream).await?;
    let deliver_policy = after.time.map_or(Ok(DeliverPolicy::All), watch::since)?;
    let wanted = pull::Config { deliver_policy, filter_subjects, headers_only: true, ..Default::default() };
    let each = |_, message: &Message| {
        add(message);
        Ok(ControlFlow::Continue(()))
    };
    Scan::new(&stream, wanted).await?.for_each(each).await
}
