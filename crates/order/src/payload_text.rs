//! Checks on the raw text of a payload, as Go's decoder makes them: lone surrogates, and nesting depth.

use std::borrow::Cow;

use memchr::{memchr_iter, memchr2_iter};

/// Maximum nesting of Go's `encoding/json`, also in unknown members.
const MAX_NESTING: usize = 10_000;

/// Go's replacement for a lone surrogate.
const REPLACEMENT: &str = "\\ufffd";

/// Replaces each lone surrogate escape by `\ufffd`. Both have six bytes, so offsets stay the same. Outside of strings,
/// a backslash is an error anyway.
pub(crate) fn without_lone_surrogates(text: &str) -> Cow<'_, str> {
    let mut replaced = Cow::Borrowed(text);
    let mut passed = 0;
    for at in memchr_iter(b'\\', text.as_bytes()) {
        if at < passed {
            continue;
        }
        let escape = &text.as_bytes()[at..];
        passed = at
            + match unit(escape) {
                // Not a `\u` escape, or an incomplete one.
                None => 2,
                Some(0xd800..=0xdbff) if matches!(unit(&escape[6..]), Some(0xdc00..=0xdfff)) => 12,
                Some(0xd800..=0xdfff) => {
                    replaced.to_mut().replace_range(at..at + 6, REPLACEMENT);
                    6
                }
                Some(_) => 6,
            };
    }
    replaced
}

/// The UTF-16 code unit of the `\uXXXX` at the start of `text`.
fn unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
}

/// The offset at which nesting exceeds Go's limit.
pub(crate) fn too_deep(text: &str) -> Option<usize> {
    // Nearly all texts have too few brackets to exceed it.
    memchr2_iter(b'[', b'{', text.as_bytes()).nth(MAX_NESTING)?;
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' if depth == MAX_NESTING => return Some(at),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_pairs_are_replaced_and_whole_pairs_are_kept() {
        for (text, expected) in [
            (r"\ud83d", r"\ufffd"),
            (r"\uDEAD!", r"\ufffd!"),
            (r"\ud83d\ude00", r"\ud83d\ude00"),
            (r"\ud83d\ud83d\ude00\ude00", r"\ufffd\ud83d\ude00\ufffd"),
            (r"\ud83dx\ude00", r"\ufffdx\ufffd"),
            (r"\\ud83d\\\ud83d", r"\\ud83d\\\ufffd"),
            (r"\ud83d\n\u0041\ude00", r"\ufffd\n\u0041\ufffd"),
            (r"\ud83d\u0041", r"\ufffd\u0041"),
            (r"\ud8 \ud8zz \u+d80 \ud83", r"\ud8 \ud8zz \u+d80 \ud83"),
            ("\\ж\\", "\\ж\\"),
            ("\\ud83\u{e9}", "\\ud83\u{e9}"),
        ] {
            assert_eq!(without_lone_surrogates(text), expected);
        }
        assert!(matches!(without_lone_surrogates("plain \\n \\ud83d\\ude00"), Cow::Borrowed(_)));
    }

    #[test]
    fn depth_is_counted_outside_of_strings() {
        let (open, closed) = ("[".repeat(MAX_NESTING), "]".repeat(MAX_NESTING));
        assert_eq!(too_deep(&open), None);
        assert_eq!(too_deep(&format!("{open}{closed}{open}{closed}")), None);
        assert_eq!(too_deep(&format!("{open} {{")), Some(MAX_NESTING + 1));
        assert_eq!(too_deep(&format!(r#"{open}"{open}\"[""#)), None);
        assert_eq!(too_deep(&format!(r#"{open}"\\"["#)), Some(MAX_NESTING + 4));
    }
}
