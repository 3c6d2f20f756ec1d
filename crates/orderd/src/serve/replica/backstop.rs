//! When the stream's headers have to be read: where something settled was neither given to this process nor told,
//! for longer than a telling is on its way.

use std::time::Duration;

use tokio::time::Instant;

/// How long what is missing may still be told.
const GRACE: Duration = Duration::from_secs(1);

/// How long headers are read after they were last of use: twice as long each time that they are needed again soon,
/// for on some streams others' subjects always leave gaps.
const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(60);

/// What was missing, and since when.
pub(super) struct Backstop {
    gap: Option<(u64, Instant)>,
    /// When headers last showed what nobody had told.
    used: Instant,
    keep: Duration,
    ended: Option<Instant>,
}

impl Default for Backstop {
    fn default() -> Self {
        Self { gap: None, used: Instant::now(), keep: FIRST, ended: None }
    }
}

impl Backstop {
    /// Nothing is missing.
    pub(super) fn is_whole(&mut self) {
        self.gap = None;
    }

    /// Something is missing behind this sequence. Whether it has been for too long.
    pub(super) fn is_due(&mut self, behind: u64) -> bool {
        let now = Instant::now();
        let since = match self.gap {
            Some((before, since)) if before == behind => since,
            _ => now,
        };
        self.gap = Some((behind, since));
        now - since >= GRACE
    }

    /// Headers are read from now on.
    pub(super) fn begin(&mut self) {
        let is_again = self.ended.is_some_and(|ended| ended.elapsed() < SOON);
        self.keep = if is_again { (self.keep * 2).min(MOST) } else { FIRST };
        self.gap = None;
        self.used();
    }

    /// They have shown what nobody had told.
    pub(super) fn used(&mut self) {
        self.used = Instant::now();
    }

    /// Whether they are of no use any more.
    pub(super) fn is_over(&self) -> bool {
        self.used.elapsed() >= self.keep
    }

    /// They are read no more.
    pub(super) fn end(&mut self) {
        self.ended = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_gap_that_stays_is_looked_into() {
        let mut backstop = Backstop::default();
        assert!(!backstop.is_due(5));
        advance(GRACE / 2).await;
        assert!(!backstop.is_due(5));
        advance(GRACE / 2).await;
        assert!(!backstop.is_due(6), "it is another one");
        advance(GRACE).await;
        backstop.is_whole();
        assert!(!backstop.is_due(6));
        advance(GRACE).await;
        assert!(backstop.is_due(6));
    }

    #[tokio::test(start_paused = true)]
    async fn headers_that_are_needed_again_and_again_are_read_for_longer() {
        let mut backstop = Backstop::default();
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            backstop.begin();
            advance(Duration::from_secs(seconds) - Duration::from_millis(1)).await;
            assert!(!backstop.is_over());
            advance(Duration::from_millis(1)).await;
            assert!(backstop.is_over());
            backstop.end();
        }
        advance(SOON).await;
        backstop.begin();
        advance(FIRST).await;
        assert!(backstop.is_over());
    }
}
