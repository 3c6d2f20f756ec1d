//! The format of rows, which follows from the type of the column `data`, and what it requires.

use order::RowFormat;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::Finding;
use crate::config::{Postgres, Table};

/// The format of rows in a column of this type.
pub(crate) fn of_type(oid: u32) -> Option<RowFormat> {
    let types =
        [(Type::BYTEA, RowFormat::Gob), (Type::JSONB, RowFormat::Jsonb), (Type::JSON, RowFormat::Json)];
    types.into_iter().find(|(column, _)| column.oid() == oid).map(|(_, format)| format)
}

/// The format of a table; if the column has another type, or is missing, the format it should have.
pub(super) async fn of(client: &Client, oid: u32, settings: &Postgres) -> Result<RowFormat, Error> {
    let query = "SELECT atttypid FROM pg_catalog.pg_attribute
                 WHERE attrelid = $1 AND attname = 'data' AND attnum > 0 AND NOT attisdropped";
    let rows = client.query_typed(query, &[(&oid, Type::OID)]).await?;
    let found = rows.first().map(|row| row.try_get(0)).transpose()?.and_then(of_type);
    Ok(found.unwrap_or(settings.format))
}

/// The format of an existing table, for commands that only read it.
///
/// # Errors
/// PostgreSQL can't be reached, or has no such table.
pub(crate) async fn format_of_table(client: &Client, table: &Table) -> Result<RowFormat, Error> {
    let query = format!("SELECT data FROM {} LIMIT 0", table.quoted());
    let statement = client.prepare(&query).await?;
    let column = statement.columns().first().map(|column| column.type_().oid());
    Ok(column.and_then(of_type).unwrap_or_default())
}

/// Arbitrary documents need a column that keeps them byte for byte.
pub(crate) fn wrong_format(format: RowFormat, settings: &Postgres) -> Option<Finding> {
    if !settings.only_this_format || format == settings.format {
        return None;
    }
    let (table, quoted) = (&settings.table, settings.table.quoted());
    let problem = format!(
        "MODEL=any keeps documents byte for byte, in a column data of type json, and that of {table} is of type {}",
        format.column_type()
    );
    let fix = if format == RowFormat::Jsonb {
        format!(
            "ALTER TABLE {quoted} ALTER COLUMN data TYPE json USING data::json; or set PG_TABLE to a name that is free"
        )
    } else {
        "set PG_TABLE to a name that is free, or MODEL to the model of these rows; orderd export and orderd import move rows \
         from one table to another"
            .to_owned()
    };
    Some(Finding::refusal(problem, fix))
}

/// Documents are UTF-8, and another encoding lacks some of their characters.
pub(super) async fn check_encoding(
    client: &Client,
    format: RowFormat,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    if !format.is_document() {
        return Ok(());
    }
    let query = "SELECT getdatabaseencoding()::text, current_database()::text, quote_ident(current_user)";
    let rows = client.query_typed(query, &[]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let [encoding, database, role]: [String; 3] = [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?];
    if encoding != "UTF8" {
        findings.push(Finding::refusal(
            format!(
                "rows of {} need a database in UTF-8, and {database} has the encoding {encoding}",
                format.column_type()
            ),
            format!(
                "CREATE DATABASE orders OWNER {role} ENCODING 'UTF8' TEMPLATE template0; and set PG_DBNAME=orders, or \
                 use a table whose column data is bytea"
            ),
        ));
    }
    Ok(())
}
