//! The ack handles: each travels with its message, and all that are out can be extended or given back.
//!
//! A chunk's handles share one allocation, so that the registry costs per chunk and not per order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{Client, Subject};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::Notify;

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
    /// Where those go that are dropped unsettled.
    dropped: Arc<Dropped>,
}

/// Ack subjects of messages that nobody has any more and that are not done with.
#[derive(Default)]
struct Dropped {
    replies: Mutex<Vec<Subject>>,
    /// There are some, or something is held again.
    is_due: Notify,
}

impl Dropped {
    fn replies(&self) -> MutexGuard<'_, Vec<Subject>> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

async fn send(client: &Client, reply: Subject, word: Bytes) {
    // While disconnected, words would pile up and then stall whoever sends them.
    if client.connection_state() == State::Connected {
        let mut told = std::pin::pin!(client.publish(reply, word));
        // Mostly there is room, and no timer is needed.
        if told.as_mut().now_or_never().is_none() {
            drop(tokio::time::timeout(PATIENCE, told).await);
        }
    }
}

impl Hold {
    async fn send(&self, index: usize, word: Bytes) {
        send(&self.client, self.replies[index].clone(), word).await;
    }

    /// Whether the server has not heard of them for so long. Asked for, it counts as having heard now.
    fn is_due(&self, age: Duration) -> bool {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let due = reported.elapsed() >= age;
        if due {
            *reported = Instant::now();
        }
        due
    }

    async fn report_progress(&self) {
        for (index, settled) in self.settled.iter().enumerate() {
            if !settled.load(Ordering::Acquire) {
                self.send(index, IN_PROGRESS).await;
            }
        }
    }

    fn unsettled(&self) -> impl Iterator<Item = Subject> {
        let all = self.replies.iter().zip(&self.settled);
        all.filter(|(_, settled)| !settled.swap(true, Ordering::AcqRel)).map(|(reply, _)| reply.clone())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.settled.iter_mut().all(|settled| *settled.get_mut()) {
            return;
        }
        self.dropped.replies().extend(self.unsettled());
        self.dropped.is_due.notify_one();
    }
}

/// All chunks that are out.
pub(crate) struct Holds {
    client: Client,
    live: Mutex<Vec<Weak<Hold>>>,
    dropped: Arc<Dropped>,
}

impl Holds {
    pub(crate) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self { client, live: Mutex::default(), dropped: Arc::default() })
    }

    /// Takes hold of a chunk's messages; gives back a receipt for each.
    pub(crate) fn take(&self, replies: Vec<Subject>) -> impl Iterator<Item = Receipt> + use<> {
        let settled = replies.iter().map(|_| AtomicBool::new(false)).collect();
        let count = replies.len();
        let reported = Mutex::new(Instant::now());
        let (client, dropped) = (self.client.clone(), self.dropped.clone());
        let hold = Arc::new(Hold { client, replies, settled, reported, dropped });
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.is_empty() {
            self.dropped.is_due.notify_one();
        }
        if live.len() == live.capacity() {
            live.retain(|hold| hold.strong_count() > 0);
        }
        live.push(Arc::downgrade(&hold));
        (0..count).map(move |index| Receipt { hold: hold.clone(), index })
    }

    /// Tells the server of messages held for longer than `age` that they are being worked on, and gives back
    /// those that nobody has any more.
    pub(crate) async fn extend(&self, age: Duration) {
        self.give_back_dropped().await;
        for hold in self.live() {
            if hold.is_due(age) {
                hold.report_progress().await;
            }
        }
    }

    /// Waits until something is held, or is to be given back: who has nothing to do is not to wake twice a second.
    pub(crate) async fn wait_for_any(&self) {
        if self.live().is_empty() && self.dropped.replies().is_empty() {
            self.dropped.is_due.notified().await;
        }
    }

    /// Gives back all that is held, to be delivered again at once, here or elsewhere.
    pub(crate) async fn give_back(&self) {
        for hold in self.live() {
            for reply in hold.unsettled() {
                send(&self.client, reply, NAK).await;
            }
        }
        self.give_back_dropped().await;
    }

    async fn give_back_dropped(&self) {
        let dropped = std::mem::take(&mut *self.dropped.replies());
        for reply in dropped {
            send(&self.client, reply, NAK).await;
        }
    }

    fn live(&self) -> Vec<Arc<Hold>> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|hold| hold.strong_count() > 0);
        live.iter().filter_map(Weak::upgrade).collect()
    }
}
