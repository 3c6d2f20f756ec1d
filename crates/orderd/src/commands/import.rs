//! `orderd import`: inserts JSON lines, as export writes them, into the table. Existing rows stay unchanged. A line that
//! can't be imported is named and does not keep the others out: a backup may have rows that other programs wrote.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use order::{Layouts, Parser};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::progress::Progress;
use crate::cli::{ImportArgs, UnknownMembers};
use crate::config::{self, Postgres};
use crate::postgres::{self, Connection, Data, STALL_TIMEOUT};
use crate::wording::counted;

/// Rows in one transaction.
const BATCH_ROWS: usize = 1000;
const BATCH_BYTES: usize = 8 << 20;

/// Maximum number of refused lines to name.
const MAX_NAMED: u64 = 20;

#[derive(Deserialize)]
struct ImportLine<'l> {
    id: String,
    #[serde(borrow)]
    order: &'l RawValue,
    /// The document as text, if it has line breaks.
    text: Option<String>,
}

/// Rows that wait to be written.
#[derive(Default)]
struct ImportBatch {
    ids: Vec<String>,
    rows: Vec<Data<Vec<u8>>>,
    /// Their line numbers, for messages.
    lines: Vec<u64>,
    bytes: usize,
}

/// Writes each line's order, and names the lines that it can't write. Running it again changes nothing.
///
/// # Errors
/// Lines were refused; or what could not be read or reached, after which nothing more is written.
pub async fn run(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let model = config::model(&args.model)?;
    let settings = Postgres::new(&args.pg)?.of_model(&args.pg, &model)?;
    // First, so that a wrong name is not hidden behind a server that is away.
    let input = open(&args.from).await?;
    let connection = postgres::connect_once(&settings).await?;
    let traits = postgres::prepare_to_write(&connection, &settings).await?;
    let insert =
        postgres::insert(&connection.client, &settings.table, traits).await.map_err(postgres::explain)?;
    let insert = connection.client.prepare(&insert).await.map_err(postgres::explain)?;
    let mut lines = input.split(b'\n');
    let layouts = Layouts::new(model.shape())?;
    let parser = Parser::new(model.shape());
    let mut parser = match args.unknown {
        UnknownMembers::Ignore => parser,
        UnknownMembers::Refuse => parser.refusing_unknown(),
    };
    parser.set_format(traits.format);
    let progress = Progress::new(None, model.plural());
    let (mut batch, mut number, mut written) = (ImportBatch::default(), 0_u64, 0);
    let mut refused = RefusedLines::default();
    while let Some(line) =
        lines.next_segment().await.with_context(|| format!("can't read line {}", number + 1))?
    {
        number += 1;
        let line = without_mark(&line, number);
        if line.trim_ascii().is_empty() {
            continue;
        }
        if let Err(error) = batch.add(line, number, &mut parser, &layouts) {
            refused.add(number, &error);
            continue;
        }
        progress.add(1);
        if batch.ids.len() >= BATCH_ROWS || batch.bytes >= BATCH_BYTES {
            written += batch.write(&connection, &insert, &mut refused).await?;
        }
    }
    written += batch.write(&connection, &insert, &mut refused).await?;
    super::complain(&format!("{}; {written} of them new", progress.finish(model.plural())));
    let unknown = parser.unknown();
    if unknown.count > 0 && !traits.format.is_document() {
        let was = if unknown.count == 1 { "was" } else { "were" };
        super::complain(&format!(
            "{} that the model lacks {was} dropped: {:?}",
            counted(unknown.count, "member"),
            unknown.names
        ));
    }
    refused.end()
}

async fn open(file: &Path) -> anyhow::Result<Box<dyn AsyncBufRead + Unpin + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(tokio::io::stdin())));
    }
    let opened = tokio::fs::File::open(file).await;
    Ok(Box::new(BufReader::new(opened.with_context(|| format!("can't read {}", file.display()))?)))
}

/// The byte order mark that programs on Windows write is not part of the text.
fn without_mark(line: &[u8], number: u64) -> &[u8] {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    if number == 1 { line.strip_prefix(MARK).unwrap_or(line) } else { line }
}

