//! `orderd dead-letters`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::servers::NatsArgs;

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
    /// One line for each: key, time, reason, size.
    List(DeadLetterList),
    /// Everything about one, and its payload.
    Show(DeadLetterShow),
    /// Send them into the topic again, each as the document of its original key, and say what became of them.
    Replay(DeadLetterReplay),
    /// Delete them for good.
    Drop(DeadLetterDrop),
}

/// `orderd dead-letters list`
#[derive(Args, Debug, Clone)]
pub struct DeadLetterList {
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    /// Only those with this reason.
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    pub reason: Option<String>,
    /// For programs: one JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// `orderd dead-letters show`
#[derive(Args, Debug, Clone)]
pub struct DeadLetterShow {
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    /// Key of the dead letter, as list shows it.
    pub key: String,
    /// For programs: one JSON object, the payload in base64 too.
    #[arg(long)]
    pub json: bool,
}

/// `orderd dead-letters replay`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd dead-letters replay --reason missing_member\n  \
    orderd dead-letters replay 1700000000000000000-42 --with corrected.json\n\n\
    Waits until the running service has taken each in or refused it again; one that can't be sent holds up no others.\n\n\
    Exit codes: 0 all were taken in, 1 some were refused again, could not be sent, or nothing is known of them yet.")]
pub struct DeadLetterReplay {
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) which: WhichDeadLetters,
    /// Send the document in this file in place of the payload of the one KEY; - is stdin.
    #[arg(long = "with", value_name = "FILE", requires = "keys", conflicts_with_all = ["all", "reason"])]
    pub document: Option<PathBuf>,
    /// For programs: one JSON object at the end.
    #[arg(long)]
    pub json: bool,
}

/// `orderd dead-letters drop`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd dead-letters drop 1700000000000000000-42\n  \
    orderd dead-letters drop --all --yes\n\n\
    Exit codes: 0 dropped, 1 a key has no dead letter, the answer was no, or NATS can't be asked.")]
pub struct DeadLetterDrop {
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) which: WhichDeadLetters,
    /// Don't ask before dropping.
    #[arg(long)]
    pub yes: bool,
    /// For programs: one JSON object at the end.
    #[arg(long)]
    pub json: bool,
}

/// The reasons that there are.
fn reasons() -> PossibleValuesParser {
    PossibleValuesParser::new(order::Reason::ALL.map(order::Reason::as_str))
}

/// Which dead letters are meant.
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
