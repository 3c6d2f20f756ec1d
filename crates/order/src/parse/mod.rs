//! JSON -> gob value, straight, without a document in between: what an order costs when it comes in.
//!
//! Most documents are plain and read by `plain`, in half of the time; all others by `serde_json` and our visitors.
//!
//! As lenient as Go's `encoding/json` where nothing is lost by it: missing members are zero, a member that is
//! `null` is left as it is, unknown ones are ignored but counted, names match without regard to ASCII case
//! where none matches exactly, and of a repeated member the last counts. Refused are invalid UTF-8, numbers
//! that don't fit, values of another type, `null`, and what is no object.

mod plain;
mod visit;
mod members;
mod place;

use std::collections::BTreeSet;
use std::fmt;

use self::place::offset;
use crate::SettingError;
use crate::model::ROOT;
use crate::order::{Body, Order};
use crate::refusal::{Reason, Refusal};
use crate::rows::OURS;
use crate::shape::Member;

/// How many names of unknown members are kept, and how long each may be, in characters.
const UNKNOWN_NAMES: usize = 20;
const UNKNOWN_NAME_LENGTH: usize = 64;

/// Parses payloads one after another, with the same memory.
pub struct Parser {
    required: Vec<usize>,
    state: State,
}

/// Members that the model doesn't know: how many there were, and some of their names.
#[derive(Default, Debug, Clone)]
pub struct Unknown {
    /// How often an unknown member was met.
    pub count: u64,
    /// Up to 20 different names, cut at 64 characters.
    pub names: BTreeSet<String>,
}

#[derive(Default)]
struct State {
    /// The values of members, each after the one that was parsed before it, and the objects made of them.
    out: Vec<u8>,
    /// For each member of the objects that are open: where its value stands in `out`.
    spans: Vec<Option<(usize, usize)>>,
    /// The way to what is being parsed; after an error, to what was wrong.
    path: Vec<Step>,
    unknown: Unknown,
    reason: Option<Reason>,
}

#[derive(Clone, Copy)]
enum Step {
    Member(&'static Member),
    Element(usize),
}

impl Parser {
    /// A parser that refuses documents in which one of the `required` members is missing, `null` or empty.
    ///
    /// # Errors
    /// A required member that the model lacks.
    pub fn new(required: &[String]) -> Result<Self, SettingError> {
        let mut places = Vec::new();
        for name in required {
            let (index, _) = ROOT.member(name).ok_or_else(|| SettingError::unknown(name))?;
            if !places.contains(&index) {
                places.push(index);
            }
        }
        Ok(Self { required: places, state: State::default() })
    }

    /// The order that `payload` is, under `key`.
    ///
    /// # Errors
    /// A [`Refusal`] that says what is wrong and where, without quoting the payload.
    pub fn parse(&mut self, payload: &[u8], key: &str) -> Result<Order, Refusal> {
        let text = simdutf8::compat::from_utf8(payload).map_err(|error| Refusal {
            reason: Reason::InvalidUtf8,
            detail: "invalid UTF-8".into(),
            path: None,
            offset: Some(error.valid_up_to()),
        })?;
        match self.plain(text, key) {
            Some(order) => Ok(order),
            None => self.any(text, key),
        }
    }

    /// The order that `text` is, unless something about it is unusual.
    fn plain(&mut self, text: &str, key: &str) -> Option<Order> {
        let out = &mut self.state.out;
        Body::open(OURS as u16, key, out);
        let key_field = plain::document(text, &self.required, out)?;
        Some(Order::new(Body::close(out), key_field))
    }

    /// The same of any text, by `serde_json` alone.
    fn any(&mut self, text: &str, key: &str) -> Result<Order, Refusal> {
        let state = &mut self.state;
        Body::open(OURS as u16, key, &mut state.out);
        state.spans.clear();
        state.path.clear();
        state.reason = None;
        let key_field = visit::document(text, &self.required, state)?;
        Ok(Order::new(Body::close(&mut state.out), key_field))
    }

