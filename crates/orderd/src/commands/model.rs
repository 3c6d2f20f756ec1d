//! `orderd model`: prints the model as a JSON Schema or as types for programs, and checks whether rows of an older
//! model can be read.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::StreamExt;
use model::{Change, Model};
use order::{Difference, DifferenceKind, Layouts, RowError, RowFormat, RowReader, Survey};
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::Type;

use super::progress::Progress;
use crate::cli::{ModelCheckArgs, ModelCommand, ModelCommandArgs, PgFormat, TypesArgs};
use crate::config::{self, ConfigError, Postgres};
use crate::fill_progress::{FillProgress, ModelFit};
use crate::postgres;
use crate::wording::counted;

/// Maximum number of writers' models that are reported one by one; rows of further ones are only counted.
const MAX_WRITERS: usize = 100;

/// Maximum number of different problems of one writer's rows that are counted apart.
const MAX_PROBLEMS: usize = 20;

/// Maximum number of documents whose members are compared with the model. All rows are read.
const MAX_SURVEYED_ROWS: u64 = 1_000_000;

const FOREIGN: &str = "no member of the document is one of the model";

/// Runs a subcommand. Exit code 1 if documents are not readable.
///
/// # Errors
/// An invalid model, or a table that can't be read.
pub async fn run(args: ModelCommandArgs) -> anyhow::Result<ExitCode> {
    let text = match args.command {
        ModelCommand::Infer(args) => of_files("SAMPLE", &args.samples)?.json_schema() + "\n",
        ModelCommand::Go(args) => of_types(&args)?.go(),
        ModelCommand::Rust(args) => of_types(&args.types)?.rust(args.gob),
        ModelCommand::Typescript(args) => of_types(&args.types)?.typescript(args.rows != PgFormat::Gob),
        ModelCommand::Check(args) => return check(args).await,
    };
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn of_types(args: &TypesArgs) -> Result<Arc<Model>, ConfigError> {
    let model = if args.files.is_empty() {
        config::model(&args.model)?
    } else {
        Arc::new(of_files("FILE", &args.files)?)
    };
    if model.is_any() {
        let problem = "documents of any form have no types; name a sample: orderd model infer, go, rust and typescript take files";
        return Err(ConfigError::new("MODEL", problem));
    }
    Ok(model)
}

fn of_files(argument: &'static str, named: &[PathBuf]) -> Result<Model, ConfigError> {
    let mut files = Vec::new();
    for path in named {
        files.extend(config::files_at(argument, path)?);
    }
    config::read(argument, &files, &config::called(named.first().map_or(Path::new(""), PathBuf::as_path)))
}

async fn check(args: ModelCheckArgs) -> anyhow::Result<ExitCode> {
    let model = config::model(&args.model)?;
    let Some(older) = &args.older else {
        return check_table(&model, &Postgres::new(&args.pg)?.of_model(&args.pg, &model)?).await;
    };
    let older = config::of_value("OLD", older)?;
    if older.is_any() != model.is_any() {
        let (verdict, code) = if older.is_any() { FROM_ANY } else { to_any(args.pg.pg_format) };
        super::print(&format!("{verdict}\n"))?;
        return Ok(code);
    }
    let changes = model.changes_since(&older);
    let is_readable = !changes.iter().any(Change::is_fatal);
    let is_same = model.fingerprint() == older.fingerprint();
    let verdict = match (changes.is_empty(), is_readable) {
        (true, _) if is_same => "the models are the same",
        (true, _) => "readable; the models differ in the order of members, or in the case of their names",
        (false, true) => "readable",
        (false, false) => "NOT readable",
    };
    super::print(&format!("{}{verdict}\n", lines(&changes)))?;
    Ok(if is_readable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether documents of `MODEL=any` are readable under a model.
const FROM_ANY: (&str, ExitCode) = (
    "not known: documents of MODEL=any may have any members; without OLD, orderd model check reads the table's rows",
    ExitCode::FAILURE,
);

/// Whether rows of this format are readable under `MODEL=any`.
fn to_any(format: Option<PgFormat>) -> (&'static str, ExitCode) {
    match format {
        Some(PgFormat::Json) => ("readable: MODEL=any takes any JSON object", ExitCode::SUCCESS),
        Some(PgFormat::Jsonb) => {
            ("NOT readable: MODEL=any needs rows of json, and PG_FORMAT is jsonb", ExitCode::FAILURE)
        }
        None | Some(PgFormat::Gob) => (
            "NOT readable: MODEL=any needs rows of json, and rows are gob unless PG_FORMAT says otherwise; without OLD, orderd \
             model check reads the table's rows",
            ExitCode::FAILURE,
        ),
    }
}

fn lines(differences: &[impl Display]) -> String {
    differences.iter().map(|difference| format!("{difference}\n")).collect()
}

/// Rows that were written by the same types.
#[derive(Default)]
struct RowsOfTypes {
    rows: u64,
    unreadable: u64,
    /// Documents without a member of the model: readable, unless most rows are such.
    foreign: u64,
    /// Problems that no change explains, and how many rows have each.
    problems: BTreeMap<String, u64>,
    /// Of the types of gob rows.
    changes: Vec<Change>,
}

impl RowsOfTypes {
    fn add_problem(&mut self, problem: String) {
        let is_known = self.problems.len() < MAX_PROBLEMS || self.problems.contains_key(&problem);
        let problem = if is_known { problem } else { "other problems".to_owned() };
        *self.problems.entry(problem).or_default() += 1;
    }

    /// Whether the changes explain why a type does not fit.
    fn has_unreadable_member(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::Unreadable { .. }))
    }
}

async fn check_table(model: &Model, settings: &Postgres) -> anyhow::Result<ExitCode> {
    let connection = postgres::connect_once(settings).await?;
    let format =
        postgres::format_of_table(&connection.client, &settings.table).await.map_err(postgres::explain)?;
    if let Some(finding) = postgres::wrong_format(format, settings) {
        super::print(&format!("NOT readable: {finding}\n"))?;
        return Ok(ExitCode::FAILURE);
    }
    let copy = format!("COPY (SELECT data FROM {}) TO STDOUT (FORMAT binary)", settings.table.quoted());
    let rows = connection.client.copy_out(&copy).await.map_err(postgres::explain)?;
    let mut rows = std::pin::pin!(BinaryCopyOutStream::new(rows, &[Type::BYTEA]));
    let mut reader = RowReader::new(Arc::new(Layouts::new(model.shape())?));
    reader.set_format(format);
    // Documents do not say by which types they were written, but have the names of their members.
    let is_gob = format == RowFormat::Gob;
    let mut survey = Survey::new(model.shape());
    let progress = Progress::new(None, "rows");
    // Judges the table as the service does.
    let fit = FillProgress::default();
    let mut writers: HashMap<Vec<u8>, RowsOfTypes> = HashMap::new();
    while let Some(row) = rows.next().await {
        let row = row.map_err(postgres::explain)?;
        let data: Option<&[u8]> = row.try_get(0)?;
        progress.add(1);
        fit.count_row();
        let descriptors = match data {
            Some(data) if is_gob => order::descriptors(data).unwrap_or_default(),
            _ => &[],
        };
        let is_known = writers.len() < MAX_WRITERS || writers.contains_key(descriptors);
        let written = writers.entry(if is_known { descriptors.to_vec() } else { Vec::new() }).or_default();
        written.rows += 1;
        let Some(data) = data else {
            fit.count_undecodable(None);
            written.unreadable += 1;
            written.add_problem("the row is null".to_owned());
            continue;
        };
        if written.rows == 1 && is_gob {
            written.changes =
                order::shape_of(data).map(|was| model.changes_since_rows(was)).unwrap_or_default();
        }
        let has_wrong_member = !is_gob && survey.rows() < MAX_SURVEYED_ROWS && survey.add(format, data);
        let error = match reader.read("", data) {
            Ok(_) => {
                fit.count_readable(reader.shares_member());
                written.foreign += u64::from(!reader.shares_member());
                continue;
            }
            Err(error) => error,
        };
        fit.count_undecodable(Some(&error));
        let problem = match error {
            RowError::Type(_) if has_wrong_member || written.has_unreadable_member() => None,
            error => Some(error.to_string()),
        };
        written.unreadable += 1;
        problem.into_iter().for_each(|problem| written.add_problem(problem));
    }
    super::complain(&progress.finish("rows"));
    let mut writers: Vec<RowsOfTypes> = writers.into_values().collect();
    writers.sort_by_key(|written| std::cmp::Reverse(written.rows));
    if fit.decide_model_fit() == ModelFit::Misfit {
        for written in &mut writers {
            written.unreadable += written.foreign;
            if written.foreign > 0 {
                written.problems.insert(FOREIGN.to_owned(), std::mem::take(&mut written.foreign));
            }
        }
    }
    fit.add_members(&reader.root_members());
    let little = fit.little_in_common(&settings.table);
    let little = little.map(|finding| format!("{finding}\n")).unwrap_or_default();
    super::print(&(report(&writers, &differences(&survey)) + &little))?;
    let all = writers.iter().all(|written| written.unreadable == 0);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What differs in documents, for a report.
fn differences(survey: &Survey) -> Vec<String> {
    let said = |Difference { path, kind }: Difference| match kind {
        DifferenceKind::Unreadable { found, expected, rows } => {
            let rows = counted(rows, "row");
            format!("{path}: {found} in {rows}, and {expected} in the model; NOT readable")
        }
        DifferenceKind::Unknown { rows } => {
            format!("{path}: in {}, and not in the model; served all the same", counted(rows, "row"))
        }
        DifferenceKind::Missing => format!("{path}: in no row"),
    };
    let mut differences: Vec<_> = survey.differences().into_iter().map(said).collect();
    if survey.is_cut() {
        differences.push("incomplete: there are more members than this list can hold".to_owned());
    }
    if survey.rows() == MAX_SURVEYED_ROWS {
        differences.push(format!("compared the members of the first {MAX_SURVEYED_ROWS} documents only"));
    }
    differences
}

/// `differences`: those of documents, whose rows have no types.
fn report(writers: &[RowsOfTypes], differences: &[String]) -> String {
    let mut text = String::new();
    for written in writers {
        let verdict = match written.unreadable {
            0 => "readable".to_owned(),
            some => format!("{some} NOT readable"),
        };
        text += &format!("{}: {verdict}\n", counted(written.rows, "row"));
        for (problem, rows) in &written.problems {
            text += &format!("  {} NOT readable: {problem}\n", counted(*rows, "row"));
        }
        if written.foreign > 0 {
            text += &format!("  {}: {FOREIGN}; served all the same\n", counted(written.foreign, "row"));
        }
        for change in &written.changes {
            text += &format!("  {change}\n");
        }
        for difference in differences {
            text += &format!("  {difference}\n");
        }
    }
    let (rows, unreadable) =
        writers.iter().fold((0, 0), |(rows, not), written| (rows + written.rows, not + written.unreadable));
    text + &format!("{} of {} readable\n", rows - unreadable, counted(rows, "row"))
}
