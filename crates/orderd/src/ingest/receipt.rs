//! The ack handles: each travels with its message, and all that are out can be extended or given back.
//!
//! A chunk's handles share one allocation, so that the registry costs per chunk and not per order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{Client, Subject};
use bytes::Bytes;

const ACK: Bytes = Bytes::from_static(b"+ACK");
const NAK: Bytes = Bytes::from_static(b"-NAK");
const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");

/// How long a word to the server may take before it is given up; the message is then delivered again.
const PATIENCE: Duration = Duration::from_secs(2);

/// The handles of one chunk.
pub(crate) struct Hold {
    client: Client,
    replies: Vec<Subject>,
    settled: Vec<AtomicBool>,
    /// When the server last heard of them.
    reported: Mutex<Instant>,
}

/// The handle of one message.
#[derive(Clone)]
pub(crate) struct Receipt {
    hold: Arc<Hold>,
    index: usize,
}

impl Receipt {
    /// Tells the server that the message is done with. Call it only when its row is committed, its dead letter
    /// stored, or it is empty. Should the word be lost, the message comes again and is known by its key.
    pub(crate) async fn acknowledge(&self) {
        if !self.hold.settled[self.index].swap(true, Ordering::AcqRel) {
            self.hold.send(self.index, ACK).await;
        }
    }
}

impl Hold {
    async fn send(&self, index: usize, word: Bytes) {
        // While disconnected, words would pile up and then stall whoever sends them.
        if self.client.connection_state() == State::Connected {
            let sent = self.client.publish(self.replies[index].clone(), word);
            drop(tokio::time::timeout(PATIENCE, sent).await);
        }
    }

    async fn send_unsettled(&self, word: &Bytes, settle: bool) {
        for index in 0..self.replies.len() {
            let unsettled = !self.settled[index].load(Ordering::Acquire);
            if unsettled && !(settle && self.settled[index].swap(true, Ordering::AcqRel)) {
                self.send(index, word.clone()).await;
            }
        }
    }
}

/// All chunks that are out.
#[derive(Default)]
pub(crate) struct Holds {
    live: Mutex<Vec<Weak<Hold>>>,
}

impl Holds {
    /// Takes hold of a chunk's messages; gives back a receipt for each.
    pub(crate) fn take(
        &self,
        client: &Client,
        replies: Vec<Subject>,
    ) -> impl Iterator<Item = Receipt> + use<> {
        let settled = replies.iter().map(|_| AtomicBool::new(false)).collect();
        let count = replies.len();
        let reported = Mutex::new(Instant::now());
        let hold = Arc::new(Hold { client: client.clone(), replies, settled, reported });
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.len() == live.capacity() {
            live.retain(|hold| hold.strong_count() > 0);
        }
        live.push(Arc::downgrade(&hold));
        (0..count).map(move |index| Receipt { hold: hold.clone(), index })
    }

    /// Tells the server of messages held for longer than `age` that they are being worked on.
    pub(crate) async fn extend(&self, age: Duration) {
        for hold in self.live() {
            let due = {
                let mut reported = hold.reported.lock().unwrap_or_else(PoisonError::into_inner);
                let due = reported.elapsed() >= age;
                if due {
                    *reported = Instant::now();
                }
                due
            };
            if due {
                hold.send_unsettled(&IN_PROGRESS, false).await;
            }
        }
    }

    /// Gives back all that is held, to be delivered again at once, here or elsewhere.
    pub(crate) async fn give_back(&self) {
        for hold in self.live() {
            hold.send_unsettled(&NAK, true).await;
        }
    }

    fn live(&self) -> Vec<Arc<Hold>> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|hold| hold.strong_count() > 0);
        live.iter().filter_map(Weak::upgrade).collect()
    }
}
