//! How far the WAL is written and flushed, also on standbys.

use tokio_postgres::Client;

/// Positions in the WAL.
pub(crate) struct Wal {
    /// The insert position, possibly only in memory.
    pub(crate) inserted: u64,
    /// The durable position: flushed to this server's disk, and replayed by the visible standbys.
    pub(crate) safe: u64,
}

/// Queries the positions. A role without the privilege to see standbys sees none.
pub(crate) async fn wal(client: &Client) -> Result<Wal, tokio_postgres::Error> {
    let query = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint,
                        (least(pg_current_wal_flush_lsn(),
                               (SELECT min(replay_lsn) FROM pg_stat_replication)) - '0/0')::bigint";
    let rows = client.query_typed(query, &[]).await?;
    let lsn = |column| match rows.first() {
        Some(row) => row.try_get::<_, i64>(column).map(i64::cast_unsigned),
        None => Ok(0),
    };
    Ok(Wal { inserted: lsn(0)?, safe: lsn(1)? })
}
