//! The fence: each write matches the version of the row of `orderd_position` that its writer last wrote, and moves the
//! position. A writer that another process has replaced matches nothing, and writes nothing.

use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};

use super::lease;
use super::position::{Position, positions};
use crate::config::Table;
use crate::flow_state::Watermark;
use crate::random;

/// The version of the row that the writer's next write must match.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    pub(super) ctid: String,
    pub(super) nonce: i64,
    pub(crate) session: i64,
    /// Duration of the lease after the next write.
    pub(super) lease: Duration,
}

/// The update that is the fence: `$1` sequence, `$2` its time, `$3` the next nonce, `$4` to `$6` the version to match,
/// `$7` the lease in milliseconds, `$8` the id of the last written row, or null if none is written, `$9` the number of
/// lost messages that it passes, `$10` whether the commit must be on PostgreSQL's disk. Returns the row's new `ctid`,
/// whether the table still has the previously last written row, and the transaction's `synchronous_commit`; or no row if
/// another process has written meanwhile, or the lease has expired.
///
/// Without the lease a version that matches may be one that was restored: another process has taken the lease after it,
/// may have made rows of messages that this process has refused, and may be about to remove their dead letters.
///
/// The id is replaced only if its row exists: otherwise the first order after a loss of rows would hide the loss.
pub(crate) fn advance_statement(table: &Table) -> String {
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
           AND lease_until > clock_timestamp()
         RETURNING ctid::text, pos.last_row IS NOT DISTINCT FROM $8 OR {has_last_row},
                   set_config('synchronous_commit', CASE WHEN $10 THEN replace({SYNCHRONOUS}, 'off', 'local')
                                                         ELSE {SYNCHRONOUS} END, true)",
        positions(table)
    )
}

const SYNCHRONOUS: &str = "current_setting('synchronous_commit')";

/// The types of its parameters.
pub(crate) const ADVANCE_TYPES: [Type; 10] = [
    Type::INT8,
    Type::FLOAT8,
    Type::INT8,
    Type::TEXT,
    Type::INT8,
    Type::INT8,
    Type::FLOAT8,
    Type::TEXT,
    Type::INT8,
    Type::BOOL,
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
    flushes: bool,
}

impl Fence {
    /// Moves the position to `watermark`, over `messages_lost` messages that the stream does not have. `last_row` is
    /// the id of the last written row, if any. `flushes`: the commit waits for PostgreSQL's disk, even with
    /// `synchronous_commit=off`.
    pub(crate) fn values(
        &self,
        watermark: Watermark,
        last_row: Option<&str>,
        messages_lost: u64,
        flushes: bool,
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
            flushes,
        }
    }

    /// Records the duration of a write: the lease is extended so that the next write may take as long.
    pub(crate) fn took(&mut self, elapsed: Duration) {
        self.lease = lease::duration(elapsed);
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
    pub(crate) fn parameters(&self) -> [&(dyn ToSql + Sync); 10] {
        let Self { seq, time, next_nonce, ctid, nonce, session, lease_ms, last_row, messages_lost, flushes } =
            self;
        [seq, time, next_nonce, ctid, nonce, session, lease_ms, last_row, messages_lost, flushes]
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
pub(crate) async fn advance_position(
    client: &Client,
    fence: &Statement,
    values: &FenceValues,
) -> Result<Option<MovedPosition>, Error> {
    let row = client.query_opt(fence, &values.parameters()).await?;
    row.map_or(Ok(None), |row| MovedPosition::read(&row))
}

/// The statement with which a transaction that removes rows breaks the fence, so that the writer reads the position
/// again. `last_row` is the expression for the last written row that is left: if that row is missing later, the table
/// has lost rows.
pub(crate) fn break_fences(table: &Table, last_row: &str) -> String {
    format!(
        "UPDATE {} SET nonce = (random() * 9e18)::bigint, last_row = {last_row} WHERE table_name = {}",
        positions(table),
        table.label_literal()
    )
}

/// The statement that locks all positions of a table until the end of the transaction.
pub(crate) fn lock_positions(table: &Table) -> String {
    format!("SELECT 1 FROM {} WHERE table_name = {} FOR UPDATE", positions(table), table.label_literal())
}

/// The last written row once the row with the id `$1` is erased: if it was the last one, the row before it.
pub(crate) fn last_row_without_erased(table: &Table) -> String {
    format!(
        "CASE WHEN last_row = $1 THEN (SELECT max(id) FROM {} WHERE id < $1) ELSE last_row END",
        table.quoted()
    )
}
