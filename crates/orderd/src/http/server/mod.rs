//! Accepts connections, limits what a client may send, keep open or leave unread, and closes them gracefully.

mod fast_path;
mod connection_slots;
mod lingering_close;
mod connection_phase;
mod path_escapes;
mod prefixed_io;
mod request_body;
#[cfg(test)]
mod rfc9112_tests;
pub(crate) mod runtime;
mod scheduling;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use futures_util::FutureExt;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection_phase::{Phase, ServedConnection};
use self::connection_slots::{ConnectionSlot, ConnectionSlots, WatchedStream};
use self::lingering_close::LingeringClose;
use self::prefixed_io::PrefixedIo;
use crate::config::ServerCertificate;
use crate::http::App;
use crate::http::router::router;

/// Time limit for a request's head.
pub(crate) const HEAD: Duration = Duration::from_secs(15);

/// Time limit for a client that does not read its response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Limits of a request's head; beyond them: 431.
pub(crate) const HEADERS: usize = 64;
const MAX_HEAD_BYTES: usize = 32 << 10;

/// Time limit for responses in flight once the service stops, which then ends within 10 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Time limit for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until it is stopped, and then finishes responses in flight.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>, stop: CancellationToken) {
    let server = Server::new(app, stop.clone());
    let (slots, connections) = (ConnectionSlots::within_limit(), TaskTracker::new());
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = stop.cancelled() => break,
        };
        let Some((stream, slot)) = accepted else { continue };
        connections.spawn(server.clone().serve_at(slot, stream));
    }
    for (stream, slot) in waiting(listener, &slots) {
        connections.spawn(server.clone().serve_at(slot, stream));
    }
    connections.close();
    drop(tokio::time::timeout(DRAIN_TIMEOUT, connections.wait()).await);
}

/// hyper answers a head that it can't parse itself, with 400, 414 or 431 and without a body: it has no hook for these
/// responses. They could get a body only in the bytes that hyper writes, where a partial write, an earlier response in
/// the same write and a `HEAD` would all have to be recognised again.
fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // `phase` has the timeouts for heads and idle connections, because hyper does not distinguish them.
    http.timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(HEADERS)
        // A client that has closed its sending side still expects a response.
        .half_close(true)
        // Not `pipeline_flush`: with it, hyper buffers a streamed body without bound for a client that doesn't read.
        .max_buf_size(MAX_HEAD_BYTES);
    http
}

/// Shared by all connections.
#[derive(Clone)]
struct Server {
    app: Arc<App>,
    routes: TowerToHyperService<Router>,
    http: http1::Builder,
    stop: CancellationToken,
}

impl Server {
    fn new(app: Arc<App>, stop: CancellationToken) -> Self {
        Self { routes: TowerToHyperService::new(router(app.clone())), app, http: http(), stop }
    }

    async fn serve_at(self, slot: ConnectionSlot, stream: TcpStream) {
        // Fails only if the connection is already closed.
        drop(stream.set_nodelay(true));
        let stream = slot.watch(stream);
        tokio::select! {
            () = self.secure_and_serve(stream, slot.is_unfinished.clone()) => {}
            () = slot.close.cancelled() => {}
        }
    }

    async fn secure_and_serve(self, stream: WatchedStream, is_unfinished: Arc<AtomicBool>) {
        match self.app.settings.server_certificate.as_ref().map(ServerCertificate::acceptor) {
            None => self.serve(stream, is_unfinished).await,
            Some(acceptor) => {
                if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await
                {
                    self.serve(stream, is_unfinished).await;
                }
            }
        }
    }

    /// Serves one connection: on the fast path as long as possible, then by the routes. `is_unfinished` is set while a
    /// response is.
    async fn serve<S>(self, stream: S, is_unfinished: Arc<AtomicBool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIMEOUT));
        let mut stream = LingeringClose::new(Box::pin(stream), is_unfinished.clone());
        let Some(read) = fast_path::serve(&mut stream, &self.app, &self.stop).await else {
            // Fails if the client has disconnected.
            drop(stream.shutdown().await);
            return;
        };
        let (phase, idle) = (Phase::new(is_unfinished), self.app.settings.http_idle_timeout);
        let stream = TokioIo::new(PrefixedIo { read, stream, phase: phase.clone() });
        let served = self.http.serve_connection(stream, service_fn(|request| self.respond(&phase, request)));
        connection_phase::until_closed(served, &phase, idle, &self.stop).await;
    }

    /// Answers one request. While the service drains, each response closes its connection, as does one to a request
    /// whose end is not known.
    fn respond(
        &self,
        phase: &Phase,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
        let (mut request, unread) = request_body::shared(request);
        if let Some(target) = path_escapes::without_needless(request.uri()) {
            *request.uri_mut() = target;
        }
        let (responding, app, response) =
            (phase.begin_response(), self.app.clone(), self.routes.call(request));
        async move {
            let mut response = response.await?;
            // hyper's own date stays where it was when the machine's clock goes back.
            if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now())) {
                response.headers_mut().insert(header::DATE, date);
            }
            let is_last = match unread {
                Some(unread) => !unread.discard().await,
                None => false,
            };
            if is_last || app.health.is_draining() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| responding.until_sent(body)))
        }
    }
}

impl<I, S> ServedConnection for http1::Connection<I, S>
where
    S: HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S::ResBody: hyper::body::Body + 'static,
    <S::ResBody as hyper::body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn close_in_order(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Serves one connection, for the fuzzer.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) async fn serve_one<S>(stream: S, app: Arc<App>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Server::new(app, CancellationToken::new()).serve(stream, Arc::default()).await;
}

async fn accept(listener: &TcpListener, slots: &ConnectionSlots) -> Option<(TcpStream, ConnectionSlot)> {
    let slot = slots.take().await?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            // Usually no file descriptor is free; ending connections free some.
            tracing::warn!(%error, "can't accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// Connections in the kernel's accept queue: closing the listener would reset them.
fn waiting(listener: TcpListener, slots: &ConnectionSlots) -> Vec<(TcpStream, ConnectionSlot)> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let next = || {
        let (stream, _) = listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, slots.take().now_or_never()??))
    };
    std::iter::from_fn(next).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::AsyncReadExt as _;

    use super::connection_phase::CLOSE_NOTICE;
    use super::*;
    use crate::fuzzing;

    /// The client may just be sending a request. Idle before the first request, on the fast path, and in hyper.
    #[tokio::test]
    async fn a_connection_that_was_idle_for_long_is_not_closed_at_the_moment_of_the_stop() {
        let app = fuzzing::app().await.unwrap();
        for request in ["", "/order?order_uid=b563feb7b2b84b6test", "/mem_len"] {
            let stop = CancellationToken::new();
            let (mut client, server) = tokio::io::duplex(1 << 16);
            tokio::spawn(Server::new(app.clone(), stop.clone()).serve(server, Arc::default()));
            if !request.is_empty() {
                let request = format!("GET {request} HTTP/1.1\r\nhost: localhost\r\n\r\n");
                client.write_all(request.as_bytes()).await.unwrap();
                assert!(client.read(&mut [0; 1 << 14]).await.unwrap() > 0);
            }
            // Longer than its notice period.
            tokio::time::sleep(2 * CLOSE_NOTICE).await;
            let stopped = Instant::now();
            stop.cancel();
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
            assert!(stopped.elapsed() >= CLOSE_NOTICE, "{request:?}: {:?}", stopped.elapsed());
        }
    }
}
