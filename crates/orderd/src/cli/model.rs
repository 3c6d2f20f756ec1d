//! The flags of the model, and of `orderd model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::servers::PgArgs;

/// What documents must have and by what they are found.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Documents")]
pub struct OrderArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Members that must be there and not empty, separated by commas; a document without one is a dead letter. none
    /// takes all that decodes. By default order_uid, where the model has it.
    #[arg(long, env = "REQUIRE", value_name = "MEMBER,…")]
    pub require: Option<String>,
    /// Members that the model lacks: ignore names each once in the log, refuse makes such a document a dead letter, to
    /// be replayed when the model has them.
    #[arg(long, env = "UNKNOWN", default_value = "ignore", value_name = "ignore|refuse")]
    pub unknown: UnknownMembers,
}

/// What becomes of members that the model lacks.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownMembers {
    /// They are left out.
    Ignore,
    /// The document is refused.
    Refuse,
}

/// What documents look like.
#[derive(Args, Debug, Clone)]
pub struct ModelArgs {
    /// What documents look like: a sample, several (separated by commas, or a folder), or a JSON Schema; any for JSON
    /// objects of any form, kept and served byte for byte. By default the order that is built in.
    #[arg(long, env = "MODEL", value_name = "FILE,…")]
    pub model: Option<String>,
}

/// `orderd model`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd model infer samples/*.json > parcel.schema.json\n  \
    orderd model go parcel.schema.json > parcel.go\n  orderd model check --model newer.json older.json\n  \
    PG_HOST=db MODEL=newer.json orderd model check")]
pub struct ModelCommandArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: ModelCommand,
}

/// What to do with the model.
#[derive(Subcommand, Debug, Clone)]
pub enum ModelCommand {
    /// Print the model of sample documents as a JSON Schema.
    Infer(InferArgs),
    /// Print the types for programs in Go, which also read the table's rows.
    Go(TypesArgs),
    /// Print the types for programs in Rust, with the traits of serde.
    Rust(RustTypesArgs),
    /// Print the types for programs in TypeScript.
    Typescript(TypesArgs),
    /// Say whether what was written under an older model is readable, member by member.
    Check(ModelCheckArgs),
}

/// `orderd model infer`
#[derive(Args, Debug, Clone)]
pub struct InferArgs {
    /// Sample documents, or folders of them.
    #[arg(required = true, value_name = "SAMPLE")]
    pub samples: Vec<PathBuf>,
}

/// `orderd model go` and `typescript`
#[derive(Args, Debug, Clone)]
pub struct TypesArgs {
    /// Sample documents or a JSON Schema, in place of MODEL.
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
    /// Also with the traits of the crate gobwire, for programs that read the table's rows.
    #[arg(long)]
    pub gob: bool,
}

/// `orderd model check`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd model check --model newer.json older.json\n  \
    PG_HOST=db MODEL=newer.json orderd model check\n\n\
    Exit codes: 0 all of it is readable, 1 some is not.")]
pub struct ModelCheckArgs {
    /// Samples, a folder of them, or a JSON Schema: the older model. Without it, the table's rows are read.
    #[arg(value_name = "OLD")]
    pub older: Option<String>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) pg: PgArgs,
}
