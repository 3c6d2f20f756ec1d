//! The lease: which process writes. It is taken and released in the row of `orderd_position`; each write of its holder
//! renews it.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::fence::Fence;
use super::position::{Position, PositionKey};
use crate::random;

/// Duration of a lease without a write by its holder; longer only while single writes take longer.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
pub(super) const LONGEST_LEASE: Duration = Duration::from_secs(30);

/// Duration of a lease where a write takes so long: so long that the next write may take as long.
pub(crate) fn duration(write: Duration) -> Duration {
    (write * 3).clamp(LEASE, LONGEST_LEASE)
}

/// How long to wait for the row's lock when taking the lease.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '500ms'";

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

/// Takes a free lease for that time, and begins a session at the position or at `start`. `model` and `dead_created` as in
/// [`Position`]; `messages_lost` is added to the count. If the former writer's transaction still locks the row, that
/// transaction is terminated.
pub(crate) async fn take_lease(
    client: &Client,
    key: &PositionKey,
    found: &Position,
    (writer, model, lease): (&str, &str, Duration),
    start: Option<SessionStart>,
    dead_created: Option<i64>,
    messages_lost: u64,
) -> Result<TakenLease, Error> {
    client.batch_execute(&format!("BEGIN; {LOCK_TIMEOUT}")).await?;
    match begin_session(client, key, found, (writer, model, lease), start, dead_created, messages_lost).await
    {
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
    (writer, model, lease): (&str, &str, Duration),
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
        lease.as_millis()
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
    let fence = Fence { ctid: row.try_get(0)?, nonce: begun.nonce, session: begun.session, lease };
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
