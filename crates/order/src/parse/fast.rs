//! The fast parser, for common documents: members in the model's order, each with the model's type, no escapes in
//! names.
//!
//! Parsing JSON is most of the cost of an order. This parser expects the next member and its kind; at the first
//! deviation it gives up, and `serde_json` parses the document from its start. So only `general` refuses documents and
//! words the errors. A test and the fuzzer compare the two parsers.

use model::shape::{Kind, Struct};
use wide::u8x16;

use crate::gob_primitives::{put_bytes, put_float, put_int, put_uint};
use crate::parse::Rules;
use crate::parse::members::{pass_missing, put_count, zero_element};

/// Appends the document's members. Returns the key's field number, as the delta from the last field written; `None` if
/// `serde_json` has to parse the document.
pub(crate) fn document(shape: &'static Struct, text: &str, rules: &Rules, out: &mut Vec<u8>) -> Option<u64> {
    let mut reader = Reader { text: text.as_bytes(), at: 0, checks: rules.checks };
    if reader.token()? != b'{' {
        return None;
    }
    let key_field = reader.members(shape, &rules.required, out)?;
    reader.token().is_none().then_some(key_field)
}

/// Appends a single value.
#[cfg(test)]
pub(crate) fn value(text: &str, kind: &Kind, out: &mut Vec<u8>) -> Option<bool> {
    let mut reader = Reader { text: text.as_bytes(), at: 0, checks: false };
    let token = reader.token()?;
    let appended = reader.value(token, kind, out)?;
    reader.token().is_none().then_some(appended)
}

/// Appends each part of a document as gob; zero values and `null` are omitted.
struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    /// Whether to check the members that the model requires.
    checks: bool,
}

impl<'t> Reader<'t> {
    /// Consumes the next byte that is not white space.
    #[inline(always)]
    fn token(&mut self) -> Option<u8> {
        self.skip_space();
        let byte = self.text.get(self.at).copied();
        self.at += 1;
        byte
    }

