//! Detects that the background tasks of the NATS client have ended. Without them every call fails forever, while the
//! client still reports that it is connected.

use tokio_util::sync::{CancellationToken, DropGuard};

/// Whether the client's tasks have ended.
#[derive(Clone, Default)]
pub(crate) struct ClientEnd(CancellationToken);

impl ClientEnd {
    /// A guard for the client's event callback. The task that owns the callback ends when the connection's task ends,
    /// or when the callback panics.
    pub(crate) fn guard(&self) -> DropGuard {
        self.0.clone().drop_guard()
    }

    /// Whether they have ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.is_cancelled()
    }

    /// A stage that fails when the client's tasks have ended, before the service stops.
    pub(crate) async fn watch(self, stop: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            () = self.0.cancelled() => anyhow::bail!("its connection's task has ended; start the service again"),
            () = stop.cancelled() => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    fn ended(end: &ClientEnd, within: Duration) -> bool {
        let watched = end.clone().watch(CancellationToken::new());
        runtime()
            .block_on(async { tokio::time::timeout(within, watched).await.is_ok_and(|end| end.is_err()) })
    }

    /// The client's tasks end with their runtime, as silently as by a panic.
    #[test]
    fn the_end_of_the_clients_tasks_is_noticed() {
        let (end, tasks) = (ClientEnd::default(), runtime());
        let alive = end.guard();
        let options =
            async_nats::ConnectOptions::new().retry_on_initial_connect().event_callback(move |_| {
                let _alive = &alive;
                async {}
            });
        // Nothing listens there: the client keeps retrying.
        let client = tasks.block_on(options.connect("127.0.0.1:1")).unwrap();
        assert!(!ended(&end, Duration::from_millis(300)));
        tasks.shutdown_background();
        assert!(ended(&end, Duration::from_secs(60)));
        drop(client);
    }
}
