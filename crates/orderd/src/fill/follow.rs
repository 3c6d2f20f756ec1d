//! positions + dead letters -> initmemchan: what this process can't decide from a message alone, it asks the table.
//!
//! Undecided is an order that this process refused (the writer may have another model), one that was sent again, and
//! one that became a dead letter. Once the position has passed its message, the table says what became of it: a row, or
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, Entries, Entry, EntryBuilder};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::dead_letters::store::DeadLetterStore;
use crate::dead_letters::watch;
use crate::metrics::Metrics;
use crate::flow_state::FlowState;
use crate::postgres::{self, RowLookup, Unanswered};
use crate::retry::Backoff;
use crate::undecided::Undecided;

/// Rows that are asked for in one query, and how long its answer may take.
const MAX_IDS: usize = 2048;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How often undecided orders are looked at while there are some.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What the stage needs.
pub(crate) struct Follow {
    pub(crate) settings: Arc<Settings>,
    pub(crate) dead_letters: Arc<DeadLetterStore>,
    pub(crate) flow_state: Arc<FlowState>,
    pub(crate) undecided: Undecided,
    pub(crate) cache: Arc<Cache>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: CancellationToken,
}

impl Follow {
    /// Runs until told to stop.
    pub(crate) async fn run(self, initmemchan: mpsc::Sender<Entries>) -> anyhow::Result<()> {
        tokio::select! {
            () = self.decide(&initmemchan) => {}
            () = self.watch_dead_letters() => {}
            () = self.stop.cancelled() => {}
        }
        Ok(())
    }

    async fn decide(&self, initmemchan: &mpsc::Sender<Entries>) {
        let mut backoff = Backoff::default();
        let mut lookup = None;
        let mut entry_builder = self.cache.entry_builder();
        let mut generation;
        loop {
            if self.undecided.is_empty() {
                // Where connections are few, others need this one.
                lookup = None;
                self.undecided.added().await;
            }
            // What the one before could not decide, this one may hold too.
            generation = self.cache.generation();
            match self.ask(&mut lookup, &mut entry_builder, generation, initmemchan).await {
                Ok(()) => {
                    backoff.reset();
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                Err(error) => {
                    tracing::debug!(error = format!("{error:#}"), "can't ask the table for undecided orders");
                    lookup = None;
                    backoff.wait().await;
                }
            }
        }
    }

    async fn ask(
        &self,
        lookup: &mut Option<RowLookup>,
        entry_builder: &mut EntryBuilder,
        generation: u64,
        initmemchan: &mpsc::Sender<Entries>,
    ) -> anyhow::Result<()> {
        let applied = self.cache.applied();
        let passed = self.undecided.passed(self.flow_state.position());
        for passed in passed.chunks(MAX_IDS) {
            let ids: Vec<&str> = passed.iter().map(|(key, _)| key.as_str()).collect();
            let stream = self.flow_state.stream_name();
            let of = (stream.as_str(), self.settings.nats.topic.as_str());
            let rows = postgres::rows(lookup, &self.settings.postgres, of, &ids);
            let found = timeout(ANSWER_TIMEOUT, rows).await.map_err(|_| Unanswered::Silent)??;
            let rows = found.rows;
            entry_builder.set_format(found.format);
            // The answer counts only for the session that is followed: else the table may have gone back since.
            if !self.flow_state.note_lookup(found.session, found.position.seq) {
                return Ok(());
            }
            let mut entries = Vec::with_capacity(rows.len());
            for (key, decided_at) in passed {
                if *decided_at > found.position.seq {
                    continue;
                }
                match rows.get(key) {
                    Some(row) => entries.extend(entry(entry_builder, key, row.as_deref())),
                    // The message may still be on its way into this process's memory.
                    None if *decided_at > applied => continue,
                    None => self.cache.remove(generation, key),
                }
                self.undecided.decided(key, *decided_at);
            }
            self.metrics.filled.inc_by(entries.len() as u64);
            if !entries.is_empty() {
                let sent = initmemchan.send(Entries { generation, through: None, entries }).await;
                sent.map_err(|_| anyhow::anyhow!("the service stops"))?;
            }
        }
        Ok(())
    }

    /// Whatever becomes a dead letter, by whichever process, may be in this process's memory. Each new memory looks at
    /// all dead letters again that are later than the position from which it was filled.
    async fn watch_dead_letters(&self) {
        let mut runs = self.flow_state.run.subscribe();
        let mut backoff = Backoff::default();
        let mut watched: Option<DeadLetterWatch> = None;
        loop {
            let run = runs.wait_for(Option::is_some).await.ok().and_then(|run| *run);
            let Some(run) = run else { return };
            let is_same = watched.as_ref().is_some_and(|watched| watched.generation == run.generation);
            if !is_same {
                watched = Some(DeadLetterWatch {
                    generation: run.generation,
                    start: watch::WatchStart::Since(run.memory_after.time),
                });
            }
            let Some(DeadLetterWatch { start, .. }) = &mut watched else { continue };
            let add = |key: &str, sequence| {
                backoff.reset();
                self.undecided.add(key, sequence);
            };
            let other_memory = async {
                drop(runs.wait_for(|next| next.is_some_and(|next| next.generation != run.generation)).await);
            };
            tokio::select! {
                Err(error) = watch::watch(&self.dead_letters, start, add) => {
                    tracing::debug!(error = format!("{error:#}"), "can't follow the dead letters");
                    backoff.wait().await;
                }
                () = other_memory => {}
            }
        }
    }
}

/// Up to where the dead letters were watched for a memory.
struct DeadLetterWatch {
    generation: u64,
    start: watch::WatchStart,
}

/// The entry of a row that has come to be there.
fn entry(entry_builder: &mut EntryBuilder, id: &str, row: Option<&[u8]>) -> Option<Entry> {
    let problem = match row.map(|row| entry_builder.entry_of_row(id, row)) {
        Some(Ok(entry)) => return Some(Entry { arrived: true, ..entry }),
        Some(Err(error)) => error.to_string(),
        None => "it is null".into(),
    };
    tracing::warn!(id, problem, "row can't be decoded, skipped");
    None
}
