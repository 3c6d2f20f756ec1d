//! The audit log: a line of the target `audit` for each sign-in, sign-out, replay, erasure and drop, with the actor's
//! name, the setting that holds the actor's token, and the key. Never a token, never content.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::config::Token;
use crate::wording::shown;

/// The target of all lines.
pub const TARGET: &str = "audit";

/// Maximum number of logged failed attempts within [`WINDOW`]; further ones are counted in the next line.
const MAX_FAILED_PER_WINDOW: u64 = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// Who acts: a token, or the operating system's user who runs a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Actor {
    pub(crate) name: String,
    /// The setting that holds the token: without names, each setting has a token `#1`.
    pub(crate) setting: Option<&'static str>,
}

impl Actor {
    /// The operating system's user who runs this command.
    pub(crate) fn os_user() -> Self {
        let uid = rustix::process::getuid().as_raw();
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let named = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        });
        Self { name: format!("os:{}", named.unwrap_or_else(|| uid.to_string())), setting: None }
    }
}

impl From<&Token> for Actor {
    fn from(token: &Token) -> Self {
        Self { name: token.name.clone(), setting: Some(token.setting) }
    }
}

/// Logs an action. `touched` has its key and its outcome.
pub(crate) fn note(action: &str, by: &Actor, touched: &[(&str, &str)]) {
    let of = |name: &str| touched.iter().find(|(known, _)| *known == name).map(|(_, value)| shown(value));
    let Actor { name, setting } = by;
    tracing::info!(target: TARGET, action, by = name, setting, key = of("key"), outcome = of("outcome"));
}

/// An action on a key, which is logged even if it is interrupted: by a time limit, an error, a client that disconnects,
/// or the shutdown's time limit. Part of it may be done by then.
pub(crate) struct Action<'d> {
    action: &'static str,
    by: &'d Actor,
    key: &'d str,
    outcome: &'static str,
}

impl<'d> Action<'d> {
    /// Begins an action. `cut_off` is its outcome if no other is set.
    pub(crate) fn begin(action: &'static str, by: &'d Actor, key: &'d str, cut_off: &'static str) -> Self {
        Self { action, by, key, outcome: cut_off }
    }

    /// Sets the outcome.
    pub(crate) fn became(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Action<'_> {
    fn drop(&mut self) {
        note(self.action, self.by, &[("key", self.key), ("outcome", self.outcome)]);
    }
}

/// Logs refused attempts, at a bounded rate.
#[derive(Default)]
pub(crate) struct FailedAttempts(Mutex<Window>);

#[derive(Default)]
struct Window {
    since: Option<Instant>,
    count: u64,
    suppressed: u64,
}

impl FailedAttempts {
    /// Logs an attempt without the right, by the token, if known.
    pub(crate) fn failed(&self, action: &str, by: Option<&Actor>, why: &str) {
        if let Some(suppressed) = self.admit(Instant::now()) {
            let suppressed = Some(suppressed).filter(|count| *count > 0);
            let (name, setting) = (by.map(|by| by.name.as_str()), by.and_then(|by| by.setting));
            tracing::warn!(target: TARGET, action, by = name, setting, outcome = "denied", why, suppressed);
        }
    }

    /// The number of attempts that were not logged since the last line; `None`: do not log this one.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.since.is_none_or(|since| now - since >= WINDOW) {
            (window.since, window.count) = (Some(now), 0);
        }
        window.count += 1;
        if window.count > MAX_FAILED_PER_WINDOW {
            window.suppressed += 1;
            return None;
        }
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_cut_off_in_the_middle_has_a_line_too_and_nothing_has_two() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let token = Actor { name: "#1".into(), setting: Some("HTTP_REPLAY_TOKEN") };
            Action::begin("replay", &token, "1-1", "undecided").became("taken_in");
            let user = Actor { name: "os:ops".into(), setting: None };
            let _cut_off = Action::begin("replay", &user, "1-2", "undecided");
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> =
            log.lines().filter_map(|line| line.split_once("audit: ")).map(|(_, line)| line).collect();
        assert_eq!(
            lines,
            [
                r##"action="replay" by="#1" setting="HTTP_REPLAY_TOKEN" key="1-1" outcome="taken_in""##,
                r#"action="replay" by="os:ops" key="1-2" outcome="undecided""#
            ]
        );
    }

    #[test]
    fn failed_attempts_are_noted_at_a_bounded_rate_and_counted() {
        let (attempts, begun) = (FailedAttempts::default(), Instant::now());
        let noted = (0..1000).filter(|_| attempts.admit(begun).is_some()).count();
        assert_eq!(noted as u64, MAX_FAILED_PER_WINDOW);
        assert_eq!(attempts.admit(begun + WINDOW / 2), None);
        assert_eq!(attempts.admit(begun + WINDOW), Some(1001 - MAX_FAILED_PER_WINDOW));
        assert_eq!(attempts.admit(begun + WINDOW), Some(0));
    }
}
