//! The model of a row, as far as the row's descriptors show it.

use gobwire::{Decoder, TypeTable, WireType, ids, parse_length_prefix};
use model::shape::{Kind, Member, Struct};

use crate::gob_layout::LOCAL_ID;
use crate::gob_primitives::Reader;
use crate::{MAX_DEPTH, RowError};

/// The descriptors at the front of a row; all rows of one writer have the same.
///
/// # Errors
/// A row that is not gob.
pub fn descriptors(row: &[u8]) -> Result<&[u8], RowError> {
    Ok(&row[..read_descriptors(row, |_| Ok(()))?.end])
}

/// What follows the descriptors of a row.
pub(crate) struct Front {
    /// Length of the descriptors in bytes.
    pub(crate) end: usize,
    /// The type id of the value.
    pub(crate) type_id: i64,
}

/// Calls `each` with each descriptor message at the front of a row.
pub(crate) fn read_descriptors(
    row: &[u8],
    mut each: impl FnMut(&[u8]) -> Result<(), RowError>,
) -> Result<Front, RowError> {
    let mut end = 0;
    loop {
        let prefix = parse_length_prefix(&row[end..]).map_err(RowError::gob)?;
        let (width, length) = prefix.ok_or(RowError::Truncated)?;
        let message = row[end + width..].get(..length).ok_or(RowError::Truncated)?;
        let type_id = Reader::new(message, 0).int()?;
        if type_id > 0 {
            return Ok(Front { end, type_id });
        }
        each(message)?;
        end += width + length;
    }
}

/// The shape by which a row was written. Rows contain only Go names, so these stand in for the JSON names; types that
/// no model can have are omitted. The shape is leaked.
///
/// # Errors
/// A row that is not gob, or whose types contain themselves.
pub fn shape_of(row: &[u8]) -> Result<&'static Struct, RowError> {
    let mut decoder = Decoder::new();
    let front =
        read_descriptors(row, |message| decoder.push_message(message).map(drop).map_err(RowError::gob))?;
    structure(decoder.types(), front.type_id, 0)
}

fn structure(types: &TypeTable, wire: i64, depth: usize) -> Result<&'static Struct, RowError> {
    let Some(WireType::Struct { name, fields }) = types.get(wire).map(|wire| &**wire) else {
        return Err(RowError::Type("is not a struct".into()));
    };
    let mut members = Vec::new();
    for field in fields.iter().filter(|field| field.name != LOCAL_ID) {
        let Some(kind) = kind(types, field.id, depth)? else { continue };
        let go_name: &'static str = field.name.clone().leak();
        members.push(Member {
            json_name: go_name,
            json_key: "",
            go_name,
            kind,
            nullable: false,
            nullable_elements: false,
        });
    }
    let go_name = name.clone().leak();
    Ok(Box::leak(Box::new(Struct {
        go_name,
        members: members.leak(),
        required: &[],
        closed: false,
        any: false,
    })))
}

fn kind(types: &TypeTable, wire: i64, depth: usize) -> Result<Option<Kind>, RowError> {
    if depth > MAX_DEPTH {
        return Err(RowError::TooDeep);
    }
    Ok(match wire {
        ids::BOOL => Some(Kind::Bool),
        ids::INT => Some(Kind::Int),
        ids::FLOAT => Some(Kind::Float),
        ids::STRING => Some(Kind::String),
        _ => match types.get(wire).map(|wire| &**wire) {
            Some(WireType::Struct { .. }) => Some(Kind::Struct(structure(types, wire, depth + 1)?)),
            Some(WireType::Slice { elem, .. }) => {
                kind(types, *elem, depth + 1)?.map(|kind| Kind::Slice(Box::leak(Box::new(kind))))
            }
            _ => None,
        },
    })
}