/// The lines that can't be imported.
#[derive(Default)]
struct RefusedLines(u64);

impl RefusedLines {
    fn add(&mut self, line: u64, why: &anyhow::Error) {
        self.0 += 1;
        if self.0 <= MAX_NAMED {
            super::complain(&format!("line {line} can't be imported: {why:#}"));
        }
    }

    fn end(self) -> anyhow::Result<ExitCode> {
        let unnamed = match self.0.saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!(", {more} of them not named"),
        };
        anyhow::ensure!(
            self.0 == 0,
            "{} can't be imported{unnamed}; all others are in the table",
            counted(self.0, "line")
        );
        Ok(ExitCode::SUCCESS)
    }
}

impl ImportBatch {
    fn add(
        &mut self,
        line: &[u8],
        number: u64,
        parser: &mut Parser,
        layouts: &Layouts,
    ) -> anyhow::Result<()> {
        let line = std::str::from_utf8(line)
            .map_err(|error| anyhow::anyhow!("it is not UTF-8 (after byte {})", error.valid_up_to()))?;
        // The parser's own message may quote values.
        let ImportLine { id, order, text } = serde_json::from_str(line).map_err(|error| {
            anyhow::anyhow!(
                "it is not {{\"id\":…,\"order\":{{…}}}}, as orderd export writes it (column {})",
                error.column()
            )
        })?;
        anyhow::ensure!(!id.contains('\0'), "its id contains a null character, which PostgreSQL can't store");
        let text = text.as_deref().unwrap_or(order.get());
        let order = parser.parse(text.as_bytes(), &id)?;
        // The service could not decode such a row.
        anyhow::ensure!(
            parser.shares_member() || order.body().document().is_some(),
            "the document has no member of the model, so its row would be empty: set MODEL to the model of these documents"
        );
        let mut row = Vec::new();
        layouts.write_row(&order, &mut row);
        self.bytes += row.len();
        self.ids.push(id);
        self.rows.push(Data(row));
        self.lines.push(number);
        Ok(())
    }

    async fn write(
        &mut self,
        connection: &Connection,
        insert: &Statement,
        refused: &mut RefusedLines,
    ) -> anyhow::Result<u64> {
        let batch = std::mem::take(self);
        let inserted = batch.insert(connection, insert, &[&batch.ids, &batch.rows]).await?;
        match inserted {
            Ok(written) => Ok(written),
            Err(_) => batch.write_each(connection, insert, refused).await,
        }
    }

    /// The inner error is PostgreSQL's refusal.
    async fn insert(
        &self,
        connection: &Connection,
        insert: &Statement,
        rows: &[&(dyn ToSql + Sync)],
    ) -> anyhow::Result<Result<u64, tokio_postgres::Error>> {
        let inserted = connection.unless_stuck(STALL_TIMEOUT, connection.client.execute(insert, rows)).await;
        match inserted.map_err(|stuck| self.away(stuck.into()))? {
            Err(error) if error.as_db_error().is_none() => Err(self.away(postgres::explain(error))),
            inserted => Ok(inserted),
        }
    }

    /// One by one, because PostgreSQL refuses one of the rows.
    async fn write_each(
        &self,
        connection: &Connection,
        insert: &Statement,
        refused: &mut RefusedLines,
    ) -> anyhow::Result<u64> {
        let mut written = 0;
        for ((id, Data(row)), &line) in self.ids.iter().zip(&self.rows).zip(&self.lines) {
            match self.insert(connection, insert, &[&vec![id], &vec![Data(row)]]).await? {
                Ok(new) => written += new,
                Err(error) if error.code().is_some_and(postgres::is_of_a_row) => {
                    refused.add(line, &postgres::explain(error));
                }
                Err(error) => return Err(self.away(postgres::explain(error))),
            }
        }
        Ok(written)
    }

    fn away(&self, error: anyhow::Error) -> anyhow::Error {
        let first = self.lines.first().copied().unwrap_or_default();
        error.context(format!("lines from {first} on may not be written; run this again with the same input"))
    }
}
