//! The key of an order: its id in the table, in pages and in `/order/{id}`.

use std::borrow::Borrow;
use std::fmt;

/// The digits of a key's time.
const TIME_DIGITS: usize = 19;

/// The key of an order, in any form that the table has. Keys compare byte by byte, as with PostgreSQL's `COLLATE "C"`;
/// pages have that order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// The key of a message: `{timestamp in ns}-{stream sequence}`. Made only from the message's position in the
    /// stream, so that a redelivered message gets the same key.
    pub fn from_stream(timestamp_ns: i64, sequence: u64) -> Self {
        let mut timestamp = itoa::Buffer::new();
        let mut number = itoa::Buffer::new();
        let (timestamp, number) = (timestamp.format(timestamp_ns), number.format(sequence));
        let mut key = String::with_capacity(timestamp.len() + 1 + number.len());
        key.push_str(timestamp);
        key.push('-');
        key.push_str(number);
        Self(key.into_boxed_str())
    }

    /// Whether `id` has the form of [`Key::from_stream`].
    pub fn is_from_stream(id: &str) -> bool {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let sequence_digits = |part: &str| digits(part) && !part.starts_with('0');
        id.split_once('-').is_some_and(|(timestamp, sequence)| digits(timestamp) && sequence_digits(sequence))
    }

    /// The stream sequence in an id of the form of [`Key::from_stream`].
    pub fn sequence_of(id: &str) -> Option<u64> {
        Some(Self::time_and_sequence(id)?.1)
    }

    /// The time in nanoseconds since 1970 and the stream sequence in such an id.
    pub fn time_and_sequence(id: &str) -> Option<(i64, u64)> {
        let (time, sequence) = Some(id).filter(|id| Self::is_from_stream(id))?.split_once('-')?;
        Some((time.parse().ok()?, sequence.parse().ok()?))
    }

    /// Whether an id begins with a time: our keys do, and the Go service's are nanoseconds alone. All times from 2001
    /// to 2286 have 19 digits, so such ids are in the order of their times.
    pub fn has_time(id: &str) -> bool {
        let Some((time, rest)) = id.split_at_checked(TIME_DIGITS) else { return false };
        let is_time = !time.starts_with('0') && time.bytes().all(|byte| byte.is_ascii_digit());
        is_time && (rest.is_empty() || Self::is_from_stream(id))
    }

    /// The lower bound, among ids with a time, of those from this time on, in nanoseconds since 1970.
    pub fn first_of_time(nanoseconds: i128) -> String {
        const FIRST: i128 = 10_i128.pow(TIME_DIGITS as u32 - 1);
        match nanoseconds {
            ..FIRST => FIRST.to_string(),
            // Sorts after all digits.
            _ if nanoseconds >= FIRST * 10 => ":".into(),
            _ => nanoseconds.to_string(),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Key {
    fn from(id: String) -> Self {
        Self(id.into_boxed_str())
    }
}

impl From<&str> for Key {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_time_and_sequence_of_the_message() {
        let key = Key::from_stream(1_700_000_000_123_456_789, 42);
        assert_eq!(key.as_str(), "1700000000123456789-42");
    }

    #[test]
    fn key_of_a_message_is_distinguished_from_other_ids() {
        assert!(Key::is_from_stream("1700000000123456789-42"));
        for other in [
            "",
            "-",
            "1-",
            "-1",
            "1700000000123456789",
            "*",
            ">",
            "1-*",
            "1-1.rest",
            "1-1-1",
            "１-１",
            "1-0",
            "1-01",
        ] {
            assert!(!Key::is_from_stream(other), "{other}");
        }
    }

    #[test]
    fn ids_with_a_time_are_ours_and_the_go_services() {
        for id in ["1700000000123456789", "1700000000123456789-42"] {
            assert!(Key::has_time(id), "{id}");
        }
        for id in [
            "",
            "42",
            "17-1",
            "late",
            "0700000000123456789",
            "170000000012345678",
            "17000000001234567890",
            "1700000000123456789-",
            "1700000000123456789-0",
            "1700000000123456789-1-1",
            "1700000000123456789x",
            "170000000012345678é",
            "№№№№№№№№№№№№№№№№№№№",
        ] {
            assert!(!Key::has_time(id), "{id}");
        }
    }

    #[test]
    fn ids_of_a_time_begin_behind_all_earlier_ones() {
        let ids =
            ["1000000000000000000", "1700000000123456789", "1700000000123456789-1", "9999999999999999999"];
        for (time, before) in [
            (i128::MIN, 0),
            (1_700_000_000_123_456_788, 1),
            (1_700_000_000_123_456_789, 1),
            (1_700_000_000_123_456_790, 3),
            (9_999_999_999_999_999_999, 3),
            (i128::MAX, 4),
        ] {
            let first = Key::first_of_time(time);
            assert_eq!(ids.iter().filter(|id| **id < first.as_str()).count(), before, "{time}");
        }
    }

    #[test]
    fn key_sorts_after_the_go_services_key_of_the_same_instant() {
        assert!(Key::from("1700000000123456789") < Key::from_stream(1_700_000_000_123_456_789, 1));
    }
}
