//! The subjects of an installation's dead letters and of the notes about them. No I/O.

use std::fmt;

use crate::config::Nats;
use crate::subject::{self, DEAD_PREFIX, DEAD_SUFFIX};

/// The longest a key of an erased order may be as one token, in bytes. Keys from the stream are far shorter.
const MAX_ERASED: usize = 1024;

/// The last token of the subject of a second part, which is used if a payload leaves no room for the headers.
const SECOND_PART: &str = "rest";

/// The last token of the subject of a note: the order of a dead letter is in the table.
const TAKEN_IN: &str = "taken_in";

/// The last token of the subject of a note: a dead letter was dropped.
const DROPPED: &str = "dropped";

/// The last token of the subject of a note: an order is erased.
const ERASED: &str = "erased";

/// The token of an empty key: a subject has no empty token, and no id has a null character.
const EMPTY_KEY: &str = "%00";

/// The subjects of one installation's dead letters, `dead.{stream}.{topic}.{key}`: separate from those of other
/// installations on the same server or stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DeadLetterSubjects {
    /// The stream of dead letters.
    pub(crate) stream: String,
    /// The stream that orders are read from.
    pub(crate) source: String,
    /// The topic of the orders.
    topic: String,
    /// `dead.{stream}.{topic}`, the topic as one token.
    prefix: String,
}

/// `the topic TESTING of the stream ORDERS`
impl fmt::Display for DeadLetterSubjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the topic {} of the stream {}", self.topic, self.source)
    }
}

impl DeadLetterSubjects {
    /// `source` is the stream that orders are read from.
    pub(crate) fn new(settings: &Nats, source: &str) -> Self {
        Self::at(source, &settings.topic, settings.dead_stream.as_deref())
    }

    pub(super) fn at(source: &str, topic: &str, stream: Option<&str>) -> Self {
        Self {
            stream: stream.map_or_else(|| format!("{source}{DEAD_SUFFIX}"), str::to_owned),
            prefix: format!("{DEAD_PREFIX}.{source}.{}", subject::to_token(topic)),
            source: source.to_owned(),
            topic: topic.to_owned(),
        }
    }

    /// The subjects of the dead-letter stream.
    pub(crate) fn of_stream(&self) -> String {
        format!("{DEAD_PREFIX}.{}.>", self.source)
    }

    /// The subjects of all dead letters of this installation; second parts have one token more.
    pub(crate) fn all_dead_letters(&self) -> String {
        format!("{}.*", self.prefix)
    }

    /// The subjects of all dead letters of this installation, and of all notes about outcomes.
    pub(crate) fn all_with_keys(&self) -> Vec<String> {
        [self.all_dead_letters()].into_iter().chain(self.all_decided()).collect()
    }

    /// The subject of the dead letter with that key.
    pub(crate) fn dead_letter(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    /// The subject of its second part.
    pub(crate) fn second_part(&self, key: &str) -> String {
        format!("{}.{key}.{SECOND_PART}", self.prefix)
    }

    /// The subjects of all second parts.
    pub(crate) fn all_second_parts(&self) -> String {
        format!("{}.*.{SECOND_PART}", self.prefix)
    }

    /// The subject of the note of which message became its order.
    pub(crate) fn taken_in(&self, key: &str) -> String {
        format!("{}.{key}.{TAKEN_IN}", self.prefix)
    }

    /// The subject of the note that the dead letter was dropped.
    pub(crate) fn dropped(&self, key: &str) -> String {
        format!("{}.{key}.{DROPPED}", self.prefix)
    }

    /// The subjects of all notes about outcomes.
    pub(crate) fn all_decided(&self) -> [String; 2] {
        [TAKEN_IN, DROPPED].map(|note| format!("{}.*.{note}", self.prefix))
    }

    /// The subjects of all notes that a dead letter was dropped.
    pub(crate) fn all_dropped(&self) -> String {
        format!("{}.*.{DROPPED}", self.prefix)
    }

    /// The key of a dead letter of this installation, by the subject of either part; `None` for anything else.
    pub(crate) fn key_of_part<'s>(&self, subject: &'s str) -> Option<&'s str> {
        let first = subject.strip_suffix(SECOND_PART).and_then(|rest| rest.strip_suffix('.'));
        self.key(first.unwrap_or(subject))
    }

    /// The key that such a note names.
    pub(crate) fn decided_key<'s>(&self, subject: &'s str) -> Option<&'s str> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix('.')?;
        let (key, note) = rest.split_once('.')?;
        [TAKEN_IN, DROPPED].contains(&note).then_some(key)
    }

    /// The subject of the note that the order with that key is erased; `None` where the key is too long for a subject.
    pub(crate) fn erased(&self, key: &str) -> Option<String> {
        let token = if key.is_empty() { EMPTY_KEY.to_owned() } else { subject::to_token(key) };
        (token.len() <= MAX_ERASED).then(|| format!("{}.{token}.{ERASED}", self.prefix))
    }

    /// The subjects of all such notes.
    pub(crate) fn all_erased(&self) -> String {
        format!("{}.*.{ERASED}", self.prefix)
    }

    /// The key that such a note names.
    pub(crate) fn erased_key(&self, subject: &str) -> Option<String> {
        let token = subject.strip_prefix(&self.prefix)?.strip_prefix('.')?.strip_suffix(ERASED)?;
        let token = token.strip_suffix('.')?;
        Some(if token == EMPTY_KEY { String::new() } else { subject::from_header(token) })
    }

    /// Whether it is the subject of a dead letter of this installation, or of a second part.
    pub(crate) fn has(&self, subject: &str) -> bool {
        subject.strip_prefix(&self.prefix).is_some_and(|rest| rest.starts_with('.'))
    }

    /// The key of a dead letter of this installation; `None` for a second part, and for other installations.
    pub(crate) fn key<'s>(&self, subject: &'s str) -> Option<&'s str> {
        let key = subject.strip_prefix(&self.prefix)?.strip_prefix('.')?;
        (!key.contains('.')).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "1700000000123456789-42";

    #[test]
    fn an_installation_knows_only_the_keys_of_its_own() {
        let subjects = |source: &str, topic: &str| DeadLetterSubjects::at(source, topic, Some("DEAD"));
        let ours = subjects("ORDERS", "orders.>");
        assert_eq!(ours.dead_letter(KEY), format!("dead.ORDERS.orders%2E%3E.{KEY}"));
        assert_eq!(ours.key(&ours.dead_letter(KEY)), Some(KEY));
        assert_eq!(ours.key(&ours.second_part(KEY)), None);
        assert_eq!(ours.key_of_part(&ours.second_part(KEY)), Some(KEY));
        assert_eq!(
            (ours.key_of_part(&ours.dead_letter(KEY)), ours.key_of_part(&ours.taken_in(KEY))),
            (Some(KEY), None)
        );
        let erased = ours.erased("a.b ы").unwrap();
        assert_eq!(ours.erased_key(&erased).as_deref(), Some("a.b ы"));
        assert_eq!((ours.key(&erased), ours.erased_key(&ours.dead_letter(KEY))), (None, None));
        assert_eq!(ours.erased_key(&ours.erased("").unwrap()).as_deref(), Some(""));
        assert!(subject::is_valid(&ours.erased("").unwrap()));
        assert_eq!(ours.erased(&"x".repeat(2000)), None);
        for others in
            [subjects("PARCELS", "orders.>"), subjects("ORDERS", "orders"), subjects("ORDERS", "orders.>.x")]
        {
            assert_eq!(ours.key(&others.dead_letter(KEY)), None);
        }
    }
}
