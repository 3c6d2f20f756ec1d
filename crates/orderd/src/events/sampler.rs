//! Samples the orders that `/events` shows: all up to [`MAX_PER_SECOND`] a second; above that, a sample spread over the
//! second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Orders shown in any second.
pub(crate) const MAX_PER_SECOND: usize = 100;

const WINDOW: Duration = Duration::from_secs(1);

/// Above that rate, at most [`MAX_PER_SLICE`] orders are shown in each slice of a second.
const SLICE: Duration = Duration::from_millis(50);
const MAX_PER_SLICE: usize = 5;

/// Orders that arrived and were shown in the last second.
#[derive(Default)]
pub(crate) struct Sampler {
    came: VecDeque<(Instant, usize)>,
    coming: usize,
    shown: VecDeque<Instant>,
}

impl Sampler {
    /// The number of orders that may be shown now. The rate is unknown at the first order, so the first second of a
    /// burst shows the first hundred.
    pub(crate) fn room(&mut self, now: Instant) -> usize {
        let is_past = |then: Instant| now.saturating_duration_since(then) >= WINDOW;
        while self.shown.front().is_some_and(|&then| is_past(then)) {
            self.shown.pop_front();
        }
        while let Some((_, count)) = self.came.pop_front_if(|(then, _)| is_past(*then)) {
            self.coming -= count;
        }
        let left = MAX_PER_SECOND.saturating_sub(self.shown.len());
        if self.coming < MAX_PER_SECOND {
            return left;
        }
        let of_late =
            self.shown.iter().rev().take_while(|&&then| now.saturating_duration_since(then) < SLICE);
        left.min(MAX_PER_SLICE.saturating_sub(of_late.count()))
    }

    /// Records how many orders have arrived, and how many of them are shown.
    pub(crate) fn note(&mut self, now: Instant, came: usize, shown: usize) {
        self.came.push_back((now, came));
        self.coming += came;
        self.shown.extend(std::iter::repeat_n(now, shown));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are shown in each tenth of a second, of orders that come in chunks of `chunk` each millisecond.
    fn shown_in_tenths(chunk: usize, every_ms: u64, seconds: u64) -> Vec<usize> {
        let (mut sampler, start) = (Sampler::default(), Instant::now());
        let mut tenths = vec![0; seconds as usize * 10];
        for ms in (0..seconds * 1000).step_by(every_ms as usize) {
            let now = start + Duration::from_millis(ms);
            let shown = sampler.room(now).min(chunk);
            sampler.note(now, chunk, shown);
            tenths[ms as usize / 100] += shown;
        }
        tenths
    }

    #[test]
    fn sampler_shows_all_orders_up_to_the_rate() {
        assert_eq!(shown_in_tenths(1, 10, 5), vec![10; 50]);
        // Eighty at once, each second.
        assert_eq!(shown_in_tenths(80, 1000, 3).iter().sum::<usize>(), 240);
    }

    #[test]
    fn sampler_spreads_shown_orders_over_the_second_above_the_rate() {
        for (chunk, every) in [(1, 1), (10, 1), (256, 25)] {
            let tenths = shown_in_tenths(chunk, every, 5);
            assert!(tenths[10..].iter().all(|&shown| (5..=15).contains(&shown)), "{tenths:?}");
            for second in tenths.windows(10) {
                assert!(second.iter().sum::<usize>() <= MAX_PER_SECOND, "{tenths:?}");
            }
            assert!(tenths.iter().sum::<usize>() >= 5 * MAX_PER_SECOND * 4 / 5, "{tenths:?}");
        }
    }
}
