//! `orderd_position`: how far the table is in its stream, and which process writes.
//!
//! One row for each table, stream and topic. Every transaction that writes orders also updates this row, and its
//! update must match the version of the row that the writer last wrote: the fence. A batch either moves the position
//! and writes its rows, or does neither.
//!
//! Each write puts a random nonce into the row. A table that went back to an earlier state can reach the same sequence
//! and `ctid` again, but not the same nonce.

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

pub(crate) use crate::config::PositionKey;
use crate::config::{Table, literal as literal_of};
use crate::flow_state::Watermark;
use crate::random;

/// The row's content.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    /// The sequence up to which the table is complete.
    pub(crate) seq: u64,
    /// Time of the message at `seq` in microseconds since 1970; `None` at the beginning, or if that message is gone.
    pub(crate) seq_time: Option<i64>,
    /// Creation time of the stream in microseconds since 1970.
    pub(crate) stream_created: i64,
    /// The current or last writer.
    pub(crate) writer: Option<String>,
    /// The session: a new random number for each lease taken.
    pub(crate) session: i64,
    /// The previous session; `None` after the position was moved back or over a gap, which invalidates memory of that
    /// session.
    pub(crate) previous_session: Option<i64>,
    /// The position at the beginning of the session.
    pub(crate) session_began: u64,
    /// The end of the last gap that the position passed because the stream no longer had the messages; 0 without a gap.
    pub(crate) gap_end: u64,
    /// Number of messages that left the stream before they were read.
    pub(crate) messages_lost: u64,
    /// Creation time of the dead-letter stream in microseconds since 1970; `None` while unknown.
    pub(crate) dead_created: Option<i64>,
    /// The writer's model; `None` if its version did not record it.
    pub(crate) model: Option<String>,
    /// Whether the table has the row that was written last.
    pub(crate) has_last_row: bool,
    /// Whether the lease has expired, or its holder's connection has ended.
    pub(crate) is_free: bool,
    pub(super) ctid: String,
    pub(super) nonce: i64,
}

impl PositionKey {
    /// The table of positions, quoted.
    pub(super) fn positions(&self) -> String {
        positions(&self.table)
    }

    pub(super) fn parameters<'p>(&'p self, table: &'p String) -> [&'p (dyn ToSql + Sync); 3] {
        [table, &self.stream, &self.topic]
    }
}

/// The name of the table of positions.
pub(crate) const NAME: &str = "orderd_position";

/// The table of positions beside a table of orders, quoted.
pub(crate) fn positions(table: &Table) -> String {
    table.sibling(NAME)
}

/// The statement with which an operator clears the count of lost messages, once they are dealt with. The table of
/// positions may have rows of other tables, streams and topics.
pub(crate) fn clear_lost_statement(table: &Table, stream: &str, topic: &str) -> String {
    format!(
        "UPDATE {} SET lost = 0 WHERE table_name = {} AND stream = {} AND topic = {};",
        positions(table),
        table.label_literal(),
        literal_of(stream),
        literal_of(topic)
    )
}

/// The table's full name as a text literal of SQL.
pub(crate) fn literal(table: &Table) -> String {
    format!("'{}'", positions(table).replace('\'', "''"))
}

/// The statement that creates the table of positions.
pub(crate) fn create_statement(table: &Table) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (table_name text NOT NULL, stream text NOT NULL, topic text NOT NULL, \
         stream_created timestamptz NOT NULL, seq bigint NOT NULL, seq_time timestamptz, \
         writer text, writer_pid integer, lease_until timestamptz, \
         session bigint NOT NULL, previous_session bigint, session_began bigint NOT NULL, \
         last_row text, gap_end bigint NOT NULL DEFAULT 0, lost bigint NOT NULL DEFAULT 0, \
         dead_created timestamptz, model text, \
         nonce bigint NOT NULL, \
         PRIMARY KEY (table_name, stream, topic)) WITH (fillfactor = 20)",
        positions(table)
    )
}

