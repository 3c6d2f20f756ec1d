//! Decodes rows into bodies, and encodes orders as rows.
//!
//! The first row of a writer is read by `gobwire`; its descriptors become a [`Layout`], under which all
//! further rows of that writer are read at the cost of their values alone.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gobwire::Decoder;
use model::shape::{Kind, Struct};

use crate::document;
use crate::format::RowFormat;
use crate::gob::{Reader, put_bytes, put_int, put_uint, uint_len};
use crate::layout::{Layout, OWN_LAYOUT, Plan};
use crate::order::{Body, Order};
use crate::row_model::{Front, read_descriptors};
use crate::scan::{self, Validate};
use crate::{Parser, RowError, convert, descriptors, json_text, render};

/// How many layouts are kept. A Go program makes one; only a table made to hurt has more, and rows beyond
/// these are converted one by one.
const LAYOUTS: usize = 1024;

/// How many bytes of descriptors a layout that is kept may have, so that no table fills memory with them. The
/// model's take less than a thousand.
const DESCRIPTORS: usize = 16 * 1024;

/// The layouts met so far. They are only added, and looked up without a lock.
pub struct Layouts {
    shape: &'static Struct,
    known: Box<[OnceLock<Layout>]>,
    adding: Mutex<()>,
    /// The type of the value as a row of ours opens with it.
    type_id: Box<[u8]>,
}

impl Layouts {
    /// Of documents of this shape, with the layout of the rows that are written here as the only one.
    ///
    /// # Errors
    /// A model that gob can't express; no model is like that.
    pub fn new(shape: &'static Struct) -> Result<Self, RowError> {
        let ours = describe(&descriptors::empty_row(shape)?, shape)?;
        let mut type_id = Vec::new();
        put_int(&mut type_id, ours.type_id);
        let known: Box<[OnceLock<Layout>]> = (0..LAYOUTS).map(|_| OnceLock::new()).collect();
        drop(known[OWN_LAYOUT].set(ours));
        Ok(Self { shape, known, adding: Mutex::new(()), type_id: type_id.into_boxed_slice() })
    }