    #[inline(always)]
    fn skip_space(&mut self) {
        let is_space = |byte: &u8| *byte <= b' ' && matches!(byte, b' ' | b'\n' | b'\t' | b'\r');
        while self.text.get(self.at).is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Consumes `word`, which has to be next.
    fn word(&mut self, word: &str) -> Option<()> {
        self.rest().starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    /// An object's members and its end. Returns the number of the field after the last member's, as the delta from the
    /// last field written.
    fn members(&mut self, shape: &Struct, required: &[usize], out: &mut Vec<u8>) -> Option<u64> {
        let (mut next, mut delta, mut met) = (0, 1, 0);
        let own = if self.checks { shape.required } else { &[] };
        loop {
            let index = self.name(shape, next)?;
            if index > next {
                delta = pass_missing(shape, next..index, delta, out);
            }
            let before = out.len();
            put_uint(out, delta);
            let token = self.token()?;
            if self.value(token, &shape.members[index].kind, out)? {
                delta = 1;
                met += usize::from(required.contains(&index)) + usize::from(own.contains(&index));
            } else {
                out.truncate(before);
                delta += 1;
            }
            next = index + 1;
            match self.token()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        (met == required.len() + own.len())
            .then(|| pass_missing(shape, next..shape.members.len(), delta, out))
    }

    /// Consumes a name and its colon, and returns the member's index, which is mostly `next`.
    #[inline(always)]
    fn name(&mut self, shape: &Struct, next: usize) -> Option<usize> {
        self.skip_space();
        let head = shape.members.get(next)?.json_key.as_bytes();
        if self.rest().starts_with(head) {
            self.at += head.len();
            return Some(next);
        }
        self.later_name(shape, next)
    }

    /// As [`Self::name`], if members are missing or white space precedes the colon.
    fn later_name(&mut self, shape: &Struct, next: usize) -> Option<usize> {
        let rest = self.rest();
        let names =
            shape.members[next..].iter().map(|member| member.json_key.trim_end_matches(':').as_bytes());
        let (skipped, name) = names.enumerate().find(|(_, name)| rest.starts_with(name))?;
        self.at += name.len();
        (self.token()? == b':').then_some(next + skipped)
    }

    /// A value whose first byte is `token`. Returns whether anything was appended.
    #[inline]
    fn value(&mut self, token: u8, kind: &Kind, out: &mut Vec<u8>) -> Option<bool> {
        match (kind, token) {
            (Kind::String, b'"') => self.string(out),
            (Kind::Int, b'-' | b'0'..=b'9') => self.whole(token, out),
            (Kind::Struct(shape), b'{') => {
                self.members(shape, &[], out)?;
                out.push(0);
                Some(true)
            }
            (Kind::Slice(kind), b'[') => self.elements(kind, out),
            (Kind::Bool, b't') => {
                self.word("rue")?;
                put_uint(out, 1);
                Some(true)
            }
            (Kind::Bool, b'f') => self.word("alse").map(|()| false),
            (Kind::Float, b'-' | b'0'..=b'9') => self.float(out),
            // Gob never omits a struct.
            (Kind::Struct(_), _) => None,
            (_, b'n') => self.word("ull").map(|()| false),
            _ => None,
        }
    }

    /// An array's elements and its end.
    fn elements(&mut self, kind: &Kind, out: &mut Vec<u8>) -> Option<bool> {
        let start = out.len();
        // Reserves one byte for the count, which is mostly enough.
        out.push(0);
        let mut count = 0;
        let mut token = self.token()?;
        if token == b']' {
            out.truncate(start);
            return Some(false);
        }
        loop {
            if !self.value(token, kind, out)? {
                zero_element(out, kind);
            }
            count += 1;
            match self.token()? {
                b',' => token = self.token()?,
                b']' => break,
                _ => return None,
            }
        }
        put_count(out, start, count);
        Some(true)
    }

    /// A string and its closing quote. Copies whole blocks and truncates, which is cheaper than copying the exact
    /// length.
    #[inline]
    fn string(&mut self, out: &mut Vec<u8>) -> Option<bool> {
        let start = out.len();
        // Reserves one byte for the length, which is mostly enough.
        out.push(0);
        let blocks = self.rest().as_chunks::<16>().0;
        for block in blocks {
            out.extend_from_slice(block);
            let plain = plain_length(block);
            self.at += plain;
            if plain < 16 {
                out.truncate(out.len() - 16 + plain);
                break;
            }
        }
        // Within the last 15 bytes of the document.
        while let Some(&byte) = self.text.get(self.at)
            && byte >= 0x20
            && byte != b'"'
            && byte != b'\\'
        {
            out.push(byte);
            self.at += 1;
        }
        let length = out.len() - start - 1;
        match self.text.get(self.at)? {
            b'"' if length == 0 => out.truncate(start),
            b'"' => put_count(out, start, length),
            b'\\' => {
                out.truncate(start);
                self.at -= length;
                return self.escaped(length, out);
            }
            _ => return None,
        }
        self.at += 1;
        Some(length > 0)
    }

    /// A string whose first escape is after `plain` bytes.
    #[cold]
    fn escaped(&mut self, plain: usize, out: &mut Vec<u8>) -> Option<bool> {
        let rest = self.rest();
        let mut length = plain;
        loop {
            match rest.get(length)? {
                b'"' => break,
                b'\\' => length += 2,
                _ => length += 1,
            }
        }
        let quoted = self.text.get(self.at - 1..=self.at + length)?;
        let text: String = serde_json::from_slice(quoted).ok()?;
        put_bytes(out, text.as_bytes());
        self.at += length + 1;
        Some(true)
    }

    /// An integer of up to 18 digits, which fits into 64 bits. The caller checks that neither a digit nor a point
    /// follows.
    #[inline]
    fn whole(&mut self, first: u8, out: &mut Vec<u8>) -> Option<bool> {
        let negative = first == b'-';
        self.at -= usize::from(!negative);
        let digits = self.rest();
        let mut number = 0;
        let mut length = 0;
        for byte in digits.iter().take(18) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            number = number * 10 + i64::from(digit);
            length += 1;
        }
        self.at += length;
        if number == 0 {
            return (length == 1 && !negative).then_some(false);
        }
        if digits[0] == b'0' {
            return None;
        }
        put_int(out, if negative { -number } else { number });
        Some(true)
    }

    fn float(&mut self, out: &mut Vec<u8>) -> Option<bool> {
        let start = self.at - 1;
        let of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        self.at += self.rest().iter().take_while(|byte| of_number(byte)).count();
        let number: f64 = serde_json::from_slice(&self.text[start..self.at]).ok()?;
        if number == 0.0 {
            return Some(false);
        }
        put_float(out, number);
        Some(true)
    }
}

/// How many bytes of a block come before its first quote, backslash or control character.
#[inline]
fn plain_length(block: &[u8; 16]) -> usize {
    let bytes = u8x16::new(*block);
    let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    let special = control | bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\'));
    // The seventeenth bit guarantees a result.
    (special.to_bitmask() | 1 << 16).trailing_zeros() as usize
}
