//! Headers by which dead letters and receipts say why a message was refused.

/// The reason in words.
pub(crate) const DETAIL: &str = "Orderd-Detail";

/// The path of the member that is refused.
pub(crate) const PATH: &str = "Orderd-Path";

/// The longest a reason and a path may be in a header, in bytes.
pub(crate) const MAX_TEXT: usize = 640;

/// Cut to size, and without control characters: a line break would end a header.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let text = &text[..text.floor_char_boundary(limit)];
    text.replace(char::is_control, " ")
}
