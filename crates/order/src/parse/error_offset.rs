//! Computes the byte offset of an error in a payload, from the line and column that `serde_json` reports.

use crate::refusal::Reason;

/// The offset of an error: the start of the wrong value, or else the byte where the JSON is invalid.
pub(crate) fn offset(reason: Reason, text: &str, error: &serde_json::Error) -> Option<usize> {
    if error.is_eof() {
        return Some(text.len());
    }
    let last = offset_of(text, error.line(), error.column())?;
    match reason {
        Reason::WrongType | Reason::NumberOutOfRange | Reason::NotAnObject | Reason::UnknownMember => {
            Some(value_start(text, last))
        }
        _ => Some(last),
    }
}

/// The byte offset of a line and column, which `serde_json` counts from 1 and in bytes. Column 0 is the line break before
/// that line.
fn offset_of(text: &str, line: usize, column: usize) -> Option<usize> {
    let line_start = match line.checked_sub(2) {
        None => 0,
        Some(newline) => memchr::memchr_iter(b'\n', text.as_bytes()).nth(newline)? + 1,
    };
    Some((line_start + column).saturating_sub(1).min(text.len()))
}

/// The start of the value that `serde_json` has read up to `last`: a whole scalar, or the opening of an array or object
/// and the white space after it.
fn value_start(text: &str, last: usize) -> usize {
    let read = text.as_bytes().get(..=last).unwrap_or(text.as_bytes()).trim_ascii_end();
    let Some((end, before)) = read.split_last() else { return 0 };
    match end {
        b'"' => opening_quote(before),
        b'[' | b'{' => before.len(),
        b']' | b'}' | b',' | b':' => before.iter().rposition(|byte| matches!(byte, b'[' | b'{')).unwrap_or(0),
        _ => before.iter().rposition(|byte| !is_of_scalar(*byte)).map_or(0, |at| at + 1),
    }
}

/// The last unescaped quote.
fn opening_quote(text: &[u8]) -> usize {
    let escaped = |at: usize| text[..at].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1;
    memchr::memrchr_iter(b'"', text).find(|&at| !escaped(at)).unwrap_or(0)
}

/// Whether a byte may be part of a number, `true`, `false` or `null`.
fn is_of_scalar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}
