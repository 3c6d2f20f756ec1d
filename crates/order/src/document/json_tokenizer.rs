//! A tokenizer for JSON that PostgreSQL or `serde_json` has validated. It copies nothing, and nesting uses no stack.

use std::borrow::Cow;
use std::ops::Range;

use wide::u8x16;

/// What to do with the white space between tokens.
pub(super) trait Blanks {
    /// White space at that range of the text was passed.
    fn passed(&mut self, text: &str, range: Range<usize>);

    /// Maps an offset in the text to the offset in the copy.
    fn kept_at(&self, at: usize) -> usize;
}

/// It is kept.
impl Blanks for () {
    #[inline]
    fn passed(&mut self, _text: &str, _place: Range<usize>) {}

    #[inline]
    fn kept_at(&self, at: usize) -> usize {
        at
    }
}

/// Copies the text without its white space.
pub(super) struct LeftOut<'o> {
    out: &'o mut Vec<u8>,
    /// Start of the copy in `out`.
    start: usize,
    /// Bytes of the text that were copied or omitted.
    done: usize,
}

impl<'o> LeftOut<'o> {
    /// Appends the copy to `out`.
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { start: out.len(), out, done: 0 }
    }
}

impl Blanks for LeftOut<'_> {
    #[inline]
    fn passed(&mut self, text: &str, range: Range<usize>) {
        self.out.extend_from_slice(&text.as_bytes()[self.done..range.start]);
        self.done = range.end;
    }

    #[inline]
    fn kept_at(&self, at: usize) -> usize {
        self.out.len() - self.start + (at - self.done)
    }
}

/// A cursor in a text. Its functions return `None` if the text is not valid JSON.
pub(super) struct Scanner<'t, B = ()> {
    text: &'t str,
    at: usize,
    blanks: B,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self::with(text, ())
    }
}

impl<'t, B: Blanks> Scanner<'t, B> {
    pub(super) fn with(text: &'t str, blanks: B) -> Self {
        Self { text, at: 0, blanks }
    }

    /// Offset in the text.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Offset in the copy.
    pub(super) fn kept_at(&self) -> usize {
        self.blanks.kept_at(self.at)
    }

    /// Consumes the rest, which has to be white space.
    pub(super) fn end(mut self) -> Option<()> {
        let is_end = self.peek().is_none();
        self.blanks.passed(self.text, self.at..self.at);
        is_end.then_some(())
    }

