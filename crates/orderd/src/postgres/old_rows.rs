//! Finds and deletes rows that are older than a given age, by the time in their ids and the database's clock. Ids
//! without a time never expire.

use std::time::Duration;

use order::Key;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::fence;
use crate::config::Table;

/// Ids that have a time, as [`Key::has_time`] says.
pub(super) const TIMED: &str = "id ~ '^[1-9][0-9]{18}(-[1-9][0-9]*)?$'";

/// The time before which orders are older than `age` by the database's clock, in nanoseconds since 1970.
pub(crate) async fn cutoff(client: &Client, age: Duration) -> Result<i128, Error> {
    let row = client.query_one("SELECT (extract(epoch FROM now()) * 1000000)::int8", &[]).await?;
    let now_micros: i64 = row.try_get(0)?;
    Ok(i128::from(now_micros) * 1000 - age.as_nanos() as i128)
}

/// The `FROM` and `WHERE` of older rows. Ids are compared in the column's collation, so that the index is used; the
/// digits of their times are compared again as bytes, so that no younger row is ever included.
fn is_older(table: &Table) -> String {
    format!(
        "FROM {} WHERE id > $1 AND id < $2 AND left(id, 19) < $2 COLLATE \"C\" AND {TIMED}",
        table.quoted()
    )
}

/// The number of older rows.
pub(crate) async fn count(client: &Client, table: &Table, cutoff: i128) -> Result<u64, Error> {
    let query = format!("SELECT count(*) {}", is_older(table));
    let (low, high) = (Key::first_of_time(0), Key::first_of_time(cutoff));
    let params = [(&low as _, Type::TEXT), (&high as _, Type::TEXT)];
    let rows = client.query_typed(&query, &params).await?;
    let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    Ok(count.cast_unsigned())
}

/// The ids of the oldest rows that are older, after `after` or from the first on, `limit` at most.
pub(crate) async fn ids(
    client: &Client,
    table: &Table,
    after: Option<&str>,
    cutoff: i128,
    limit: i64,
) -> Result<Vec<String>, Error> {
    let query = format!("SELECT id {} ORDER BY id LIMIT $3", is_older(table));
    let (low, high) = (after.map_or_else(|| Key::first_of_time(0), Into::into), Key::first_of_time(cutoff));
    let params = [(&low as _, Type::TEXT), (&high as _, Type::TEXT), (&limit as _, Type::INT8)];
    let rows = client.query_typed(&query, &params).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// What was deleted in one statement.
pub(crate) struct DeletedRows {
    /// Rows that were older, and those of them that were deleted.
    pub(crate) found: u64,
    pub(crate) deleted: u64,
    /// The ids of the others: a trigger or a policy keeps these rows, or another session has deleted them.
    pub(crate) others: Vec<String>,
    /// The last id of those found.
    pub(crate) last: Option<String>,
}

/// Deletes the oldest of the older rows, after `after` or from the first on, `limit` at most. If the row that was written
/// last is among them, the writer's fence is broken, so that it reads the position again and does not report the row as
/// lost.
pub(crate) async fn delete(
    client: &Client,
    table: &Table,
    after: Option<&str>,
    cutoff: i128,
    limit: i64,
) -> Result<DeletedRows, Error> {
    let delete = format!(
        "WITH old AS (SELECT id {} ORDER BY id LIMIT $3),
              gone AS (DELETE FROM {} WHERE id IN (SELECT id FROM old) RETURNING id),
              noted AS ({} AND last_row IN (SELECT id FROM gone))
         SELECT (SELECT count(*) FROM old), (SELECT count(*) FROM gone),
                ARRAY(SELECT id FROM old EXCEPT SELECT id FROM gone)::text[], (SELECT max(id)::text FROM old)",
        is_older(table),
        table.quoted(),
        // If the last one has expired, no row is left whose loss would matter.
        fence::break_fences(table, "NULL")
    );
    let (low, high) = (after.map_or_else(|| Key::first_of_time(0), Into::into), Key::first_of_time(cutoff));
    let params = [(&low as _, Type::TEXT), (&high as _, Type::TEXT), (&limit as _, Type::INT8)];
    let row = client.query_typed(&delete, &params).await?;
    let Some(row) = row.first() else {
        return Ok(DeletedRows { found: 0, deleted: 0, others: Vec::new(), last: None });
    };
    let (found, deleted): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let (found, deleted) = (found.cast_unsigned(), deleted.cast_unsigned());
    Ok(DeletedRows { found, deleted, others: row.try_get(2)?, last: row.try_get(3)? })
}
