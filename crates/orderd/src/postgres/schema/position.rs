//! The table of positions: whether the role may use it, or make it.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::{Finding, policies, quoted};
use crate::config::Table;
use crate::postgres::position;

/// The rights that the writer needs.
const RIGHTS: [&str; 3] = ["SELECT", "INSERT", "UPDATE"];

pub(super) async fn check(
    client: &Client,
    table: &Table,
    role: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let query = "SELECT has_schema_privilege(n.oid, 'CREATE'), c.oid IS NOT NULL,
                        coalesce(has_table_privilege(c.oid, 'SELECT'), false),
                        coalesce(has_table_privilege(c.oid, 'INSERT'), false),
                        coalesce(has_table_privilege(c.oid, 'UPDATE'), false),
                        coalesce(c.relpersistence = 'u', false), c.oid, coalesce(row_security_active(c.oid), false)
                 FROM pg_catalog.pg_namespace n
                      LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = $2
                 WHERE n.nspname = $1";
    let names = [(&table.schema() as _, Type::TEXT), (&position::NAME as _, Type::TEXT)];
    let rows = client.query_typed(query, &names).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let (name, positions) = (format!("{}.{}", table.schema(), position::NAME), position::positions(table));
    if !row.try_get::<_, bool>(1)? {
        if !row.try_get::<_, bool>(0)? {
            findings.push(Finding::refusal(
                format!("{name}, which says how far {table} is in its stream, is missing, and role {role} may not make it"),
                format!(
                    "{}; ALTER TABLE {positions} OWNER TO {};",
                    position::create_statement(table),
                    quoted(role)
                ),
            ));
        }
        return Ok(());
    }
    let mut missing = Vec::new();
    for (column, right) in (2..).zip(RIGHTS) {
        if !row.try_get::<_, bool>(column)? {
            missing.push(right);
        }
    }
    if !missing.is_empty() {
        let missing = missing.join(", ");
        findings.push(Finding::refusal(
            format!(
                "role {role} may not {} {name}, which says how far {table} is in its stream",
                missing.to_lowercase()
            ),
            format!("GRANT {missing} ON {positions} TO {};", quoted(role)),
        ));
    }
    if row.try_get(5)? {
        findings.push(Finding::refusal(
            format!("{name} is UNLOGGED: a crash of PostgreSQL empties it"),
            format!("ALTER TABLE {positions} SET LOGGED;"),
        ));
    }
    if row.try_get(7)? {
        let names = (name.as_str(), positions.as_str());
        policies::check(client, row.try_get(6)?, names, role, &["r", "a", "w"], findings).await?;
    }
    Ok(())
}
