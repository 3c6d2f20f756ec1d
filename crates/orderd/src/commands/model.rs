//! `orderd model`: prints the model as a JSON Schema or as types for programs, and checks whether rows of an older
//! model can be read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::StreamExt;
use model::{Change, Model};
use order::{Layouts, RowFormat, RowReader};
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::Type;

use super::progress::Progress;
use crate::cli::{ModelCheckArgs, ModelCommand, ModelCommandArgs, PgFormat, TypesArgs};
use crate::config::{self, ConfigError, Postgres};
use crate::postgres;
use crate::wording::counted;

/// Maximum number of writers' models that are reported one by one; rows of further ones are only counted.
const MAX_WRITERS: usize = 100;

/// Runs a subcommand. Exit code 1 if documents are not readable.
///
/// # Errors
/// An invalid model, or a table that can't be read.
pub async fn run(args: ModelCommandArgs) -> anyhow::Result<ExitCode> {
    let text = match args.command {
        ModelCommand::Infer(args) => of_files(&args.samples)?.json_schema() + "\n",
        ModelCommand::Go(args) => of_types(&args)?.go(),
        ModelCommand::Rust(args) => of_types(&args.types)?.rust(args.gob),
        ModelCommand::Typescript(args) => of_types(&args.types)?.typescript(args.rows != PgFormat::Gob),
        ModelCommand::Check(args) => return check(args).await,
    };
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn of_types(args: &TypesArgs) -> Result<Arc<Model>, ConfigError> {
    let model =
        if args.files.is_empty() { config::model(&args.model)? } else { Arc::new(of_files(&args.files)?) };
    if model.is_any() {
        let problem = "documents of any form have no types; name a sample: orderd model infer, go, rust and typescript take files";
        return Err(ConfigError::new("MODEL", problem));
    }
    Ok(model)
}

fn of_files(named: &[PathBuf]) -> Result<Model, ConfigError> {
    let mut files = Vec::new();
    for path in named {
        files.extend(config::files_at(path)?);
    }
    config::read(&files, &config::called(named.first().map_or(Path::new(""), PathBuf::as_path)))
}

async fn check(args: ModelCheckArgs) -> anyhow::Result<ExitCode> {
    let model = config::model(&args.model)?;
    let Some(older) = &args.older else { return check_table(&model, &Postgres::new(&args.pg)?).await };
    if model.is_any() {
        super::print("readable: MODEL=any takes any JSON object\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let older = config::read(&config::files(older)?, "")?;
    let changes = model.changes_since(&older);
    let is_readable = !changes.iter().any(Change::is_fatal);
    let verdict = match (changes.is_empty(), is_readable) {
        (true, _) => "the models are the same",
        (false, true) => "readable",
        (false, false) => "NOT readable",
    };
    super::print(&format!("{}{verdict}\n", lines(&changes)))?;
    Ok(if is_readable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn lines(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("{change}\n")).collect()
}

/// Rows that were written by the same types.
#[derive(Default)]
struct RowsOfTypes {
    rows: u64,
    unreadable: u64,
    /// Why the first of these is not.
    problem: Option<String>,
    changes: Vec<Change>,
}

async fn check_table(model: &Model, settings: &Postgres) -> anyhow::Result<ExitCode> {
    let connection = postgres::connect_once(settings).await?;
    let format =
        postgres::format_of_table(&connection.client, &settings.table).await.map_err(postgres::explain)?;
    let copy = format!("COPY (SELECT data FROM {}) TO STDOUT (FORMAT binary)", settings.table.quoted());
    let rows = connection.client.copy_out(&copy).await.map_err(postgres::explain)?;
    let mut rows = std::pin::pin!(BinaryCopyOutStream::new(rows, &[Type::BYTEA]));
    let layouts = Arc::new(Layouts::new(model.shape())?);
    let mut reader = RowReader::new(layouts.clone());
    reader.set_format(format);
    let progress = Progress::new(None, "rows");
    let mut writers: HashMap<Vec<u8>, RowsOfTypes> = HashMap::new();
    while let Some(row) = rows.next().await {
        let row = row.map_err(postgres::explain)?;
        let data: Option<&[u8]> = row.try_get(0)?;
        progress.add(1);
        let data = data.unwrap_or_default();
        // Documents do not say by which types they were written.
        let is_gob = format == RowFormat::Gob;
        let descriptors = if is_gob { order::descriptors(data).unwrap_or_default() } else { &[] };
        let is_known = writers.len() < MAX_WRITERS || writers.contains_key(descriptors);
        let written = writers.entry(if is_known { descriptors.to_vec() } else { Vec::new() }).or_default();
        if written.rows == 0 && is_gob {
            written.changes = order::shape_of(data).map(|was| model.changes_from(was)).unwrap_or_default();
        }
        written.rows += 1;
        let problem = match reader.read("", data) {
            Ok(body) if layouts.shares_member(&body) => continue,
            Ok(_) => "no member of the document is one of the model".to_owned(),
            Err(error) => error.to_string(),
        };
        written.unreadable += 1;
        written.problem.get_or_insert(problem);
    }
    super::complain(&progress.finish("rows"));
    let mut writers: Vec<RowsOfTypes> = writers.into_values().collect();
    writers.sort_by_key(|written| std::cmp::Reverse(written.rows));
    super::print(&report(&writers))?;
    let all = writers.iter().all(|written| written.unreadable == 0);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(writers: &[RowsOfTypes]) -> String {
    let mut text = String::new();
    for written in writers {
        let verdict = match (written.unreadable, &written.problem) {
            (0, _) | (_, None) => "readable".to_owned(),
            (some, Some(problem)) => format!("{some} NOT readable: {problem}"),
        };
        text += &format!("{}: {verdict}\n", counted(written.rows, "row"));
        for change in &written.changes {
            text += &format!("  {change}\n");
        }
    }
    let (rows, unreadable) =
        writers.iter().fold((0, 0), |(rows, not), written| (rows + written.rows, not + written.unreadable));
    text + &format!("{} of {} readable\n", rows - unreadable, counted(rows, "row"))
}
