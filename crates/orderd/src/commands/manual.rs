//! `orderd manual`: manual pages, generated from `--help`.

use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::{Cli, ManualArgs};

/// Writes `orderd.1`, `orderd-serve.1` and so on into a folder.
///
/// # Errors
/// A folder that can't be written to.
pub fn run(args: &ManualArgs) -> anyhow::Result<ExitCode> {
    // `help` of each command would have pages too.
    let cli = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(cli, &args.folder)
        .with_context(|| format!("can't write manual pages to {}", args.folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