/// Adds the columns that a table of positions of an earlier version lacks.
///
/// # Errors
/// PostgreSQL can't be reached, or the role is not the owner of the table.
pub(crate) async fn add_columns(client: &Client, table: &Table) -> Result<(), Error> {
    let positions = positions(table);
    match client.batch_execute(&format!("SELECT lost, dead_created, model FROM {positions} LIMIT 0")).await {
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_COLUMN) => {
            let add = format!(
                "ALTER TABLE {positions} ADD COLUMN IF NOT EXISTS lost bigint NOT NULL DEFAULT 0, \
                 ADD COLUMN IF NOT EXISTS dead_created timestamptz, ADD COLUMN IF NOT EXISTS model text"
            );
            client.batch_execute(&add).await
        }
        asked => asked,
    }
}

impl Position {
    pub(crate) fn watermark(&self) -> Watermark {
        Watermark { seq: self.seq, time: self.seq_time }
    }
}

/// Inserts the row at `seq` if it is missing.
pub(crate) async fn add(
    client: &Client,
    key: &PositionKey,
    stream_created: i64,
    seq: u64,
) -> Result<(), Error> {
    let statement = format!(
        "INSERT INTO {} (table_name, stream, topic, stream_created, seq, session, session_began, nonce)
         VALUES ($1, $2, $3, timestamptz 'epoch' + $4 * interval '1 microsecond', $5, $6, $5, $6)
         ON CONFLICT DO NOTHING",
        key.positions()
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
        (&key.table.to_string(), Type::TEXT),
        (&key.stream, Type::TEXT),
        (&key.topic, Type::TEXT),
        (&(stream_created as f64), Type::FLOAT8),
        (&(seq as i64), Type::INT8),
        (&random::number(), Type::INT8),
    ];
    client.query_typed(&statement, &parameters).await.map(drop)
}

/// The expression for a time in microseconds since 1970; null for `infinity` and other impossible times, which only a
/// person can have entered. A stream with such a creation time is treated as another stream.
pub(crate) fn micros(column: &str) -> String {
    format!(
        "CASE WHEN {column} > '0001-01-01' AND {column} < '9999-12-31' THEN (extract(epoch FROM {column}) * 1000000)::bigint END"
    )
}

/// Reads the row; `None` if it does not exist.
pub(crate) async fn read(client: &Client, key: &PositionKey) -> Result<Option<Position>, Error> {
    let statement = format!(
        "SELECT seq, {}, coalesce({}, 0), writer, session, previous_session, session_began, gap_end, lost, {},
                last_row IS NULL OR EXISTS (SELECT FROM {} AS written WHERE written.id = last_row),
                lease_until IS NULL OR lease_until < clock_timestamp()
                  OR NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = writer_pid),
                ctid::text, nonce, model
         FROM {} WHERE table_name = $1 AND stream = $2 AND topic = $3",
        micros("seq_time"),
        micros("stream_created"),
        micros("dead_created"),
        key.table.quoted(),
        key.positions()
    );
    let table = key.table.to_string();
    let parameters = key.parameters(&table).map(|parameter| (parameter, Type::TEXT));
    let rows = client.query_typed(&statement, &parameters).await?;
    rows.first().map(position).transpose()
}

fn position(row: &Row) -> Result<Position, Error> {
    Ok(Position {
        seq: row.try_get::<_, i64>(0)?.cast_unsigned(),
        seq_time: row.try_get(1)?,
        stream_created: row.try_get(2)?,
        writer: row.try_get(3)?,
        session: row.try_get(4)?,
        previous_session: row.try_get(5)?,
        session_began: row.try_get::<_, i64>(6)?.cast_unsigned(),
        gap_end: row.try_get::<_, i64>(7)?.cast_unsigned(),
        messages_lost: row.try_get::<_, i64>(8)?.cast_unsigned(),
        dead_created: row.try_get(9)?,
        has_last_row: row.try_get(10)?,
        is_free: row.try_get(11)?,
        ctid: row.try_get(12)?,
        nonce: row.try_get(13)?,
        model: row.try_get(14)?,
    })
}
