//! Converts rows that hold Go interface values to JSON, with `gobwire`: such a value can't stay in memory as it is.
//!
//! Only its own bytes say where an interface value ends, and they may define types. Models have no such member, so it
//! is skipped; the rest becomes JSON.

use gobwire::{
    Decode, Describer, Error, GobType, Result, StreamDecoder, TypeTable, ValueDecoder, WireType, ids,
};
use model::shape::{Kind, Struct};

use crate::{RowError, json_writer};

/// The JSON of a row.
///
/// # Errors
/// Why it can't be decoded.
pub(crate) fn to_json(shape: &'static Struct, row: &[u8]) -> std::result::Result<Vec<u8>, RowError> {
    let mut document = Document { shape, json: Vec::new() };
    match StreamDecoder::new(row).decode_into(&mut document) {
        Ok(true) => Ok(document.json),
        Ok(false) => Err(RowError::Truncated),
        Err(error) => Err(RowError::gob(error)),
    }
}

struct Document {
    shape: &'static Struct,
    json: Vec<u8>,
}

impl GobType for Document {
    fn describe(_: &mut Describer<'_>) -> Result<i64> {
        Err(Error::Encode("a document is only read".into()))
    }

    fn compatible(types: &TypeTable, wire: i64) -> bool {
        types.is_struct(wire)
    }
}

impl Decode for Document {
    fn decode_into(&mut self, decoder: &mut ValueDecoder<'_>, wire: i64) -> Result<()> {
        structure(self.shape, decoder, wire, &mut self.json)
    }
}

fn structure(
    shape: &'static Struct,
    decoder: &mut ValueDecoder<'_>,
    wire: i64,
    json: &mut Vec<u8>,
) -> Result<()> {
    let names: Vec<&str> = shape.members.iter().map(|member| member.go_name).collect();
    let fits = |types: &TypeTable, index: usize, wire| is_compatible(types, wire, &shape.members[index].kind);
    let plan = decoder.struct_plan(shape.go_name, wire, &names, fits)?;
    let mut fields = decoder.structure(plan)?;
    json.push(b'{');
    let empty = json.len();
    while let Some(field) = fields.next_field()? {
        let Some(index) = field.local else {
            fields.decoder().skip(field.wire)?;
            continue;
        };
        if json.len() > empty {
            json.push(b',');
        }
        let member = &shape.members[index];
        json.extend_from_slice(member.json_key.as_bytes());
        value(&member.kind, fields.decoder(), field.wire, json)?;
    }
    json.push(b'}');
    Ok(())
}

fn value(kind: &'static Kind, decoder: &mut ValueDecoder<'_>, wire: i64, json: &mut Vec<u8>) -> Result<()> {
    match kind {
        Kind::Bool => json.extend_from_slice(if decoder.read_uint()? == 0 { b"false" } else { b"true" }),
        Kind::Float if wire == ids::FLOAT => {
            let number = decoder.read_float()?;
            if !number.is_finite() {
                return Err(Error::Corrupt("a number that is not finite".into()));
            }
            json_writer::float(number, json);
        }
        Kind::Float => json_writer::float(decoder.read_int()? as f64, json),
        Kind::Int => json.extend_from_slice(itoa::Buffer::new().format(decoder.read_int()?).as_bytes()),
        Kind::String => json_writer::string(decoder.read_string()?.as_bytes(), json),
        Kind::Struct(shape) => structure(shape, decoder, wire, json)?,
        Kind::Slice(element) => {
            let of = element_of(decoder.types(), wire).ok_or(Error::UndefinedType(wire))?;
            let count = decoder.read_uint()?;
            json.push(b'[');
            for index in 0..count {
                decoder.expect_element(count)?;
                if index > 0 {
                    json.push(b',');
                }
                value(element, decoder, of, json)?;
            }
            json.push(b']');
        }
    }
    Ok(())
}

/// The rule of [`crate::layout`], of one step.
fn is_compatible(types: &TypeTable, wire: i64, kind: &Kind) -> bool {
    match kind {
        Kind::Bool => wire == ids::BOOL,
        Kind::Int => wire == ids::INT,
        Kind::Float => wire == ids::FLOAT || wire == ids::INT,
        Kind::String => wire == ids::STRING,
        Kind::Struct(_) => types.is_struct(wire),
        Kind::Slice(element) => element_of(types, wire).is_some_and(|of| is_compatible(types, of, element)),
    }
}

fn element_of(types: &TypeTable, wire: i64) -> Option<i64> {
    match types.get(wire).map(|wire| &**wire) {
        Some(WireType::Slice { elem, .. }) => Some(*elem),
        _ => None,
    }
}
