//! The connection to NATS, and the requirements on the server. `orders_stream` finds the stream of orders;
//! `dead_letters` has that of dead letters.

pub(crate) mod failure;
pub(crate) mod client_end;
pub(crate) mod orders_stream;
pub(crate) mod intake_message;
pub(crate) mod stored_message;
pub(crate) mod headers;
pub(crate) mod stream_scan;
mod tls;
pub(crate) mod info;
pub(crate) mod stored_subjects;
pub(crate) mod create;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream;
use async_nats::{Client, ConnectOptions, Event, ReconnectToServer, Server, ServerAddr};
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::config::Nats;
use crate::nats::client_end::ClientEnd;
use crate::nats::failure::ServerKind;

/// Prefix of the names of consumers that read orders.
pub(crate) const CONSUMER_PREFIX: &str = "orderd-";

/// Time limit for each step of a connection: TCP, TLS, the server's greeting, login. It is short because an attempt
/// whose packets were lost never succeeds, while the next one reaches a server that is back. Together with the longest
/// delay it is below 2 s, the limit for reconnecting.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);

/// The longest delay between attempts to connect.
const MAX_RECONNECT_DELAY: Duration = Duration::from_millis(400);

/// In a stream's metadata: we created it, so we may purge it.
pub(crate) const MADE_BY: (&str, &str) = ("made-by", "orderd");

/// A server or a configuration that can't be used; waiting would not help. In each message, the fix follows the
/// problem after a semicolon, by which `orderd check --settings` separates them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NatsError {
    /// Too old, like the server inside NATS Streaming, to which users who migrate may still point.
    #[error(
        "the NATS server is version {0}, and orderd needs 2.10 or newer (a server of NATS Streaming can't be used); upgrade \
         nats-server, or set NATS_HOST or NATS_URL to another one"
    )]
    TooOld(String),
    /// Without JetStream.
    #[error(
        "the NATS server runs without JetStream; start it with -js, or with a jetstream block in its configuration; \
         where JetStream is in another domain, as behind a leaf node, set NATS_JS_DOMAIN to that domain"
    )]
    NoJetStream,
    /// It keeps messages only until a consumer acknowledges them.
    #[error(
        "the stream {stream} has {retention} retention, and orderd acknowledges nothing; make a stream that has it as its \
         source (nats stream add {stream}_LOG --source {stream} --retention limits --storage file --defaults) and set \
         NATS_STREAM={stream}_LOG"
    )]
    Retention {
        /// The stream's name.
        stream: String,
        /// The stream's retention.
        retention: String,
    },
    /// No message would ever be read.
    #[error(
        "the stream {stream} stores {stored}, and PUB_TOPIC {topic} matches none of that; set PUB_TOPIC to what it stores, \
         or NATS_STREAM to the stream that has {topic}"
    )]
    NothingMatches {
        /// The stream's name.
        stream: String,
        /// The subjects under which it stores messages.
        stored: String,
        /// The topic.
        topic: String,
    },
    /// Only one of them would be read.
    #[error(
        "several streams take parts of PUB_TOPIC {topic}: {streams}; make a stream that has these as its sources and \
         set NATS_STREAM to its name, or set NATS_STREAM to the one to take from"
    )]
    Scattered {
        /// The topic.
        topic: String,
        /// Their names.
        streams: String,
    },
}

/// An event of a client's connection.
pub(crate) enum ConnectionEvent {
    Connected,
    Disconnected,
    /// Why it can't connect, without secrets.
    Failed(String),
}

/// A client that connects in the background and again whenever it has to. `observe` is called for each event of its
/// connection.
///
/// # Errors
/// Credentials that can't be read.
pub(crate) async fn connect(
    settings: &Nats,
    observe: impl Fn(ConnectionEvent) + Send + Sync + 'static,
    end: &ClientEnd,
) -> anyhow::Result<Client> {
    let options = options(settings, Arc::new(observe), end)?.retry_on_initial_connect();
    Ok(options.connect(&settings.servers()[..]).await?)
}

/// A client that only reads orders. Its outages are outages of the intake; `cuts` counts them.
///
/// # Errors
/// Credentials that can't be read.
pub(crate) async fn connect_for_intake(
    settings: &Nats,
    end: &ClientEnd,
    cuts: watch::Sender<u64>,
    why: watch::Sender<Option<String>>,
) -> anyhow::Result<Client> {
    let alive = end.guard();
    let options = secured(settings)?
        .ping_interval(Duration::from_secs(2))
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| reconnect_delay("intake", attempts))
        .reconnect_to_server_callback(move |servers, _| {
            let why = why.clone();
            tokio::spawn(async move { why.send_replace(failure::explain(&servers).await) });
            std::future::ready(None)
        })
        .event_callback(move |event| {
            let _alive = &alive;
            if event == Event::Disconnected {
                cuts.send_modify(|cuts| *cuts += 1);
            }
            tracing::debug!(%event, "NATS, reading the stream");
            std::future::ready(())
        })
        .retry_on_initial_connect();
    Ok(options.connect(&settings.servers()[..]).await?)
}

