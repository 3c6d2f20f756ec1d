//! `orderd check`: is a running service ready, or alive?

use std::process::ExitCode;

use super::ask;
use crate::cli::CheckArgs;
use crate::config::Http;

/// Prints what the service says of itself. 0: it is; 1: it is not, or doesn't answer.
///
/// # Errors
/// Why there is no answer, or a setting that can't be used.
pub async fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let path = if args.live { "/healthz" } else { "/readyz" };
    let (status, body) = ask::get(&Http::new(&args.http)?, path).await?;
    super::print(&format!("{}\n", String::from_utf8_lossy(&body)))?;
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
