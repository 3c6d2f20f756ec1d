//! The table of erased orders' keys: whether the role may use it, or make it.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::{Finding, policies, quoted};
use crate::config::Table;
use crate::postgres;

pub(super) async fn check(
    client: &Client,
    table: &Table,
    role: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let query = "SELECT c.oid, coalesce(has_table_privilege(c.oid, 'SELECT'), false),
                        coalesce(has_table_privilege(c.oid, 'INSERT'), false), has_schema_privilege(n.oid, 'CREATE'),
                        coalesce(c.relpersistence = 'u', false), coalesce(row_security_active(c.oid), false)
                 FROM pg_catalog.pg_namespace n
                      LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = $2
                 WHERE n.nspname = $1";
    let names = [(&table.schema() as _, Type::TEXT), (&postgres::ERASED as _, Type::TEXT)];
    let rows = client.query_typed(query, &names).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let (name, erased) = (format!("{}.{}", table.schema(), postgres::ERASED), postgres::erased(table));
    let Some(oid) = row.try_get::<_, Option<u32>>(0)? else {
        if !row.try_get::<_, bool>(3)? {
            findings.push(Finding::warning(
                format!(
                    "{name}, which keeps the keys of erased orders, is missing, and role {role} may not make it, so that \
                     no order can be erased"
                ),
                format!(
                    "{}; GRANT SELECT, INSERT ON {erased} TO {};",
                    postgres::create_erased(table),
                    quoted(role)
                ),
            ));
        }
        return Ok(());
    };
    let (may_read, may_add): (bool, bool) = (row.try_get(1)?, row.try_get(2)?);
    let grant = |rights: &str| format!("GRANT {rights} ON {erased} TO {};", quoted(role));
    if !may_read {
        // A row is written only where its key is not among these.
        findings.push(Finding::refusal(
            format!(
                "role {role} may not read {name}, the keys of erased orders, so that it can write no orders"
            ),
            grant(if may_add { "SELECT" } else { "SELECT, INSERT" }),
        ));
    } else if !may_add {
        findings.push(Finding::warning(
            format!("role {role} may not add to {name}, so that no order can be erased"),
            grant("INSERT"),
        ));
    }
    if row.try_get(4)? {
        findings.push(Finding::refusal(
            format!(
                "{name} is UNLOGGED: a crash of PostgreSQL empties it, and erased orders could come back"
            ),
            format!("ALTER TABLE {erased} SET LOGGED;"),
        ));
    }
    if row.try_get(5)? {
        policies::check(client, oid, (&name, &erased), role, &["r", "a"], findings).await?;
    }
    Ok(())
}
