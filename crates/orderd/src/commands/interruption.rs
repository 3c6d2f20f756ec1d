//! Signals that interrupt a command in the middle of its changes.

use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};

/// Does the work; SIGINT and SIGTERM drop it, so that what is under way is logged. A question to the user must not be
/// part of it: it would wait for its answer.
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
        _ = terminate.recv() => bail!("interrupted by SIGTERM; run this again"),
        _ = interrupt.recv() => bail!("interrupted by SIGINT; run this again"),
    }
}
