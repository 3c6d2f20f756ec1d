//! Drops partitions whose rows are all older than a time, which is cheaper than deleting each row.
//!
//! A hash partition accepts rows of any time. A range partition of the id accepts none newer than its upper bound, if
//! that is a time: strings of digits, no longer than a time, sort the same in any collation. The partition is read
//! before it is dropped: rows whose ids have no time stay, and removed rows are counted.

use std::time::Duration;

use order::Key;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::old_rows::TIMED;
use super::{describe, fence};
use crate::config::Table;

/// Milliseconds to wait for a lock, behind which other transactions queue, and to read a partition, into which nothing
/// can be inserted meanwhile. Lower limits of the role stay in force.
const MAX_LOCK_WAIT: u32 = 500;
const MAX_READ: u32 = 60_000;

/// The upper bound of a range partition, if it is a time.
const UPPER_BOUND: &str = r"^FOR VALUES FROM \((?:MINVALUE|'[^']*')\) TO \('([0-9]{1,19})'\)$";

/// A partition that accepts no rows newer than a time.
pub(crate) struct OldPartition {
    oid: u32,
    /// Qualified and quoted, for SQL.
    pub(crate) name: String,
    /// Why it can't be dropped, as far as known before an attempt.
    pub(crate) hindrance: Option<Hindrance>,
}

/// Why rows of a partition are deleted one by one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Hindrance {
    #[error("role {0} does not own it")]
    NotOwner(String),
    #[error("row-level security may hide rows of it")]
    Policies,
    #[error("a trigger must see each row that is deleted")]
    Trigger,
    #[error("a publication must send each row that is deleted")]
    Publication,
    #[error("it has rows that stay: their ids have no time")]
    RowsThatStay,
    #[error("another object of the database depends on it")]
    Dependent,
    #[error("reading it took too long")]
    Slow,
    #[error("PostgreSQL refuses to drop it: {0}")]
    Refused(String),
    #[error("another transaction uses it")]
    Busy,
}

impl Hindrance {
    fn of(code: &str, role: String) -> Self {
        match code {
            "owner" => Self::NotOwner(role),
            "policies" => Self::Policies,
            "trigger" => Self::Trigger,
            _ => Self::Publication,
        }
    }

    /// From a failed statement; `None` if PostgreSQL gave no reason.
    fn of_error(error: &Error) -> Option<Self> {
        let is_busy = |code: &SqlState| {
            let codes = [
                SqlState::LOCK_NOT_AVAILABLE,
                SqlState::T_R_DEADLOCK_DETECTED,
                SqlState::OBJECT_IN_USE,
                SqlState::UNDEFINED_TABLE,
            ];
            codes.contains(code)
        };
        Some(match error.code()? {
            code if is_busy(code) => Self::Busy,
            code if *code == SqlState::DEPENDENT_OBJECTS_STILL_EXIST => Self::Dependent,
            code if *code == SqlState::QUERY_CANCELED => Self::Slow,
            _ => Self::Refused(describe(error)),
        })
    }

    /// Time until the next attempt.
    pub(crate) fn retry_after(&self) -> Duration {
        match self {
            Self::Busy => Duration::from_secs(30),
            _ => Duration::from_mins(10),
        }
    }
}

