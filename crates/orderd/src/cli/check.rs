//! `orderd check`, and what packagers need: completions and manual pages.

use std::path::PathBuf;

use clap::Args;

use super::serve::ServeArgs;

/// `orderd check`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd check --live || restart orderd\n  \
    PG_HOST=db NATS_HOST=nats orderd check --settings && orderd serve\n\n\
    --settings accepts the settings of serve. It creates no table, stream or consumer, and changes nothing.\n\n\
    Exit codes: 0 ready, alive, or usable with these settings; 1 not; 2 wrong usage or configuration.")]
pub struct CheckArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// Check liveness only; an outage of NATS does not fail it.
    #[arg(long)]
    pub live: bool,
    /// Try the settings against NATS and PostgreSQL without serving, and say what to change.
    #[arg(long, conflicts_with = "live")]
    pub settings: bool,
    /// Print one JSON object. Without --settings, the service's response is JSON anyway.
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
    /// The folder; existing pages are replaced.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}
