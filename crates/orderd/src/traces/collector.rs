//! Spans -> the collector: one request per batch, on a separate connection. While the collector is unreachable, spans
//! are lost, and one line is logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;

use crate::config;

/// Time limit of an attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum length of an answer.
const MAX_ANSWER: usize = 1 << 20;

/// Posts encoded spans.
#[derive(Debug)]
pub(super) struct Collector {
    settings: Arc<config::Traces>,
    /// The exporter's thread has no runtime.
    runtime: Handle,
    /// Whether the last attempt failed.
    is_away: AtomicBool,
}

impl Collector {
    /// To be called within a runtime.
    pub(super) fn new(settings: config::Traces) -> Self {
        Self { settings: Arc::new(settings), runtime: Handle::current(), is_away: AtomicBool::new(false) }
    }

    /// Logs that the collector is down, or back.
    fn report(&self, answer: &Result<Response<Bytes>, HttpError>) {
        let endpoint = self.settings.endpoint.to_string();
        let error = match answer {
            Ok(answer) if answer.status().is_success() => {
                if self.is_away.swap(false, Ordering::Relaxed) {
                    tracing::info!(endpoint, "the collector accepts spans again");
                }
                return;
            }
            Ok(answer) => format!("it answers {}", answer.status()),
            Err(error) => format!("{error:#}"),
        };
        if !self.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                endpoint,
                error,
                "the collector does not accept spans: traces are lost, documents are not affected; check OTEL_EXPORTER_OTLP_ENDPOINT"
            );
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let settings = self.settings.clone();
        let sending = self.runtime.spawn(async move {
            let sent = tokio::time::timeout(ATTEMPT_TIMEOUT, send(&settings, request)).await;
            sent.unwrap_or_else(|_| Err(format!("no answer within {} s", ATTEMPT_TIMEOUT.as_secs()).into()))
        });
        // It ends with the service.
        let answer = sending.await?;
        self.report(&answer);
        answer
    }
}

async fn send(settings: &config::Traces, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let stream = TcpStream::connect((settings.host.as_str(), settings.port)).await?;
    match &settings.tls {
        None => post(settings, stream, request).await,
        Some(tls) => {
            let name = ServerName::try_from(settings.host.clone())?;
            post(settings, TlsConnector::from((*tls.fresh()).clone()).connect(name, stream).await?, request)
                .await
        }
    }
}

async fn post<S>(
    settings: &config::Traces,
    stream: S,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender; an error shows in the answer.
    tokio::spawn(async move { drop(connection.await) });
    let (mut head, body) = request.into_parts();
    let authority = settings.endpoint.authority().map(ToString::to_string).unwrap_or_default();
    head.headers.insert(HOST, HeaderValue::try_from(authority)?);
    head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    head.headers.extend(settings.headers.fresh().iter().map(|(name, value)| (name.clone(), value.clone())));
    head.uri = settings.endpoint.path().parse()?;
    let answer = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}
