//! Reads rows by id, together with the position; builds the statement that inserts rows.

use std::collections::{HashMap, HashSet};

use order::RowFormat;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use super::encoding::Encoding;
use super::erased_keys::erased_table;
use super::schema::TableTraits;
use super::{Connection, Data, LONG_TIMEOUT, QueryError, connect, position, schema};
use crate::config::{Postgres, Table};
use crate::flow_state::Watermark;

/// A connection for look-ups by id. It keeps the prepared statement, because planning costs more than reading a few
/// rows.
pub(crate) struct RowLookup {
    connection: Connection,
    by_ids: Statement,
    encoding: Encoding,
    /// The format of the rows.
    format: RowFormat,
}

impl RowLookup {
    pub(crate) async fn open(settings: &Postgres) -> Result<Self, QueryError> {
        let connection = connect(settings).await?.spare();
        // One statement, so that the position is not newer than the rows.
        let query = format!(
            "SELECT id, data, NULL::bigint, NULL::bigint, NULL::bigint FROM {} WHERE id = ANY($1)
             UNION ALL (SELECT NULL, NULL, seq, {}, session FROM {}
               WHERE table_name = $2 AND ($3 = '' OR stream = $3 AND topic = $4) ORDER BY seq LIMIT 1)",
            settings.table.quoted(),
            position::micros("seq_time"),
            position::positions(&settings.table)
        );
        let types = [Type::TEXT_ARRAY, Type::TEXT, Type::TEXT, Type::TEXT];
        let client = &connection.client;
        let asked = async {
            let by_ids = client.prepare_typed(&query, &types).await?;
            let encoding = Encoding::of(client).await?;
            Ok((by_ids, encoding, schema::format_of_table(client, &settings.table).await?))
        };
        let asked: Result<_, tokio_postgres::Error> = connection.watched(asked).await;
        let (by_ids, encoding, format) = asked?;
        Ok(Self { connection, by_ids, encoding, format })
    }

    /// The same, within the limit of a connection, however slow the network.
    pub(crate) async fn open_in_time(settings: &Postgres) -> Result<Self, QueryError> {
        timeout(LONG_TIMEOUT, Self::open(settings)).await.unwrap_or(Err(QueryError::TimedOut))
    }

    /// Whether it has to be reopened.
    pub(crate) fn is_closed(&self) -> bool {
        self.connection.client.is_closed()
    }

    /// The existing rows of these ids, and the position of a stream and topic; of any stream if it is not known yet
    /// (`""`).
    pub(crate) async fn rows(
        &self,
        table: &Table,
        (stream, topic): (&str, &str),
        ids: &[&str],
    ) -> Result<FoundRows, QueryError> {
        let Self { connection, by_ids, encoding, format } = self;
        let mut found = FoundRows { format: *format, ..FoundRows::default() };
        let asked = async {
            let ids = encoding.holdable(&connection.client, ids).await?;
            connection.client.query(by_ids, &[&ids, &table.to_string(), &stream, &topic]).await
        };
        for row in connection.watched(asked).await? {
            if let Some(id) = row.try_get(0)? {
                let data: Option<Data<Vec<u8>>> = row.try_get(1)?;
                found.rows.insert(id, data.map(|data| data.0));
            } else {
                found.position =
                    Watermark { seq: row.try_get::<_, i64>(2)?.cast_unsigned(), time: row.try_get(3)? };
                found.session = row.try_get(4)?;
            }
        }
        Ok(found)
    }
}

/// Those of these ids that the table has.
///
/// # Errors
/// PostgreSQL can't be reached, or refuses.
pub(crate) async fn existing_ids(
    client: &Client,
    table: &Table,
    ids: &[&str],
) -> Result<HashSet<String>, tokio_postgres::Error> {
    let query = format!("SELECT id FROM {} WHERE id = ANY($1)", table.quoted());
    let rows = client.query_typed(&query, &[(&ids, Type::TEXT_ARRAY)]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// The result of a look-up.
#[derive(Default)]
pub(crate) struct FoundRows {
    /// The existing rows; data may be null.
    pub(crate) rows: HashMap<String, Option<Vec<u8>>>,
    pub(crate) format: RowFormat,
    /// The table's position at that moment.
    pub(crate) position: Watermark,
    /// The writer's session at that moment.
    pub(crate) session: i64,
}

/// The statement that inserts rows and skips existing and erased keys: `$1` ids, `$2` data.
///
/// # Errors
/// PostgreSQL can't be reached, or the role may not read the erased keys.
pub(crate) async fn insert(
    client: &Client,
    table: &Table,
    traits: TableTraits,
) -> Result<String, tokio_postgres::Error> {
    let source = format!("unnest($1::text[], $2::{}[]) AS new (id, data)", traits.format.column_type());
    insert_from(client, table, traits, &source).await
}

/// The same, for a source that names its rows `new (id, data)`.
pub(crate) async fn insert_from(
    client: &Client,
    table: &Table,
    traits: TableTraits,
    source: &str,
) -> Result<String, tokio_postgres::Error> {
    let (name, erased) = (table.quoted(), erased_table(table));
    let remembered = match client.batch_execute(&format!("SELECT 1 FROM {erased} LIMIT 0")).await {
        Ok(()) => format!(
            "WHERE NOT EXISTS (SELECT FROM {erased} AS gone WHERE gone.table_name = {} AND gone.id = new.id)",
            table.literal()
        ),
        // Existing keys must not be skipped.
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => return Err(error),
        Err(error) if error.as_db_error().is_some() => String::new(),
        Err(error) => return Err(error),
    };
    // ON CONFLICT does not see rows of inheriting tables.
    let elsewhere = format!("NOT EXISTS (SELECT FROM {name} AS stored WHERE stored.id = new.id)");
    let remembered = match (traits.routes_rows, remembered.is_empty()) {
        (false, _) => remembered,
        (true, true) => format!("WHERE {elsewhere}"),
        (true, false) => format!("{remembered} AND {elsewhere}"),
    };
    Ok(format!(
        "INSERT INTO {name} (id, data) SELECT new.id, new.data FROM {source}
         {remembered} ON CONFLICT (id) DO NOTHING"
    ))
}
