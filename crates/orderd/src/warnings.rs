//! What works, and will not work for long or loses something: shown in `/readyz`, in the log when it changes, and in
//! `orderd_warning`. Pure: from what the servers say to words.

use std::time::Duration;

use async_nats::jetstream::account::Account;
use async_nats::jetstream::consumer;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, State, StorageType};
use serde::Serialize;

/// Something that an operator has to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Warning {
    pub(crate) what: What,
    /// The stream, account, consumer or server that is meant.
    pub(crate) name: String,
    /// What it is, and what to change.
    pub(crate) text: String,
}

impl Warning {
    fn new(what: What, name: &str, text: String) -> Self {
        Self { what, name: name.to_owned(), text }
    }

    /// Whether it is of the same thing, whatever its figures are now.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.what == other.what && self.name == other.name
    }
}

/// The kinds of warnings, as `what` in `/readyz` and in `orderd_warning`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// The stream may drop messages that nobody has read.
    StreamMayDrop,
    /// The stream is full, or nearly: publishers are refused.
    StreamFull,
    /// The stream takes no more messages.
    StreamSealed,
    /// The account has no room left, or nearly.
    AccountFull,
    /// The consumer delivers nothing until later.
    ConsumerPaused,
    /// The clock of NATS is ahead of ours.
    ClockSkew,
}

impl What {
    pub(crate) const ALL: [Self; 6] = [
        Self::StreamMayDrop,
        Self::StreamFull,
        Self::StreamSealed,
        Self::AccountFull,
        Self::ConsumerPaused,
        Self::ClockSkew,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::StreamMayDrop => "stream_may_drop",
            Self::StreamFull => "stream_full",
            Self::StreamSealed => "stream_sealed",
            Self::AccountFull => "account_full",
            Self::ConsumerPaused => "consumer_paused",
            Self::ClockSkew => "clock_skew",
        }
    }
}

/// From this part of a limit on, it is said that there is nearly no room.
const NEARLY_FULL_PERCENT: u64 = 90;

/// A clock that differs by less is none's concern: keys and ages are right to that.
const MAX_SKEW: Duration = Duration::from_secs(1);

/// What a stream's configuration and state say.
pub(crate) fn of_stream(info: &Info) -> Vec<Warning> {
    let Info { config, state, .. } = info;
    let mut warnings = Vec::new();
    let name = &config.name;
    if config.sealed {
        let text = format!(
            "the stream {name} is sealed: it takes no more messages, and a sealed stream can't be opened"
        );
        warnings.push(Warning::new(What::StreamSealed, name, text));
    }
    let drops = ways_to_drop(config);
    if !drops.is_empty() {
        let text = format!(
            "the stream {name} may drop messages that nobody has read: {}; give it file storage, no max_age, and discard=new",
            drops.join(", ")
        );
        warnings.push(Warning::new(What::StreamMayDrop, name, text));
    }
    if config.discard == DiscardPolicy::New {
        let full = fullest(config, state).filter(|(percent, _)| *percent >= NEARLY_FULL_PERCENT);
        warnings.extend(full.map(|(percent, limit)| {
            let text = format!(
                "the stream {name} has {percent} % of its {limit}: publishers are refused when it is full; raise {limit}"
            );
            Warning::new(What::StreamFull, name, text)
        }));
    }
    warnings
}

fn ways_to_drop(config: &Config) -> Vec<String> {
    let mut ways = Vec::new();
    if config.storage == StorageType::Memory {
        ways.push("it is kept in memory only".to_owned());
    }
    if !config.max_age.is_zero() {
        ways.push(format!("max_age is {} s", config.max_age.as_secs()));
    }
    if config.discard == DiscardPolicy::Old {
        let limits = [
            ("max_msgs", config.max_messages),
            ("max_bytes", config.max_bytes),
            ("max_msgs_per_subject", config.max_messages_per_subject),
        ];
        let bounds = limits.into_iter().filter(|(_, limit)| *limit > 0);
        ways.extend(bounds.map(|(name, limit)| format!("{name} is {limit} and discard is old")));
    }
    ways
}

/// How full a stream is in percent, by the limit that it is nearest to.
fn fullest(config: &Config, state: &State) -> Option<(u64, &'static str)> {
    let limits =
        [("max_msgs", state.messages, config.max_messages), ("max_bytes", state.bytes, config.max_bytes)];
    let percents = limits.into_iter().filter_map(|(name, held, limit)| Some((percent(held, limit)?, name)));
    percents.max_by_key(|(percent, _)| *percent)
}

