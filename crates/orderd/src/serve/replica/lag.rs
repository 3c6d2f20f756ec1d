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
    is_alone: bool,
}

impl Default for Lag {
    fn default() -> Self {
        Self { last: Mutex::new(Last { messages: 0, whole: Instant::now(), is_alone: true }) }
    }
}

impl Lag {
    /// So many messages of the stream are settled of which nothing is known here. `whole`: when memory had all.
    pub(super) fn set(&self, messages: u64, whole: Option<Instant>, together: bool) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = whole.unwrap_or(last.whole);
        *last = Last { messages, whole, is_alone: !together };
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
