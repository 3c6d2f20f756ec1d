//! `orderd export`, `import` and `verify`.

use std::path::PathBuf;

use clap::Args;

use super::connection_args::{HttpArgs, NatsArgs, PgArgs};
use super::model::{ModelArgs, OrderArgs, UnknownMembers};
use super::serve::KeepArgs;

/// `orderd export`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example:\n  orderd export > orders.jsonl")]
pub struct ExportArgs {
    #[command(flatten)]
    pub(crate) pg: PgArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

/// `orderd import`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example:\n  orderd import orders.jsonl\n\n\
    Existing rows are not changed, so it can be run again.")]
pub struct ImportArgs {
    /// Lines {"id":…,"order":{…}}; - reads stdin.
    #[arg(default_value = "-", value_name = "FILE|-")]
    pub from: PathBuf,
    /// Members that the model lacks: ignore drops them where rows are gob, and names them at the end; refuse does not
    /// import such lines, and names each.
    #[arg(long, env = "UNKNOWN", default_value = "ignore", value_name = "ignore|refuse")]
    pub unknown: UnknownMembers,
    #[command(flatten)]
    pub(crate) pg: PgArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

/// `orderd verify`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example:\n  orderd verify && echo all there\n\n\
    If it finds differences, it compares again for ten seconds, so that documents in flight can arrive. Messages that left \
    the stream before they were read are a difference until their count is cleared.\n\n\
    Exit codes: 0 no differences except documents in flight, 1 differences.")]
pub struct VerifyArgs {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) pg: PgArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    #[command(flatten)]
    pub(crate) orders: OrderArgs,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
}
