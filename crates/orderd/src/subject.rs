//! Matches subjects with wildcards: `*` matches one token, `>` one or more.

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

/// The first token of the subjects of dead letters.
pub(crate) const DEAD_PREFIX: &str = "dead";

/// Follows the name of the stream of orders in the default name of the stream of dead letters.
pub(crate) const DEAD_SUFFIX: &str = "_DEAD";

/// Characters that a token can't contain, or that have a meaning there: all but letters, digits, `-`, `_` and `~`.
const TOKEN_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// Characters that a header can't contain unescaped.
const HEADER_ESCAPES: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// A subject, percent-encoded to one token: different subjects have different tokens.
pub(crate) fn to_token(subject: &str) -> String {
    utf8_percent_encode(subject, TOKEN_ESCAPES).to_string()
}

/// A subject as a header can hold it: readable, and ASCII.
pub(crate) fn to_header(subject: &str) -> String {
    utf8_percent_encode(subject, HEADER_ESCAPES).to_string()
}

/// The subject that such a header holds.
pub(crate) fn from_header(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Whether it has wildcards.
pub(crate) fn is_wild(subject: &str) -> bool {
    subject.split('.').any(|token| token == "*" || token == ">")
}

/// Whether it is one that NATS takes: no token is empty, and `>` is the last.
pub(crate) fn is_valid(subject: &str) -> bool {
    let front = subject.strip_suffix(".>").unwrap_or(subject);
    let has_tokens = front.split('.').all(|token| !token.is_empty() && (token != ">" || front == ">"));
    has_tokens && !subject.contains(char::is_whitespace)
}

/// Whether `wide` matches everything that `narrow` matches.
pub(crate) fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('.'), narrow.split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(one), Some(other)) if one == other && one != "*" => {}
            _ => return false,
        }
    }
}

/// Whether a subject may be meant by both.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_none() {
        for subject in ["TESTING", "orders.*.new", "orders.>", ">", "*", "a.b>"] {
            assert!(is_valid(subject), "{subject}");
        }
        for subject in ["", ".", "orders.", ".a", "a..b", "a.>.b", ">.a", "a b", "a.>.>"] {
            assert!(!is_valid(subject), "{subject}");
        }
        assert!(is_wild("a.>") && is_wild("*.a") && !is_wild("a.b>") && !is_wild("a"));
    }

    #[test]
    fn token_of_any_subject_is_one_literal_token() {
        for (subject, token) in [
            ("TESTING", "TESTING"),
            ("a-b_c~1", "a-b_c~1"),
            ("orders.>", "orders%2E%3E"),
            ("orders.*.new", "orders%2E%2A%2Enew"),
            ("a b\t\r\n", "a%20b%09%0D%0A"),
            ("100%", "100%25"),
            ("$JS:/=", "%24JS%3A%2F%3D"),
            ("заказы", "%D0%B7%D0%B0%D0%BA%D0%B0%D0%B7%D1%8B"),
        ] {
            assert_eq!(to_token(subject), token);
            assert!(is_valid(token) && !is_wild(token) && !token.contains('.'), "{token}");
        }
        assert_ne!(to_token("a.b"), to_token("a%2Eb"));
    }

    #[test]
    fn subject_survives_a_header() {
        for subject in ["orders.new", "orders.*", "a b", "a\rb\nc\0", "100%", "%41", "заказы.новые"]
        {
            let header = to_header(subject);
            assert!(header.bytes().all(|byte| byte.is_ascii_graphic()), "{header}");
            assert_eq!(from_header(&header), subject);
        }
        assert_eq!(to_header("orders.*.new"), "orders.*.new");
    }

    #[test]
    fn subject_with_wildcards_covers_narrower_subjects() {
        for (wide, narrow) in
            [("a.>", "a.b.c"), ("a.>", "a.*"), ("a.*", "a.b"), ("a.*.c", "a.*.c"), (">", "a.>"), ("a", "a")]
        {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in
            [("a.>", "a"), ("a.*", "a.>"), ("a.*", "a.b.c"), ("a.b", "a.*"), ("a.*.c", "a.b.d"), ("a", "a.b")]
        {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }

    #[test]
    fn two_overlap() {
        for (one, other) in [("*.new", "dead.>"), (">", "dead.>"), ("a.*", "*.b"), ("a.b", "a.>")] {
            assert!(overlap(one, other) && overlap(other, one), "{one} {other}");
        }
        for (one, other) in [("dead", "dead.>"), ("orders.>", "dead.>"), ("a.*", "a.b.c"), ("*", "dead.>")] {
            assert!(!overlap(one, other) && !overlap(other, one), "{one} {other}");
        }
    }
}
