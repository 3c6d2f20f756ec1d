//! Whether the model fits the rows of the table, for `orderd check --settings`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use order::{Layouts, RowReader};
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::config::Settings;
use crate::fill_progress::{FillProgress, ModelFit};
use crate::finding::Finding;
use crate::postgres;

/// How long nothing is decided before a further connection asks whether the server still answers.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long rows are read: tables of a million rows are read whole.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Judges the rows of the table, if there is one, as `serve` does. Of a table that is too large for [`READ_LIMIT`], it
/// judges those that were read until then.
///
/// # Errors
/// The table can't be read.
pub(super) async fn run(settings: &Settings) -> anyhow::Result<Option<Finding>> {
    let connection = postgres::connect_once(&settings.postgres).await?;
    let judged = connection.watched(judge(&connection.client, settings));
    tokio::select! {
        judged = connection.unless_stuck(PATIENCE, judged) => judged?,
        lock = connection.lock() => anyhow::bail!(lock),
    }
}

async fn judge(client: &Client, settings: &Settings) -> anyhow::Result<Option<Finding>> {
    let table = &settings.postgres.table;
    let format = match postgres::format_of_table(client, table).await {
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => return Ok(None),
        asked => asked.map_err(postgres::explain)?,
    };
    let copy = format!("COPY (SELECT data FROM {}) TO STDOUT (FORMAT binary)", table.quoted());
    let rows = client.copy_out(&copy).await.map_err(postgres::explain)?;
    let mut rows = std::pin::pin!(BinaryCopyOutStream::new(rows, &[Type::BYTEA]));
    let mut reader = RowReader::new(Arc::new(Layouts::new(settings.model.shape())?));
    reader.set_format(format);
    let progress = FillProgress::default();
    let (begun, mut is_whole) = (Instant::now(), true);
    while let Some(row) = rows.next().await {
        let row = row.map_err(postgres::explain)?;
        progress.count_row();
        match row.try_get::<Option<&[u8]>>(0)?.map(|data| reader.read("", data)).transpose() {
            Ok(Some(_)) => progress.count_readable(reader.shares_member()),
            Ok(None) => drop(progress.count_undecodable(None)),
            Err(error) => drop(progress.count_undecodable(Some(&error))),
        }
        if begun.elapsed() >= READ_LIMIT {
            is_whole = false;
            break;
        }
    }
    if progress.decide_model_fit() != ModelFit::Misfit {
        progress.add_members(&reader.root_members());
        return Ok(progress.little_in_common(table));
    }
    let fix = "set MODEL or PG_TABLE; orderd model check says what differs";
    if is_whole {
        return Ok(Some(Finding::blocked(progress.misfit_in_words(table), fix)));
    }
    // Those that were not read may be of the model, and most rows decide.
    let unfit = progress.unfit_rows_in_words(table);
    let problem = format!("{unfit}, as far as the table was read; serve judges all its rows");
    Ok(Some(Finding::warning(problem, fix)))
}
