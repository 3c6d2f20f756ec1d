//! Rules for warnings: when a stream, an account, a consumer or the clock will stop or endanger the intake.
//!
//! `/readyz`, which checks every few seconds, and `orderd check --settings` share these rules. Pure functions: from the
//! answers of NATS to findings.

use std::time::Duration;

use crate::finding::Finding;
use crate::health::readyz_warning::{Warning, WarningKind};
use crate::nats::info::{AccountInfo, StreamConfig, StreamInfo, StreamState};
use crate::wording::counted;

/// The file of this setting is not used in its current state.
pub(crate) fn of_file(setting: &str, problem: String) -> Warning {
    let fix = "correct the file; its previous content is still in use";
    Warning::new(WarningKind::FileUnusable, setting, Finding::warning(problem, fix))
}

/// A DATABASE_URL that has changed and is not followed.
pub(crate) fn of_place(problem: String, fix: String) -> Warning {
    Warning::new(WarningKind::FileUnusable, "DATABASE_URL", Finding::warning(problem, fix))
}

/// A clock that differs by less harms nothing: keys and ages are right to that.
const MAX_SKEW: Duration = Duration::from_secs(1);

/// Why a stream takes no messages, or soon will not, and how it may drop what it has. `what` names its messages.
pub(crate) fn of_stream(stream: &StreamInfo, what: &str) -> Vec<Warning> {
    let sealed = sealed(&stream.config);
    let full = sealed.is_none().then(|| full(stream)).flatten();
    sealed.into_iter().chain(full).chain(losses(&stream.config, what)).collect()
}

fn sealed(StreamConfig { name, sealed, .. }: &StreamConfig) -> Option<Warning> {
    let finding = sealed.then(|| {
        Finding::blocked(
            format!("the stream {name} is sealed: publishers are refused, permanently"),
            format!(
                "make another stream for its subjects, once they are taken out of {name}, which can only be \
                 deleted: nats stream rm {name} (its messages go with it)"
            ),
        )
    });
    finding.map(|finding| Warning::new(WarningKind::StreamSealed, name, finding))
}

/// A stream that drops its oldest messages instead is not full.
fn full(stream: &StreamInfo) -> Option<Warning> {
    let StreamConfig { name, discard, max_msgs, max_bytes, .. } = &stream.config;
    let StreamState { messages, bytes, .. } = stream.state;
    // A message that does not fit is refused: checks for one more of the usual size.
    let one_more = [(messages + 1, max_msgs), (bytes + bytes / messages.max(1), max_bytes)];
    let percents = one_more.map(|(wanted, limit)| percent(wanted, *limit));
    let percent = percents.into_iter().flatten().max().filter(|_| discard == "new")?;
    let fix = format!("raise its limits: nats stream edit {name} --max-bytes=… --max-msgs=…");
    let finding = match percent {
        101.. => Finding::blocked(format!("the stream {name} is full: publishers are refused"), fix),
        90.. => Finding::warning(
            format!("the stream {name} is nearly full ({percent} %): publishers are refused when it is"),
            fix,
        ),
        _ => return None,
    };
    Some(Warning::new(WarningKind::StreamFull, name, finding))
}

/// The percentage of a limit, rounded up; `None` without a limit.
fn percent(held: u64, limit: i64) -> Option<u64> {
    let limit = u64::try_from(limit).ok().filter(|limit| *limit > 0)?;
    Some(held.saturating_mul(100).div_ceil(limit))
}

/// How a stream may drop stored messages.
fn losses(config: &StreamConfig, what: &str) -> Vec<Warning> {
    let StreamConfig { name, storage, discard, max_msgs, max_bytes, max_age, max_msgs_per_subject, .. } =
        config;
    let drops = discard != "new";
    let bounds = [
        ("max_msgs", max_msgs, drops),
        ("max_bytes", max_bytes, drops),
        ("max_age", max_age, true),
        ("max_msgs_per_subject", max_msgs_per_subject, drops),
    ];
    let bounds: Vec<&str> = bounds
        .into_iter()
        .filter(|(_, bound, counts)| **bound > 0 && *counts)
        .map(|(name, ..)| name)
        .collect();
    let memory = (storage == "memory").then(|| {
        Finding::warning(
            format!("the stream {name} is kept in memory: a restart of NATS drops {what}"),
            format!(
                "once it is empty, remove it (nats stream rm {name}) and make it with --storage=file: the storage of a \
                 stream can't be changed"
            ),
        )
    });
    let bounded = (!bounds.is_empty()).then(|| {
        let bounds = bounds.join(", ");
        Finding::warning(
            format!("the stream {name} may drop {what}: {bounds} with discard {discard}"),
            format!(
                "nats stream edit {name} --discard=new --max-age=0s --max-msgs-per-subject=-1; what is full refuses \
                 publishers then and drops nothing"
            ),
        )
    });
    let findings = memory.into_iter().chain(bounded);
    findings.map(|finding| Warning::new(WarningKind::StreamMayDrop, name, finding)).collect()
}

