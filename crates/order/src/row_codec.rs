//! Decodes rows into bodies, and encodes orders as rows.
//!
//! `gobwire` parses the descriptors of a writer's first row into a [`Layout`]. For all further rows of that writer only
//! the value is parsed.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gobwire::Decoder;
use model::shape::{Kind, Struct};

use crate::document;
use crate::document::row_check::{self, RootMember};
use crate::gob_layout::{Layout, OWN_LAYOUT, Plan, Target};
use crate::gob_primitives::{Reader, put_bytes, put_int, put_uint, uint_len};
use crate::gob_scan::{self, Validate};
use crate::order::{Body, Order};
use crate::root_members::RootMembers;
use crate::row_format::RowFormat;
use crate::row_model::{Front, read_descriptors};
use crate::{Parser, RowError, gob_to_json, interface_rows, json_writer, own_descriptors};

/// Maximum number of cached layouts. A Go program produces one; only a malicious table has more, and further rows are
/// converted one by one.
const LAYOUTS: usize = 1024;

/// Maximum size of a cached layout's descriptors in bytes, so that no table can fill memory. The model's take less than
/// 1000.
const DESCRIPTORS: usize = 16 * 1024;

/// The known layouts. They are never removed, and looked up without a lock.
pub struct Layouts {
    shape: &'static Struct,
    known: Box<[OnceLock<Layout>]>,
    adding: Mutex<()>,
    /// The type id of the value in our rows, encoded.
    type_id: Box<[u8]>,
}

