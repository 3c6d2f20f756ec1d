//! How long to wait before trying again: at once, then longer and longer, two seconds at most.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Counts the attempts.
#[derive(Default)]
pub(crate) struct Backoff {
    attempts: usize,
}

impl Backoff {
    /// Waits as long as is due after one more failure.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }

    /// How long to wait after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        self.attempts += 1;
        Self::after(self.attempts)
    }

    /// It worked: the next failure is a first one.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// The time to wait after so many failures.
    pub(crate) fn after(attempts: usize) -> Duration {
        let Some(doublings) = attempts.checked_sub(1) else { return Duration::ZERO };
        let doublings = u32::try_from(doublings).unwrap_or(u32::MAX).min(10);
        (FIRST * 2_u32.pow(doublings)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_two_seconds() {
        assert_eq!(Backoff::after(0), Duration::ZERO);
        assert_eq!(Backoff::after(1), FIRST);
        assert_eq!(Backoff::after(2), FIRST * 2);
        assert_eq!(Backoff::after(usize::MAX), LONGEST);
    }
}
