//! `orderd check`, and what packagers need: completions and manual pages.

use std::path::PathBuf;

use clap::Args;

use super::serve::ServeArgs;

/// `orderd check`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd check --live || restart orderd\n  \
    PG_HOST=db NATS_HOST=nats orderd check --settings && orderd serve\n\n\
    --settings takes the settings of serve. It makes no table, stream or consumer, and changes nothing.\n\n\
    Exit codes: 0 ready, alive, or usable as it is set; 1 not; 2 wrong usage or configuration.")]
pub struct CheckArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// Ask only whether it is alive: one that serves reads while NATS is away is.
    #[arg(long)]
    pub live: bool,
    /// Try the settings against NATS and PostgreSQL without serving, and say what to change.
    #[arg(long, conflicts_with = "live")]
    pub settings: bool,
    /// For programs: one JSON object. Without --settings, the answer of the service is JSON anyway.
    #[arg(long)]
    pub json: bool,
}

/// `orderd completions`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd completions bash > /etc/bash_completion.d/orderd\n  \
    orderd completions zsh > /usr/local/share/zsh/site-functions/_orderd\n  \
    orderd completions fish > ~/.config/fish/completions/orderd.fish")]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: clap_complete::Shell,
}

/// `orderd manual`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example:\n  orderd manual /usr/local/share/man/man1")]
pub struct ManualArgs {
    /// The folder; pages of the same names are replaced.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}
