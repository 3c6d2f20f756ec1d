//! orders in doubt + dead letters -> initmemchan: looks up in the table what a message alone can't decide.
//!
//! An order is in doubt if this process refused its message (the writer may have another model), if it was replayed, or
//! if it became a dead letter. Once the position has passed the message, the order either has a row or does not exist.

use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, Entries, Entry, EntryBuilder};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::config::Settings;
use crate::dead_letters::store::DeadLetterStore;
use crate::dead_letters::watch;
use crate::flow_state::FlowState;
use crate::metrics::Metrics;
use crate::orders_in_doubt::OrdersInDoubt;
use crate::postgres::{Abandoned, RowLookup};

/// Maximum number of rows in one query, and its time limit.
const MAX_IDS: usize = 2048;
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often orders in doubt are looked up while there are some.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What the stage needs.
pub(crate) struct Resolver {
    pub(crate) settings: Arc<Settings>,
    pub(crate) dead_letters: Arc<DeadLetterStore>,
    pub(crate) flow_state: Arc<FlowState>,
    pub(crate) in_doubt: OrdersInDoubt,
    pub(crate) cache: Arc<Cache>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: CancellationToken,
}

impl Resolver {
    /// Runs until it is stopped.
    pub(crate) async fn run(self, initmemchan: mpsc::Sender<Entries>) -> anyhow::Result<()> {
        tokio::select! {
            () = self.resolve_all(&initmemchan) => {}
            () = self.watch_dead_letters() => {}
            () = self.stop.cancelled() => {}
        }
        Ok(())
    }

    async fn resolve_all(&self, initmemchan: &mpsc::Sender<Entries>) {
        let mut backoff = Backoff::default();
        let mut lookup = None;
        let mut entry_builder = self.cache.entry_builder();
        let mut generation;
        loop {
            if self.in_doubt.is_empty() {
                // Connections may be scarce: closes this one while idle.
                lookup = None;
                self.in_doubt.added().await;
            }
            // A new generation may hold the same orders in doubt.
            generation = self.cache.generation();
            match self.ask(&mut lookup, &mut entry_builder, generation, initmemchan).await {
                Ok(()) => {
                    backoff.reset();
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                Err(error) => {
                    tracing::debug!(error = format!("{error:#}"), "can't look up keys in doubt");
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
        let passed = self.in_doubt.passed(self.flow_state.position());
        for passed in passed.chunks(MAX_IDS) {
            let ids: Vec<&str> = passed.iter().map(|(key, _)| key.as_str()).collect();
            let stream = self.flow_state.stream_name();
            let of = (stream.as_str(), self.settings.nats.topic.as_str());
            let settings = &self.settings.postgres;
            let opened = match lookup.take().filter(|opened| !opened.is_closed()) {
                Some(opened) => opened,
                None => RowLookup::open_in_time(settings).await?,
            };
            let opened = lookup.insert(opened);
            let rows = opened.rows(&settings.table, of, &ids);
            let found = timeout(QUERY_TIMEOUT, rows).await.map_err(|_| Abandoned::TimedOut)??;
            let rows = found.rows;
            entry_builder.set_format(found.format);
            // The rows count only in the session that this process follows: otherwise the table may have gone back
            // since.
            if !self.flow_state.note_lookup(found.session, found.position.seq) {
                return Ok(());
            }
            let mut entries = Vec::with_capacity(rows.len());
            for (key, after) in passed {
                if *after > found.position.seq {
                    continue;
                }
                match rows.get(key) {
                    Some(row) => {
                        let entry = entry(entry_builder, key, row.as_deref());
                        entry.iter().for_each(|entry| self.cache.remove_unlike(generation, &entry.body));
                        entries.extend(entry);
                    }
                    // The message may not have reached this process's memory yet.
                    None if *after > applied => continue,
                    None => self.cache.remove(generation, key),
                }
                self.in_doubt.resolve(key, *after);
            }
            self.metrics.filled.inc_by(entries.len() as u64);
            if !entries.is_empty() {
                let sent = initmemchan.send(Entries { generation, through: None, entries }).await;
                sent.map_err(|_| anyhow::anyhow!("the service stops"))?;
            }
        }
        Ok(())
    }

    /// Adds each new dead letter to the orders in doubt: any process may have stored it, and this one may have its
    /// order in memory. For a new generation, starts over from the position at which that memory was filled.
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
                self.in_doubt.add(key, sequence);
            };
            let other_memory = async {
                drop(runs.wait_for(|next| next.is_some_and(|next| next.generation != run.generation)).await);
            };
            tokio::select! {
                Err(error) = watch::watch(&self.dead_letters, start, add) => {
                    tracing::debug!(error = format!("{error:#}"), "can't watch the dead letters");
                    backoff.wait().await;
                }
                () = other_memory => {}
            }
        }
    }
}

/// How far the dead letters were watched, for one generation of memory.
struct DeadLetterWatch {
    generation: u64,
    start: watch::WatchStart,
}

/// The entry of a row that was found.
fn entry(entry_builder: &mut EntryBuilder, id: &str, row: Option<&[u8]>) -> Option<Entry> {
    let problem = match row.map(|row| entry_builder.entry_of_row(id, row)) {
        Some(Ok(entry)) => return Some(Entry { arrived: true, ..entry }),
        Some(Err(error)) => error.to_string(),
        None => "it is null".into(),
    };
    tracing::warn!(id, problem, "row can't be decoded, skipped");
    None
}
