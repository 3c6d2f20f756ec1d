//! Formats figures.

use std::time::Duration;

/// `1.5 s`, or `never`.
pub(crate) fn seconds(time: Option<Duration>) -> String {
    time.map_or("never".into(), |time| format!("{:.1} s", time.as_secs_f64()))
}
