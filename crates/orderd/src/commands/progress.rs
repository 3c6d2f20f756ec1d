//! Progress on stderr: a bar on a terminal, nothing elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The progress of a command.
pub(crate) struct Progress {
    bar: ProgressBar,
    begun: Instant,
}

impl Progress {
    /// For `total` items, or for an unknown number.
    pub(crate) fn new(total: Option<u64>, things: &str) -> Self {
        let (bar, template) = match total {
            Some(total) => {
                (ProgressBar::new(total), "{bar:40} {human_pos}/{human_len} {msg} {per_sec} {eta}")
            }
            None => (ProgressBar::new_spinner(), "{spinner} {human_pos} {msg} {per_sec}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(things.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, begun: Instant::now() }
    }

    /// Raises the expected total.
    pub(crate) fn expect(&self, count: u64) {
        self.bar.inc_length(count);
    }

    pub(crate) fn add(&self, count: u64) {
        self.bar.inc(count);
    }

    /// Sets the number of finished ones.
    pub(crate) fn set(&self, count: u64) {
        self.bar.set_position(count);
    }

    /// Removes the bar.
    pub(crate) fn clear(self) {
        self.bar.finish_and_clear();
    }

    /// Removes the bar; returns the summary line.
    pub(crate) fn finish(self, things: &str) -> String {
        // To finish a bar is to move it to its end.
        let (count, seconds) = (self.bar.position(), self.begun.elapsed().as_secs_f64());
        self.bar.finish_and_clear();
        let counted = if count == 1 { things.trim_end_matches('s') } else { things };
        format!("{count} {counted} in {seconds:.2} s, {:.0} {things}/s", count as f64 / seconds.max(1e-9))
    }
}
