//! `orderd` reads orders from NATS, stores each exactly once in PostgreSQL, and serves them over HTTP from memory.
//!
//! The modules are in the order of the flow; `pipeline` shows how they are connected.

pub mod cli;
pub mod config;
mod pipeline;
mod ingest;
mod persist;
mod fill;
mod read_through;
mod events;
mod http;
pub mod commands;

mod nats;
mod postgres;
mod dead_letters;
mod erasure;
mod retention;
mod receipts;

mod traces;
mod pipeline_chunks;
mod flow_state;
mod orders_in_doubt;
mod fill_progress;
mod health;
mod warning_rules;
mod metrics;
pub mod logging;
mod reload_watch;
mod memory_watch;
pub mod shutdown;
pub use self::postgres::closed as connections_closed;

mod finding;
mod subject;
mod traceparent;
mod wording;
mod tls;
mod backoff;
mod aligned_interval;
mod random;
pub mod version;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

use std::net::SocketAddr;
use std::sync::Arc;

use config::Settings;
use order::Parser;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::SignalKind;
use tokio_util::sync::CancellationToken;

/// Listens for HTTP with the longest queue of connections that the kernel allows (`net.core.somaxconn`): if it is full,
/// the kernel drops a client's first packet, which is retransmitted only a second later.
///
/// # Errors
/// An address that can't be listened on.
pub fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(i32::MAX as u32)
}

/// Runs the service until `shutdown` completes and all that it holds is committed or left to the stream.
///
/// # Errors
/// What ended it: a stage, by its name, or a server that can't be used.
pub async fn run(
    settings: Settings,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    settings.access.warn_of_short_ones();
    let parser = settings.parser.clone();
    postgres::check_at_start(&settings.postgres).await?;
    let context = pipeline::Context::new(settings).await?;
    let ended = serve(&context, parser, listener, shutdown).await;
    if let Some(traces) = &context.traces {
        traces.finish().await;
    }
    ended
}

async fn serve(
    context: &pipeline::Context,
    parser: Parser,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let depths = Arc::new(pipeline::ChannelDepths::default());
    let mut stages = pipeline::start(context, parser, &depths);
    let http = http::HttpThreads::serve(listener, context, depths)?;
    // Without HTTP the service is useless, so its end is the service's. It ends soon after the stop, and is not aborted
    // before.
    stages.spawn("http", Box::pin(http.finish()), CancellationToken::new());
    let progress = context.progress.clone();
    let refill = shutdown::on_signal(SignalKind::user_defined1(), context.stop.clone(), move || {
        progress.request_refill()
    })?;
    stages.spawn("refill on SIGUSR1", refill, context.give_up.clone());
    let files = reload_watch::run(
        context.settings.clone(),
        context.metrics.clone(),
        context.health.clone(),
        context.client.clone(),
        context.stop.clone(),
    );
    stages.spawn("reload", Box::pin(files), context.give_up.clone());
    let cache_max_bytes = context.settings.cache_max_bytes;
    let memory = memory_watch::watch(cache_max_bytes, context.health.clone(), context.stop.clone());
    stages.spawn(
        "memory",
        Box::pin(async {
            memory.await;
            Ok(())
        }),
        context.give_up.clone(),
    );
    stages.spawn(
        "NATS client",
        Box::pin(context.client_end.clone().watch(context.stop.clone())),
        context.give_up.clone(),
    );

    let ended = async {
        tokio::select! {
            ended = stages.finish(&context.stop, &context.give_up) => ended,
            () = shutdown::abort_after_grace(&context.stop, &context.give_up) => Ok(()),
        }
    };
    tokio::pin!(ended);
    let (health, delay) = (context.health.clone(), context.settings.shutdown_delay);
    let shutdown = async move {
        shutdown.await;
        health.drain();
        tracing::info!(delay_seconds = delay.as_secs(), "signal received; draining");
        tokio::time::sleep(delay).await;
    };
    let ended = tokio::select! {
        ended = &mut ended => ended,
        () = shutdown => {
            context.stop.cancel();
            ended.await
        }
    };
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The queue has the kernel's limit, not 128; this test never accepts a connection.
    #[tokio::test]
    async fn many_may_connect_before_any_is_accepted() {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let count = allowed.trim().parse::<usize>().unwrap().min(300);
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut connected = Vec::new();
        for number in 0..count {
            let connect = tokio::net::TcpStream::connect(addr);
            let stream = tokio::time::timeout(std::time::Duration::from_secs(20), connect).await;
            connected.push(stream.unwrap_or_else(|_| panic!("only {number} of {count}")).unwrap());
        }
    }
}
