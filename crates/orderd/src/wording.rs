//! Formats numbers with their nouns, and foreign ids, for messages.

/// `1 order`, `2 orders`
pub(crate) fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// An id that came from outside, for a message: it may be long, empty, or have line breaks.
pub(crate) fn shown(id: &str) -> String {
    if id.is_empty() {
        return "\"\"".to_owned();
    }
    const MAX_SHOWN_BYTES: usize = 100;
    let cut = &id[..id.floor_char_boundary(MAX_SHOWN_BYTES)];
    let more = if cut.len() < id.len() { "…" } else { "" };
    format!("{}{more}", cut.escape_debug())
}

/// The indefinite article of a document's name.
pub(crate) fn article(name: &str) -> &'static str {
    if name.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']) { "an" } else { "a" }
}
