//! What processes on one stream and table tell each other: a plain NATS message that says of some messages of the
//! stream what became of them, with the rows that were committed for them. It may be lost; nobody waits for it.
//!
//! ```text
//! telling  form: u8, made: i64, length: u32, descriptors, entry...
//! entry    sequence: u64, length: u8, key, [length: u32, value]    without a key: it is settled and no order
//! ```
//!
//! `made` is when the durable consumer was made, which says whose sequences are meant. A row is the descriptors, which
//! all rows of one writer share, and its value. A telling without entries says that somebody is there; from one
//! who has just come it has no `made`, and is answered.

use bytes::Bytes;
use order::Key;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::Settings;

/// How their subjects begin.
pub(crate) const PREFIX: &str = "orderd.told";

/// The form above. Whoever tells in another one is not understood, and is looked up in the table.
const FORM: u8 = 1;

/// In place of when the durable consumer was made: who has just come doesn't know it yet.
pub(crate) const GREETING: i64 = 0;

/// The subject for all who share a durable consumer and a table. Each name is one token, whatever it holds.
pub(crate) fn subject(settings: &Settings) -> String {
    let database = settings.postgres.servers.0.first().and_then(|server| server.get_dbname());
    let table = format!("{}.{}", database.unwrap_or_default(), settings.postgres.table.quoted());
    let names = [&settings.nats.topic, &settings.durable, &table];
    let tokens = names.map(|name| utf8_percent_encode(name, NON_ALPHANUMERIC).to_string());
    format!("{PREFIX}.{}", tokens.join("."))
}

/// One that is being written.
pub(crate) struct Telling<'d> {
    descriptors: &'d [u8],
    head: usize,
    bytes: Vec<u8>,
    rows: usize,
}

impl<'d> Telling<'d> {
    /// One without entries.
    pub(crate) fn new(made: i64, descriptors: &'d [u8]) -> Self {
        let mut bytes = vec![FORM];
        bytes.extend_from_slice(&made.to_be_bytes());
        bytes.extend_from_slice(&(descriptors.len() as u32).to_be_bytes());
        bytes.extend_from_slice(descriptors);
        Self { descriptors, head: bytes.len(), bytes, rows: 0 }
    }

    /// A message whose row is committed. `false`: it can't be told, or not in this one, which would be larger than
    /// `most`.
    pub(crate) fn add_row(&mut self, sequence: u64, key: &str, row: &[u8], most: usize) -> bool {
        let Some(value) = row.strip_prefix(self.descriptors) else { return false };
        let Ok(length) = u8::try_from(key.len()) else { return false };
        if self.bytes.len() + 13 + key.len() + value.len() > most {
            return false;
        }
        self.add_sequence(sequence, length);
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
        self.bytes.extend_from_slice(value);
        self.rows += 1;
        true
    }

    /// A message that is settled and is no order.
    pub(crate) fn add_nothing(&mut self, sequence: u64) {
        self.add_sequence(sequence, 0);
    }

    fn add_sequence(&mut self, sequence: u64, length: u8) {
        self.bytes.extend_from_slice(&sequence.to_be_bytes());
        self.bytes.push(length);
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// What was written since the last time, as it is sent.
    pub(crate) fn take(&mut self) -> Bytes {
        let mut next = Vec::with_capacity(self.bytes.len());
        next.extend_from_slice(&self.bytes[..self.head]);
        self.rows = 0;
        std::mem::replace(&mut self.bytes, next).into()
    }
}

/// One that came in.
pub(crate) struct Told<'t> {
    pub(crate) made: i64,
    pub(crate) descriptors: &'t [u8],
    pub(crate) entries: Vec<Entry<'t>>,
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'t> {
    pub(crate) sequence: u64,
    /// The key of its order, and its row without the descriptors.
    pub(crate) row: Option<(&'t str, &'t [u8])>,
}

/// Reads one, all of it. Whoever may publish may have sent it: none, if it is anything else.
pub(crate) fn parse(mut bytes: &[u8]) -> Option<Told<'_>> {
    let bytes = &mut bytes;
    let [FORM] = take_array(bytes)? else { return None };
    let made = i64::from_be_bytes(take_array(bytes)?);
    let descriptors = take_long(bytes)?;
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        entries.push(entry(bytes)?);
    }
    Some(Told { made, descriptors, entries })
}

fn entry<'t>(bytes: &mut &'t [u8]) -> Option<Entry<'t>> {
    let sequence = u64::from_be_bytes(take_array(bytes)?);
    let [length] = take_array(bytes)?;
    if sequence == 0 {
        return None;
    }
    if length == 0 {
        return Some(Entry { sequence, row: None });
    }
    let key = std::str::from_utf8(take(bytes, length.into())?).ok()?;
    let row = Some((key, take_long(bytes)?)).filter(|(key, _)| Key::is_from_stream(key))?;
    Some(Entry { sequence, row: Some(row) })
}

fn take_long<'t>(bytes: &mut &'t [u8]) -> Option<&'t [u8]> {
    let length = u32::from_be_bytes(take_array(bytes)?);
    take(bytes, usize::try_from(length).ok()?)
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    take(bytes, N)?.try_into().ok()
}

fn take<'t>(bytes: &mut &'t [u8], length: usize) -> Option<&'t [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 1000;

    fn told() -> Bytes {
        let mut telling = Telling::new(7, b"names:");
        assert!(telling.add_row(3, "17-3", b"names:value", MOST));
        telling.add_nothing(4);
        assert!(telling.add_row(5, "16-1", b"names:", MOST));
        telling.take()
    }

    #[test]
    fn is_read_as_it_was_written() {
        let bytes = told();
        let told = parse(&bytes).unwrap();
        assert_eq!((told.made, told.descriptors), (7, &b"names:"[..]));
        let row = |sequence, key, value: &'static [u8]| Entry { sequence, row: Some((key, value)) };
        let entries = [row(3, "17-3", b"value"), Entry { sequence: 4, row: None }, row(5, "16-1", b"")];
        assert_eq!(told.entries, entries);
    }

    #[test]
    fn what_does_not_fit_is_left_for_the_next() {
        let mut telling = Telling::new(7, b"names:");
        assert!(telling.add_row(1, "17-1", b"names:value", 60));
        assert!(!telling.add_row(2, "17-2", b"names:value", 60));
        assert_eq!((telling.rows(), parse(&telling.take()).unwrap().entries.len()), (1, 1));
        assert!(telling.add_row(2, "17-2", b"names:value", 60));
        assert!(!telling.add_row(3, "17-3", b"other names:value", MOST));
        assert_eq!(parse(&telling.take()).unwrap().entries[0].sequence, 2);
    }

    #[test]
    fn what_is_cut_or_of_another_form_is_none() {
        let whole = told();
        let ends = [0, 19, 19 + 22, 19 + 22 + 9].map(|end| end.min(whole.len()));
        for end in (0..whole.len()).filter(|end| !ends.contains(end)) {
            assert!(parse(&whole[..end]).is_none(), "{end}");
        }
        for (place, byte) in [(0, 2), (19 + 8, 200), (19 + 9, b'*')] {
            let mut other = whole.to_vec();
            other[place] = byte;
            assert!(parse(&other).is_none(), "{place}");
        }
        assert!(parse(&[&whole[..19], &[0; 9]].concat()).is_none(), "sequence 0");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), place in 0..60_usize) {
            drop(parse(&bytes));
            let mut mutated = told().to_vec();
            let end = mutated.len().min(place + bytes.len());
            let place = place.min(end);
            mutated[place..end].copy_from_slice(&bytes[..end - place]);
            drop(parse(&mutated));
        }
    }
}
