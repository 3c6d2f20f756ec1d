//! JSON paths of values, and how comments show paths and values.

use std::fmt;
use std::rc::Rc;

/// Maximum number of characters of a value in a comment.
const SHOWN: usize = 60;

/// A JSON path, linked to its parent, so that paths for all values of a large sample are cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Path(Option<Rc<(Path, Step)>>);

#[derive(Debug)]
enum Step {
    Member(String),
    Index(usize),
}

impl Path {
    pub(crate) fn member(&self, name: &str) -> Self {
        self.step(Step::Member(name.to_owned()))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    fn step(&self, step: Step) -> Self {
        Self(Some(Rc::new((self.clone(), step))))
    }

    /// How many steps it has.
    pub(crate) fn depth(&self) -> usize {
        std::iter::successors(self.0.as_deref(), |(parent, _)| parent.0.as_deref()).count()
    }

    /// The path of all such values: `$.items[*].price` for `$.items[0].price`.
    pub(crate) fn general(&self) -> String {
        match self.0.as_deref() {
            None => "$".to_owned(),
            Some((parent, Step::Index(_))) => format!("{}[*]", parent.general()),
            Some((parent, Step::Member(name))) => format!("{}{}", parent.general(), selector(name)),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_deref() {
            None => f.write_str("$"),
            Some((parent, Step::Index(index))) => write!(f, "{parent}[{index}]"),
            Some((parent, Step::Member(name))) => write!(f, "{parent}{}", selector(name)),
        }
    }
}

/// The step of a path to the member of that name: `.price`, or `["foo-bar"]`.
pub fn selector(name: &str) -> String {
    let simple = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if simple { format!(".{name}") } else { format!("[{}]", inert(&quoted(name))) }
}

/// A name as a JSON string.
pub(crate) fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

/// JSON text, shortened for a comment.
pub(crate) fn shown(json: &str) -> String {
    let cut: String = json.chars().take(SHOWN).collect();
    let rest = if cut.len() < json.len() { "…" } else { "" };
    inert(&cut) + rest
}

/// Escapes characters that would end a line, a code span or a comment, or change the writing direction. They occur only
/// inside JSON strings, where escapes mean the same.
pub(crate) fn inert(json: &str) -> String {
    json.chars().map(|c| if is_inert(c) { c.to_string() } else { unicode_escape(c) }).collect()
}

/// Whether a character is visible and harmless in a code span.
pub(crate) fn is_inert(c: char) -> bool {
    c != '`' && (matches!(c, '"' | '\'' | '\\') || c.escape_debug().count() == 1)
}

fn unicode_escape(c: char) -> String {
    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// JSON text without white space between tokens.
pub(crate) fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |&c: &char| {
        let opens_or_closes = c == '"' && !escaped;
        escaped = in_string && c == '\\' && !escaped;
        in_string ^= opens_or_closes;
        in_string || !c.is_ascii_whitespace()
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_readable_and_odd_names_are_quoted() {
        let path = Path::default().member("items").index(3).member("foo-bar\n`");
        assert_eq!(path.to_string(), r#"$.items[3]["foo-bar\n\u0060"]"#);
        assert_eq!(path.general(), r#"$.items[*]["foo-bar\n\u0060"]"#);
        assert_eq!(Path::default().member("").to_string(), r#"$[""]"#);
    }

    #[test]
    fn values_are_cut_and_stay_in_their_comment() {
        assert_eq!(shown(r#""a`b""#), r#""a\u0060b""#);
        assert_eq!(shown("\"\u{202e}\u{1f600}\u{e0001}\""), "\"\\u202e\u{1f600}\\udb40\\udc01\"");
        let long = shown(&"я".repeat(100));
        assert_eq!(long.chars().count(), SHOWN + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn compact_leaves_strings_alone() {
        assert_eq!(
            compact("{ \"a b\" :\n [ 1.50 , \"\\\\\" , \" \\\" \" ] }"),
            r#"{"a b":[1.50,"\\"," \" "]}"#
        );
    }
}
