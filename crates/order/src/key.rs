//! The key of an order: its id in the table, in pages and in `/order/{id}`.

use std::borrow::Borrow;
use std::fmt;

/// The key of an order, in whatever form it stands in the table. Keys compare byte by byte, as PostgreSQL's
/// `COLLATE "C"` does, and pages are in that order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// The key of a message: `{timestamp in ns}-{stream sequence}`. Made from the message's place in the
    /// stream alone, so that a message delivered again gets the same one.
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

    /// Whether `id` is a key as [`Key::from_stream`] makes them.
    pub fn is_from_stream(id: &str) -> bool {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let place = |part: &str| digits(part) && !part.starts_with('0');
        id.split_once('-').is_some_and(|(timestamp, sequence)| digits(timestamp) && place(sequence))
    }

    /// The stream sequence in an id that is a key as [`Key::from_stream`] makes them.
    pub fn sequence_of(id: &str) -> Option<u64> {
        Some(Self::place_of(id)?.1)
    }

    /// The time in nanoseconds since 1970 and the stream sequence in such an id.
    pub fn place_of(id: &str) -> Option<(i64, u64)> {
        let (time, sequence) = Some(id).filter(|id| Self::is_from_stream(id))?.split_once('-')?;
        Some((time.parse().ok()?, sequence.parse().ok()?))
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
    fn is_the_place_in_the_stream() {
        let key = Key::from_stream(1_700_000_000_123_456_789, 42);
        assert_eq!(key.as_str(), "1700000000123456789-42");
    }

    #[test]
    fn is_told_from_other_ids() {
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
    fn comes_after_the_go_services_key_of_the_same_instant() {
        assert!(Key::from("1700000000123456789") < Key::from_stream(1_700_000_000_123_456_789, 1));
    }
}
