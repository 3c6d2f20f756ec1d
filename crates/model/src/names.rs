//! Turns JSON names into Go and Rust identifiers that are valid, unique, and stable for a sample.

use std::collections::HashSet;

use unicode_ident::is_xid_start;

/// Reserved words. With `r#`, all but the first few can be field names.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro",
    "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "static", "struct", "trait",
    "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];
const NEVER_RAW: &[&str] = &["crate", "self", "super"];

/// The names used in one scope.
#[derive(Debug, Default)]
pub(crate) struct Scope(HashSet<String>);

impl Scope {
    pub(crate) fn with(reserved: &[&str]) -> Self {
        Self(reserved.iter().map(|&name| name.to_owned()).collect())
    }

    /// The name if it is unused, or else with the first number that makes it unused.
    pub(crate) fn claim(&mut self, wanted: String) -> String {
        let numbered = (2_u64..).map(|n| format!("{wanted}{n}"));
        let free = std::iter::once(wanted.clone()).chain(numbered).find(|name| !self.0.contains(name));
        let name = free.unwrap_or(wanted);
        self.0.insert(name.clone());
        name
    }

    /// As `claim`, but without a number: returns whether the name was unused.
    pub(crate) fn try_claim(&mut self, wanted: &str) -> bool {
        self.0.insert(wanted.to_owned())
    }
}

/// The Go field for a JSON name, by the rule that named the fields in users' rows: split on `_`, the first letter of
/// each part upper-cased, joined. If that is not an exported identifier, every character other than letters and
/// digits splits too, and `X` is prefixed if the first letter has no upper case.
pub(crate) fn go_field(json_name: &str) -> String {
    let name: String = json_name.split(|c| !is_part(c)).map(capitalized).collect();
    if name.starts_with(is_go_upper) { name } else { format!("X{name}") }
}

fn capitalized(part: &str) -> String {
    let mut chars = part.chars();
    chars.next().map(upper).into_iter().chain(chars).collect()
}

/// The upper case, if it is a single character (unlike that of `ß`).
fn upper(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) => upper,
        _ => c,
    }
}

/// The Rust field for a JSON name, in snake case, before [`rust_ident`].
pub(crate) fn rust_field(json_name: &str) -> String {
    let name = snake(json_name);
    match name.chars().next() {
        None => "x".to_owned(),
        Some('0'..='9') => format!("x{name}"),
        Some(_) if NEVER_RAW.contains(&name.as_str()) => name + "_",
        Some(_) => name,
    }
}

/// A snake-case name as Rust source.
pub(crate) fn rust_ident(name: &str) -> String {
    if KEYWORDS.contains(&name) { format!("r#{name}") } else { name.to_owned() }
}

fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, &c) in chars.iter().enumerate().filter(|(_, c)| is_part(**c)) {
        if starts_word(&chars, i) && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// Whether a word begins there: after a separator, at the `B` of `aB`, at the `B` of `ABc`.
fn starts_word(chars: &[char], i: usize) -> bool {
    let Some(&before) = i.checked_sub(1).and_then(|i| chars.get(i)) else { return true };
    let upper = |i: usize| chars.get(i).is_some_and(|c| c.is_uppercase());
    let lower = |i: usize| chars.get(i).is_some_and(|c| c.is_lowercase());
    !is_part(before) || (upper(i) && (!before.is_uppercase() || lower(i + 1)))
}

/// Whether a character may be part of an identifier.
pub(crate) fn is_part(c: char) -> bool {
    c.is_ascii_digit() || is_letter(c)
}

/// A letter in both languages: Rust also allows a few marks and number forms that Go does not.
fn is_letter(c: char) -> bool {
    is_xid_start(c) && c.is_alphabetic() && !c.is_numeric() && !matches!(c, '\u{1885}' | '\u{1886}')
}

fn is_go_upper(c: char) -> bool {
    c.is_uppercase() && is_letter(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_fields_follow_the_rule_that_named_the_rows() {
        for (json, go) in [
            ("chrt_id", "ChrtId"),
            ("oof_shard", "OofShard"),
            ("shardkey", "Shardkey"),
            ("orderURL", "OrderURL"),
            ("_id", "Id"),
            ("a__b_", "AB"),
            ("a_1", "A1"),
        ] {
            assert_eq!(go_field(json), go);
        }
    }

    #[test]
    fn go_fields_are_exported_identifiers() {
        for (json, go) in [
            ("foo-bar", "FooBar"),
            ("1st", "X1st"),
            ("", "X"),
            ("_", "X"),
            ("🌡", "X"),
            ("имя", "Имя"),
            ("名前", "X名前"),
            ("ß", "Xß"),
            ("Ⅷ", "X"),
            ("say \"hi\"\n`\\", "SayHi"),
        ] {
            assert_eq!(go_field(json), go);
        }
    }

    #[test]
    fn rust_fields_are_snake_case_identifiers() {
        for (json, rust) in [
            ("chrt_id", "chrt_id"),
            ("orderId", "order_id"),
            ("HTTPServer", "http_server"),
            ("AB", "ab"),
            ("hPa", "h_pa"),
            ("_id", "id"),
            ("foo-bar", "foo_bar"),
            ("1st", "x1st"),
            ("", "x"),
            ("_", "x"),
            ("Имя", "имя"),
            ("type", "r#type"),
            ("self", "self_"),
            ("Self", "self_"),
            ("super", "super_"),
            ("crate", "crate_"),
        ] {
            assert_eq!(rust_ident(&rust_field(json)), rust);
        }
    }

    #[test]
    fn keywords_are_all_those_that_syn_knows() {
        for word in KEYWORDS.iter().filter(|word| **word != "gen") {
            assert!(syn::parse_str::<syn::Ident>(word).is_err(), "{word}");
            assert!(syn::parse_str::<syn::Ident>(&rust_ident(word)).is_ok(), "{word}");
        }
    }

    #[test]
    fn names_that_are_taken_get_the_first_free_number() {
        let mut scope = Scope::with(&["LocalID"]);
        let claimed = ["AB", "AB", "AB2", "AB", "LocalID"].map(|name| scope.claim(name.to_owned()));
        assert_eq!(claimed, ["AB", "AB2", "AB22", "AB3", "LocalID2"]);
    }
}