/// How often to look whether the client has connected again.
const CONNECTION_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Makes a series of requests; `None`: the client has connected again meanwhile. A response that was lost with its
/// connection never comes, and its time limit may be long.
pub(crate) async fn uninterrupted<T>(client: &Client, requests: impl Future<Output = T>) -> Option<T> {
    let statistics = client.statistics();
    let connects = || statistics.connects.load(Ordering::Relaxed);
    let began = connects();
    let interrupted = async {
        while connects() == began {
            tokio::time::sleep(CONNECTION_CHECK_INTERVAL).await;
        }
    };
    tokio::select! {
        biased;
        answered = requests => Some(answered),
        () = interrupted => None,
    }
}

/// Waits until the server can be reached, and checks that it can be used. `connection` completes when
/// [`ConnectionEvent::Connected`] has been observed. A request that is lost with its connection gets no response, so
/// each request is abandoned after `timeout`; the caller's next request then shows whether the server responds.
///
/// # Errors
/// A server that can't be used.
pub(crate) async fn connected<F: Future<Output = ()>>(
    client: &Client,
    settings: &Nats,
    timeout: Duration,
    connection: impl Fn() -> F,
) -> anyhow::Result<()> {
    while client.connection_state() != State::Connected || client.try_server_info().is_none() {
        connection().await;
        // The client reports the connection a moment too early.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::timeout(timeout, refuse_unusable(client, settings)).await.unwrap_or(Ok(()))?;
    // JetStream may be enabled while the service waits.
    let context = settings.jetstream(client.clone());
    if let Ok(Err(error)) = tokio::time::timeout(timeout, context.query_account()).await
        && let jetstream::context::AccountErrorKind::JetStream(refused) = error.kind()
        && refused.error_code() == jetstream::ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
    {
        anyhow::bail!(
            "the NATS account has no JetStream ({refused}): turn it on for the account (jetstream: enabled), or log in to \
             another account by NATS_URL, NATS_CREDS or NATS_NKEY"
        );
    }
    Ok(())
}

/// Connects once, for a command.
///
/// # Errors
/// Why not, for each server.
pub(crate) async fn connect_once(settings: &Nats) -> Result<Client, anyhow::Error> {
    connect_once_observed(settings, |_| {}).await
}

/// The same, for a command that needs JetStream.
///
/// # Errors
/// Why not, for each server, or why the server can't be used.
pub(crate) async fn connect_usable(settings: &Nats) -> Result<Client, anyhow::Error> {
    let client = connect_once(settings).await?;
    refuse_unusable(&client, settings).await?;
    Ok(client)
}

/// Connects once; `observe` is called for each later event of the connection.
pub(crate) async fn connect_once_observed(
    settings: &Nats,
    observe: impl Fn(&Event) + Send + Sync + 'static,
) -> Result<Client, anyhow::Error> {
    connect_once_to(ServerKind::Nats, settings, observe).await
}

/// The same, to a server of that kind.
pub(crate) async fn connect_once_to(
    kind: ServerKind,
    settings: &Nats,
    observe: impl Fn(&Event) + Send + Sync + 'static,
) -> Result<Client, anyhow::Error> {
    let observe = Arc::new(observe);
    let mut failures = Vec::new();
    let servers = settings.servers();
    for server in &servers {
        let observe = observe.clone();
        let options = secured(settings)?.event_callback(move |event| {
            observe(&event);
            std::future::ready(())
        });
        match options.connect(server.clone()).await {
            Ok(client) if servers.len() == 1 => return Ok(client),
            Ok(client) => {
                client.set_server_pool(&servers[..]).await?;
                return Ok(client);
            }
            Err(error) => failures.push(failure::describe(kind, server, &error.to_string())),
        }
    }
    Err(anyhow::anyhow!("can't connect to NATS at {}", failures.join("; at ")))
}

/// Replaces a client's servers by the currently configured ones. A client that is connecting chooses among them by
/// [`replacement`], and gets them once it is connected.
pub(crate) async fn follow_servers(client: &Client, settings: &Nats, known: &mut Vec<ServerAddr>) {
    let named = settings.servers();
    if named == *known || client.connection_state() != State::Connected {
        return;
    }
    match tokio::time::timeout(CONNECT_TIMEOUT, client.set_server_pool(&named[..])).await {
        Ok(Ok(())) => {
            tracing::info!("the servers in NATS_URL have changed; the next connection goes to the new ones");
            *known = named;
        }
        Ok(Err(error)) => tracing::error!(%error, "can't use the servers of the changed NATS_URL"),
        // The connection has just broken.
        Err(_) => {}
    }
}

fn options(
    settings: &Nats,
    observe: Arc<impl Fn(ConnectionEvent) + Send + Sync + 'static>,
    end: &ClientEnd,
) -> Result<ConnectOptions, anyhow::Error> {
    let alive = end.guard();
    let rounds = Arc::new(AtomicU32::new(0));
    let (outage, connected, nats) = (observe.clone(), rounds.clone(), settings.clone());
    let options = secured(settings)?
        // A silently dropped connection is detected after two pings without a response.
        .ping_interval(Duration::from_secs(2))
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| reconnect_delay("service", attempts))
        // Before each round of attempts, the client reports here how the previous ones failed.
        .reconnect_to_server_callback(move |mut servers, _| {
            let named = nats.servers();
            let round = rounds.fetch_add(1, Ordering::Relaxed);
            let chosen = replacement(&named, &servers, round as usize);
            if round > 0 {
                let outage = outage.clone();
                servers.retain(|server| server.is_discovered || named.contains(&server.addr));
                tokio::spawn(async move {
                    if let Some(reason) = failure::explain(&servers).await {
                        outage(ConnectionEvent::Failed(reason));
                    }
                });
            }
            std::future::ready(chosen)
        })
        .event_callback(move |event| {
            if event == Event::Connected {
                connected.store(0, Ordering::Relaxed);
            }
            let _alive = &alive;
            report(&*observe, &event);
            std::future::ready(())
        });
    Ok(options)
}

