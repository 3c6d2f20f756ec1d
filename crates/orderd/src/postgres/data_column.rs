//! The column `data` in PostgreSQL's binary format, for each of its types: `order` reads and writes these bytes.

use std::error::Error;

use bytes::BytesMut;
use order::RowFormat;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// The bytes of one row's `data`.
#[derive(Debug)]
pub(crate) struct Data<B>(pub(crate) B);

fn is_type_of_data(column: &Type) -> bool {
    [Type::BYTEA, Type::JSONB, Type::JSON].contains(column)
}

/// The type of `data`.
pub(crate) fn data_type(format: RowFormat) -> Type {
    match format {
        RowFormat::Gob => Type::BYTEA,
        RowFormat::Jsonb => Type::JSONB,
        RowFormat::Json => Type::JSON,
    }
}

/// The type of an array of `data`.
pub(crate) fn array_type(format: RowFormat) -> Type {
    match format {
        RowFormat::Gob => Type::BYTEA_ARRAY,
        RowFormat::Jsonb => Type::JSONB_ARRAY,
        RowFormat::Json => Type::JSON_ARRAY,
    }
}

impl<'r> FromSql<'r> for Data<Vec<u8>> {
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(column: &Type) -> bool {
        is_type_of_data(column)
    }
}

impl<B: AsRef<[u8]> + std::fmt::Debug> ToSql for Data<B> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_ref());
        Ok(IsNull::No)
    }

    fn accepts(column: &Type) -> bool {
        is_type_of_data(column)
    }

    to_sql_checked!();
}