/// The partitions that accept no rows newer than `cutoff`, oldest first. A subpartitioned partition counts as one.
pub(crate) async fn find(client: &Client, table: &Table, cutoff: i128) -> Result<Vec<OldPartition>, Error> {
    let is_partitioned = "SELECT FROM pg_catalog.pg_class WHERE oid = $1::text::regclass AND relkind = 'p'";
    if client.query_typed(is_partitioned, &[(&table.quoted(), Type::TEXT)]).await?.is_empty() {
        return Ok(Vec::new());
    }
    let query = "WITH tree AS
            (SELECT c.oid, t.parentrelid::oid AS parent, t.level, c.relowner,
                    format('%I.%I', n.nspname, c.relname) AS name,
                    substring(pg_catalog.pg_get_expr(c.relpartbound, c.oid) FROM $3) COLLATE \"C\" AS upper
             FROM pg_catalog.pg_partition_tree($1::text::regclass) t
                  JOIN pg_catalog.pg_class c ON c.oid = t.relid
                  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace),
        old AS (SELECT * FROM tree WHERE level > 0 AND upper <= $2)
        SELECT old.oid, old.name, format('%I', current_user),
               CASE WHEN NOT pg_catalog.pg_has_role(old.relowner, 'USAGE') THEN 'owner'
                    WHEN pg_catalog.row_security_active(old.oid) THEN 'policies'
                    WHEN EXISTS (SELECT FROM pg_catalog.pg_trigger g
                                 WHERE g.tgrelid = ANY(family.oids) AND NOT g.tgisinternal
                                       AND g.tgenabled <> 'D' AND g.tgtype::int & 8 = 8) THEN 'trigger'
                    WHEN EXISTS (SELECT FROM pg_catalog.pg_publication_tables p
                                      JOIN pg_catalog.pg_publication u ON u.pubname = p.pubname
                                      JOIN pg_catalog.pg_namespace s ON s.nspname = p.schemaname
                                      JOIN pg_catalog.pg_class r
                                        ON r.relnamespace = s.oid AND r.relname = p.tablename
                                 WHERE u.pubdelete AND r.oid = ANY(family.oids)) THEN 'publication' END
        FROM old CROSS JOIN LATERAL
             (SELECT array_agg(f.relid::oid) AS oids
              FROM (SELECT relid FROM pg_catalog.pg_partition_ancestors(old.oid::regclass) AS a (relid)
                    UNION SELECT relid FROM pg_catalog.pg_partition_tree(old.oid::regclass)) AS f) AS family
        WHERE old.parent NOT IN (SELECT oid FROM old) ORDER BY old.level, old.upper";
    let end = Key::first_of_time(cutoff);
    let params =
        [(&table.quoted() as _, Type::TEXT), (&end as _, Type::TEXT), (&UPPER_BOUND as _, Type::TEXT)];
    let rows = client.query_typed(query, &params).await?;
    let partition = |row: &tokio_postgres::Row| {
        let (role, hindrance): (String, Option<&str>) = (row.try_get(2)?, row.try_get(3)?);
        let hindrance = hindrance.map(|code| Hindrance::of(code, role));
        Ok(OldPartition { oid: row.try_get(0)?, name: row.try_get(1)?, hindrance })
    };
    rows.iter().map(partition).collect()
}

/// The number of rows of a partition, and of those that stay.
pub(crate) async fn count(
    client: &Client,
    partition: &OldPartition,
    cutoff: i128,
) -> Result<(u64, u64), Error> {
    let query = format!(
        "SELECT count(*), count(*) FILTER (WHERE NOT (left(id, 19) < $1 COLLATE \"C\" AND {TIMED})) FROM {}",
        partition.name
    );
    let rows = client.query_typed(&query, &[(&Key::first_of_time(cutoff), Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Ok((0, 0)) };
    let (all, stay): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok((all.cast_unsigned(), stay.cast_unsigned()))
}

/// Drops a partition and returns its number of rows, or why it is not dropped. As with deleted rows, the writer's fence
/// is broken if the last written row is among them.
pub(crate) async fn drop_whole(
    client: &Client,
    table: &Table,
    partition: &OldPartition,
    cutoff: i128,
) -> Result<Result<u64, Hindrance>, Error> {
    let begin = format!(
        "BEGIN;
         SELECT set_config(name, least(nullif(setting::int, 0),
                           CASE name WHEN 'lock_timeout' THEN {MAX_LOCK_WAIT} ELSE {MAX_READ} END)::text, true)
         FROM pg_catalog.pg_settings WHERE name IN ('lock_timeout', 'statement_timeout')"
    );
    client.batch_execute(&begin).await?;
    let dropped = drop_in_transaction(client, table, partition, cutoff).await;
    let end = if matches!(dropped, Ok(Ok(_))) { "COMMIT" } else { "ROLLBACK" };
    client.batch_execute(end).await?;
    dropped.or_else(|error| Hindrance::of_error(&error).map(Err).ok_or(error))
}

async fn drop_in_transaction(
    client: &Client,
    table: &Table,
    partition: &OldPartition,
    cutoff: i128,
) -> Result<Result<u64, Hindrance>, Error> {
    // From here on, no other transaction can insert into it or detach it. Its parents are locked only for the drop.
    client.batch_execute(&format!("LOCK TABLE {} IN SHARE MODE", partition.name)).await?;
    let found = find(client, table, cutoff).await?;
    let is_same = |found: &&OldPartition| found.oid == partition.oid && found.name == partition.name;
    match found.iter().find(is_same) {
        None => return Ok(Err(Hindrance::Busy)),
        Some(OldPartition { hindrance: Some(hindrance), .. }) => return Ok(Err(hindrance.clone())),
        Some(_) => {}
    }
    let (rows, stay) = count(client, partition, cutoff).await?;
    if stay > 0 {
        return Ok(Err(Hindrance::RowsThatStay));
    }
    let drop = format!(
        "{} AND EXISTS (SELECT FROM {name} AS old WHERE old.id = last_row); DROP TABLE {name}",
        fence::break_fences(table, "NULL"),
        name = partition.name
    );
    client.batch_execute(&drop).await?;
    Ok(Ok(rows))
}
