//! The progress of the fill, and requests for a refill.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// How far the fill is.
#[derive(Default)]
pub(crate) struct FillProgress {
    /// Rows read in this fill.
    pub(crate) rows: AtomicU64,
    /// Rows in the table when the fill began, as PostgreSQL estimates.
    pub(crate) estimate: AtomicU64,
    /// Rows of this fill that can't be decoded.
    pub(crate) undecodable: AtomicU64,
    /// Entries of all fills that are on their way to memory, or there.
    pub(crate) sent: AtomicU64,
    /// Notified to read the table again.
    pub(crate) refill_requested: Notify,
    /// Number of refill requests, and the number of the last request that a complete fill has served.
    pub(crate) asked: AtomicU64,
    pub(crate) answered: AtomicU64,
    /// Whether the table is being read, or was.
    pub(crate) begun: AtomicBool,
    /// The position is known: the table is complete up to it.
    pub(crate) placed: Notify,
}

impl FillProgress {
    /// Memory was emptied: a finished or running read of the table does not count for the new generation.
    pub(crate) fn invalidate(&self) {
        self.asked.fetch_add(1, Ordering::AcqRel);
    }

    /// Requests a refill.
    pub(crate) fn request_refill(&self) {
        self.invalidate();
        self.refill_requested.notify_one();
    }

    /// Whether the last fill that was requested has completed.
    pub(crate) fn is_whole(&self) -> bool {
        self.answered.load(Ordering::Acquire) >= self.asked.load(Ordering::Acquire)
    }

    /// From here on, this process follows what other processes write; the table must be read after that.
    pub(crate) fn placed(&self) {
        self.placed.notify_one();
        if self.begun.load(Ordering::Acquire) {
            self.request_refill();
        }
    }

    /// As `/readyz` shows it: rows read, rows expected, rows that can't be decoded.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 3] {
        [("rows", &self.rows), ("of", &self.estimate), ("undecodable", &self.undecodable)]
            .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}
