//! `orderd` takes orders from NATS, keeps each exactly once in PostgreSQL, and serves them over HTTP from memory.
//!
//! The modules stand in the order of the flow; `pipeline` shows how they hang together.

pub mod cli;
pub mod config;
mod pipeline;
mod stages;
mod ingest;
mod persist;
mod serve;
mod http;
pub mod shutdown;
pub mod commands;

mod nats;
mod streams;
mod subject;
mod telling;
mod postgres;
mod tls;
mod retry;
mod erasure;
mod scan;
mod dead_letters;
mod health;
mod memory;
mod pace;
mod random;
mod metrics;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use config::Settings;
use order::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::SignalKind;
use tokio_util::sync::CancellationToken;

/// Runs the service until `shutdown` completes and all that it holds is committed or given back.
///
/// # Errors
/// What ended it: a stage, by its name, or a server that can't be used.
pub async fn run(
    settings: Settings,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let parser = Parser::new(&settings.require)?;
    postgres::check_at_start(&settings.postgres).await?;
    let parts = pipeline::Parts::new(settings).await?;
    let depths = Arc::new(pipeline::Depths::default());
    let mut stages = pipeline::start(&parts, parser, &depths);
    let http = http::Threads::serve(listener, &parts, depths)?;
    // Without it, the service would be half of one. It ends soon after it is told to stop, and isn't cut off before.
    stages.spawn("http", Box::pin(http.finish()), CancellationToken::new());
    tokio::spawn(shutdown::give_up_in_time(parts.stop.clone(), parts.give_up.clone()));
    let progress = parts.progress.clone();
    shutdown::on_signal(SignalKind::user_defined1(), move || progress.again())?;
    let settings = parts.settings.clone();
    shutdown::on_signal(SignalKind::hangup(), move || match settings.read_again() {
        Ok(()) => tracing::info!("tokens and certificate read again"),
        Err(error) => tracing::error!(%error, "can't read the tokens and the certificate again"),
    })?;

    let ended = stages.finish(&parts.stop, &parts.give_up);
    tokio::pin!(ended);
    let ended = tokio::select! {
        ended = &mut ended => ended,
        () = shutdown => {
            parts.stop.cancel();
            ended.await
        }
    };
    parts.holds.give_back().await;
    // Acknowledgements are on their way; without this they would end with the connection.
    if parts.client.connection_state() == State::Connected {
        drop(tokio::time::timeout(Duration::from_secs(2), parts.client.flush()).await);
    }
    ended
}
