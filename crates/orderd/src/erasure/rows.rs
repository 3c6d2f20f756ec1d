//! Finds and deletes the rows of erased orders, and stores their keys.

use std::collections::HashSet;
use std::sync::Arc;

use order::Key;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::config::Postgres;
use crate::postgres::{self, Abandoned, Connection, LONG_TIMEOUT, SessionWatch, fence, kept_rows, position};
use crate::wording::shown;

/// The number of deleted rows, and whether there still is one.
struct Deleted {
    rows: u64,
    is_there: bool,
}

/// Looks for rows and erases them, on a connection that is opened for the first of them.
pub(super) struct StoredRows {
    settings: Postgres,
    connection: Option<Connection>,
    /// Whether the table of erased keys exists.
    is_prepared: bool,
}

impl StoredRows {
    pub(super) fn new(settings: &Postgres) -> Self {
        Self { settings: settings.clone(), connection: None, is_prepared: false }
    }

    /// Whether a row has this id. The database can't have rows with ids outside its encoding.
    pub(super) async fn has(&mut self, id: &str) -> anyhow::Result<bool> {
        self.finds(id, &format!("SELECT 1 FROM {} WHERE id = $1", self.settings.table.quoted())).await
    }

    /// Whether the key of this id is kept as erased.
    pub(super) async fn is_erased(&mut self, id: &str) -> anyhow::Result<bool> {
        self.prepare().await?;
        let table = &self.settings.table;
        let (erased, name) = (postgres::erased_table(table), table.literal());
        self.finds(id, &format!("SELECT 1 FROM {erased} WHERE table_name = {name} AND id = $1")).await
    }

    /// The keys that are kept as erased.
    pub(super) async fn erased(&mut self) -> anyhow::Result<HashSet<String>> {
        with_long_timeout(async {
            self.prepare().await?;
            let table = self.settings.table.clone();
            let (client, watch) = self.client().await?;
            watch.over(postgres::erased_keys(client, &table)).await.map_err(postgres::explain)
        })
        .await
    }

    async fn finds(&mut self, id: &str, query: &str) -> anyhow::Result<bool> {
        with_long_timeout(async {
            let (client, watch) = self.client().await?;
            match watch.over(client.query_typed(query, &[(&id, Type::TEXT)])).await {
                Ok(rows) => Ok(!rows.is_empty()),
                Err(error) if postgres::is_no_text(&error) => Ok(false),
                Err(error) => Err(postgres::explain(error)),
            }
        })
        .await
    }

    /// Stores the key and deletes the row in one transaction, and makes the writer read the erased keys before its next
    /// batch. Returns the number of rows. If the row is still there, the key stays stored: no process serves the order.
    ///
    /// # Errors
    /// What can't be reached; what keeps the row.
    pub(super) async fn erase(&mut self, id: &str) -> anyhow::Result<u64> {
        with_long_timeout(async {
            self.prepare().await?;
            let erased = match self.remember_and_delete(id, true).await? {
                // With the table's name it is too long for an index entry. A key from the stream never is, so only an
                // import can bring this order back.
                Err(error) if is_too_long(&error) && !Key::is_from_stream(id) => {
                    tracing::warn!(
                        id = shown(id),
                        "the erased id is too long to be stored: an import can bring it back"
                    );
                    self.remember_and_delete(id, false).await?
                }
                // There is neither an erased key nor a row.
                Err(error) if postgres::is_no_text(&error) => return Ok(0),
                erased => erased,
            };
            let Deleted { rows, is_there } = erased.map_err(postgres::explain)?;
            if is_there {
                let table = self.settings.table.clone();
                let (client, watch) = self.client().await?;
                let why = watch.over(kept_rows::why_rows_stay(client, &table)).await;
                anyhow::bail!("PostgreSQL keeps the row: {}", why.map_err(postgres::explain)?);
            }
            Ok(rows)
        })
        .await
    }

    async fn prepare(&mut self) -> anyhow::Result<()> {
        if !self.is_prepared {
            let table = self.settings.table.clone();
            let (client, watch) = self.client().await?;
            watch.over(postgres::create_erased_table(client, &table)).await.map_err(postgres::explain)?;
            self.is_prepared = true;
        }
        Ok(())
    }

    async fn remember_and_delete(
        &mut self,
        id: &str,
        remembers: bool,
    ) -> anyhow::Result<Result<Deleted, Error>> {
        let table = self.settings.table.clone();
        let remember = format!(
            "INSERT INTO {} (table_name, id) VALUES ({}, $1) ON CONFLICT (table_name, id) DO NOTHING",
            postgres::erased_table(&table),
            table.literal()
        );
        let delete = format!("DELETE FROM {} WHERE id = $1 RETURNING 1", table.quoted());
        // A trigger or a policy may have kept it.
        let look = format!("SELECT 1 FROM {} WHERE id = $1", table.quoted());
        let has_positions = format!("SELECT to_regclass({}) IS NOT NULL", position::literal(&table));
        let lock_positions = fence::lock_positions(&table);
        let break_fences = fence::break_fences(&table, &fence::last_row_without_erased(&table));
        let (client, watch) = self.client().await?;
        let both = async {
            let both = client.transaction().await?;
            let has_positions = both.query_one(&has_positions, &[]).await?.try_get(0)?;
            if has_positions {
                // One erasure after the other, so that none leaves a row as the last one that another erases.
                both.query_typed(&lock_positions, &[]).await?;
            }
            if remembers {
                both.query_typed(&remember, &[(&id, Type::TEXT)]).await?;
            }
            let deleted = both.query_typed(&delete, &[(&id, Type::TEXT)]).await?;
            let left = both.query_typed(&look, &[(&id, Type::TEXT)]).await?;
            if has_positions {
                both.query_typed(&break_fences, &[(&id, Type::TEXT)]).await?;
            }
            both.commit().await?;
            Ok(Deleted { rows: deleted.len() as u64, is_there: !left.is_empty() })
        };
        Ok(watch.over(both).await)
    }

    async fn client(&mut self) -> anyhow::Result<(&mut Client, Arc<SessionWatch>)> {
        let opened = match self.connection.take().filter(|opened| !opened.client.is_closed()) {
            Some(opened) => opened,
            None => postgres::connect_once(&self.settings).await?,
        };
        let watch = opened.watch();
        Ok((&mut self.connection.insert(opened).client, watch))
    }
}

fn is_too_long(error: &Error) -> bool {
    error.code() == Some(&SqlState::PROGRAM_LIMIT_EXCEEDED)
}

async fn with_long_timeout<T>(query: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(LONG_TIMEOUT, query).await.unwrap_or_else(|_| Err(Abandoned::TimedOut.into()))
}