/// `None` where there is no limit.
fn percent(held: u64, limit: i64) -> Option<u64> {
    let limit = u64::try_from(limit).ok().filter(|limit| *limit > 0)?;
    Some(held.saturating_mul(100) / limit)
}

/// What the account's limits say.
pub(crate) fn of_account(account: &Account) -> Vec<Warning> {
    let storage = percent(account.storage, account.limits.max_storage.unwrap_or(-1))
        .map(|percent| (percent, "file storage"));
    let nearly = storage.filter(|(percent, _)| *percent >= NEARLY_FULL_PERCENT);
    let warning = nearly.map(|(percent, storage)| {
        let text = format!(
            "the NATS account has {percent} % of its {storage} in use: publishers are refused when it is full; raise its \
             limit, or delete what its streams no longer need"
        );
        Warning::new(What::AccountFull, "account", text)
    });
    warning.into_iter().collect()
}

/// What a consumer that is there says.
pub(crate) fn of_consumer(info: &consumer::Info) -> Vec<Warning> {
    let paused = info.paused.then(|| {
        let left = info.pause_remaining.unwrap_or_default().as_secs();
        let (name, stream) = (&info.name, &info.stream_name);
        let text = format!(
            "the consumer {name} of the stream {stream} is paused for {left} s more: no orders are taken in until then; \
             nats consumer resume {stream} {name} ends that"
        );
        Warning::new(What::ConsumerPaused, name, text)
    });
    paused.into_iter().collect()
}

/// What a message says that was committed before it was stored, by our clock.
pub(crate) fn of_clock_skew(skew: Duration) -> Vec<Warning> {
    let ahead = (skew > MAX_SKEW).then(|| {
        let seconds = skew.as_secs_f64();
        let text = format!(
            "the clock of the NATS server is ahead of this machine's by {seconds:.1} s at least: ages of orders are wrong; \
             synchronise both by NTP"
        );
        Warning::new(What::ClockSkew, "nats", text)
    });
    ahead.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            name: "ORDERS".into(),
            storage: StorageType::File,
            max_messages: -1,
            max_bytes: -1,
            max_messages_per_subject: -1,
            ..Default::default()
        }
    }

    fn info(config: Config, messages: u64) -> Info {
        let info = serde_json::json!({
            "config": config,
            "created": "2026-01-01T00:00:00Z",
            "state": {
                "messages": messages, "bytes": messages * 100, "first_seq": 1, "last_seq": messages,
                "first_ts": "2026-01-01T00:00:00Z", "last_ts": "2026-01-01T00:00:00Z", "consumer_count": 1,
            },
            "cluster": null,
        });
        serde_json::from_value(info).unwrap()
    }

    fn kinds(config: Config, messages: u64) -> Vec<What> {
        of_stream(&info(config, messages)).into_iter().map(|warning| warning.what).collect()
    }

    #[test]
    fn stream_without_bounds_gives_no_warning() {
        assert_eq!(kinds(config(), 1_000_000), []);
        assert_eq!(kinds(Config { discard: DiscardPolicy::New, max_messages: 100, ..config() }, 50), []);
    }

    #[test]
    fn stream_that_may_drop_unread_orders_is_named_with_each_way() {
        for config in [
            Config { storage: StorageType::Memory, ..config() },
            Config { max_age: Duration::from_secs(60), ..config() },
            Config { max_messages: 100, ..config() },
            Config { max_bytes: 1 << 20, ..config() },
            Config { max_messages_per_subject: 5, ..config() },
        ] {
            assert_eq!(kinds(config.clone(), 1), [What::StreamMayDrop], "{config:?}");
        }
        let both = Config { max_messages: 7, max_age: Duration::from_secs(60), ..config() };
        let text = &of_stream(&info(both, 1))[0].text;
        assert!(text.contains("max_msgs is 7") && text.contains("max_age is 60 s"), "{text}");
    }

    #[test]
    fn stream_that_refuses_publishers_soon_is_full() {
        let bounded = |max_messages, max_bytes| Config {
            discard: DiscardPolicy::New,
            max_messages,
            max_bytes,
            ..config()
        };
        assert_eq!(kinds(bounded(100, -1), 89), []);
        assert_eq!(kinds(bounded(100, -1), 90), [What::StreamFull]);
        assert_eq!(kinds(bounded(-1, 1000), 10), [What::StreamFull]);
        assert_eq!(kinds(Config { sealed: true, ..config() }, 1), [What::StreamSealed]);
    }

    #[test]
    fn clock_is_ahead_from_a_second_on() {
        assert_eq!(of_clock_skew(MAX_SKEW), []);
        assert_eq!(of_clock_skew(MAX_SKEW * 2)[0].what, What::ClockSkew);
    }
}