    /// The shape of the documents.
    pub fn shape(&self) -> &'static Struct {
        self.shape
    }

    /// What each row begins with that is written here.
    pub fn descriptors(&self) -> &[u8] {
        self.known[OWN_LAYOUT].get().map_or(&[], |ours| &ours.descriptors)
    }

    /// Appends the row of an order as PostgreSQL takes it in binary: the document, or descriptors and the gob value.
    pub fn write_row(&self, order: &Order, out: &mut Vec<u8>) {
        match order.body().format() {
            RowFormat::Gob => {}
            format => {
                out.extend_from_slice(version(format));
                out.extend_from_slice(order.body().value());
                return;
            }
        }
        out.extend_from_slice(self.descriptors());
        put_uint(out, self.message_len(order) as u64);
        out.extend_from_slice(&self.type_id);
        // In a row the key is the last field, before the end of the struct.
        let value = order.body().value();
        out.extend_from_slice(&value[..value.len() - 1]);
        put_uint(out, order.key_field());
        put_bytes(out, order.body().key_bytes());
        out.push(0);
    }

    /// How long the row of an order is at most: a length before the value takes nine bytes, or fewer.
    pub fn row_len(&self, order: &Order) -> usize {
        if order.body().format().is_document() {
            return JSONB_VERSION.len() + order.body().value().len();
        }
        self.descriptors().len() + 9 + self.message_len(order)
    }

    /// How long the message with the value is, after its length.
    fn message_len(&self, order: &Order) -> usize {
        let key = order.body().key_bytes().len();
        let key_field = uint_len(order.key_field()) + uint_len(key as u64) + key;
        self.type_id.len() + order.body().value().len() + key_field
    }

    /// Appends the JSON of a body.
    ///
    /// # Errors
    /// No error for a body that was made here; an error rather than a panic if memory is corrupt.
    pub fn write_json(&self, body: &Body, out: &mut Vec<u8>) -> Result<(), RowError> {
        if body.format().is_document() {
            out.extend_from_slice(body.value());
            return Ok(());
        }
        Ok(render::json(self.plan(body.layout())?, body.value(), out)?)
    }

    /// Appends the value of the root's member `index` as text: a string as it is, else its JSON.
    ///
    /// # Errors
    /// As [`Layouts::write_json`].
    pub fn write_member(&self, body: &Body, index: usize, out: &mut Vec<u8>) -> Result<(), RowError> {
        if let Some(text) = body.document() {
            return document::write_member(text, self.shape, index, out);
        }
        let plan = self.plan(body.layout())?;
        let start = scan::find(plan, body.value(), index)?;
        Ok(render::text(plan, index, body.value(), start, out)?)
    }

    /// Appends the value of the root's member `index` as JSON; of a document that lacks it, `null`.
    ///
    /// # Errors
    /// As [`Layouts::write_json`].
    pub fn write_member_json(&self, body: &Body, index: usize, out: &mut Vec<u8>) -> Result<(), RowError> {
        if let Some(text) = body.document() {
            return document::write_member_json(text, self.shape, index, out);
        }
        let mut text = Vec::new();
        self.write_member(body, index, &mut text)?;
        match self.shape.members.get(index).map(|member| &member.kind) {
            Some(Kind::String) => json_text::string(&text, out),
            _ => out.extend_from_slice(&text),
        }
        Ok(())
    }

    pub(crate) fn plan(&self, layout: usize) -> Result<&Plan, RowError> {
        let layout = self.known.get(layout).and_then(OnceLock::get).ok_or(RowError::UnknownField)?;
        layout.plan.as_ref().map_err(Clone::clone)
    }

    /// The layout of `row` and the value in it.
    fn find<'r>(&self, row: &'r [u8], guess: usize) -> Option<(usize, Result<&'r [u8], RowError>)> {
        let guessed = self.known.get(guess).and_then(OnceLock::get).and_then(|layout| value_in(layout, row));
        if let Some(value) = guessed {
            return Some((guess, value));
        }
        let mut known = self.known.iter().map_while(OnceLock::get).enumerate();
        known.find_map(|(index, layout)| Some((index, value_in(layout, row)?)))
    }

    /// Enters a layout and gives back its place, or the layout where it is too large or no more are kept.
    fn add(&self, layout: Layout) -> Result<usize, Layout> {
        if layout.descriptors.len() > DESCRIPTORS {
            return Err(layout);
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let same =
            |known: &Layout| known.descriptors == layout.descriptors && known.type_id == layout.type_id;
        for (index, place) in self.known.iter().enumerate() {
            match place.get() {
                Some(known) if same(known) => return Ok(index),
                Some(_) => {}
                None => {
                    drop(place.set(layout));
                    return Ok(index);
                }
            }
        }
        Err(layout)
    }
}

/// Reads rows one after another, with the same memory.
pub struct RowReader {
    layouts: Arc<Layouts>,
    format: RowFormat,
    /// The body that is being made.
    bytes: Vec<u8>,
    /// The layout of the row before, which mostly is that of the next one.
    last: usize,
    /// The root's members that are noted, and where in the last row's value each starts.
    noted: Vec<(usize, Option<usize>)>,
    shown: Validate,
    parser: Parser,
}

impl RowReader {
    /// A reader that shares its layouts with all others.
    pub fn new(layouts: Arc<Layouts>) -> Self {
        Self::noting(layouts, &[])
    }

    /// One that notes on its way where these of the root's members are: [`RowReader::write_noted`] then has no need
    /// to look for them.
    pub fn noting(layouts: Arc<Layouts>, members: &[usize]) -> Self {
        let noted = members.iter().map(|&member| (member, None)).collect();
        let parser = Parser::new(layouts.shape);
        Self {
            layouts,
            format: RowFormat::Gob,
            bytes: Vec::new(),
            last: OWN_LAYOUT,
            noted,
            shown: Validate::default(),
            parser,
        }
    }