/// The account's limit for streams with this number of replicas.
pub(crate) fn of_account(account: &AccountInfo, replicas: usize) -> Option<Warning> {
    let tier = account.tier(replicas as u64);
    let (used, limit) = (tier.storage, u64::try_from(tier.limits.max_storage).unwrap_or(0));
    let left = limit.saturating_sub(used);
    // A message that does not fit is refused, so some bytes always stay free.
    let (new, words): (fn(String, &'static str) -> Finding, _) = match limit {
        0 => return None,
        _ if left < limit / 100 => (Finding::blocked, "is full, so that publishers are refused"),
        _ if left < limit / 10 => (Finding::warning, "is nearly full"),
        _ => return None,
    };
    let finding = new(
        format!("the storage of the account {words}: {used} of {limit} bytes"),
        "raise the account's limit (max_file), or remove what is not needed: nats stream purge",
    );
    Some(Warning::new(WarningKind::AccountFull, "account", finding))
}

/// The account's storage is more than half full, so the stream keeps fewer committed messages.
pub(crate) fn of_kept(account: &AccountInfo, replicas: usize, keep: Duration) -> Option<Warning> {
    let tier = account.tier(replicas as u64);
    let (used, limit) = (tier.storage, u64::try_from(tier.limits.max_storage).unwrap_or(0));
    let finding = (limit > 0 && used > limit / 2 && !keep.is_zero()).then(|| {
        Finding::warning(
            format!(
                "the storage of the account is more than half full ({used} of {limit} bytes): committed \
                 messages stay in the stream for less than STREAM_KEEP ({} s)",
                keep.as_secs()
            ),
            "raise the account's limit (max_file), or set STREAM_KEEP to less",
        )
    });
    finding.map(|finding| Warning::new(WarningKind::KeptShorter, "account", finding))
}

/// Messages that the stream lost before they were read. `clear` is the statement that sets the count to 0.
pub(crate) fn of_messages_lost(stream: &str, lost: u64, clear: &str) -> Option<Warning> {
    let finding = (lost > 0).then(|| {
        Finding::warning(
            format!("{} left the stream {stream} before being read", counted(lost, "message")),
            format!(
                "publish them again if their publishers still have them; raise the limits of the stream (max_age, max_msgs, max_bytes), or STREAM_KEEP if orderd created it; then clear their count: {clear}"
            ),
        )
    });
    finding.map(|finding| Warning::new(WarningKind::MessagesLost, stream, finding))
}

/// Messages that were committed before they were stored, by our clock: by `skew` at least.
pub(crate) fn of_clock_skew(skew: Duration) -> Option<Warning> {
    let seconds = skew.as_secs_f64();
    let finding = (skew > MAX_SKEW).then(|| {
        Finding::warning(
            format!("the clock of the NATS server is ahead of this machine's by at least {seconds:.1} s"),
            "synchronize both with NTP: until then, ages are wrong",
        )
    });
    finding.map(|finding| Warning::new(WarningKind::ClockSkew, "nats", finding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;

    fn stream() -> StreamInfo {
        let config = StreamConfig {
            name: "ORDERS".into(),
            storage: "file".into(),
            discard: "old".into(),
            max_msgs: -1,
            max_bytes: -1,
            max_msgs_per_subject: -1,
            ..Default::default()
        };
        StreamInfo { config, ..Default::default() }
    }

    fn kinds(change: impl FnOnce(&mut StreamConfig), messages: u64) -> Vec<(WarningKind, Severity)> {
        let mut stream = stream();
        change(&mut stream.config);
        (stream.state.messages, stream.state.bytes) = (messages, messages * 100);
        let warnings = of_stream(&stream, "unread messages");
        warnings.into_iter().map(|warning| (warning.kind, warning.finding.severity)).collect()
    }

    #[test]
    fn stream_without_bounds_gives_no_warning() {
        assert_eq!(kinds(|_| {}, 1_000_000), []);
        let half_full = |config: &mut StreamConfig| (config.discard, config.max_msgs) = ("new".into(), 100);
        assert_eq!(kinds(half_full, 50), []);
    }

    #[test]
    fn stream_that_may_drop_unread_orders_is_named_with_each_way() {
        let ways: [fn(&mut StreamConfig); 5] = [
            |config| config.storage = "memory".into(),
            |config| config.max_age = 60_000_000_000,
            |config| config.max_msgs = 100,
            |config| config.max_bytes = 1 << 20,
            |config| config.max_msgs_per_subject = 5,
        ];
        for way in ways {
            assert_eq!(kinds(way, 1), [(WarningKind::StreamMayDrop, Severity::Warning)]);
        }
        let mut both = stream();
        (both.config.max_msgs, both.config.max_age) = (7, 60_000_000_000);
        let text = of_stream(&both, "orders")[0].finding.to_string();
        assert!(text.contains("max_msgs, max_age with discard old"), "{text}");
    }

    #[test]
    fn stream_that_refuses_publishers_is_full_and_before_that_nearly() {
        let bounded = |max_msgs, max_bytes| {
            move |config: &mut StreamConfig| {
                config.discard = "new".into();
                (config.max_msgs, config.max_bytes) = (max_msgs, max_bytes);
            }
        };
        assert_eq!(kinds(bounded(100, -1), 88), []);
        assert_eq!(kinds(bounded(100, -1), 90), [(WarningKind::StreamFull, Severity::Warning)]);
        assert_eq!(kinds(bounded(100, -1), 99), [(WarningKind::StreamFull, Severity::Warning)]);
        assert_eq!(kinds(bounded(100, -1), 100), [(WarningKind::StreamFull, Severity::Blocked)]);
        assert_eq!(kinds(bounded(-1, 1000), 10), [(WarningKind::StreamFull, Severity::Blocked)]);
        assert_eq!(kinds(|config| config.sealed = true, 1), [(WarningKind::StreamSealed, Severity::Blocked)]);
    }

    #[test]
    fn clock_is_ahead_from_a_second_on() {
        assert_eq!(of_clock_skew(MAX_SKEW), None);
        assert_eq!(of_clock_skew(MAX_SKEW * 2).map(|warning| warning.kind), Some(WarningKind::ClockSkew));
    }
}
