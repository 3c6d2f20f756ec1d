//! `orderd_erased`: the keys of erased orders.

use std::collections::HashSet;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::made_or_there;
use crate::config::Table;

/// Error codes that mean that erased keys are unknown.
const UNKNOWABLE: [SqlState; 3] =
    [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME, SqlState::INSUFFICIENT_PRIVILEGE];

/// The keys of all orders of this table that were erased.
pub(crate) async fn erased_keys(
    client: &Client,
    table: &Table,
) -> Result<HashSet<String>, tokio_postgres::Error> {
    let query = format!("SELECT id FROM {} WHERE table_name = {}", erased_table(table), table.literal());
    match client.query_typed(&query, &[]).await {
        Ok(rows) => rows.iter().map(|row| row.try_get(0)).collect(),
        // Nothing was ever erased, or the role may not read the table.
        Err(error) if error.code().is_some_and(|code| UNKNOWABLE.contains(code)) => Ok(HashSet::new()),
        Err(error) => Err(error),
    }
}

/// The table of the keys of erased orders: one for all tables of a schema, by their names.
pub(crate) const ERASED: &str = "orderd_erased";

/// That table, quoted.
pub(crate) fn erased_table(table: &Table) -> String {
    table.sibling(ERASED)
}

/// The statement that creates it.
pub(crate) fn create_erased_statement(table: &Table) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (table_name text NOT NULL, id text NOT NULL, \
         erased_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (table_name, id))",
        erased_table(table)
    )
}

/// Creates that table if it is missing.
pub(crate) async fn create_erased_table(client: &Client, table: &Table) -> Result<(), tokio_postgres::Error> {
    made_or_there(client, &create_erased_statement(table), &erased_table(table)).await
}
