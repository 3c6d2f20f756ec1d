//! Findings about a missing table: whether another table was meant, and whether it can be created.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::{Finding, quoted};
use crate::config::{Postgres, Table};

/// The statement that creates the table.
pub(crate) fn create_statement(settings: &Postgres) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (id text NOT NULL PRIMARY KEY, data {})",
        settings.table.quoted(),
        settings.format.column_type()
    )
}

pub(super) async fn check(
    client: &Client,
    settings: &Postgres,
    role: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let table = &settings.table;
    // A name in other letter case in the same schema is a mistake; the same name in another schema may be another
    // installation. The table itself exists if another process created it meanwhile.
    let query = "SELECT n.nspname::text, c.relname::text, lower(n.nspname) = lower($1)
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE lower(c.relname) = lower($2) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
                       AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
                       AND (n.nspname, c.relname) <> ($1, $2)
                 ORDER BY 3 DESC, 1, 2";
    let names = [(&table.schema() as _, Type::TEXT), (&table.name() as _, Type::TEXT)];
    let mut is_slip = false;
    for row in client.query_typed(query, &names).await? {
        let (schema, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let problem = format!("there is no table {table}, but there is {schema}.{name}");
        let fix =
            format!("set PG_TABLE={schema}.{name}, or make the other table: {};", create_statement(settings));
        is_slip |= row.try_get::<_, bool>(2)?;
        let finding = if is_slip { Finding::refusal } else { Finding::warning };
        findings.push(finding(problem, fix));
    }
    if !is_slip {
        check_schema(client, table, role, findings).await?;
    }
    Ok(())
}

async fn check_schema(
    client: &Client,
    table: &Table,
    role: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let query = "SELECT has_schema_privilege(oid, 'CREATE'), has_schema_privilege(oid, 'USAGE')
                 FROM pg_catalog.pg_namespace WHERE nspname = $1";
    let rows = client.query_typed(query, &[(&table.schema(), Type::TEXT)]).await?;
    let schema = quoted(table.schema());
    let role = quoted(role);
    let Some(row) = rows.first() else {
        findings.push(Finding::refusal(
            format!("there is no schema {}, which PG_TABLE={table} names", table.schema()),
            format!("CREATE SCHEMA {schema} AUTHORIZATION {role};"),
        ));
        return Ok(());
    };
    let (may_create, may_use): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    if !may_create || !may_use {
        findings.push(Finding::refusal(
            format!("there is no table {table}, and role {role} may not create it"),
            format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {role};"),
        ));
    }
    Ok(())
}
