//! Waiting for conditions, never for fixed times.

use std::time::{Duration, Instant};

use crate::Error;

const PAUSE: Duration = Duration::from_millis(4);

/// Asks until the answer is yes or the limit has passed; says which.
pub fn wait_for(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Asks until there is an answer; an error of the question ends it at once, and one of time names
/// what was waited for.
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
