//! Subjects with wildcards: `*` is any one token, `>` any that are left, one at least.

/// Whether it stands for many subjects.
pub(crate) fn is_wild(subject: &str) -> bool {
    subject.split('.').any(|token| token == "*" || token == ">")
}

/// Whether it is one that NATS takes: no token is empty, and `>` is the last.
pub(crate) fn is_valid(subject: &str) -> bool {
    let front = subject.strip_suffix(".>").unwrap_or(subject);
    let has_tokens = front.split('.').all(|token| !token.is_empty() && (token != ">" || front == ">"));
    has_tokens && !subject.contains(char::is_whitespace)
}

/// Whether all that `narrow` stands for is meant by `wide` too.
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
    fn one_covers_another() {
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
