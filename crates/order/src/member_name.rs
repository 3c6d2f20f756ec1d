//! Matches names in a document to members of the model: exactly, or else, as in Go, ignoring case.

use model::shape::Struct;

/// Maximum number of characters of a name in a message.
const MAX_SHOWN_CHARS: usize = 64;

/// The index of the named member. Tries `expected` first, because members mostly come in the model's order.
pub(crate) fn find(shape: &Struct, expected: usize, name: &str) -> Option<usize> {
    let members = shape.members;
    if members.get(expected).is_some_and(|member| member.json_name == name) {
        return Some(expected);
    }
    let exact = members.iter().position(|member| member.json_name == name);
    exact.or_else(|| members.iter().position(|member| is_same_but_for_case(member.json_name, name)))
}

fn is_same_but_for_case(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() {
        return one.eq_ignore_ascii_case(other);
    }
    one.chars().map(fold).eq(other.chars().map(fold))
}

/// Equal for letters that Go's `unicode.SimpleFold` treats as equal, such as `K`, `k` and the Kelvin sign.
fn fold(letter: char) -> char {
    // The capital of dotless `ı` is `I`, but `ı` does not fold to `i`.
    if letter == 'ı' {
        return letter;
    }
    let upper = only(letter.to_uppercase()).unwrap_or(letter);
    only(upper.to_lowercase()).unwrap_or(upper)
}

fn only(mut letters: impl Iterator<Item = char>) -> Option<char> {
    letters.next().filter(|_| letters.next().is_none())
}

/// The names of a path, such as `delivery.email`; `\\.` is a dot within a name.
pub(crate) fn of_path(path: &str) -> Vec<String> {
    let (mut names, mut name, mut letters) = (Vec::new(), String::new(), path.chars().peekable());
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            ('\\', Some(&escaped @ ('.' | '\\'))) => {
                name.push(escaped);
                letters.next();
            }
            ('.', _) => names.push(std::mem::take(&mut name)),
            _ => name.push(letter),
        }
    }
    names.push(name);
    names
}

/// Shortens a name from a publisher's document.
pub(crate) fn shortened(name: &str) -> String {
    name.chars().take(MAX_SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_fold_as_go_folds_them() {
        for same in ["sSſ", "kK\u{212a}", "åÅ\u{212b}", "жЖ", "σςΣ", "ßẞ", "µμΜ", "ǆǅǄ", "ιΙ\u{345}\u{1fbe}"]
        {
            let folded: Vec<char> = same.chars().map(fold).collect();
            assert!(folded.iter().all(|&letter| letter == folded[0]), "{same}: {folded:?}");
        }
        for other in ["iı", "Iİ", "iİ", "eé", "sß", "ff\u{fb00}"] {
            let folded: Vec<char> = other.chars().map(fold).collect();
            assert!(folded[0] != folded[folded.len() - 1], "{other}");
        }
    }
}
