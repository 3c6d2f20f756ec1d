//! The flags of the model, and of `orderd model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::connection_args::{PgArgs, PgFormat};

/// Rules for documents.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Documents")]
pub struct OrderArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Members that must be present and not empty, separated by commas; a document without them becomes a dead letter.
    /// none requires nothing. By default order_uid, if the model has it.
    #[arg(long, env = "REQUIRE", value_name = "MEMBER,…")]
    pub require: Option<String>,
    /// Members that the model lacks: ignore logs each name once, up to 1,000 names; refuse makes such a document a dead
    /// letter, to be replayed once the model has them.
    #[arg(long, env = "UNKNOWN", default_value = "ignore", value_name = "ignore|refuse")]
    pub unknown: UnknownMembers,
}

/// What to do with members that the model lacks.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownMembers {
    /// Drop them.
    Ignore,
    /// Refuse the document.
    Refuse,
}

/// The setting `MODEL`.
#[derive(Args, Debug, Clone)]
pub struct ModelArgs {
    /// Model of the documents: a sample, several samples, or one JSON Schema; any for arbitrary JSON objects, stored and
    /// served byte for byte. Several files are separated by commas, and read from first to last. Of a folder, the files
    /// that end in .json are read, sorted by name. Documents are named after the first file, or after the title of the
    /// schema. By default the built-in order.
    #[arg(long, env = "MODEL", value_name = "FILE,…")]
    pub model: Option<String>,
}

/// `orderd model`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd model infer samples/*.json > parcel.schema.json\n  \
    orderd model go parcel.schema.json > parcel.go\n  orderd model check --model newer.json older.json\n  \
    PG_HOST=db MODEL=newer.json orderd model check")]
pub struct ModelCommandArgs {
    /// The subcommand.
    #[command(subcommand)]
    pub command: ModelCommand,
}

/// What to do with the model.
#[derive(Subcommand, Debug, Clone)]
pub enum ModelCommand {
    /// Print the model of sample documents as a JSON Schema.
    Infer(InferArgs),
    /// Print types for Go programs, which can also decode the table's rows.
    Go(TypesArgs),
    /// Print types for Rust programs, with serde's traits.
    Rust(RustTypesArgs),
    /// Print types for TypeScript programs.
    Typescript(TypescriptTypesArgs),
    /// Print, member by member, whether documents of an older model are readable.
    Check(ModelCheckArgs),
}

/// `orderd model infer`
#[derive(Args, Debug, Clone)]
pub struct InferArgs {
    /// Sample documents, or folders of them (their files that end in .json), read from first to last.
    #[arg(required = true, value_name = "SAMPLE")]
    pub samples: Vec<PathBuf>,
}

/// `orderd model go`, and what `rust` and `typescript` have too
#[derive(Args, Debug, Clone)]
pub struct TypesArgs {
    /// Sample documents or a JSON Schema, instead of MODEL.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

/// `orderd model rust`
#[derive(Args, Debug, Clone)]
pub struct RustTypesArgs {
    #[command(flatten)]
    pub(crate) types: TypesArgs,
    /// Add the traits of the crate gobwire, for programs that decode the table's rows.
    #[arg(long)]
    pub gob: bool,
}

/// `orderd model typescript`
#[derive(Args, Debug, Clone)]
pub struct TypescriptTypesArgs {
    #[command(flatten)]
    pub(crate) types: TypesArgs,
    /// Format of the table's rows: documents of jsonb and json rows may lack members, and have null.
    #[arg(long, env = "PG_FORMAT", default_value = "gob", value_name = "gob|jsonb|json")]
    pub rows: PgFormat,
}

/// `orderd model check`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd model check --model newer.json older.json\n  \
    PG_HOST=db MODEL=newer.json orderd model check\n\n\
    Exit codes: 0 all readable, 1 not all, or not known.")]
pub struct ModelCheckArgs {
    /// The older model: samples, a folder of samples, a JSON Schema, or any. Without it, the command checks the table's
    /// rows.
    #[arg(value_name = "OLD")]
    pub older: Option<String>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) pg: PgArgs,
}
