//! `orderd export`: the table as JSON lines, in the order of the pages.

use std::io::{BufWriter, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::StreamExt;
use order::{Layouts, RowReader};
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::Type;

use super::progress::Progress;
use crate::cli::ExportArgs;
use crate::config::{self, Postgres};
use crate::postgres::encoding::Encoding;
use crate::postgres::{self, STALL_TIMEOUT};

/// What to do where PostgreSQL stops answering.
const INCOMPLETE: &str = "the export is incomplete; run it again";

/// A document of a `json` column has its original white space. If there are line breaks, or white space around it, the
/// line also has the text as a string, so that `import` writes the same bytes.
fn keep_on_one_line(line: &mut Vec<u8>, start: usize) -> Result<(), String> {
    let text = &line[start..];
    let is_broken = text.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    if !is_broken && text.trim_ascii().len() == text.len() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(text).into_owned();
    // In strings, line breaks are escaped.
    line[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    line.extend_from_slice(b",\"text\":");
    serde_json::to_writer(line, &text).map_err(|error| error.to_string())
}

fn leave_out(id: &[u8]) {
    super::complain(&format!("row {} is skipped: its id can't be converted to UTF-8", id.escape_ascii()));
}

/// Writes `{"id":…,"order":{…}}` for each row. 1: some rows can't be decoded; they are named on stderr.
///
/// # Errors
/// Why the table can't be read or the lines not be written.
pub async fn run(args: ExportArgs) -> anyhow::Result<ExitCode> {
    let settings = Postgres::new(&args.pg)?;
    let model = config::model(&args.model)?;
    let connection = postgres::connect_once(&settings).await?;
    let table = settings.table.quoted();
    let encoding = Encoding::of(&connection.client).await.map_err(postgres::explain)?;
    let format =
        postgres::format_of_table(&connection.client, &settings.table).await.map_err(postgres::explain)?;
    let unreadable = encoding.unreadable_ids(&connection.client, &settings.table).await;
    let unreadable = unreadable.map_err(postgres::explain)?;
    let copy = format!(
        "COPY (SELECT {}, data FROM {table} WHERE {} ORDER BY id COLLATE \"C\") TO STDOUT (FORMAT binary)",
        encoding.raw_id(),
        Encoding::except(&unreadable)
    );
    let copied = connection.unless_stuck(STALL_TIMEOUT, connection.client.copy_out(&copy));
    let rows = copied.await.context(INCOMPLETE)?.map_err(postgres::explain)?;
    let mut rows = std::pin::pin!(BinaryCopyOutStream::new(rows, &[Type::BYTEA, Type::BYTEA]));
    let layouts = Arc::new(Layouts::new(model.shape())?);
    let mut reader = RowReader::new(layouts.clone());
    reader.set_format(format);
    let progress = Progress::new(None, model.plural());
    let mut out = BufWriter::with_capacity(1 << 18, std::io::stdout().lock());
    let mut skipped = unreadable.len() as u64;
    unreadable.iter().for_each(|id| leave_out(id));
    let mut line = Vec::new();
    while let Some(row) = connection.unless_stuck(STALL_TIMEOUT, rows.next()).await.context(INCOMPLETE)? {
        let row = row.map_err(postgres::explain)?;
        let (raw, data): (&[u8], Option<&[u8]>) = (row.try_get(0)?, row.try_get(1)?);
        let Some(id) = encoding.decode(raw) else {
            leave_out(raw);
            skipped += 1;
            continue;
        };
        line.clear();
        let decoded = data.ok_or("it is null".to_owned()).and_then(|data| {
            let body = reader.read("", data).map_err(|error| error.to_string())?;
            line.extend_from_slice(b"{\"id\":");
            serde_json::to_writer(&mut line, &id).map_err(|error| error.to_string())?;
            line.extend_from_slice(b",\"order\":");
            let start = line.len();
            layouts.write_json(&body, &mut line).map_err(|error| error.to_string())?;
            keep_on_one_line(&mut line, start)
        });
        if let Err(problem) = decoded {
            super::complain(&format!("row {id:?} can't be decoded, skipped: {problem}"));
            skipped += 1;
            continue;
        }
        line.extend_from_slice(b"}\n");
        match out.write_all(&line) {
            // The reader has closed the pipe.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            written => written.context("can't write the lines")?,
        }
        progress.add(1);
    }
    match out.flush() {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        flushed => flushed.context("can't write the lines")?,
    }
    super::complain(&progress.finish(model.plural()));
    Ok(if skipped == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
