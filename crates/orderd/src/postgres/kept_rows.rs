//! What keeps rows from being deleted or inserted although PostgreSQL reports no error: triggers and row-level security.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::schema;
use crate::config::Table;
use crate::finding::Finding;

/// What a trigger precedes, as in `pg_trigger.tgtype`: 1 for each row, 2 before, 4 INSERT, 8 DELETE.
#[derive(Clone, Copy)]
pub(crate) enum Before {
    Insert = 1 | 2 | 4,
    Delete = 1 | 2 | 8,
}

/// Row triggers before that statement, on the table or its parts: their names, and the statements that drop them.
pub(crate) struct RowTriggers {
    pub(crate) names: String,
    pub(crate) drops: String,
}

/// `None`: there are none.
pub(crate) async fn row_triggers(
    client: &Client,
    table: &Table,
    before: Before,
) -> Result<Option<RowTriggers>, Error> {
    // A trigger on a partitioned table is on its partitions too, by the same name.
    let query = "WITH RECURSIVE part AS (SELECT $1::text::regclass::oid AS oid, 0 AS level UNION
                     SELECT h.inhrelid, level + 1 FROM pg_catalog.pg_inherits h JOIN part ON h.inhparent = part.oid)
                 SELECT DISTINCT ON (g.tgname) g.tgname::text,
                        format('DROP TRIGGER %I ON %s;', g.tgname, part.oid::regclass)
                 FROM part JOIN pg_catalog.pg_trigger g ON g.tgrelid = part.oid
                 WHERE NOT g.tgisinternal AND g.tgenabled <> 'D' AND g.tgtype::int & $2 = $2
                 ORDER BY g.tgname, part.level";
    let mask = before as i32;
    let rows = client.query_typed(query, &[(&table.quoted(), Type::TEXT), (&mask, Type::INT4)]).await?;
    let (mut names, mut drops) = (Vec::new(), Vec::new());
    for row in &rows {
        names.push(row.try_get::<_, String>(0)?);
        drops.push(row.try_get::<_, String>(1)?);
    }
    let found = RowTriggers { names: names.join(", "), drops: drops.join(" ") };
    Ok((!rows.is_empty()).then_some(found))
}

/// Why rows of the table stay that were deleted, with what to do.
///
/// # Errors
/// PostgreSQL can't be reached.
pub(crate) async fn why_rows_stay(client: &Client, table: &Table) -> Result<Finding, Error> {
    if let Some(finding) = schema::policy_against_delete(client, table).await? {
        return Ok(finding);
    }
    Ok(match row_triggers(client, table, Before::Delete).await? {
        Some(RowTriggers { names, drops }) => Finding::warning(
            format!("the trigger {names} BEFORE DELETE keeps rows of {table}"),
            format!("let its function return OLD, or drop it: {drops}"),
        ),
        None => Finding::warning(
            format!("rows of {table} stay that were deleted, and no trigger and no policy says why"),
            format!("look for what inserts them again, and for the rules of {table}"),
        ),
    })
}
