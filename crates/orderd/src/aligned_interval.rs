//! Aligns periodic timers: all of them fire at the same moments, so that a process with
//! nothing to do wakes once for all of them.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Waits until the next tick: at most one `period`.
pub(crate) async fn next(period: Duration) {
    tokio::time::sleep_until(moment(period)).await;
}

/// The next tick. Ticks of all periods are counted from the same instant.
pub(crate) fn moment(period: Duration) -> Instant {
    let now = Instant::now();
    now + until(now - *BEGAN, period)
}

fn until(elapsed: Duration, period: Duration) -> Duration {
    let into = elapsed.as_nanos() % period.as_nanos().max(1);
    period.saturating_sub(Duration::from_nanos(into as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_a_period_are_among_those_of_a_shorter_one() {
        let seconds = Duration::from_secs_f64;
        assert_eq!(until(seconds(7.25), seconds(1.0)), seconds(0.75));
        assert_eq!(until(seconds(7.25), seconds(2.0)), seconds(0.75));
        assert_eq!(until(seconds(7.25), seconds(5.0)), seconds(2.75));
        assert_eq!(until(seconds(8.0), seconds(2.0)), seconds(2.0));
        assert_eq!(until(seconds(8.0), Duration::ZERO), Duration::ZERO);
    }
}