    /// From now on, rows are of this format. Until then it is gob.
    pub fn set_format(&mut self, format: RowFormat) {
        self.format = format;
    }

    /// The body of a row of the table, as PostgreSQL gives it in binary, whose id is `key`: checked from end to end, so
    /// that it can be shown.
    ///
    /// # Errors
    /// Why the row can't be decoded.
    pub fn read(&mut self, key: &str, row: &[u8]) -> Result<Body, RowError> {
        if self.format.is_document() {
            return self.read_document(key, row);
        }
        let (index, value) = match self.layouts.find(row, self.last) {
            Some(found) => found,
            None => {
                let layout = describe(row, self.layouts.shape)?;
                let value = value_in(&layout, row).ok_or(RowError::Truncated)?;
                match self.layouts.add(layout) {
                    Ok(index) => (index, value),
                    Err(layout) => return self.read_once(key, row, value, &layout),
                }
            }
        };
        self.last = index;
        let plan = match self.layouts.plan(index) {
            Err(RowError::Interface) => {
                let json = convert::json(self.layouts.shape, row)?;
                return self.converted(key, &json);
            }
            plan => plan?,
        };
        let fields = fields_without_key(plan, value?, &mut self.shown, &mut self.noted)?;
        // An index into `known`, which has 1,024 places.
        Body::open(index as u16, key, &mut self.bytes);
        self.bytes.extend_from_slice(fields);
        Ok(Body::close(&mut self.bytes))
    }

    /// Notes where the members are in a body that is a document, as [`RowReader::read`] does.
    ///
    /// # Errors
    /// As [`Layouts::write_json`].
    pub fn note_document(&mut self, text: &str) -> Result<(), RowError> {
        let Self { layouts, noted, .. } = self;
        noted.iter_mut().for_each(|(_, start)| *start = None);
        document::search::roots(text, layouts.shape, |index, at| {
            for (_, start) in noted.iter_mut().filter(|(member, _)| *member == index) {
                *start = Some(at);
            }
        })
    }

    fn read_document(&mut self, key: &str, row: &[u8]) -> Result<Body, RowError> {
        let text = row.strip_prefix(version(self.format)).ok_or(RowError::NotJson)?;
        let text = simdutf8::basic::from_utf8(text).map_err(|_| RowError::Utf8)?;
        Body::open_document(self.format, key, &mut self.bytes);
        let Self { layouts, noted, bytes, .. } = self;
        noted.iter_mut().for_each(|(_, start)| *start = None);
        let note = |index, at| {
            for (_, start) in noted.iter_mut().filter(|(member, _)| *member == index) {
                *start = Some(at);
            }
        };
        if self.format == RowFormat::Jsonb {
            document::check::check_unspaced(text, layouts.shape, bytes, note)?;
        } else {
            bytes.extend_from_slice(text.as_bytes());
            document::check::check(text, layouts.shape, note)?;
        }
        Ok(Body::close_document(&self.bytes))
    }

    /// Reads a row whose layout is not kept, and refuses it as if it were.
    fn read_once(
        &mut self,
        key: &str,
        row: &[u8],
        value: Result<&[u8], RowError>,
        layout: &Layout,
    ) -> Result<Body, RowError> {
        let mut json = Vec::new();
        match &layout.plan {
            Err(RowError::Interface) => json = convert::json(self.layouts.shape, row)?,
            Err(error) => return Err(error.clone()),
            Ok(plan) => {
                let value = value?;
                scan::check(plan, value, &mut self.shown, |_, _| {})?;
                render::json(plan, value, &mut json)?;
            }
        }
        self.converted(key, &json)
    }

