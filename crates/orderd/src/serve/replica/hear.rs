//! NATS -> initmemchan: orders that other processes tell of when they have committed them.
//!
//! What is told may be anything, and may be lost. So it is never waited for, what there is no room for is dropped, and
//! what was not heard is looked up in the table.

use std::collections::VecDeque;
use std::sync::Arc;

use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Company, record, warn_of_row};
use crate::ingest::Taken;
use crate::metrics::Metrics;
use crate::persist::tell::Teller;
use crate::serve::Record;
use crate::serve::cache::{Cache, Hasher};
use crate::telling;

/// So many bytes wait for memory at most. The client would keep as many messages as there are, and the server cuts
/// off who doesn't read.
const WAITING: usize = 16 << 20;

/// What one takes beside its bytes.
const EACH: usize = 64;

/// So many rows that can't be decoded are named in the log; whoever may publish may send any number.
const NAMED: usize = 100;

/// What the stage needs.
pub(crate) struct Hear {
    pub(crate) client: Client,
    pub(crate) subject: String,
    pub(crate) cache: Arc<Cache>,
    pub(crate) taken: Arc<Taken>,
    pub(crate) company: Arc<Company>,
    pub(crate) teller: Arc<Teller>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: CancellationToken,
}

impl Hear {
    /// Runs until told to stop.
    pub(crate) async fn run(self, initmemchan: mpsc::Sender<Vec<Record>>) -> anyhow::Result<()> {
        let told = self.client.subscribe(self.subject.clone()).await?;
        tokio::select! {
            () = self.hear(told, initmemchan) => {}
            () = self.stop.cancelled() => {}
        }
        Ok(())
    }

    pub(crate) fn ears(&self) -> Ears {
        Ears { hasher: self.cache.hasher(), row: Vec::new(), head: 0, named: 0 }
    }

    /// Empties the subscription before anything else.
    async fn hear(&self, mut told: Subscriber, initmemchan: mpsc::Sender<Vec<Record>>) {
        let mut ears = self.ears();
        let mut waiting = Waiting::default();
        loop {
            tokio::select! {
                biased;
                Some(message) = told.next() => {
                    if !waiting.push(message.payload) {
                        self.metrics.replica_dropped.inc();
                    }
                }
                permit = initmemchan.reserve(), if !waiting.is_empty() => {
                    let (Ok(permit), Some(telling)) = (permit, waiting.pop()) else { return };
                    self.take_in(&mut ears, &telling, |records| permit.send(records));
                }
                // The client is closed.
                else => return std::future::pending().await,
            }
        }
    }

    /// What is noted as known is on its way to memory before.
    pub(crate) fn take_in(&self, ears: &mut Ears, telling: &[u8], send: impl FnOnce(Vec<Record>)) {
        let Some(told) = telling::parse(telling) else {
            self.metrics.replica_dropped.inc();
            return;
        };
        self.company.seen();
        // Two who have both just come don't answer each other for ever.
        if told.made == telling::GREETING && self.taken.made() != telling::GREETING {
            self.teller.here();
        }
        ears.begin(told.descriptors);
        let (mut records, mut known) = (Vec::with_capacity(told.entries.len()), Vec::new());
        for entry in told.entries {
            if let Some((key, value)) = entry.row {
                let Some(record) = ears.record(key, value) else { continue };
                records.push(record);
            }
            known.push(entry.sequence);
        }
        self.metrics.replica_heard.inc_by(records.len() as u64);
        self.metrics.replica_orders.inc_by(records.len() as u64);
        if !records.is_empty() {
            // Refused here, and committed by somebody else after a mend.
            self.cache.readmit(records.iter().map(|record| record.body.key()));
            send(records);
        }
        self.taken.add_told(told.made, known.into_iter());
    }
}

/// What is heard with.
pub(crate) struct Ears {
    hasher: Hasher,
    /// Room for one row: the descriptors of all rows of a telling, and behind these `head` bytes a value.
    row: Vec<u8>,
    head: usize,
    named: usize,
}

impl Ears {
    /// The rows that follow have these descriptors.
    fn begin(&mut self, descriptors: &[u8]) {
        self.row.clear();
        self.row.extend_from_slice(descriptors);
        self.head = descriptors.len();
    }

    /// The record of a row that is one, from its value.
    fn record(&mut self, key: &str, value: &[u8]) -> Option<Record> {
        self.row.truncate(self.head);
        self.row.extend_from_slice(value);
        let record = record(&mut self.hasher, key, Some(&self.row));
        if let Err(problem) = &record
            && self.named < NAMED
        {
            self.named += 1;
            warn_of_row(key, problem);
        }
        record.ok()
    }
}

/// Tellings that wait, within a bound.
#[derive(Default)]
struct Waiting {
    tellings: VecDeque<Bytes>,
    bytes: usize,
}

impl Waiting {
    /// `false`: there is no room for it.
    fn push(&mut self, telling: Bytes) -> bool {
        let has_room = self.bytes + telling.len() + EACH <= WAITING;
        if has_room {
            self.bytes += telling.len() + EACH;
            self.tellings.push_back(telling);
        }
        has_room
    }

    fn pop(&mut self) -> Option<Bytes> {
        let telling = self.tellings.pop_front()?;
        self.bytes -= telling.len() + EACH;
        Some(telling)
    }

    fn is_empty(&self) -> bool {
        self.tellings.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_in_bytes() {
        let mut waiting = Waiting::default();
        let telling = Bytes::from(vec![0; 1 << 20]);
        let mut count = 0;
        while waiting.push(telling.clone()) {
            count += 1;
        }
        assert_eq!(count, 15);
        assert!(waiting.pop().is_some() && waiting.push(telling) && !waiting.is_empty());
        while waiting.push(Bytes::new()) {}
        assert!(waiting.tellings.len() <= WAITING / EACH);
        while waiting.pop().is_some() {}
        assert_eq!(waiting.bytes, 0);
    }
}
