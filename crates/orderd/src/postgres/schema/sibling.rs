//! A table beside that of the orders (positions, erased keys): its kind, and the role's privileges.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::config::Table;

/// The relation with that name, and the role's privileges.
pub(super) struct SiblingTable {
    /// `None`: the table is missing.
    pub(super) oid: Option<u32>,
    /// Whether the role may create it.
    pub(super) may_create: bool,
    pub(super) may_select: bool,
    pub(super) may_insert: bool,
    pub(super) may_update: bool,
    pub(super) is_unlogged: bool,
    /// Whether row-level security applies to the role.
    pub(super) has_policies: bool,
}

impl SiblingTable {
    /// `None`: the schema does not exist.
    pub(super) async fn find(client: &Client, table: &Table, name: &str) -> Result<Option<Self>, Error> {
        let query = "SELECT c.oid, has_schema_privilege(n.oid, 'CREATE'),
                            coalesce(has_table_privilege(c.oid, 'SELECT'), false),
                            coalesce(has_table_privilege(c.oid, 'INSERT'), false),
                            coalesce(has_table_privilege(c.oid, 'UPDATE'), false),
                            coalesce(c.relpersistence = 'u', false), coalesce(row_security_active(c.oid), false)
                     FROM pg_catalog.pg_namespace n
                          LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = $2
                     WHERE n.nspname = $1";
        let names = [(&table.schema() as _, Type::TEXT), (&name as _, Type::TEXT)];
        let rows = client.query_typed(query, &names).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Self {
            oid: row.try_get(0)?,
            may_create: row.try_get(1)?,
            may_select: row.try_get(2)?,
            may_insert: row.try_get(3)?,
            may_update: row.try_get(4)?,
            is_unlogged: row.try_get(5)?,
            has_policies: row.try_get(6)?,
        }))
    }
}
