//! Whether other processes take from the stream too, and whether they may be told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::telling;

/// After so long without a sign of another process this one is alone.
const ALONE: Duration = Duration::from_secs(30);

/// What is known of the others.
pub(crate) struct Company {
    begun: Instant,
    /// In ms since then: up to when somebody else is taken to be there. 0: nobody has shown himself.
    until: AtomicU64,
    is_denied: AtomicBool,
    is_said: AtomicBool,
}

impl Default for Company {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            until: AtomicU64::new(0),
            is_denied: AtomicBool::new(false),
            is_said: AtomicBool::new(false),
        }
    }
}

impl Company {
    /// Somebody else is there: it was heard, or has taken messages.
    pub(super) fn seen(&self) {
        self.until.store(self.age() + ALONE.as_millis() as u64, Ordering::Relaxed);
    }

    /// Nobody else has been there for long.
    pub(super) fn is_alone(&self) -> bool {
        self.age() >= self.until.load(Ordering::Relaxed)
    }

    /// Whether it is worth telling what is committed.
    pub(crate) fn listens(&self) -> bool {
        !self.is_alone() && self.may_be_told()
    }

    /// Whether the server takes what is told.
    pub(crate) fn may_be_told(&self) -> bool {
        !self.is_denied.load(Ordering::Relaxed)
    }

    /// There is a new connection: what was denied may be allowed there.
    pub(crate) fn connected(&self) {
        self.is_denied.store(false, Ordering::Relaxed);
    }

    /// The server has refused something. `true`: it was to do with telling, and is dealt with.
    pub(crate) fn note_refusal(&self, error: &str) -> bool {
        let text = error.to_lowercase();
        if !(text.contains("permissions violation") && text.contains(telling::PREFIX)) {
            return false;
        }
        if text.contains("for publish") {
            self.is_denied.store(true, Ordering::Relaxed);
        }
        if !self.is_said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error,
                "NATS denies what processes tell each other; others' orders are looked up in the table instead"
            );
        }
        true
    }

    fn age(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_is_alone_until_somebody_shows_himself_and_again_after_long() {
        let company = Company::default();
        assert!(company.is_alone() && !company.listens());
        company.seen();
        assert!(!company.is_alone() && company.listens());
        tokio::time::advance(ALONE).await;
        assert!(company.is_alone() && !company.listens());
    }

    #[tokio::test]
    async fn what_is_denied_is_not_tried_again_on_the_same_connection() {
        let company = Company::default();
        company.seen();
        assert!(!company.note_refusal("Permissions Violation for Publish to \"dead.TESTING.1-1\""));
        assert!(
            company.note_refusal("Permissions Violation for Subscription to \"orderd.told.TESTING.a.b\"")
        );
        assert!(company.listens(), "it may publish");
        assert!(company.note_refusal("Permissions Violation for Publish to \"orderd.told.TESTING.a.b\""));
        assert!(!company.listens());
        company.connected();
        assert!(company.listens());
    }
}
