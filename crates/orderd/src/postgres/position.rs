//! `orderd_position`: how far the table is in its stream, and which process writes.
//!
//! One row for each table, stream and topic. Every transaction that writes orders also updates this row, and its
//! update must match the version of the row that the writer last wrote: the fence. A batch either moves the position
//! and writes its rows, or does neither.
//!
//! Each write puts a random nonce into the row. A table that went back to an earlier state can reach the same sequence
//! and `ctid` again, but not the same nonce.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};

pub(crate) use crate::config::PositionKey;
use crate::config::Table;
use crate::flow_state::Watermark;
use crate::random;

/// Duration of a lease without a write by its holder; longer only while single writes take longer.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
const LONGEST_LEASE: Duration = Duration::from_secs(30);

/// How long to wait for the row's lock when taking the lease.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '500ms'";

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
    ctid: String,
    nonce: i64,
}

/// Where a new session begins, if not at the position; memory of earlier sessions is then invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionStart {
    pub(crate) seq: u64,
    pub(crate) stream_created: i64,
    /// As in [`Position`].
    pub(crate) gap_end: u64,
    /// Number of further messages that left the stream before they were read.
    pub(crate) messages_lost: u64,
}

/// The result of an attempt to take the lease.
pub(crate) enum TakenLease {
    Taken(Box<(Fence, Position)>),
    /// Another process was faster.
    ByAnother,
    /// Other sessions hold a lock on the row: their process ids.
    Locked(String),
}

/// The version of the row that the writer's next write must match.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    ctid: String,
    nonce: i64,
    pub(crate) session: i64,
    /// Duration of the lease after the next write.
    lease: Duration,
}

impl PositionKey {
    /// The table of positions, quoted.
    fn positions(&self) -> String {
        positions(&self.table)
    }

    fn parameters<'p>(&'p self, table: &'p String) -> [&'p (dyn ToSql + Sync); 3] {
        [table, &self.stream, &self.topic]
    }
}

/// The name of the table of positions.
pub(crate) const NAME: &str = "orderd_position";

/// The table of positions beside a table of orders, quoted.
pub(crate) fn positions(table: &Table) -> String {
    table.sibling(NAME)
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

/// Takes a free lease, and begins a session at the position or at `start`. `model` and `dead_created` as in
/// [`Position`]; `messages_lost` is added to the count. If the former writer's transaction still locks the row, that
/// transaction is terminated.
pub(crate) async fn take_lease(
    client: &Client,
    key: &PositionKey,
    found: &Position,
    (writer, model): (&str, &str),
    start: Option<SessionStart>,
    dead_created: Option<i64>,
    messages_lost: u64,
) -> Result<TakenLease, Error> {
    client.batch_execute(&format!("BEGIN; {LOCK_TIMEOUT}")).await?;
    match begin_session(client, key, found, (writer, model), start, dead_created, messages_lost).await {
        Ok(begun) => {
            client.batch_execute("COMMIT").await?;
            Ok(begun.map_or(TakenLease::ByAnother, |begun| TakenLease::Taken(Box::new(begun))))
        }
        Err(error) => {
            client.batch_execute("ROLLBACK").await?;
            if error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) {
                return Err(error);
            }
            end_former_writer(client, key).await?;
            Ok(TakenLease::Locked(lock_holders(client, key).await?))
        }
    }
}

/// The process ids of other sessions that have locked rows of the table of positions, or the table.
async fn lock_holders(client: &Client, key: &PositionKey) -> Result<String, Error> {
    let query = "SELECT coalesce(string_agg(DISTINCT pid::text, ', '), 'unknown') FROM pg_catalog.pg_locks
                 WHERE relation = $1::text::regclass AND granted AND mode <> 'AccessShareLock' AND pid <> pg_backend_pid()";
    let rows = client.query_typed(query, &[(&key.positions(), Type::TEXT)]).await?;
    rows.first().map_or(Ok(String::new()), |row| row.try_get(0))
}

