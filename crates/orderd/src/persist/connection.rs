//! The writer's connection to PostgreSQL, and the two ways to write a batch together with the position.

use bytes::Bytes;
use futures_util::SinkExt;
use order::RowFormat;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::batch::RowIndex;
use super::encode::EncodedRows;
use crate::config::{Postgres, Table};
use crate::postgres::fence::{self, FenceValues, MovedPosition};
use crate::postgres::schema::TableTraits;
use crate::postgres::{self, Connection, Data, LONG_TIMEOUT, PrepareError, SHORT_TIMEOUT, describe};

/// The head and tail of `COPY … (FORMAT binary)`.
const COPY_HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_TAIL: &[u8] = b"\xff\xff";

/// Size of the pieces in which rows are sent; the server reports its progress after each.
const COPY_PIECE: usize = 128 << 10;

/// A connection with its prepared statements.
pub(super) struct WriterConnection {
    pub(super) inner: Connection,
    pub(super) fence: Statement,
    /// Prepared at first use, because that waits for locks on the tables; without it, the position can be read and
    /// memory filled.
    copy: OnceCell<Statement>,
    insert: OnceCell<Statement>,
    table: Table,
    traits: TableTraits,
    /// Whether the table accepts COPY, which row-level security prevents.
    pub(super) takes_copy: bool,
    /// Whether rows are stored in the table itself: a trigger may store them elsewhere.
    pub(super) keeps_rows: bool,
    /// Whether a trigger may keep rows out of the table, or change their ids.
    pub(super) has_trigger: bool,
    /// The format of its rows.
    pub(super) format: RowFormat,
}

/// A batch that was written with its position.
pub(super) struct CommittedBatch {
    pub(super) position: MovedPosition,
    /// Number of new rows.
    pub(super) inserted: u64,
}

/// Why a batch was not committed.
#[derive(Debug)]
pub(super) enum CommitFailure {
    /// PostgreSQL can't be reached, or can't write now. It is unknown whether the batch was committed.
    Away(String),
    /// The fence does not match: another process has written the position's row.
    Fenced,
    /// A row with one of the ids already exists, and the statement does not skip it.
    Stored,
    /// PostgreSQL refuses one of the rows.
    Refused(String),
    /// The statement exceeded the role's timeout.
    TimedOut(String),
    /// PostgreSQL does not support the statement on this table. INSERT may work where COPY does not.
    NotSupported(String),
}

impl WriterConnection {
    /// Connects, and creates missing tables. Calls `slow` with the reason if that takes long.
    pub(super) async fn open(settings: &Postgres, slow: impl FnOnce(String)) -> Result<Self, PrepareError> {
        let connection = postgres::connect_in_time(settings).await?;
        let (client, table) = (&connection.client, &settings.table);
        let prepared = async {
            let traits = postgres::prepare_to_write(&connection, settings).await?;
            let fence = fence::advance_statement(table);
            let fence = connection.watched(client.prepare_typed(&fence, &fence::ADVANCE_TYPES)).await?;
            Ok((traits, fence))
        };
        let not_answered = || not_answered("the check of the tables", &connection);
        let (traits, fence) = {
            tokio::pin!(prepared);
            tokio::select! {
                prepared = &mut prepared => prepared,
                () = sleep(SHORT_TIMEOUT) => {
                    slow(not_answered());
                    let prepared = timeout(LONG_TIMEOUT, prepared).await;
                    prepared.unwrap_or_else(|_| Err(PrepareError::NotAnswered(not_answered())))
                }
            }
        }?;
        Ok(Self {
            fence,
            copy: OnceCell::new(),
            insert: OnceCell::new(),
            table: table.clone(),
            traits,
            inner: connection,
            takes_copy: !traits.refuses_copy,
            keeps_rows: !traits.routes_rows,
            has_trigger: traits.has_trigger,
            format: traits.format,
        })
    }

    async fn prepare_copy(&self) -> Result<Statement, tokio_postgres::Error> {
        let copy = format!("COPY {} (id, data) FROM STDIN (FORMAT binary)", self.table.quoted());
        self.inner.client.prepare_typed(&copy, &[]).await
    }

    async fn prepare_insert(&self) -> Result<Statement, tokio_postgres::Error> {
        let (client, format) = (&self.inner.client, self.traits.format);
        let source = format!("fence, unnest($11::text[], $12::{}[]) AS new (id, data)", format.column_type());
        let insert = format!(
            "WITH fence AS ({}), added AS ({} RETURNING 1)
             SELECT fence.*, (SELECT count(*) FROM added) AS inserted FROM (SELECT) AS one LEFT JOIN fence ON true",
            fence::advance_statement(&self.table),
            postgres::insert_from(client, &self.table, self.traits, &source).await?
        );
        let mut types = fence::ADVANCE_TYPES.to_vec();
        types.extend([Type::TEXT_ARRAY, postgres::array_type(format)]);
        client.prepare_typed(&insert, &types).await
    }