    /// Whether `text` is unusual, or the same to both readers.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn is_the_same_to_both(&mut self, text: &str, key: &str) -> bool {
        self.plain(text, key).is_none_or(|order| self.any(text, key).is_ok_and(|other| other == order))
    }

    /// The unknown members met since the parser was made.
    pub fn unknown(&self) -> &Unknown {
        &self.state.unknown
    }
}

impl State {
    fn refuse<E: serde::de::Error>(&mut self, reason: Reason, detail: impl fmt::Display) -> E {
        self.reason = Some(reason);
        E::custom(detail)
    }

    fn refusal(&self, text: &str, error: &serde_json::Error) -> Refusal {
        // serde_json adds the line and column, which the offset says already.
        let mut detail = error.to_string();
        if let Some(at) = detail.rfind(" at line ") {
            detail.truncate(at);
        }
        let reason = match self.reason {
            Some(reason) => reason,
            // What serde_json says of `1e999`, and it has no other way of saying so.
            None if detail == "number out of range" => Reason::NumberOutOfRange,
            None => Reason::InvalidJson,
        };
        let path = (!self.path.is_empty() || self.reason.is_some()).then(|| self.path_text());
        Refusal { reason, detail, path, offset: offset(reason, text, error) }
    }

    fn path_text(&self) -> String {
        let mut path = String::from("$");
        for step in &self.path {
            match step {
                Step::Member(member) => {
                    path.push('.');
                    path.push_str(member.json_name);
                }
                Step::Element(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }

    fn unknown(&mut self, name: &str) {
        self.unknown.count += 1;
        if self.unknown.names.len() < UNKNOWN_NAMES {
            self.unknown.names.insert(name.chars().take(UNKNOWN_NAME_LENGTH).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;
    use crate::model::SAMPLE;
    use crate::shape::Kind;

    fn parser() -> Parser {
        Parser::new(&["order_uid".to_owned()]).unwrap()
    }

    fn is_plain(text: &str) -> bool {
        assert!(parser().is_the_same_to_both(text, "1-1"), "{text}");
        parser().plain(text, "1-1").is_some()
    }

    #[test]
    fn what_publishers_write_is_plain() {
        let indented = serde_json::from_str::<crate::model::RawOrderData>(SAMPLE).unwrap();
        for text in [
            SAMPLE,
            &format!(" {SAMPLE}\r\n"),
            &serde_json::to_string_pretty(&indented).unwrap(),
            &SAMPLE.replace("\":", "\": ").replace(",\"", ", \""),
            &SAMPLE.replace("\":", "\" :"),
            r#"{"order_uid":"u"}"#,
            r#"{"order_uid":"u","items":[ ],"sm_id":-1}"#,
            r#"{"order_uid":"u","entry":null,"items":null,"sm_id":null}"#,
            r#"{"order_uid":"\u0418\u0432\u0430\u043d \ud83d\ude00\"\\","entry":"Иван"}"#,
            r#"{"order_uid":"u","items":[{"name":""},{"price":0}]}"#,
            r#"{"order_uid":"u","sm_id":999999999999999999}"#,
        ] {
            assert!(is_plain(text), "{text}");
        }
    }

    #[test]
    fn what_is_unusual_is_not_plain() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"order_uid":""}"#,
            r#"{"order_uid":null}"#,
            r#"{"order_uid":"u""#,
            r#"{"order_uid":"u"}}"#,
            r#"{"order_uid":"u",}"#,
            r#"{"order_uid":"u","entry":"\ud83d"}"#,
            r#"{"order_uid":"u","entry":"\"}"#,
            "{\"order_uid\":\"u\",\"entry\":\"\n\"}",
            r#"{"entry":"e","order_uid":"u"}"#,
            r#"{"order_uid":"u","order_uid":"v"}"#,
            r#"{"ORDER_UID":"u"}"#,
            r#"{"order_uid":"u","other":1}"#,
            r#"{"order_uid":1}"#,
            r#"{"order_uid":"u","delivery":null}"#,
            r#"{"order_uid":"u","items":[1]}"#,
            r#"{"order_uid":"u","items":[{"name":""},null]}"#,
            r#"{"order_uid":"u","items":[{"price":1},]}"#,
            r#"{"order_uid":"u","sm_id":"1"}"#,
            r#"{"order_uid":"u","sm_id":01}"#,
            r#"{"order_uid":"u","sm_id":-0}"#,
            r#"{"order_uid":"u","sm_id":-}"#,
            r#"{"order_uid":"u","sm_id":1.0}"#,
            r#"{"order_uid":"u","sm_id":1e1}"#,
            r#"{"order_uid":"u","sm_id":1000000000000000000}"#,
        ] {
            assert!(!is_plain(text), "{text}");
        }
    }

    /// Of the kinds that this model lacks, too.
    #[test]
    fn plain_values_of_all_kinds_are_read_as_any() {
        static KINDS: [Kind; 8] = [
            Kind::Bool,
            Kind::Int,
            Kind::Float,
            Kind::String,
            Kind::Slice(&Kind::Bool),
            Kind::Slice(&Kind::Float),
            Kind::Slice(&Kind::String),
            Kind::Slice(&Kind::Slice(&Kind::Int)),
        ];
        let texts = "true false tru truefalse null nul 0 -0 7 -7 007 0.0 -0.0 0.1 1.5e3 1E-3 5e-324 1e999 1. .5 - -a \
                     1.5.5 123456789012345678 1234567890123456789 12345678901234567890 \"\" \"a\" \"\\n\" \"a [] [ \
                     [true,false,null] [true,] [0.0,1.5,-2] [\"\",\"ж\",null] [[1,2],[],null,[0]] [[1],2]";
        let mut plain = [0; KINDS.len()];
        for text in texts.split(' ') {
            for (kind, plain) in KINDS.iter().zip(&mut plain) {
                let mut quick = Vec::new();
                let Some(appended) = plain::value(text, kind, &mut quick) else { continue };
                let mut thorough = State::default();
                let there = visit::value(text, kind, &mut thorough);
                let expected = if there == Some(true) { &*thorough.out } else { &[0] };
                assert!(there.is_some(), "{text} as {kind:?}");
                assert_eq!(if appended { &*quick } else { &[0] }, expected, "{text} as {kind:?}");
                *plain += 1;
            }
        }
        assert!(plain.iter().all(|&count| count > 2), "{plain:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// The sample with some of its bytes taken out, and others put in.
        #[test]
        fn plain_documents_are_read_as_any(
            edits in proptest::collection::vec((any::<Index>(), 0_usize..20, snippet()), 1..4)
        ) {
            let mut text: Vec<char> = SAMPLE.chars().collect();
            for (place, length, snippet) in edits {
                let from = place.index(text.len() + 1);
                let to = text.len().min(from + length);
                text.splice(from..to, snippet.chars());
            }
            let text: String = text.into_iter().collect();
            prop_assert!(parser().is_the_same_to_both(&text, "1-1"));
        }
    }

    fn snippet() -> impl Strategy<Value = &'static str> {
        select(vec![
            "",
            "",
            "",
            " ",
            ",",
            ":",
            "{",
            "}",
            "[",
            "]",
            "\"",
            "\\",
            "\\\"",
            "\\u0000",
            "\\u04",
            "0",
            "-",
            "1",
            "12345678",
            "1234567890123456789",
            ".5",
            "e3",
            "null",
            "true",
            "\"a\"",
            "\n",
            "\t",
            "ж",
            "\u{7f}",
            "\u{1}",
            "{}",
            "[]",
            "\"entry\":\"\",",
            "\"sm_id\":0,",
            "\"x\":1,",
            "\"Entry\":\"E\",",
        ])
    }
}
