//! Ctrl-C and SIGTERM as a counter, so that everything is stopped in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Source;

/// The number of signals.
pub(super) struct Signals {
    count: Arc<AtomicUsize>,
}

impl Signals {
    /// Catches the signals from now on; a closed terminal counts as Ctrl-C.
    pub(super) fn catch() -> Result<Self> {
        let mut source = Source::new([SIGINT, SIGTERM, SIGHUP]).context("cannot listen for Ctrl-C")?;
        let count = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&count);
        std::thread::spawn(move || {
            for _ in source.forever() {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(Self { count })
    }

    pub(super) fn stop_requested(&self) -> bool {
        self.count() > 0
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}
