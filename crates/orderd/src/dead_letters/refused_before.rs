//! What became of messages that were refused before, for a process that becomes the writer and reads them again.

use std::collections::HashMap;
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
}

impl RefusedBefore {
    /// Whether the message at `sequence` does not become the order of that key: another one did, or none is to.
    pub(crate) fn is_decided_otherwise(&self, key: &str, sequence: u64) -> bool {
        self.decided.get(key).is_some_and(|by| *by != Some(sequence))
    }

    /// Adds what is stored of messages behind `after` in the stream of orders. Reads only what was stored since that
    /// message, because there may be a million older dead letters.
    pub(crate) async fn add_behind(
        &mut self,
        store: &DeadLetterStore,
        after: Watermark,
    ) -> anyhow::Result<()> {
        let subjects = store.subjects().await?;
        let stream = store.context.get_stream(&subjects.stream).await?;
        let deliver_policy = after.time.map_or(Ok(DeliverPolicy::All), watch::since)?;
        let wanted = pull::Config {
            deliver_policy,
            filter_subjects: subjects.all_decided().into(),
            headers_only: true,
            ..Default::default()
        };
        let is_behind = |key: &&str| Key::sequence_of(key) > Some(after.seq);
        let add = |_, message: &Message| {
            if let Some(key) = subjects.decided_key(&message.subject) {
                let by = taken_in_by(message.headers.as_ref());
                let is_dropped = message.subject.as_str() == subjects.dropped(key);
                if !is_behind(&key) {
                    self.passed.extend(by.filter(|by| *by <= after.seq).map(|_| key.to_owned()));
                } else if is_dropped || by.is_some() {
                    // A note of an accepted replay that names no message decides nothing.
                    self.decided.insert(key.to_owned(), by);
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        Scan::new(&stream, wanted).await?.for_each(add).await
    }
}
