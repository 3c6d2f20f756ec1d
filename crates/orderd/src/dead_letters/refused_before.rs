//! What became of messages that were refused before, for a process that becomes the writer and reads them again.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use order::Key;

use super::notes::taken_in_by;
use super::store::DeadLetterStore;
use super::watch;
use crate::flow_state::Watermark;
use crate::nats::stream_scan::Scan;

/// What is known of messages that were refused before.
#[derive(Default)]
pub(crate) struct RefusedBefore {
    /// What became of their dead letters, by key: the sequence of the message that became the order; `None`: it was
    /// dropped.
    pub(crate) decided: HashMap<String, Option<u64>>,
    /// The keys of replays that were noted as accepted and that the position has passed. If the process was killed after
    /// their commit, their dead letters are still there.
    pub(crate) passed: Vec<String>,
    /// The keys that have dead letters, of messages that are read again.
    pub(crate) letters: HashSet<String>,
}

impl RefusedBefore {
    /// Whether the message at `sequence` does not become the order of that key: another one did, or none is to.
    pub(crate) fn is_decided_otherwise(&self, key: &str, sequence: u64) -> bool {
        self.decided.get(key).is_some_and(|by| *by != Some(sequence))
    }

    /// Adds the notes about messages behind `after` in the stream of orders.
    ///
    /// # Errors
    /// NATS can't be reached.
    pub(crate) async fn add_notes(
        &mut self,
        store: &DeadLetterStore,
        after: Watermark,
    ) -> anyhow::Result<()> {
        let subjects = store.subjects().await?;
        let add = |message: &Message| {
            let Some(key) = subjects.decided_key(&message.subject) else { return };
            let by = taken_in_by(message.headers.as_ref());
            let is_dropped = message.subject.as_str() == subjects.dropped(key);
            let own = Key::sequence_of(key);
            if own > Some(after.seq) {
                if is_dropped || by.is_some() {
                    // A note of an accepted replay that names no message decides nothing.
                    self.decided.insert(key.to_owned(), by);
                }
            } else if by.is_some() && by != own && by <= Some(after.seq) {
                self.passed.push(key.to_owned());
            }
        };
        each_since(store, after, subjects.all_decided().into(), add).await
    }

    /// Adds the keys of dead letters whose messages lie behind `after` in the stream of orders.
    ///
    /// # Errors
    /// NATS can't be reached.
    pub(crate) async fn add_letters(
        &mut self,
        store: &DeadLetterStore,
        after: Watermark,
    ) -> anyhow::Result<()> {
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
    let stream = store.context.get_stream(&subjects.stream).await?;
    let deliver_policy = after.time.map_or(Ok(DeliverPolicy::All), watch::since)?;
    let wanted = pull::Config { deliver_policy, filter_subjects, headers_only: true, ..Default::default() };
    let each = |_, message: &Message| {
        add(message);
        Ok(ControlFlow::Continue(()))
    };
    Scan::new(&stream, wanted).await?.for_each(each).await
}