    /// The text consumed since offset `start`.
    pub(super) fn since(&self, start: usize) -> Option<&'t str> {
        self.text.get(start..self.at)
    }

    /// The next byte that is not white space, without consuming it.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        let (bytes, start) = (self.text.as_bytes(), self.at);
        while bytes.get(self.at).is_some_and(is_blank) {
            self.at += 1;
        }
        if self.at > start {
            self.blanks.passed(self.text, start..self.at);
        }
        bytes.get(self.at).copied()
    }

    /// The same, consumed.
    pub(super) fn token(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Consumes this byte, which has to be next.
    pub(super) fn eat(&mut self, byte: u8) -> Option<()> {
        (self.token()? == byte).then_some(())
    }

    /// Consumes a string, and returns the text between its quotes.
    #[inline]
    pub(super) fn string(&mut self) -> Option<&'t str> {
        Some(self.raw()?.0)
    }

    /// Consumes a string, and returns its unescaped text.
    #[inline]
    pub(super) fn text(&mut self) -> Option<Cow<'t, str>> {
        let (raw, has_escapes) = self.raw()?;
        Some(if has_escapes { unescaped(raw) } else { Cow::Borrowed(raw) })
    }

    /// The text between the quotes of a string, and whether it has escapes.
    #[inline]
    fn raw(&mut self) -> Option<(&'t str, bool)> {
        self.eat(b'"')?;
        let (start, mut has_escapes) = (self.at, false);
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let found = quote_or_backslash(rest)?;
            self.at += found + 1;
            if rest[found] == b'"' {
                return Some((self.text.get(start..self.at - 1)?, has_escapes));
            }
            // Skips the escaped byte, which may be a quote.
            (self.at, has_escapes) = (self.at + 1, true);
        }
    }

    /// Consumes the name of an object's next member and its colon. The inner `None` means that it consumed the object's
    /// end.
    pub(super) fn name(&mut self, is_first: &mut bool) -> Option<Option<Cow<'t, str>>> {
        match self.peek()? {
            b'}' => {
                self.at += 1;
                return Some(None);
            }
            b',' if !*is_first => self.at += 1,
            _ if *is_first => {}
            _ => return None,
        }
        *is_first = false;
        self.peek()?;
        let name = self.text()?;
        self.eat(b':')?;
        Some(Some(name))
    }

    /// Consumes a number or a literal.
    #[inline]
    pub(super) fn scalar(&mut self) -> Option<&'t str> {
        self.peek()?;
        let rest = &self.text[self.at..];
        let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\t' | b'\r');
        let end = rest.as_bytes().iter().position(is_end).unwrap_or(rest.len());
        self.at += end;
        (end > 0).then(|| &rest[..end])
    }

    /// Consumes a value of any depth.
    pub(super) fn value(&mut self) -> Option<&'t str> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => drop(self.string()?),
            b'{' | b'[' => {
                let mut depth = 0_usize;
                loop {
                    match *self.text.as_bytes().get(self.at)? {
                        b'"' => {
                            self.string()?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth = depth.checked_sub(1)?,
                        byte if is_blank(&byte) => {
                            self.peek()?;
                            continue;
                        }
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ => drop(self.scalar()?),
        }
        self.text.get(start..self.at)
    }
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\t' | b'\r')
}

/// Offset of the next quote or backslash. Most strings are short; a general search would cost more than the strings.
#[inline]
fn quote_or_backslash(text: &[u8]) -> Option<usize> {
    let (blocks, rest) = text.as_chunks::<16>();
    for (number, block) in blocks.iter().enumerate() {
        let block = u8x16::new(*block);
        let found = block.simd_eq(u8x16::splat(b'"')) | block.simd_eq(u8x16::splat(b'\\'));
        let bits = found.to_bitmask();
        if bits != 0 {
            return Some(number * 16 + bits.trailing_zeros() as usize);
        }
    }
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(text.len() - rest.len() + found)
}

/// The unescaped text of a string. A lone surrogate becomes `U+FFFD`.
pub(super) fn unescaped(raw: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', raw.as_bytes()) else { return Cow::Borrowed(raw) };
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    let mut next = Some(first);
    while let Some(at) = next {
        text.push_str(&rest[..at]);
        let (letter, length) = escape(&rest[at..]);
        text.push(letter);
        rest = rest.get(at + length..).unwrap_or_default();
        next = memchr::memchr(b'\\', rest.as_bytes());
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The character of the escape at the start of `text`, and the escape's length in bytes.
fn escape(text: &str) -> (char, usize) {
    let letter = match text.as_bytes().get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode(text),
        // A quote, a slash, a backslash.
        Some(&byte) if byte.is_ascii() => char::from(byte),
        _ => return (char::REPLACEMENT_CHARACTER, text.len()),
    };
    (letter, 2)
}

fn unicode(text: &str) -> (char, usize) {
    let unit = |at: usize| {
        let digits = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(0) else { return (char::REPLACEMENT_CHARACTER, text.len()) };
    if let (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) = (first, unit(6)) {
        let letter = char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
        return (letter.unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_what_they_stand_for() {
        for (raw, text) in [
            ("plain", "plain"),
            (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r"\u0041\u00e9\ud83d\ude00", "Aé😀"),
            (r"\ud83d \ude00\ud83d", "\u{fffd} \u{fffd}\u{fffd}"),
            (r"\ud83d\u0041", "\u{fffd}A"),
            (r"x\u0000y", "x\0y"),
        ] {
            assert_eq!(unescaped(raw), text, "{raw}");
            assert_eq!(
                unescaped(raw),
                serde_json::from_str::<String>(&format!("\"{raw}\"")).unwrap_or(text.into())
            );
        }
    }

    #[test]
    fn values_of_any_depth_are_passed() {
        let deep = format!("{}\"]}}\"{}", "[{\"a\":".repeat(10_000), "}]".repeat(10_000));
        for value in [r#""a\"]""#, "-1.5e3", "null", r#"{"a":[1,{"}":"]"}],"b":{}}"#, "[]", &deep] {
            for text in [format!(" {value},1"), format!("{value}}}"), value.to_owned()] {
                let mut scanner = Scanner::new(&text);
                assert_eq!(scanner.value(), Some(value));
            }
        }
        for cut in ["", "[1", "{\"a\":1]x", "\"a", "]"] {
            assert!(Scanner::new(cut).value().is_none_or(|value| value.len() < cut.len()), "{cut}");
        }
    }
}
