//! The gob descriptors of a model's types: the beginning of each row that we write.

use gobwire::{Describer, Encode, Encoder, Result, ValueEncoder, ids};
use model::shape::{Kind, Struct};

use crate::RowError;
use crate::gob_layout::LOCAL_ID;

/// A row in which every member is missing.
///
/// # Errors
/// A shape that gob can't express; `crates/model` makes none.
pub(crate) fn row_without_members(shape: &'static Struct) -> std::result::Result<Vec<u8>, RowError> {
    Encoder::new().encode(&Empty(shape)).map_err(RowError::gob)
}

struct Empty(&'static Struct);

impl Encode for Empty {
    fn describe_value(&self, types: &mut Describer<'_>) -> Result<i64> {
        structure(self.0, types)
    }

    fn is_zero(&self) -> bool {
        false
    }

    fn frames_as_struct(&self) -> bool {
        true
    }

    fn encode(&self, value: &mut ValueEncoder<'_>) -> Result<()> {
        value.structure().end();
        Ok(())
    }
}

fn structure(shape: &'static Struct, types: &mut Describer<'_>) -> Result<i64> {
    // No two structs of a model have the same name.
    types.structure(shape.go_name, shape.go_name, |types| {
        let field = |member: &model::shape::Member| Ok((member.go_name, kind(&member.kind, types)?));
        let mut fields = shape.members.iter().map(field).collect::<Result<Vec<_>>>()?;
        fields.push((LOCAL_ID, ids::STRING));
        Ok(fields)
    })
}

fn kind(kind_of: &Kind, types: &mut Describer<'_>) -> Result<i64> {
    Ok(match kind_of {
        Kind::Bool => ids::BOOL,
        Kind::Int => ids::INT,
        Kind::Float => ids::FLOAT,
        Kind::String => ids::STRING,
        Kind::Struct(shape) => structure(shape, types)?,
        Kind::Slice(element) => {
            let element = kind(element, types)?;
            types.slice(format!("[]{element}"), element)
        }
    })
}
