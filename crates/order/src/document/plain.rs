//! Fast path to the canonical form, for documents whose members are the model's, each at most once. It only rearranges
//! them; `canonical` gives the same result for any document.

use std::borrow::Cow;
use std::ops::Range;

use model::shape::{Kind, Struct};

use super::canonical::compare;
use super::json_tokenizer::Scanner;
use super::number;
use crate::json_writer;

/// Appends the canonical form. `None` if `canonical` has to do it; the appended bytes are then invalid.
pub(crate) fn write(shape: &Struct, text: &str, out: &mut Vec<u8>) -> Option<()> {
    Writer { scanner: Scanner::new(text), members: Vec::new(), out }.object(shape)
}

struct Writer<'t> {
    scanner: Scanner<'t>,
    /// The members of open objects: their names, and the ranges of their values in `out`.
    members: Vec<(&'static str, Range<usize>)>,
    out: &'t mut Vec<u8>,
}

impl Writer<'_> {
    /// Appends the values as they come, then replaces them by the sorted object.
    fn object(&mut self, shape: &Struct) -> Option<()> {
        let (first_member, start) = (self.members.len(), self.out.len());
        self.scanner.eat(b'{')?;
        let (mut next, mut is_first) = (0, true);
        while let Some(name) = self.scanner.name(&mut is_first)? {
            let later = shape.members.get(next..)?.iter().position(|member| member.json_name == name)?;
            let member = &shape.members[next + later];
            next += later + 1;
            let before = self.out.len();
            self.value(&member.kind)?;
            self.members.push((member.json_name, before..self.out.len()));
        }
        let end = self.out.len();
        let members = &mut self.members[first_member..];
        members.sort_unstable_by(|(one, _), (other, _)| compare(one, other));
        self.out.push(b'{');
        for (name, value) in members {
            if self.out.len() > end + 1 {
                self.out.push(b',');
            }
            json_writer::string(name.as_bytes(), self.out);
            self.out.push(b':');
            self.out.extend_from_within(value.clone());
        }
        self.out.push(b'}');
        self.out.drain(start..end);
        self.members.truncate(first_member);
        Some(())
    }

    fn value(&mut self, kind: &Kind) -> Option<()> {
        match (kind, self.scanner.peek()?) {
            (Kind::Struct(shape), b'{') => self.object(shape),
            (Kind::Slice(element), b'[') => self.elements(element),
            (_, b'{' | b'[') => None,
            (_, b'"') => self.string(),
            _ => self.scalar(),
        }
    }

    fn elements(&mut self, kind: &Kind) -> Option<()> {
        self.out.push(self.scanner.token()?);
        if self.scanner.peek()? == b']' {
            self.out.push(self.scanner.token()?);
            return Some(());
        }
        loop {
            self.value(kind)?;
            let token = self.scanner.token()?;
            self.out.push(token);
            match token {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        let start = self.scanner.at();
        match self.scanner.text()? {
            // With its quotes.
            Cow::Borrowed(_) => self.out.extend_from_slice(self.scanner.since(start)?.as_bytes()),
            Cow::Owned(text) if text.contains('\0') => return None,
            Cow::Owned(text) => json_writer::string(text.as_bytes(), self.out),
        }
        Some(())
    }

    /// A literal or a number. `canonical` handles exponents, because it counts their digits.
    fn scalar(&mut self) -> Option<()> {
        let text = self.scanner.scalar()?;
        let is_word = text.starts_with(|first: char| first.is_ascii_lowercase());
        let written = if is_word { Cow::Borrowed(text) } else { number::canonical(text).ok()? };
        let Cow::Borrowed(written) = written else { return None };
        self.out.extend_from_slice(written.as_bytes());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::canonical;
    use super::*;
    use crate::order_model::{sample, shape};

    fn both(text: &str) -> (Option<String>, String) {
        let (mut plain, mut canonical) = (Vec::new(), Vec::new());
        let written = write(shape(), text, &mut plain);
        canonical::write(shape(), text, &mut canonical).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (written.map(|()| text(plain)), text(canonical))
    }

    #[test]
    fn documents_of_the_model_are_written_as_by_canonical() {
        for text in [
            sample(),
            "{}",
            r#" { "order_uid" : "\u0416\"\\\/\ud83d\ude00\ud83d" , "payment" : { "amount" : -0 } } "#,
            r#"{"items": [{"price": 1, "name": null}, {}], "locale": null}"#,
            r#"{"delivery": {}, "items": []}"#,
        ] {
            let (plain, canonical) = both(text);
            assert_eq!(plain.as_deref(), Some(canonical.as_str()), "{text}");
        }
    }

    #[test]
    fn documents_of_another_form_are_left_to_canonical() {
        for text in [
            r#"{"unknown": 1}"#,
            r#"{"track_number": "b", "order_uid": "a"}"#,
            r#"{"order_uid": "a", "order_uid": "b"}"#,
            r#"{"Order_uid": "a"}"#,
            r#"{"sm_id": 1e2}"#,
            r#"{"items": {}}"#,
        ] {
            assert_eq!(both(text).0, None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn texts_and_numbers_are_written_as_by_canonical(
            texts in prop::collection::vec("\\PC{0,40}", 4),
            numbers in prop::collection::vec(any::<i64>(), 3),
            escaped in "(\\\\u0[1-9a-f][0-9a-f]{2}|\\\\[\"/bfnrt]|[a-z]){0,20}",
        ) {
            let quoted: Vec<_> = texts.iter().map(|text| serde_json::to_string(text).unwrap()).collect();
            let text = format!(
                r#"{{"order_uid":{},"delivery":{{"name":{},"zip":"{escaped}"}},"items":[{{"price":{},"name":{}}},{{"sale":{}}}],"locale":{},"sm_id":{}}}"#,
                quoted[0], quoted[1], numbers[0], quoted[2], numbers[1], quoted[3], numbers[2]
            );
            let (plain, canonical) = both(&text);
            prop_assert_eq!(plain, Some(canonical));
        }
    }
}
