//! database, dead_letters, payload -> NATS: tells the other processes what became of messages, for their memory.
//!
//! Nothing is told before it is committed, nothing is waited for, and what can't be sent at once isn't sent: whoever
//! misses it looks in the table. A process that is alone tells nothing.

use std::sync::Arc;

use async_nats::connection::State;
use async_nats::{Client, Subject};
use bytes::Bytes;
use futures_util::FutureExt;
use order::Layouts;

use super::batch::Place;
use super::encode::Rows;
use crate::ingest::Taken;
use crate::metrics::Metrics;
use crate::serve::replica::Company;
use crate::telling::{self, Telling};

/// A telling has so many bytes at most, or as many as the server takes.
const MOST: usize = 256 << 10;

/// Tells the others.
pub(crate) struct Teller {
    pub(crate) client: Client,
    pub(crate) subject: Subject,
    pub(crate) taken: Arc<Taken>,
    pub(crate) layouts: Arc<Layouts>,
    pub(crate) company: Arc<Company>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Teller {
    /// That this process has just come: whoever is there says so.
    pub(crate) fn greet(&self) {
        self.say(telling::GREETING);
    }

    /// That this process is there.
    pub(crate) fn here(&self) {
        self.say(self.taken.made());
    }

    fn say(&self, made: i64) {
        if self.company.may_be_told() {
            self.send(&mut Telling::new(made, &[]));
        }
    }

    /// Rows that are in the table, each of which was not there before: one that was passed over may be that of a
    /// erased order.
    pub(crate) fn committed(&self, batch: &[Rows], part: &[Place]) {
        if !self.company.listens() {
            return;
        }
        let most = MOST.min(self.client.max_payload());
        let mut telling = Telling::new(self.taken.made(), self.layouts.descriptors());
        for &(chunk, row) in part {
            let Rows { copy, gobs, orders } = &batch[chunk];
            let (sequence, key) = (orders.messages[row].origin.sequence, orders.orders[row].key());
            let gob = &copy[gobs[row].clone()];
            if !telling.add_row(sequence, key, gob, most) && telling.rows() > 0 {
                self.send(&mut telling);
                // One that is too large for any is not told.
                telling.add_row(sequence, key, gob, most);
            }
        }
        if telling.rows() > 0 {
            self.send(&mut telling);
        }
    }

    /// A message that is acknowledged and is no order.
    pub(crate) fn nothing(&self, sequence: u64) {
        if self.company.listens() {
            let mut telling = Telling::new(self.taken.made(), &[]);
            telling.add_nothing(sequence);
            self.send(&mut telling);
        }
    }

    fn send(&self, telling: &mut Telling<'_>) {
        let rows = telling.rows() as u64;
        if self.publish(telling.take()) {
            self.metrics.replica_told.inc_by(rows);
        } else {
            self.metrics.replica_dropped.inc();
        }
    }

    /// While disconnected, or where there is no room, tellings would pile up before acknowledgements.
    fn publish(&self, telling: Bytes) -> bool {
        self.client.connection_state() == State::Connected
            && self
                .client
                .publish(self.subject.clone(), telling)
                .now_or_never()
                .is_some_and(|sent| sent.is_ok())
    }
}