    /// The slow way, for rows whose values can't be kept as they are: the body of the document that the row shows.
    fn converted(&mut self, key: &str, json: &[u8]) -> Result<Body, RowError> {
        let order = self.parser.parse(json, key).map_err(|refusal| RowError::Gob(refusal.detail))?;
        let body = order.body().clone();
        note(self.layouts.plan(OWN_LAYOUT)?, body.value(), &mut self.shown, &mut self.noted)?;
        Ok(body)
    }

    pub(crate) fn layouts(&self) -> &Layouts {
        &self.layouts
    }

    /// Where the value of a noted member starts in the last row.
    pub(crate) fn noted_at(&self, place: usize) -> Option<usize> {
        self.noted[place].1
    }

    /// Appends the value of a noted member, of those in the order in which they were given the one at `place`, as
    /// [`Layouts::write_member`] does. `body` is that of the last row.
    ///
    /// # Errors
    /// As [`Layouts::write_member`].
    pub fn write_noted(&self, body: &Body, place: usize, out: &mut Vec<u8>) -> Result<(), RowError> {
        let (member, start) = self.noted[place];
        if let Some(text) = body.document() {
            let kind = &self.layouts.shape.members[member].kind;
            return document::write_value_at(text, kind, start, out);
        }
        Ok(render::text(self.layouts.plan(body.layout())?, member, body.value(), start, out)?)
    }
}

/// What PostgreSQL puts in front of a `jsonb` in binary.
const JSONB_VERSION: &[u8] = &[1];

/// What stands before the text of a document.
fn version(format: RowFormat) -> &'static [u8] {
    if format == RowFormat::Jsonb { JSONB_VERSION } else { &[] }
}

/// The value, checked, up to the end of its struct, and without the field of the key where that is the last one:
/// the key stands beside it. Notes where members start.
fn fields_without_key<'v>(
    plan: &Plan,
    value: &'v [u8],
    shown: &mut Validate,
    noted: &mut [(usize, Option<usize>)],
) -> Result<&'v [u8], RowError> {
    let checked = note(plan, value, shown, noted)?;
    Ok(&value[..checked.key_start.unwrap_or(checked.end - 1)])
}

/// Checks a value, and notes where members start in it.
fn note(
    plan: &Plan,
    value: &[u8],
    shown: &mut Validate,
    noted: &mut [(usize, Option<usize>)],
) -> Result<scan::Checked, RowError> {
    noted.iter_mut().for_each(|(_, start)| *start = None);
    let note = |index, at| {
        for (_, start) in noted.iter_mut().filter(|(member, _)| *member == index) {
            *start = Some(at);
        }
    };
    Ok(scan::check(plan, value, shown, note)?)
}

/// The value of `row`, if the row has this layout: after the descriptors come the length of the value's
/// message, the type and the value. Whatever follows the message is left alone, as Go leaves it.
fn value_in<'r>(layout: &Layout, row: &'r [u8]) -> Option<Result<&'r [u8], RowError>> {
    if !row.starts_with(&layout.descriptors) {
        return None;
    }
    let mut reader = Reader::new(row, layout.descriptors.len());
    let length = reader.uint().ok()?;
    let message = reader.at();
    if reader.int().ok()? != layout.type_id {
        return None;
    }
    let end = usize::try_from(length).ok().and_then(|length| message.checked_add(length));
    Some(end.and_then(|end| row.get(reader.at()..end)).ok_or(RowError::Truncated))
}

/// Reads the descriptors at the front of a row.
fn describe(row: &[u8], shape: &'static Struct) -> Result<Layout, RowError> {
    let mut decoder = Decoder::new();
    let Front { end, type_id } =
        read_descriptors(row, |message| decoder.push_message(message).map(drop).map_err(RowError::gob))?;
    let plan = Plan::new(decoder.types(), type_id, shape);
    Ok(Layout { descriptors: row[..end].into(), type_id, plan })
}
