//! Exponential backoff: the first retry is immediate, later ones wait up to one second. Delays are random, from
//! half of each to the whole, so that processes do not all reconnect at once.

use std::time::Duration;

use crate::random;

const FIRST_DELAY: Duration = Duration::from_millis(50);
const MAX_DELAY: Duration = Duration::from_secs(1);

const SHORT_TIMEOUT: Duration = Duration::from_millis(1500);
const LONG_TIMEOUT: Duration = Duration::from_secs(5);

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

    /// The delay after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        self.attempts += 1;
        Self::after(self.attempts)
    }

    /// Time limit for a response. A NATS server that has lost the leader of a stream never answers requests of that
    /// time, so retries come soon; for a slow server, every third attempt waits longer.
    pub(crate) fn patience(&self) -> Duration {
        if self.attempts % 3 == 2 { LONG_TIMEOUT } else { SHORT_TIMEOUT }
    }

    /// Resets after a success: the next failure counts as the first.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// The time to wait after this number of failures.
    pub(crate) fn after(attempts: usize) -> Duration {
        let longest = Self::longest_after(attempts);
        let half = longest / 2;
        let random_nanos = random::number().unsigned_abs() % (half.as_nanos() as u64 + 1);
        longest - Duration::from_nanos(random_nanos)
    }

    fn longest_after(attempts: usize) -> Duration {
        let Some(doublings) = attempts.checked_sub(1) else { return Duration::ZERO };
        let doublings = u32::try_from(doublings).unwrap_or(u32::MAX).min(10);
        (FIRST_DELAY * 2_u32.pow(doublings)).min(MAX_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_one_second() {
        assert_eq!(Backoff::longest_after(0), Duration::ZERO);
        assert_eq!(Backoff::longest_after(1), FIRST_DELAY);
        assert_eq!(Backoff::longest_after(2), FIRST_DELAY * 2);
        assert_eq!(Backoff::longest_after(usize::MAX), MAX_DELAY);
    }

    #[test]
    fn delays_differ_between_half_and_whole() {
        assert_eq!(Backoff::after(0), Duration::ZERO);
        let delays: Vec<_> = (0..100).map(|_| Backoff::after(usize::MAX)).collect();
        assert!(delays.iter().all(|delay| (MAX_DELAY / 2..=MAX_DELAY).contains(delay)), "{delays:?}");
        assert!(delays.iter().any(|delay| *delay < MAX_DELAY * 3 / 4), "{delays:?}");
        assert!(delays.iter().any(|delay| *delay > MAX_DELAY * 3 / 4), "{delays:?}");
    }

    #[test]
    fn server_that_is_slow_gets_more_time_now_and_then() {
        let mut backoff = Backoff::default();
        let waits = std::array::from_fn(|_| {
            backoff.next();
            backoff.patience()
        });
        assert_eq!(waits, [SHORT_TIMEOUT, LONG_TIMEOUT, SHORT_TIMEOUT, SHORT_TIMEOUT, LONG_TIMEOUT]);
    }
}