impl Layouts {
    /// Layouts of this shape, at first only that of our own rows.
    ///
    /// # Errors
    /// A shape that gob can't express; `crates/model` makes none.
    pub fn new(shape: &'static Struct) -> Result<Self, RowError> {
        let ours = describe(&own_descriptors::row_without_members(shape)?, shape)?;
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

    /// The descriptors of our own rows.
    pub fn descriptors(&self) -> &[u8] {
        self.known[OWN_LAYOUT].get().map_or(&[], |ours| &ours.descriptors)
    }

    /// Appends the row of an order in PostgreSQL's binary format: the document, or descriptors and the gob value.
    pub fn write_row(&self, order: &Order, out: &mut Vec<u8>) {
        match order.body().format() {
            RowFormat::Gob => {}
            format => {
                out.extend_from_slice(format.prefix());
                out.extend_from_slice(order.body().value());
                return;
            }
        }
        out.extend_from_slice(self.descriptors());
        put_uint(out, self.message_len(order) as u64);
        out.extend_from_slice(&self.type_id);
        // The key is the last field, before the end of the struct.
        let value = order.body().value();
        out.extend_from_slice(&value[..value.len() - 1]);
        put_uint(out, order.key_field());
        put_bytes(out, order.body().key_bytes());
        out.push(0);
    }

    /// Upper bound of the row's length in bytes: the length before the value takes up to nine.
    pub fn row_len(&self, order: &Order) -> usize {
        if order.body().format().is_document() {
            return order.body().format().prefix().len() + order.body().value().len();
        }
        self.descriptors().len() + 9 + self.message_len(order)
    }

    /// Length of the value's message, without its length prefix.
    fn message_len(&self, order: &Order) -> usize {
        let key = order.body().key_bytes().len();
        let key_field = uint_len(order.key_field()) + uint_len(key as u64) + key;
        self.type_id.len() + order.body().value().len() + key_field
    }

    /// Appends the JSON of a body.
    ///
    /// # Errors
    /// None for a body from this crate; an error instead of a panic if memory is corrupt.
    pub fn write_json(&self, body: &Body, out: &mut Vec<u8>) -> Result<(), RowError> {
        if body.format().is_document() {
            out.extend_from_slice(body.value());
            return Ok(());
        }
        Ok(gob_to_json::write_value(self.plan(body.layout())?, body.value(), out)?)
    }

    /// Appends the value of the root's member `index` as text: a string unchanged, anything else as JSON.
    ///
    /// # Errors
    /// As [`Layouts::write_json`].
    pub fn write_member(&self, body: &Body, index: usize, out: &mut Vec<u8>) -> Result<(), RowError> {
        if let Some(text) = body.document() {
            return document::write_member(text, self.shape, index, out);
        }
        let plan = self.plan(body.layout())?;
        let start = gob_scan::find_member(plan, body.value(), index)?;
        Ok(gob_to_json::write_text(plan, index, body.value(), start, out)?)
    }

    /// Appends the value of the root's member `index` as JSON; `null` if a document lacks it.
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
            Some(Kind::String) => json_writer::string(&text, out),
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

    /// Caches a layout and returns its index; returns the layout if it is too large or the cache is full.
    fn add(&self, layout: Layout) -> Result<usize, Layout> {
        if layout.descriptors.len() > DESCRIPTORS {
            return Err(layout);
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let same =
            |known: &Layout| known.descriptors == layout.descriptors && known.type_id == layout.type_id;
        for (index, entry) in self.known.iter().enumerate() {
            match entry.get() {
                Some(known) if same(known) => return Ok(index),
                Some(_) => {}
                None => {
                    drop(entry.set(layout));
                    return Ok(index);
                }
            }
        }
        Err(layout)
    }
}

/// Reads rows, reusing its buffers.
pub struct RowReader {
    layouts: Arc<Layouts>,
    format: RowFormat,
    /// The body under construction.
    bytes: Vec<u8>,
    /// The layout of the previous row, which is mostly that of the next.
    last: usize,
    /// The members of the root to locate, and the start of each in the last row's value.
    noted: Vec<(usize, Option<usize>)>,
    shown: Validate,
    parser: Parser,
    /// The members of the documents so far.
    documents: RootMembers,
    /// Whether the last row has a member of the model, or no members.
    shares_member: bool,
    /// How many gob rows had each layout.
    rows_of_layouts: Vec<u64>,
}

impl RowReader {
    /// A reader that shares `layouts` with others.
    pub fn new(layouts: Arc<Layouts>) -> Self {
        Self::noting(layouts, &[])
    }

    /// A reader that records where these members of the root start, for [`RowReader::write_noted`].
    pub fn noting(layouts: Arc<Layouts>, members: &[usize]) -> Self {
        let noted = members.iter().map(|&member| (member, None)).collect();
        let parser = Parser::new(layouts.shape);
        Self {
            documents: RootMembers::new(layouts.shape),
            shares_member: true,
            rows_of_layouts: Vec::new(),
            layouts,
            format: RowFormat::Gob,
            bytes: Vec::new(),
            last: OWN_LAYOUT,
            noted,
            shown: Validate::default(),
            parser,
        }
    }

    /// Sets the format of the following rows. The default is gob.
    pub fn set_format(&mut self, format: RowFormat) {
        self.format = format;
    }

    /// Decodes and fully validates a row in PostgreSQL's binary format; its id is `key`.
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
        if self.rows_of_layouts.len() <= index {
            self.rows_of_layouts.resize(index + 1, 0);
        }
        self.rows_of_layouts[index] += 1;
        let plan = match self.layouts.plan(index) {
            Err(RowError::Interface) => {
                let json = interface_rows::to_json(self.layouts.shape, row)?;
                return self.converted(key, &json);
            }
            plan => plan?,
        };
        let fields = fields_without_key(plan, value?, &mut self.shown, &mut self.noted)?;
        // An index into `known`, which has 1,024 entries.
        Body::open(index as u16, key, &mut self.bytes);
        self.bytes.extend_from_slice(fields);
        Ok(Body::close(&mut self.bytes))
    }

    /// Whether the last row has a member of the model, or no members at all. Otherwise it is a document of another
    /// model. A gob row without one can't be decoded.
    pub fn shares_member(&self) -> bool {
        self.shares_member
    }

    /// The members of all rows so far. Rows of Go's interface values, and of more types than are cached, are left out.
    pub fn root_members(&self) -> RootMembers {
        let mut all = self.documents.clone();
        for (index, &rows) in self.rows_of_layouts.iter().enumerate() {
            let Ok(plan) = self.layouts.plan(index) else { continue };
            all.add_rows(rows);
            for field in &plan.root().fields {
                match field.target {
                    Target::Member(member) => all.add(Some(member), rows),
                    Target::Unknown => all.add(None, rows),
                    Target::LocalId => {}
                }
            }
        }
        all
    }

    /// Records where the members start in a document, as [`RowReader::read`] does.
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
        let text = row.strip_prefix(self.format.prefix()).ok_or(RowError::NotJson)?;
        let text = simdutf8::basic::from_utf8(text).map_err(|_| RowError::Utf8)?;
        Body::open_document(self.format, key, &mut self.bytes);
        let Self { layouts, noted, bytes, documents, .. } = self;
        noted.iter_mut().for_each(|(_, start)| *start = None);
        documents.add_row();
        let (mut has_known, mut has_unknown) = (false, false);
        let note = |member| match member {
            RootMember::Unknown => {
                has_unknown = true;
                documents.add(None, 1);
            }
            RootMember::Null(index) => {
                has_known = true;
                documents.add(Some(index), 1);
            }
            RootMember::Value(index, at) => {
                has_known = true;
                documents.add(Some(index), 1);
                for (_, start) in noted.iter_mut().filter(|(member, _)| *member == index) {
                    *start = Some(at);
                }
            }
        };
        if self.format == RowFormat::Jsonb {
            row_check::check_unspaced(text, layouts.shape, bytes, note)?;
        } else {
            bytes.extend_from_slice(text.as_bytes());
            row_check::check(text, layouts.shape, note)?;
        }
        self.shares_member = has_known || !has_unknown || self.layouts.shape.any;
        Ok(Body::close_document(&self.bytes))
    }

