//! The progress of the fill, and requests for a refill.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use order::{RootMembers, RowError};
use tokio::sync::{Notify, watch};

use crate::config::Table;
use crate::finding::Finding;

/// Number of rows after which an unfinished fill may conclude that the model fits.
const SAMPLE_ROWS: u64 = 1_000;

/// Maximum number of damaged rows that another program's errors explain, however small the table. Rows that are
/// readable, but of another type, are never ignored.
const MAX_DAMAGED_IGNORED: u64 = 3;

/// Maximum number of missing members that a warning names.
const MAX_NAMED_MEMBERS: usize = 10;

/// Whether the model can read most of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ModelFit {
    /// Too few rows have been read.
    #[default]
    Unknown,
    Fits,
    /// Most rows can't be decoded, or have no member of the model: they are documents of another model.
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
    /// Those of them that are readable, and of another type than the model's.
    pub(crate) of_other_type: AtomicU64,
    /// Rows of this fill that are documents without any member of the model.
    pub(crate) foreign: AtomicU64,
    /// The members of the rows that this fill has decoded.
    members: Mutex<Option<RootMembers>>,
    /// Rows that this fill has not decoded, because memory has them.
    skipped: AtomicU64,
    /// Whether the rows had little in common with the model when they were last judged.
    has_little_in_common: AtomicBool,
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

    /// Starts counting over, for another read of the table.
    pub(crate) fn reset_counts(&self) {
        for count in [&self.rows, &self.undecodable, &self.of_other_type, &self.foreign, &self.skipped] {
            count.store(0, Ordering::Relaxed);
        }
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether a fill has to decode also the rows that memory has, because the last one found that the model does not
    /// fit all rows.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.is_misfit() || self.has_little_in_common.load(Ordering::Relaxed)
    }

    /// Counts a row that is not decoded, because memory has it.
    pub(crate) fn count_skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds the members of rows that were decoded.
    pub(crate) fn add_members(&self, members: &RootMembers) {
        let mut all = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *all {
            Some(all) => all.merge(members),
            None => *all = Some(members.clone()),
        }
    }

    /// Whether this fill has decoded all rows. Those that it skipped were judged by an earlier one.
    pub(crate) fn has_decoded_all(&self) -> bool {
        self.skipped.load(Ordering::Relaxed) == 0
    }

    /// The warning that the rows that were read have little in common with the model, though it can read them.
    pub(crate) fn little_in_common(&self, table: &Table) -> Option<Finding> {
        let all = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = all.as_ref().and_then(RootMembers::missing_if_foreign);
        let missing = missing.filter(|_| self.fit_so_far() == ModelFit::Fits);
        self.has_little_in_common.store(missing.is_some(), Ordering::Relaxed);
        missing.map(|missing| little_in_common_in_words(&missing, table))
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

    /// Counts a row that is a document of the model or of another one.
    pub(crate) fn count_readable(&self, shares_member: bool) {
        if !shares_member {
            self.foreign.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a row that can't be decoded; returns how many there were before.
    pub(crate) fn count_undecodable(&self, error: Option<&RowError>) -> u64 {
        if let Some(RowError::Type(_)) = error {
            self.of_other_type.fetch_add(1, Ordering::Relaxed);
        }
        self.undecodable.fetch_add(1, Ordering::Relaxed)
    }

    /// In words: how many rows are not of the model.
    pub(crate) fn unfit_rows_in_words(&self, table: &Table) -> String {
        let [rows, undecodable, foreign] =
            [&self.rows, &self.undecodable, &self.foreign].map(|count| count.load(Ordering::Relaxed));
        let lacking =
            if foreign > 0 { format!(", and {foreign} have no member of the model") } else { String::new() };
        format!("{undecodable} of {rows} rows of {table} can't be decoded{lacking}")
    }

    /// In words: that the model does not fit the table, and why.
    pub(crate) fn misfit_in_words(&self, table: &Table) -> String {
        format!("{}: the model does not fit the table", self.unfit_rows_in_words(table))
    }

    /// Whether most of the table consists of documents of another model.
    pub(crate) fn is_misfit(&self) -> bool {
        *self.model_fit.borrow() == ModelFit::Misfit
    }

    fn fit_so_far(&self) -> ModelFit {
        let undecodable = self.undecodable.load(Ordering::Relaxed);
        let rows = self.rows.load(Ordering::Relaxed);
        let foreign = self.foreign.load(Ordering::Relaxed);
        let of_other_model = foreign + self.of_other_type.load(Ordering::Relaxed);
        let is_damage = undecodable <= MAX_DAMAGED_IGNORED && of_other_model == 0;
        if is_damage || (undecodable + foreign) * 2 <= rows { ModelFit::Fits } else { ModelFit::Misfit }
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

fn little_in_common_in_words(missing: &[&str], table: &Table) -> Finding {
    let named: Vec<_> = missing.iter().take(MAX_NAMED_MEMBERS).copied().collect();
    let more = match missing.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Finding::warning(
        format!(
            "the rows of {table} have little in common with the model: fewer than 1 % of them have its members {}{more}, and they have others instead",
            named.join(", ")
        ),
        "if these are other documents, set MODEL or PG_TABLE (orderd model check says what differs); if the model has \
         changed so much, nothing: once 1 % of the rows have the new members, the warning ends when the table is next \
         read: at a start, on SIGUSR1, or with REFILL_EVERY",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_damaged_rows_say_nothing_about_the_model_and_one_of_another_type_does() {
        let fit = |rows, damaged, of_other_type, foreign| {
            let progress = FillProgress::default();
            progress.foreign.store(foreign, Ordering::Relaxed);
            progress.rows.store(rows, Ordering::Relaxed);
            progress.undecodable.store(damaged + of_other_type, Ordering::Relaxed);
            progress.of_other_type.store(of_other_type, Ordering::Relaxed);
            progress.decide_model_fit()
        };
        for (rows, damaged, of_other_type, foreign) in
            [(0, 0, 0, 0), (3, 3, 0, 0), (2, 0, 1, 0), (8, 4, 0, 0), (8, 2, 2, 0), (8, 2, 1, 1), (2, 0, 0, 1)]
        {
            let found = fit(rows, damaged, of_other_type, foreign);
            assert_eq!(found, ModelFit::Fits, "{rows} {damaged} {of_other_type} {foreign}");
        }
        for (rows, damaged, of_other_type, foreign) in
            [(1, 0, 1, 0), (3, 2, 1, 0), (4, 4, 0, 0), (7, 4, 0, 0), (1, 0, 0, 1), (7, 2, 1, 1)]
        {
            let found = fit(rows, damaged, of_other_type, foreign);
            assert_eq!(found, ModelFit::Misfit, "{rows} {damaged} {of_other_type} {foreign}");
        }
    }
}
