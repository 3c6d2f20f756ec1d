//! `orderd erase`.

use clap::Args;

use super::connection_args::{HttpArgs, NatsArgs, PgArgs};
use super::model::ModelArgs;

/// `orderd erase`
#[derive(Args, Debug, Clone)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["ids", "criterion", "older_than"]))]
#[command(
    after_help = "Examples:\n  orderd erase 1700000000000000000-42\n  orderd erase --where order_uid=b563feb7b2b84b6test --yes\n  orderd erase --older-than 400d --dry-run\n\n\
    Deletes the row, the message in the stream and the dead letter, and stores the key, so that nothing brings the \
    document back. Prints how many there were. If it is interrupted, run it again to continue.\n\n\
    Exit codes: 0 erased; 1 nothing found, not confirmed, or not erased everywhere."
)]
pub struct EraseArgs {
    /// Ids of documents.
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// All documents with this value. The command asks the running service for their ids, so MEMBER must be in its
    /// SEARCH.
    #[arg(long = "where", value_name = "MEMBER=VALUE")]
    pub criterion: Option<String>,
    /// All documents older than this, rows and dead letters, by the time in their ids and PostgreSQL's clock: 12h, 400d;
    /// 1h at least.
    #[arg(long, value_name = "TIME")]
    pub older_than: Option<String>,
    /// Print what would be erased, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Don't ask before erasing.
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) pg: PgArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

impl EraseArgs {
    /// The name of `ids` in clap.
    pub(super) const IDS: &str = "ids";
}
