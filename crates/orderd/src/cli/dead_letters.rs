//! `orderd dead-letters`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::connection_args::{NatsArgs, PgArgs};

/// `orderd dead-letters`
#[derive(Args, Debug, Clone)]
#[command(
    after_help = "Examples:\n  orderd dead-letters list\n  orderd dead-letters show 1700000000000000000-42\n  \
    orderd dead-letters replay --reason missing_member\n  \
    orderd dead-letters replay 1700000000000000000-42 --with corrected.json\n  orderd dead-letters drop --all --yes"
)]
pub struct DeadLettersArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: DeadLettersCommand,
}

/// What to do with dead letters.
#[derive(Subcommand, Debug, Clone)]
pub enum DeadLettersCommand {
    /// Print one line per dead letter: key, time, reason, size.
    List(DeadLetterList),
    /// Print one dead letter with all details and its payload.
    Show(DeadLetterShow),
    /// Publish them to the topic again, each under its original key, and print the outcomes.
    Replay(DeadLetterReplay),
    /// Delete them permanently.
    Drop(DeadLetterDrop),
}

/// `orderd dead-letters list`
#[derive(Args, Debug, Clone)]
pub struct DeadLetterList {
    /// Only those with this reason.
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    pub reason: Option<String>,
    /// Print one JSON object per line.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
}

/// `orderd dead-letters show`
#[derive(Args, Debug, Clone)]
pub struct DeadLetterShow {
    /// Key of the dead letter, as list shows it.
    pub key: String,
    /// Print one JSON object, with the payload also in base64.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
}

/// `orderd dead-letters replay`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd dead-letters replay --reason missing_member\n  \
    orderd dead-letters replay 1700000000000000000-42 --with corrected.json\n\n\
    Waits until the running service has accepted or refused each; one that can't be sent does not block the \
    others, nor does a KEY without a dead letter. Where the service sends no receipt, as for a payload that leaves no room \
    to ask for it, PostgreSQL shows whether it was accepted, and the log of the service why not.\n\n\
    Exit codes: 0 all accepted; 1 some refused again, not sent, or without an outcome yet, or a KEY has no dead letter.")]
pub struct DeadLetterReplay {
    #[command(flatten)]
    pub(crate) which: WhichDeadLetters,
    /// Send the document in this file instead of the payload of the dead letter KEY; - reads stdin.
    #[arg(long = "with", value_name = "FILE", requires = "keys", conflicts_with_all = ["all", "reason"])]
    pub document: Option<PathBuf>,
    /// Print one JSON object at the end.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) pg: PgArgs,
}

/// `orderd dead-letters drop`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd dead-letters drop 1700000000000000000-42\n  \
    orderd dead-letters drop --all --yes\n\n\
    Asks PostgreSQL which keys have rows. A drop leaves these rows alone, and if the table is restored to a time before \
    them, it gets them again from the stream. Without PostgreSQL, the command warns and drops all the same. If one KEY \
    has no dead letter, nothing is dropped.\n\n\
    Exit codes: 0 dropped; 1 a key has no dead letter, not confirmed, or NATS can't be reached.")]
pub struct DeadLetterDrop {
    #[command(flatten)]
    pub(crate) which: WhichDeadLetters,
    /// Don't ask before dropping.
    #[arg(long)]
    pub yes: bool,
    /// Print one JSON object at the end.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) pg: PgArgs,
}

/// All reasons.
fn reasons() -> PossibleValuesParser {
    PossibleValuesParser::new(order::Reason::ALL.map(order::Reason::as_str))
}

/// The selection of dead letters.
#[derive(Args, Debug, Clone)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args(["keys", "all", "reason"]))]
pub struct WhichDeadLetters {
    /// Their keys, as list shows them.
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
    /// All of them.
    #[arg(long, conflicts_with = "keys")]
    pub all: bool,
    /// All dead letters with this reason.
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    pub reason: Option<String>,
}
