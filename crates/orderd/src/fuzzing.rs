//! The service without servers, for the fuzzer and unit tests: HTTP on an in-memory connection, with one order.

use std::sync::Arc;
use std::time::Duration;

use cache::WantedInserts;
use clap::Parser as _;
use order::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use crate::cli::{Cli, Command};
use crate::config::Settings;
use crate::health::Part;
use crate::http::{self, App};
use crate::pipeline::{ChannelDepths, Context};

/// The key of the one order.
pub const KEY: &str = "1700000000123456789-42";

/// The key of an order that was erased.
pub const ERASED: &str = "1700000000123456789-41";

/// Time limit for the first bytes of a response, which only a stuck server exceeds.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// A response that does not end, such as that of `/events`, is read until nothing has arrived for this time.
const QUIET_TIME: Duration = Duration::from_millis(20);

/// Neither NATS nor PostgreSQL listens there.
const UNUSED_PORT: &str = "1";

/// A service without servers, whose HTTP is reached over in-memory connections.
pub struct HttpHarness {
    runtime: Runtime,
    app: Arc<App>,
}

impl HttpHarness {
    /// Starts the service with default settings.
    ///
    /// # Errors
    /// A setting or a part that can't be used.
    pub fn new() -> anyhow::Result<Self> {
        Self::with(&[])
    }

    /// As [`HttpHarness::new`], with further arguments.
    ///
    /// # Errors
    /// A setting or a part that can't be used.
    pub fn with(args: &[&str]) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let app = runtime.block_on(app_with(args))?;
        Ok(Self { runtime, app })
    }

    /// All responses to a request and, once its response begins, to another one that ends the connection.
    #[cfg(test)]
    pub(crate) fn responses_to(&self, first: &[u8], second: &[u8]) -> Vec<u8> {
        self.runtime.block_on(async {
            let (client, server) = tokio::io::duplex(1 << 16);
            let served = tokio::spawn(http::serve_one(server, self.app.clone()));
            let (mut read, mut write) = tokio::io::split(client);
            let (first, second) = (first.to_vec(), second.to_vec());
            let (begun, has_begun) = tokio::sync::oneshot::channel();
            let writing = tokio::spawn(async move {
                // The server may close early; the responses show that.
                drop(write.write_all(&first).await);
                drop(has_begun.await);
                drop(write.write_all(&second).await);
                write
            });
            let mut responses = Vec::new();
            let reading = async {
                drop(read.read_buf(&mut responses).await);
                let _ = begun.send(());
                drop(read.read_to_end(&mut responses).await);
            };
            let ended = tokio::time::timeout(RESPONSE_TIMEOUT, reading).await;
            served.abort();
            writing.abort();
            assert!(ended.is_ok(), "not closed after {:?}", String::from_utf8_lossy(&responses));
            responses
        })
    }

    /// The response to these bytes, until the connection is closed.
    pub fn response_to(&self, request: &[u8]) -> Vec<u8> {
        self.runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            let served = tokio::spawn(http::serve_one(server, self.app.clone()));
            let mut response = Vec::new();
            // The server may close early; the response shows why.
            drop(client.write_all(request).await);
            drop(client.shutdown().await);
            let mut limit = RESPONSE_TIMEOUT;
            while let Ok(Ok(1..)) = tokio::time::timeout(limit, client.read_buf(&mut response)).await {
                limit = QUIET_TIME;
            }
            served.abort();
            response
        })
    }
}

/// A service with one order and without servers.
#[cfg(test)]
pub(crate) async fn app() -> anyhow::Result<Arc<App>> {
    app_with(&[]).await
}

async fn app_with(args: &[&str]) -> anyhow::Result<Arc<App>> {
    let context = Context::new(settings(args)?).await?;
    let model = &context.settings.model;
    let order = Parser::new(model.shape()).parse(model.sample.as_bytes(), KEY);
    let order = order.map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    let entry = context.cache.entry_builder().entry_of(&order)?;
    context.cache.insert(0, vec![entry], None, WantedInserts::default());
    context.cache.erase(&ERASED.into());
    context.health.up(Part::Fill);
    Ok(App::new(&context, Arc::new(ChannelDepths::default())))
}

fn settings(more: &[&str]) -> anyhow::Result<Settings> {
    let args = ["orderd", "serve", "--nats-port", UNUSED_PORT, "--pg-port", UNUSED_PORT];
    let Command::Serve(args) = Cli::try_parse_from(args.iter().chain(more))?.command else {
        anyhow::bail!("not serve")
    };
    Ok(Settings::new(&args)?)
}
