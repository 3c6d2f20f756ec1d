//! The command line: raw flags and environment variables.
//!
//! `config` turns these raw values into settings.
#![allow(
    rustdoc::bare_urls,
    rustdoc::broken_intra_doc_links,
    reason = "these comments are the text of --help"
)]

pub(crate) mod error;
pub(crate) mod parse;
mod misspelt;
mod connection_args;
mod model;
mod serve;
mod traces;
mod publish;
mod table;
mod dead_letters;
mod erase;
#[cfg(feature = "drain-stan")]
mod drain_stan;
mod check;

use clap::{Parser, Subcommand};

pub use self::check::{CheckArgs, CompletionsArgs, ManualArgs};
pub use self::connection_args::{HttpArgs, NatsArgs, PgArgs, PgFormat};
pub use self::dead_letters::{
    DeadLetterDrop, DeadLetterList, DeadLetterReplay, DeadLetterShow, DeadLettersArgs, DeadLettersCommand,
    WhichDeadLetters,
};
#[cfg(feature = "drain-stan")]
pub use self::drain_stan::DrainStanArgs;
pub use self::erase::EraseArgs;
pub use self::misspelt::{MisspeltVariable, misspelt};
pub use self::model::{
    InferArgs, ModelArgs, ModelCheckArgs, ModelCommand, ModelCommandArgs, OrderArgs, RustTypesArgs,
    TypesArgs, TypescriptTypesArgs, UnknownMembers,
};
pub use self::parse::{CommandLineError, parse};
pub use self::publish::PublishArgs;
pub use self::serve::{KeepArgs, LogFormat, ServeArgs};
pub use self::table::{ExportArgs, ImportArgs, VerifyArgs};
pub use self::traces::TracesArgs;
use crate::version;

/// Reads orders, or the documents that MODEL describes, from NATS, stores each exactly once in PostgreSQL, and serves
/// them over HTTP from memory.
#[derive(Parser, Debug)]
#[command(name = "orderd", version = version::text(), propagate_version = true, max_term_width = 110)]
#[command(after_help = "Without a command, orderd runs serve.\n\n\
    Exit codes: 0 stopped cleanly, 1 failed at run time, 2 wrong usage or configuration.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the service.
    Serve(ServeArgs),
    /// Send documents to NATS.
    Publish(PublishArgs),
    /// Write the table as JSON lines to stdout.
    Export(ExportArgs),
    /// Read JSON lines, as export writes them, into the table.
    Import(ImportArgs),
    /// Check whether a running service is ready, or test the settings before a start.
    Check(CheckArgs),
    /// List, replay or drop refused messages.
    #[command(name = "dead-letters")]
    DeadLetters(DeadLettersArgs),
    /// Compare stream, table and memory of a running installation.
    Verify(VerifyArgs),
    /// Infer, print and check models of documents.
    Model(ModelCommandArgs),
    /// Erase documents everywhere and permanently.
    Erase(EraseArgs),
    /// Print shell completions.
    Completions(CompletionsArgs),
    /// Write man pages into a folder.
    Manual(ManualArgs),
    /// Move the rest of a NATS Streaming channel into the stream, each message once.
    #[cfg(feature = "drain-stan")]
    #[command(name = "drain-stan")]
    DrainStan(DrainStanArgs),
}
