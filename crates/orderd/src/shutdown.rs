//! Signals that stop the service: the first SIGTERM or SIGINT drains it, the second ends it at once.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::pipeline::supervisor::Stage;

/// Time limit, from the first signal, to commit messages in flight and to finish responses.
pub(crate) const DRAIN: Duration = Duration::from_secs(6);

/// Signals within this time count as one.
const SIGNAL_GAP: Duration = Duration::from_millis(10);

/// Completes at the first signal. The second one ends the process.
///
/// # Errors
/// Signals that can't be listened to.
pub fn signals() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        either(&mut terminate, &mut interrupt).await;
        tokio::spawn(async move {
            // A signal to the process and to its group are one, as `timeout` sends them.
            tokio::time::sleep(SIGNAL_GAP).await;
            let _same = either(&mut terminate, &mut interrupt).now_or_never();
            either(&mut terminate, &mut interrupt).await;
            tracing::warn!("second signal; exiting at once");
            crate::logging::writer::finish("");
            std::process::exit(1);
        });
    })
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Cancels `give_up` when draining has taken too long after `stop`. Never completes.
pub(crate) async fn abort_after_grace(stop: &CancellationToken, give_up: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(DRAIN).await;
    give_up.cancel();
    std::future::pending().await
}

/// A stage that calls `again` at each signal of a kind, until the service stops.
///
/// # Errors
/// Signals that can't be listened to.
pub(crate) fn on_signal(
    kind: SignalKind,
    stop: CancellationToken,
    again: impl Fn() + Send + 'static,
) -> std::io::Result<Stage> {
    let mut signals = signal(kind)?;
    Ok(Box::pin(async move {
        loop {
            tokio::select! {
                received = signals.recv() => received.map(|()| again()).context("no signal can be received any more")?,
                () = stop.cancelled() => return Ok(()),
            }
        }
    }))
}