    /// Writes rows with one statement that skips existing ones.
    pub(super) async fn insert(
        &self,
        values: &FenceValues,
        batch: &[EncodedRows],
        part: &[RowIndex],
    ) -> Result<CommittedBatch, CommitFailure> {
        let ids: Vec<&str> = part.iter().map(|&(chunk, row)| batch[chunk].orders.orders[row].key()).collect();
        let data: Vec<Data<&[u8]>> = part
            .iter()
            .map(|&(chunk, row)| Data(&batch[chunk].copy[batch[chunk].data[row].clone()]))
            .collect();
        let mut parameters = values.parameters().to_vec();
        parameters.extend([&ids as &(dyn ToSql + Sync), &data]);
        let client = &self.inner.client;
        let insert = self.insert.get_or_try_init(|| self.prepare_insert()).await.map_err(failure)?;
        let row = client.query_one(insert, &parameters).await.map_err(failure)?;
        let position = MovedPosition::read(&row).map_err(failure)?.ok_or(CommitFailure::Fenced)?;
        let inserted: i64 = row.try_get("inserted").map_err(failure)?;
        Ok(CommittedBatch { position, inserted: inserted.cast_unsigned() })
    }

    /// Whether the table has this row.
    pub(super) async fn has_row(&self, id: &str, data: &[u8]) -> Result<bool, CommitFailure> {
        let (table, format) = (self.table.quoted(), self.traits.format);
        // PostgreSQL can't compare `json`.
        let cast = if format == RowFormat::Json { "::text" } else { "" };
        let query = format!("SELECT 1 FROM {table} WHERE id = $1 AND data{cast} = $2{cast}");
        let types = [Type::TEXT, postgres::data_type(format)];
        let statement = self.inner.client.prepare_typed(&query, &types).await.map_err(failure)?;
        let rows = self.inner.client.query(&statement, &[&id, &Data(data)]).await.map_err(failure)?;
        Ok(!rows.is_empty())
    }

    /// Writes a whole batch by COPY, which fails if a key already exists.
    pub(super) async fn copy(
        &self,
        values: &FenceValues,
        batch: &[EncodedRows],
    ) -> Result<CommittedBatch, CommitFailure> {
        let copied = self.copy_in_transaction(values, batch).await;
        if let Err(CommitFailure::Away(_)) = &copied {
            return copied;
        }
        if copied.is_err() {
            // If COPY failed, the server has rolled back already, and only warns.
            self.inner.client.batch_execute("ROLLBACK").await.map_err(failure)?;
        }
        copied
    }

    /// Everything that needs no response is sent at once: the batch takes two round trips.
    async fn copy_in_transaction(
        &self,
        values: &FenceValues,
        batch: &[EncodedRows],
    ) -> Result<CommittedBatch, CommitFailure> {
        let client = &self.inner.client;
        let copy = self.copy.get_or_try_init(|| self.prepare_copy()).await.map_err(failure)?;
        let (begun, fenced, sink) = tokio::join!(
            client.batch_execute("BEGIN"),
            fence::advance_position(client, &self.fence, values),
            client.copy_in::<_, Bytes>(copy),
        );
        begun.map_err(failure)?;
        // Before COPY is finished: without the fence nothing is committed.
        let position = fenced.map_err(failure)?.ok_or(CommitFailure::Fenced)?;
        let mut sink = std::pin::pin!(sink.map_err(failure)?);
        sink.feed(Bytes::from_static(COPY_HEAD)).await.map_err(failure)?;
        for rows in batch {
            let mut left = rows.copy.clone();
            while !left.is_empty() {
                let piece = left.split_to(left.len().min(COPY_PIECE));
                sink.feed(piece).await.map_err(failure)?;
            }
        }
        sink.feed(Bytes::from_static(COPY_TAIL)).await.map_err(failure)?;
        let (copied, committed) = tokio::join!(sink.finish(), client.batch_execute("COMMIT"));
        let inserted = copied.map_err(failure)?;
        committed.map_err(|error| CommitFailure::Away(describe(&error)))?;
        Ok(CommittedBatch { position, inserted })
    }

    /// Moves the position over messages without rows.
    pub(super) async fn advance_position(
        &self,
        values: &FenceValues,
    ) -> Result<CommittedBatch, CommitFailure> {
        let moved =
            fence::advance_position(&self.inner.client, &self.fence, values).await.map_err(failure)?;
        Ok(CommittedBatch { position: moved.ok_or(CommitFailure::Fenced)?, inserted: 0 })
    }
}

/// The reason for a slow statement: what it waits for, as far as known.
pub(super) fn not_answered(statement: &str, connection: &Connection) -> String {
    let why = connection.watch().explain(
        "is a table locked, the server stuck, or a pooler without a free connection (default_pool_size)?",
    );
    format!("{statement} is not answered: {why}")
}

/// Whether PostgreSQL refuses a row because of its content, or can't write now.
pub(super) fn failure(error: tokio_postgres::Error) -> CommitFailure {
    let detail = describe(&error);
    let Some(code) = error.code() else { return CommitFailure::Away(detail) };
    if postgres::is_stored_already(&error) {
        return CommitFailure::Stored;
    }
    if *code == SqlState::QUERY_CANCELED {
        return CommitFailure::TimedOut(detail);
    }
    // "COPY FROM not supported with row-level security"
    if *code == SqlState::FEATURE_NOT_SUPPORTED {
        return CommitFailure::NotSupported(detail);
    }
    if postgres::is_of_a_row(code) { CommitFailure::Refused(detail) } else { CommitFailure::Away(detail) }
}
