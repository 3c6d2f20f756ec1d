//! The progress of the fill, and requests for a refill.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

/// Number of rows after which an unfinished fill may conclude that the model fits.
const SAMPLE_ROWS: u64 = 1_000;

/// Maximum number of undecodable rows that another program's errors explain, however small the table.
const MAX_UNDECODABLE_IGNORED: u64 = 3;

/// Whether the model can read most of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ModelFit {
    /// Too few rows have been read.
    #[default]
    Unknown,
    Fits,
    /// Most rows can't be decoded: they are documents of another model.
    Misfit,
}

/// The progress of the fill.
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
    /// The result of the last fill, or of this one so far.
    pub(crate) model_fit: watch::Sender<ModelFit>,
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

    /// Counts a row. The first fill concludes early that the model fits, because a writer may be waiting for the
    /// conclusion.
    pub(crate) fn count_row(&self) {
        let rows = self.rows.fetch_add(1, Ordering::Relaxed) + 1;
        if rows == SAMPLE_ROWS && self.fit_so_far() == ModelFit::Fits {
            self.model_fit.send_if_modified(|fit| {
                let is_first = *fit == ModelFit::Unknown;
                if is_first {
                    *fit = ModelFit::Fits;
                }
                is_first
            });
        }
    }

    /// Concludes from the whole table, once it was read.
    pub(crate) fn decide_model_fit(&self) -> ModelFit {
        let fit = self.fit_so_far();
        self.model_fit.send_replace(fit);
        fit
    }

    /// Whether most of the table can't be decoded.
    pub(crate) fn is_misfit(&self) -> bool {
        *self.model_fit.borrow() == ModelFit::Misfit
    }

    fn fit_so_far(&self) -> ModelFit {
        let undecodable = self.undecodable.load(Ordering::Relaxed);
        let rows = self.rows.load(Ordering::Relaxed);
        if undecodable <= MAX_UNDECODABLE_IGNORED || undecodable * 2 <= rows {
            ModelFit::Fits
        } else {
            ModelFit::Misfit
        }
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
