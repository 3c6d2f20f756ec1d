//! Headers in which dead letters and receipts explain why a message was refused.

/// The reason in words.
pub(crate) const DETAIL: &str = "Orderd-Detail";

/// The path of the refused member.
pub(crate) const PATH: &str = "Orderd-Path";

/// Where the payload is wrong: the offset in bytes.
pub(crate) const OFFSET: &str = "Orderd-Offset";

/// Maximum length of a reason and a path in a header, in bytes.
pub(crate) const MAX_TEXT: usize = 640;

/// Truncates the text, and removes control characters: a line break would end the header.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let text = &text[..text.floor_char_boundary(limit)];
    text.replace(char::is_control, " ")
}
