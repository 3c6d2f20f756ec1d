//! Whether the model fits the rows of the table, for `orderd check --settings`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use order::{Layouts, RowReader};
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::config::Settings;
use crate::fill_progress::{FillProgress, ModelFit};
use crate::finding::Finding;
use crate::postgres;

/// Maximum number of rows to read.
const MAX_ROWS: u64 = 1_000;

/// Judges some rows of the table, if there is one, as `serve` judges all of them.
///
/// # Errors
/// The table can't be read.
pub(super) async fn run(settings: &Settings) -> anyhow::Result<Option<Finding>> {
    let table = &settings.postgres.table;
    let connection = postgres::connect_once(&settings.postgres).await?;
    let client = &connection.client;
    let format = match postgres::format_of_table(client, table).await {
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => return Ok(None),
        asked => asked.map_err(postgres::explain)?,
    };
    let copy =
        format!("COPY (SELECT data FROM {} LIMIT {MAX_ROWS}) TO STDOUT (FORMAT binary)", table.quoted());
    let rows = client.copy_out(&copy).await.map_err(postgres::explain)?;
    let mut rows = std::pin::pin!(BinaryCopyOutStream::new(rows, &[Type::BYTEA]));
    let layouts = Arc::new(Layouts::new(settings.model.shape())?);
    let mut reader = RowReader::new(layouts.clone());
    reader.set_format(format);
    let progress = FillProgress::default();
    while let Some(row) = rows.next().await {
        let row = row.map_err(postgres::explain)?;
        progress.count_row();
        match row.try_get::<Option<&[u8]>>(0)?.map(|data| reader.read("", data)).transpose() {
            Ok(Some(body)) => progress.count_readable(layouts.shares_member(&body)),
            Ok(None) => drop(progress.count_undecodable(None)),
            Err(error) => drop(progress.count_undecodable(Some(&error))),
        }
    }
    if progress.decide_model_fit() != ModelFit::Misfit {
        return Ok(None);
    }
    let misfit = progress.misfit_in_words(table);
    let fix = "set MODEL or PG_TABLE; orderd model check reads all rows, and says what differs";
    Ok(Some(match progress.rows.load(Ordering::Relaxed) {
        // The service judges all rows, and these may be the oldest.
        MAX_ROWS.. => Finding::warning(format!("of the first rows, {misfit}"), fix),
        _ => Finding::blocked(misfit, fix),
    }))
}
