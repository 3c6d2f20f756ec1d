//! The threads of HTTP. They are separate, so that the kernel schedules readers within milliseconds, however busy
//! intake and fill are. On shared threads, a response waits for the computations queued before it.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::http::server::scheduling;
use crate::http::{App, server};
use crate::pipeline::{ChannelDepths, Context};

/// The server, and the threads that it runs on.
pub(crate) struct HttpThreads {
    /// `None` after drop.
    runtime: Option<Runtime>,
    served: JoinHandle<()>,
}

impl HttpThreads {
    /// Serves until the service stops.
    ///
    /// # Errors
    /// Threads can't be started, or the listener can't be registered.
    pub(crate) fn serve(
        listener: TcpListener,
        context: &Context,
        depths: Arc<ChannelDepths>,
    ) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("http")
            .on_thread_start(take_short_turns)
            .enable_all()
            .build()?;
        let listener = listener.into_std()?;
        let within = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        let served = runtime.spawn(server::serve(listener, App::new(context, depths), context.stop.clone()));
        drop(within);
        Ok(Self { runtime: Some(runtime), served })
    }

    /// Waits until the last response is finished.
    ///
    /// # Errors
    /// The server panicked.
    pub(crate) async fn finish(mut self) -> anyhow::Result<()> {
        // The panic's message is on stderr already, and may quote data.
        (&mut self.served).await.map_err(|_| anyhow::anyhow!("the server panicked"))
    }
}

fn take_short_turns() {
    if let Err(error) = scheduling::take_short_ones() {
        tracing::debug!(%error, "can't shorten the time slices of the HTTP threads");
    }
}

impl Drop for HttpThreads {
    fn drop(&mut self) {
        // Waiting for the runtime would block the thread that drops it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
