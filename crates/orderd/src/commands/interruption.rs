//! Signals that interrupt a command in the middle of its changes.

use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};

/// On SIGINT or SIGTERM the work is dropped; each `Action` that it has begun then logs its outcome. A question to the user
/// must not be part of the work: it would wait for its answer.
///
/// # Errors
/// The work's, or that it was interrupted.
pub(super) async fn unless_interrupted<T>(
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        done = work => done,
        _ = terminate.recv() => bail!("interrupted by SIGTERM"),
        _ = interrupt.recv() => bail!("interrupted by SIGINT"),
    }
}
