//! Gives readers of orders that are not in memory yet priority over the fill: PostgreSQL answers them, and needs the
//! same cores.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::cache::Cache;

/// Interval at which to check whether readers still wait.
const MOMENT: Duration = Duration::from_millis(1);

impl Cache {
    /// Sleeps while readers wait, at most for `at_most`.
    pub async fn yield_to_readers(&self, at_most: Duration) {
        let until = Instant::now() + at_most;
        while self.readers_wait.load(Ordering::Relaxed) && Instant::now() < until {
            tokio::time::sleep(MOMENT).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use order::Layouts;

    use super::*;

    #[tokio::test]
    async fn writer_yields_only_to_waiting_readers_and_for_a_bounded_time() {
        let cache = Cache::new(
            Arc::new(Layouts::new(model::Model::order().unwrap().shape()).unwrap()),
            Vec::new(),
            None,
        );
        let long = Duration::from_secs(3600);
        assert!(cache.yield_to_readers(long).now_or_never().is_some());
        cache.readers_wait.store(true, Ordering::Relaxed);
        assert!(cache.yield_to_readers(long).now_or_never().is_none());
        cache.yield_to_readers(MOMENT).await;
    }
}
