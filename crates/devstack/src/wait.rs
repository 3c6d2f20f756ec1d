//! Waits for conditions, never for fixed times.

use std::time::{Duration, Instant};

use crate::Error;

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Polls until the condition holds or the limit has passed; returns whether it holds. The pauses grow with the time
/// waited, so that a short wait is exact and a long one is cheap.
pub fn wait_for(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        let waited = start.elapsed();
        if waited >= limit {
            return false;
        }
        std::thread::sleep((waited / 16).clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
    }
}

/// Polls until there is a value. An error ends the wait at once; a timeout's error names `what`.
pub fn wait_until<T>(
    limit: Duration,
    what: &str,
    mut question: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let mut answer = Ok(None);
    wait_for(limit, || {
        answer = question();
        !matches!(answer, Ok(None))
    });
    answer?.ok_or_else(|| Error::TimedOut { what: what.to_owned(), seconds: limit.as_secs() })
}
