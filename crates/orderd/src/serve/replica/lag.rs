//! How far behind the other processes this one is.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::metrics::Metrics;

/// What is known of it.
pub(crate) struct Lag {
    last: Mutex<Last>,
}

#[derive(Clone, Copy)]
struct Last {
    messages: u64,
    /// When memory was last known to have all that was settled.
    whole: Instant,
    /// Up to where all was settled at a later time: memory will have that next.
    next: (u64, Instant),
    is_alone: bool,
}

impl Default for Lag {
    fn default() -> Self {
        let now = Instant::now();
        Self { last: Mutex::new(Last { messages: 0, whole: now, next: (0, now), is_alone: true }) }
    }
}

impl Lag {
    /// Up to `floor` all was settled when it was `asked` for, and memory has it up to `mark`, or `is_filling`.
    pub(super) fn set(&self, (floor, asked): (u64, Instant), mark: u64, is_filling: bool, is_alone: bool) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (last.messages, last.is_alone) = (floor.saturating_sub(mark), is_alone);
        if is_filling {
            return;
        }
        // Under load more is settled each time; memory had all when it has what was settled then.
        if mark == floor {
            (last.whole, last.next) = (asked, (floor, asked));
        } else if mark >= last.next.0 {
            (last.whole, last.next) = (last.next.1, (floor, asked));
        } else if last.next.0 > floor {
            last.next = (floor, asked);
        }
    }

    fn last(&self) -> Last {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For `/readyz`.
    pub(crate) fn json(&self) -> serde_json::Value {
        let last = self.last();
        serde_json::json!({
            "alone": last.is_alone,
            "behind_messages": last.messages,
            "behind_seconds": last.whole.elapsed().as_secs_f64(),
        })
    }

    /// Sets the gauges.
    pub(crate) fn show(&self, metrics: &Metrics) {
        let last = self.last();
        metrics.replica_lag.set(last.messages as i64);
        metrics.replica_lag_seconds.set(last.whole.elapsed().as_secs_f64());
        metrics.replica_alone.set(i64::from(last.is_alone));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn under_load_it_is_behind_by_what_it_takes_to_catch_up() {
        let lag = Lag::default();
        for second in 1..=5_u64 {
            tokio::time::advance(Duration::from_secs(1)).await;
            // What was settled a second ago is there, and no more.
            lag.set((100 * second, Instant::now()), 100 * second - 100, false, false);
        }
        assert_eq!((lag.last().messages, lag.last().whole.elapsed().as_secs()), (100, 1));
        for second in 6..=8_u64 {
            tokio::time::advance(Duration::from_secs(1)).await;
            lag.set((100 * second, Instant::now()), 400, false, false);
        }
        assert_eq!((lag.last().messages, lag.last().whole.elapsed().as_secs()), (400, 4));
        lag.set((50, Instant::now()), 50, false, true);
        assert_eq!((lag.last().messages, lag.last().whole.elapsed().as_secs()), (0, 0));
    }
}