async fn begin_session(
    client: &Client,
    key: &PositionKey,
    found: &Position,
    (writer, model): (&str, &str),
    start: Option<SessionStart>,
    dead_created: Option<i64>,
    messages_lost: u64,
) -> Result<Option<(Fence, Position)>, Error> {
    let begun = Position {
        seq: start.map_or(found.seq, |start| start.seq),
        seq_time: found.seq_time.filter(|_| start.is_none()),
        stream_created: start.map_or(found.stream_created, |start| start.stream_created),
        writer: Some(writer.to_owned()),
        model: Some(model.to_owned()),
        session: random::number(),
        previous_session: Some(found.session).filter(|_| start.is_none()),
        session_began: start.map_or(found.seq, |start| start.seq),
        gap_end: start.map_or(found.gap_end, |start| start.gap_end),
        messages_lost: found.messages_lost + start.map_or(0, |start| start.messages_lost) + messages_lost,
        nonce: random::number(),
        dead_created: dead_created.or(found.dead_created),
        ..found.clone()
    };
    let statement = format!(
        "UPDATE {} SET writer = $1, writer_pid = pg_backend_pid(), session = $2, nonce = $3, seq = $4,
                session_began = $4, previous_session = $5, gap_end = $6, lost = $14, model = $16,
                dead_created = timestamptz 'epoch' + $15 * interval '1 microsecond',
                seq_time = CASE WHEN $7 THEN NULL ELSE seq_time END,
                last_row = CASE WHEN $13 THEN last_row END,
                stream_created = timestamptz 'epoch' + $8 * interval '1 microsecond',
                lease_until = clock_timestamp() + interval '{} milliseconds'
         WHERE table_name = $9 AND stream = $10 AND topic = $11 AND nonce = $12 RETURNING ctid::text",
        key.positions(),
        LEASE.as_millis()
    );
    let keeps_last_row = start.is_none() && found.has_last_row;
    let parameters: [(&(dyn ToSql + Sync), Type); 16] = [
        (&writer, Type::TEXT),
        (&begun.session, Type::INT8),
        (&begun.nonce, Type::INT8),
        (&begun.seq.cast_signed(), Type::INT8),
        (&begun.previous_session, Type::INT8),
        (&begun.gap_end.cast_signed(), Type::INT8),
        (&start.is_some(), Type::BOOL),
        (&(begun.stream_created as f64), Type::FLOAT8),
        (&key.table.to_string(), Type::TEXT),
        (&key.stream, Type::TEXT),
        (&key.topic, Type::TEXT),
        (&found.nonce, Type::INT8),
        (&keeps_last_row, Type::BOOL),
        (&begun.messages_lost.cast_signed(), Type::INT8),
        (&begun.dead_created.map(|created| created as f64), Type::FLOAT8),
        (&begun.model, Type::TEXT),
    ];
    let rows = client.query_typed(&statement, &parameters).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let fence = Fence { ctid: row.try_get(0)?, nonce: begun.nonce, session: begun.session, lease: LEASE };
    Ok(Some((fence, begun)))
}

/// Terminates a transaction that locks the row although its writer's lease has expired: that writer is stalled.
async fn end_former_writer(client: &Client, key: &PositionKey) -> Result<(), Error> {
    let statement = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_locks
         WHERE relation = $4::text::regclass AND mode = 'RowExclusiveLock' AND granted AND pid IN
           (SELECT writer_pid FROM {} WHERE table_name = $1 AND stream = $2 AND topic = $3
              AND lease_until < clock_timestamp())",
        key.positions()
    );
    let (table, positions) = (key.table.to_string(), key.positions());
    let [table, stream, topic] = key.parameters(&table).map(|parameter| (parameter, Type::TEXT));
    client.query_typed(&statement, &[table, stream, topic, (&positions, Type::TEXT)]).await.map(drop)
}

/// The update that is the fence: `$1` sequence, `$2` its time, `$3` the next nonce, `$4` to `$6` the version to match,
/// `$7` the lease in milliseconds, `$8` the id of the last written row, or null if none is written, `$9` the number of
/// lost messages that it passes. Returns the row's new `ctid`, and whether the table still has the previously last
/// written row; or no row if another process has written meanwhile.
///
/// The id is replaced only if its row exists: otherwise the first order after a loss of rows would hide the loss.
pub(crate) fn fence_update(table: &Table) -> String {
    // By `ctid`: while an old snapshot is open, PostgreSQL can't prune the dead versions of the row, and an index scan
    // would visit them all.
    let has_last_row =
        format!("EXISTS (SELECT FROM {} AS written WHERE written.id = pos.last_row)", table.quoted());
    format!(
        "UPDATE {} AS pos
         SET seq = $1, seq_time = timestamptz 'epoch' + $2 * interval '1 microsecond', nonce = $3,
             lost = pos.lost + $9, writer_pid = pg_backend_pid(), lease_until = clock_timestamp() + $7 * interval '1 millisecond',
             last_row = CASE WHEN $8 IS NOT NULL AND (pos.last_row IS NULL OR {has_last_row}) THEN $8
                             ELSE pos.last_row END
         WHERE ctid = $4::text::tid AND nonce = $5 AND session = $6
         RETURNING ctid::text, pos.last_row IS NOT DISTINCT FROM $8 OR {has_last_row}",
        positions(table)
    )
}