    /// Reads a row whose layout is not cached, with the same errors.
    fn read_once(
        &mut self,
        key: &str,
        row: &[u8],
        value: Result<&[u8], RowError>,
        layout: &Layout,
    ) -> Result<Body, RowError> {
        let mut json = Vec::new();
        match &layout.plan {
            Err(RowError::Interface) => json = interface_rows::to_json(self.layouts.shape, row)?,
            Err(error) => return Err(error.clone()),
            Ok(plan) => {
                let value = value?;
                gob_scan::validate(plan, value, &mut self.shown, |_, _| {})?;
                gob_to_json::write_value(plan, value, &mut json)?;
            }
        }
        self.converted(key, &json)
    }

    /// The slow path, for rows whose values can't stay in memory as they are: parses the JSON of the row.
    fn converted(&mut self, key: &str, json: &[u8]) -> Result<Body, RowError> {
        let order = self.parser.parse(json, key).map_err(|refusal| RowError::Gob(refusal.detail))?;
        let body = order.body().clone();
        note(self.layouts.plan(OWN_LAYOUT)?, body.value(), &mut self.shown, &mut self.noted)?;
        Ok(body)
    }

    pub(crate) fn layouts(&self) -> &Layouts {
        &self.layouts
    }

    /// The start of a recorded member's value in the last row.
    pub(crate) fn noted_at(&self, entry: usize) -> Option<usize> {
        self.noted[entry].1
    }

    /// Appends the value of a recorded member as [`Layouts::write_member`] does. `entry` is its index in the list given
    /// to [`RowReader::noting`]; `body` is that of the last row.
    ///
    /// # Errors
    /// As [`Layouts::write_member`].
    pub fn write_noted(&self, body: &Body, entry: usize, out: &mut Vec<u8>) -> Result<(), RowError> {
        let (member, start) = self.noted[entry];
        if let Some(text) = body.document() {
            let kind = &self.layouts.shape.members[member].kind;
            return document::write_value_at(text, kind, start, out);
        }
        Ok(gob_to_json::write_text(self.layouts.plan(body.layout())?, member, body.value(), start, out)?)
    }
}

/// Validates the value and returns it up to the end of its struct, without the key's field if that is the last, because
/// the body has the key already. Records where members start.
fn fields_without_key<'v>(
    plan: &Plan,
    value: &'v [u8],
    shown: &mut Validate,
    noted: &mut [(usize, Option<usize>)],
) -> Result<&'v [u8], RowError> {
    let checked = note(plan, value, shown, noted)?;
    Ok(&value[..checked.key_start.unwrap_or(checked.end - 1)])
}

/// Validates a value, and records where members start.
fn note(
    plan: &Plan,
    value: &[u8],
    shown: &mut Validate,
    noted: &mut [(usize, Option<usize>)],
) -> Result<gob_scan::Checked, RowError> {
    noted.iter_mut().for_each(|(_, start)| *start = None);
    let note = |index, at| {
        for (_, start) in noted.iter_mut().filter(|(member, _)| *member == index) {
            *start = Some(at);
        }
    };
    Ok(gob_scan::validate(plan, value, shown, note)?)
}

/// The value of `row`, if the row has this layout: after the descriptors follow the length of the value's message, the
/// type and the value. Bytes after the message are ignored, as in Go.
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