/// The server to try next if NATS_URL has changed while there is no connection. The client's pool can only be replaced
/// over a connection; without one, a server that is chosen here is how the client learns of it.
fn replacement(named: &[ServerAddr], pool: &[Server], round: usize) -> Option<ReconnectToServer> {
    let is_known = |server: &ServerAddr| pool.iter().any(|known| known.addr == *server);
    let has_others = pool.iter().any(|server| !server.is_discovered && !named.contains(&server.addr));
    if !has_others && named.iter().all(is_known) {
        return None;
    }
    let addr = named.get(round.checked_rem(named.len())?)?.clone();
    Some(ReconnectToServer { addr, delay: None })
}

/// The delay before a client reconnects; `attempts` includes the next attempt.
fn reconnect_delay(client: &str, attempts: usize) -> Duration {
    #[cfg(debug_assertions)]
    die_if_told(client);
    #[cfg(not(debug_assertions))]
    let _ = client;
    Backoff::after(attempts.saturating_sub(1)).min(MAX_RECONNECT_DELAY)
}

/// Panics in the task of a client's connection, as a bug of the client would. For tests; not in release builds. The
/// variable names a file, which names the client.
#[cfg(debug_assertions)]
#[allow(clippy::panic, reason = "what is done about it is tested")]
fn die_if_told(client: &str) {
    let Some(file) = std::env::var_os("ORDERD_TEST_CLIENT_DIES") else { return };
    if std::fs::read_to_string(&file).is_ok_and(|told| told == client) {
        drop(std::fs::remove_file(&file));
        panic!("the NATS client was made to fail");
    }
}

/// Login and TLS. The client library ignores a login in an address.
pub(crate) fn secured(settings: &Nats) -> Result<ConnectOptions, anyhow::Error> {
    let login = settings.login.clone();
    let options =
        ConnectOptions::with_auth_callback(move |nonce| std::future::ready(login.credentials(&nonce)))
            .name("orderd")
            .connection_timeout(CONNECT_TIMEOUT)
            .tls_client_config(tls::config(settings.authorities.as_ref(), settings.certificate.as_ref())?)
            .require_tls(settings.tls.required);
    Ok(if settings.tls.first { options.tls_first() } else { options })
}

fn report(observe: &impl Fn(ConnectionEvent), event: &Event) {
    match event {
        Event::Connected => observe(ConnectionEvent::Connected),
        Event::Disconnected => observe(ConnectionEvent::Disconnected),
        Event::SlowConsumer(_) => {
            tracing::error!("NATS client dropped messages; reading them again")
        }
        event => tracing::debug!(%event, "NATS"),
    }
}

/// Refuses a server that is too old, or has no JetStream.
///
/// # Errors
/// A [`NatsError`], which waiting does not fix; or a domain that does not answer, which may come back.
pub(crate) async fn refuse_unusable(client: &Client, settings: &Nats) -> anyhow::Result<()> {
    let info = client.server_info();
    if !client.is_server_compatible(2, 10, 0) {
        return Err(NatsError::TooOld(info.version).into());
    }
    match (settings.jetstream(client.clone()).query_account().await, &settings.domain) {
        (Err(error), Some(domain)) if is_disabled(&error) => Err(anyhow::anyhow!(
            "JetStream's domain {domain} does not answer ({error}); check NATS_JS_DOMAIN, and whether the leaf node is \
             connected to its hub"
        )),
        (Err(error), None) if !info.jetstream && is_disabled(&error) => Err(NatsError::NoJetStream.into()),
        // JetStream may not be ready yet; callers retry.
        _ => Ok(()),
    }
}

/// Microseconds, as PostgreSQL stores times.
pub(crate) fn micros(nanoseconds: i128) -> i64 {
    nanoseconds.div_euclid(1000) as i64
}

fn is_disabled(error: &jetstream::context::AccountError) -> bool {
    use jetstream::context::AccountErrorKind as Kind;
    !matches!(error.kind(), Kind::TimedOut)
}