/// The types of the fence's parameters.
pub(crate) const FENCE_TYPES: [Type; 9] = [
    Type::INT8,
    Type::FLOAT8,
    Type::INT8,
    Type::TEXT,
    Type::INT8,
    Type::INT8,
    Type::FLOAT8,
    Type::TEXT,
    Type::INT8,
];

/// The values of the fence's parameters.
pub(crate) struct FenceValues {
    seq: i64,
    time: Option<f64>,
    next_nonce: i64,
    ctid: String,
    nonce: i64,
    session: i64,
    lease_ms: f64,
    last_row: Option<String>,
    messages_lost: i64,
}

impl Fence {
    /// Moves the position to `watermark`, over `messages_lost` messages that the stream does not have. `last_row` is
    /// the id of the last written row, if any.
    pub(crate) fn values(
        &self,
        watermark: Watermark,
        last_row: Option<&str>,
        messages_lost: u64,
    ) -> FenceValues {
        FenceValues {
            seq: watermark.seq.cast_signed(),
            time: watermark.time.map(|time| time as f64),
            next_nonce: random::number(),
            ctid: self.ctid.clone(),
            nonce: self.nonce,
            session: self.session,
            lease_ms: self.lease.as_millis() as f64,
            last_row: last_row.map(str::to_owned),
            messages_lost: messages_lost.cast_signed(),
        }
    }

    /// Records the duration of a write: the lease is extended so that the next write may take as long.
    pub(crate) fn took(&mut self, elapsed: Duration) {
        self.lease = (elapsed * 3).clamp(LEASE, LONGEST_LEASE);
    }

    /// The fence for the row that was read, if this process's session still holds the lease.
    pub(crate) fn of(found: &Position, lease: Duration) -> Self {
        Self { ctid: found.ctid.clone(), nonce: found.nonce, session: found.session, lease }
    }

    pub(crate) fn lease(&self) -> Duration {
        self.lease
    }

    /// The row was written: the next write must match this version.
    pub(crate) fn moved(&mut self, values: &FenceValues, ctid: String) {
        (self.ctid, self.nonce) = (ctid, values.next_nonce);
    }
}

impl FenceValues {
    pub(crate) fn parameters(&self) -> [&(dyn ToSql + Sync); 9] {
        let Self { seq, time, next_nonce, ctid, nonce, session, lease_ms, last_row, messages_lost } = self;
        [seq, time, next_nonce, ctid, nonce, session, lease_ms, last_row, messages_lost]
    }
}

/// What the fence's update returns.
pub(crate) struct MovedPosition {
    /// The `ctid` of the row's new version.
    pub(crate) ctid: String,
    /// Whether the table had the previously last written row.
    pub(crate) has_last_row: bool,
}

impl MovedPosition {
    /// Reads the first two columns, which are null if the fence does not match.
    pub(crate) fn read(row: &Row) -> Result<Option<Self>, Error> {
        let Some(ctid) = row.try_get(0)? else { return Ok(None) };
        Ok(Some(Self { ctid, has_last_row: row.try_get(1)? }))
    }
}

/// Moves the position with no rows, or only renews the lease. `None`: the fence does not match.
pub(crate) async fn advance(
    client: &Client,
    fence: &Statement,
    values: &FenceValues,
) -> Result<Option<MovedPosition>, Error> {
    let row = client.query_opt(fence, &values.parameters()).await?;
    row.map_or(Ok(None), |row| MovedPosition::read(&row))
}

/// Releases the lease of a writer that stops, so that another process takes it at once.
pub(crate) async fn release_lease(client: &Client, key: &PositionKey, fence: &Fence) -> Result<(), Error> {
    let statement = format!(
        "UPDATE {} SET writer = NULL, writer_pid = NULL, lease_until = NULL, nonce = $1
         WHERE ctid = $2::text::tid AND nonce = $3 AND session = $4",
        key.positions()
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
        (&random::number(), Type::INT8),
        (&fence.ctid, Type::TEXT),
        (&fence.nonce, Type::INT8),
        (&fence.session, Type::INT8),
    ];
    client.query_typed(&statement, &parameters).await.map(drop)
}

/// The statement with which a transaction that erases rows breaks the fence, so that the writer rereads the erased
/// keys. The last written row may be among the erased.
pub(crate) fn break_fences(table: &Table) -> String {
    format!(
        "UPDATE {} SET nonce = (random() * 9e18)::bigint, last_row = NULL WHERE table_name = {}",
        positions(table),
        table.label_literal()
    )
}
