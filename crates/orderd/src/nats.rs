//! The connection to NATS: how it is made, what the server must be, the stream of dead letters and the durable
//! consumer. Which stream orders are taken from: `streams`.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, FromConsumer, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::StorageType;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, Event};

use crate::config::Nats;
use crate::health::{Health, Part};
use crate::retry::Backoff;
use crate::serve::replica::Company;

/// The stream in which dead letters are kept, and the first token of their subjects.
pub(crate) const DEAD_STREAM: &str = "ORDERS_DEAD";
pub(crate) const DEAD_PREFIX: &str = "dead";

/// How long a message may be held before the server delivers it again, unless progress is reported.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(5);

/// How many messages may be delivered and not acknowledged. The default of 1,000 is less than one batch.
const MAX_ACK_PENDING: i64 = 50_000;

/// In a stream's metadata: we made it, so that we may purge what is acknowledged.
pub(crate) const MADE_BY: (&str, &str) = ("made-by", "orderd");

/// A server or a configuration that can't be used; waiting would not help.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NatsError {
    /// Too old, as the one inside NATS Streaming is, at which those who move in may still point.
    #[error("the NATS server is version {0}; orderd needs 2.10 or newer, and no NATS Streaming")]
    TooOld(String),
    /// Without JetStream.
    #[error(
        "the NATS server runs without JetStream; start it with -js, or with a jetstream block in its configuration"
    )]
    NoJetStream,
    /// Someone else's consumer has our name.
    #[error("the consumer {name} of stream {stream} {problem}; set NATS_DURABLE to another name")]
    Consumer {
        /// The stream's name.
        stream: String,
        /// The consumer's name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Orders would stay in all but one of them.
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

/// A client that connects in the background and again whenever it has to.
///
/// # Errors
/// Credentials that can't be read.
pub(crate) async fn connect(
    settings: &Nats,
    health: Arc<Health>,
    company: Arc<Company>,
) -> anyhow::Result<Client> {
    let options = options(settings, health, company).await?.retry_on_initial_connect();
    Ok(options.connect(&settings.servers.0[..]).await?)
}

/// Waits until the server is there and tells whether it can be used.
///
/// # Errors
/// A server that can't be used.
pub(crate) async fn connected(client: &Client, health: &Health) -> Result<(), NatsError> {
    while client.connection_state() != State::Connected || client.try_server_info().is_none() {
        health.wait_up(Part::Nats).await;
        // The client says so a moment before it is.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    refuse_unusable(client).await
}

/// Connects once, for a command.
///
/// # Errors
/// Why not.
pub(crate) async fn connect_once(settings: &Nats) -> Result<Client, anyhow::Error> {
    connect_once_noting(settings, |_| {}).await
}

/// The same; `note` is called for what the connection says later.
pub(crate) async fn connect_once_noting(
    settings: &Nats,
    note: impl Fn(&Event) + Send + Sync + 'static,
) -> Result<Client, anyhow::Error> {
    let options = ConnectOptions::new().connection_timeout(Duration::from_secs(3)).name("orderd");
    let options = options.event_callback(move |event| {
        note(&event);
        std::future::ready(())
    });
    let client = identified(options, settings).await?.connect(&settings.servers.0[..]).await;
    client.map_err(|error| {
        anyhow::anyhow!("can't connect to NATS ({error}); is NATS_HOST, NATS_PORT or NATS_URL right?")
    })
}

async fn options(
    settings: &Nats,
    health: Arc<Health>,
    company: Arc<Company>,
) -> Result<ConnectOptions, anyhow::Error> {
    let options = ConnectOptions::new()
        .name("orderd")
        .connection_timeout(Duration::from_secs(3))
        // A connection that has silently gone is noticed after two pings without an answer.
        .ping_interval(Duration::from_secs(2))
        .max_reconnects(None)
        // What this process tells the others it needn't hear itself.
        .no_echo()
        // It counts this attempt too.
        .reconnect_delay_callback(|attempts| Backoff::after(attempts.saturating_sub(1)))
        .event_callback(move |event| {
            let (health, company) = (health.clone(), company.clone());
            async move { note(&health, &company, &event) }
        });
    identified(options, settings).await
}

/// Who we are: by the credentials file, or by what an address holds. The client itself ignores the latter.
async fn identified(mut options: ConnectOptions, settings: &Nats) -> Result<ConnectOptions, anyhow::Error> {
    if let Some(file) = &settings.authorities {
        options = options.add_root_certificates(file.clone());
    }
    if let Some((certificate, key)) = &settings.certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    if let Some(file) = &settings.credentials {
        let read = options.credentials_file(file).await;
        return read.map_err(|error| anyhow::anyhow!("can't read NATS_CREDS {}: {error}", file.display()));
    }
    let mut servers = settings.servers.0.iter();
    Ok(match servers.find_map(|server| Some((server.username()?, server.password()))) {
        Some((user, Some(password))) => options.user_and_password(decoded(user), decoded(password)),
        Some((token, None)) => options.token(decoded(token)),
        None => options,
    })
}

/// What an address holds as `%2F` is meant as `/`.
fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn note(health: &Health, company: &Company, event: &Event) {
    match event {
        Event::Connected => {
            company.connected();
            health.up(Part::Nats);
        }
        Event::ServerError(error) if company.note_refusal(&error.to_string()) => {}
        Event::Disconnected => health.down(Part::Nats, "disconnected"),
        Event::SlowConsumer(_) => {
            tracing::error!("NATS client dropped messages; they will be delivered again")
        }
        Event::ClientError(error) if !health.is_up(Part::Nats) => health.down(Part::Nats, error),
        event => tracing::debug!(%event, "NATS"),
    }
}

/// Refuses a server that is too old, or has no JetStream.
pub(crate) async fn refuse_unusable(client: &Client) -> Result<(), NatsError> {
    let info = client.server_info();
    if !client.is_server_compatible(2, 10, 0) {
        return Err(NatsError::TooOld(info.version));
    }
    let context = jetstream::new(client.clone());
    match context.query_account().await {
        Err(error) if !info.jetstream && is_disabled(&error) => Err(NatsError::NoJetStream),
        // It may not be ready yet; whoever uses it tries again.
        _ => Ok(()),
    }
}

fn is_disabled(error: &jetstream::context::AccountError) -> bool {
    use jetstream::context::AccountErrorKind as Kind;
    !matches!(error.kind(), Kind::TimedOut)
}

/// The stream of dead letters, made where it is missing.
pub(crate) async fn dead_stream(context: &Context) -> Result<jetstream::stream::Stream, anyhow::Error> {
    // The service makes it at its start, on as many servers as it is told.
    make_dead_stream(context, 1).await
}

/// The same, kept on so many servers if it is made.
pub(crate) async fn make_dead_stream(
    context: &Context,
    replicas: usize,
) -> Result<jetstream::stream::Stream, anyhow::Error> {
    let stream = context
        .get_or_create_stream(jetstream::stream::Config {
            name: DEAD_STREAM.into(),
            subjects: vec![format!("{DEAD_PREFIX}.>")],
            storage: StorageType::File,
            num_replicas: replicas,
            allow_direct: true,
            metadata: [(MADE_BY.0.to_owned(), MADE_BY.1.to_owned())].into(),
            ..Default::default()
        })
        .await?;
    Ok(stream)
}

/// The durable consumer: the one that is there, if it acknowledges as we do, or one that is made.
pub(crate) async fn durable(
    stream: &jetstream::stream::Stream,
    settings: &Nats,
    name: &str,
) -> Result<jetstream::consumer::PullConsumer, anyhow::Error> {
    let found = match stream.consumer_info(name).await {
        Ok(info) => info.config,
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {
            let config = pull::Config {
                durable_name: Some(name.into()),
                ack_policy: AckPolicy::Explicit,
                ack_wait: ACK_WAIT,
                max_ack_pending: MAX_ACK_PENDING,
                filter_subject: settings.topic.clone(),
                ..Default::default()
            };
            return Ok(stream.create_consumer(config).await?);
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(problem) = problem_of(&found) {
        let stream = stream.cached_info().config.name.clone();
        return Err(NatsError::Consumer { stream, name: name.into(), problem }.into());
    }
    if found.deliver_policy != DeliverPolicy::All {
        tracing::warn!(
            consumer = name,
            "consumer does not begin with the stream: what was before is not taken in"
        );
    }
    if !differs(&found, &settings.topic) {
        return stream.get_consumer(name).await.map_err(|error| anyhow::anyhow!(error));
    }
    tracing::warn!(
        consumer = name,
        "consumer was set otherwise; its ack_wait, limits, filter and headers_only are set anew"
    );
    let found = pull::Config::try_from_consumer_config(found).map_err(|error| anyhow::anyhow!(error))?;
    let config = pull::Config {
        ack_wait: ACK_WAIT,
        backoff: Vec::new(),
        max_deliver: 0,
        max_ack_pending: MAX_ACK_PENDING,
        filter_subject: settings.topic.clone(),
        filter_subjects: Vec::new(),
        headers_only: false,
        ..found
    };
    Ok(stream.update_consumer(config).await?)
}

/// What can't be changed.
fn problem_of(found: &consumer::Config) -> Option<&'static str> {
    if found.ack_policy != AckPolicy::Explicit {
        Some("does not acknowledge explicitly, by which orders would be lost")
    } else if found.deliver_subject.is_some() {
        Some("is a push consumer")
    } else {
        None
    }
}

fn differs(found: &consumer::Config, topic: &str) -> bool {
    found.ack_wait > ACK_WAIT
        || found.max_deliver > 0
        || found.max_ack_pending < MAX_ACK_PENDING
        || found.filter_subject != topic
        // Each message would be taken for an empty one.
        || found.headers_only
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn what_an_address_holds_is_decoded() {
        assert_eq!(decoded("p%40ss%2Fw%C3%B6rd"), "p@ss/wörd");
        assert_eq!(decoded("plain"), "plain");
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%4"), "%zz%4");
    }
}
