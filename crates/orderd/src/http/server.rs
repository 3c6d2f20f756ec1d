//! Accepts connections, within limits on what a client may send, keep open or leave unread.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::places::{Place, Places, Watched};
use super::rewound::Rewound;
use super::{App, router, swift};
use crate::config::Identity;

/// How long a client may take to send a request's head, which is also how long it may keep an idle connection.
pub(super) const HEAD: Duration = Duration::from_secs(15);

/// How long a client may leave an answer unread.
const UNREAD: Duration = Duration::from_secs(30);

/// How much a request's head may have; more is answered by 431.
pub(super) const HEADERS: usize = 64;
const BUFFER: usize = 32 << 10;

/// How long answers that are under way may take once the service stops.
const DRAIN: Duration = Duration::from_secs(3);

/// How long a client may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves until told to stop, and then finishes what is under way.
pub(super) async fn serve(listener: TcpListener, app: Arc<App>, stop: CancellationToken) {
    let server = Server::new(app, stop.clone());
    let (places, connections) = (Places::within_limit(), TaskTracker::new());
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stop.cancelled() => break,
        };
        let Some((stream, place)) = accepted else { continue };
        // Refused only where the connection is gone already.
        drop(stream.set_nodelay(true));
        let server = server.clone();
        connections.spawn(async move {
            let stream = place.watch(stream);
            tokio::select! {
                () = server.secure_and_serve(stream) => {}
                () = place.close.cancelled() => {}
            }
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    drop(tokio::time::timeout(DRAIN, connections.wait()).await);
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(HEADERS)
        // A client that has said all it has to say still wants its answer.
        .half_close(true)
        .max_buf_size(BUFFER)
        // Head and body in one write. Not `pipeline_flush`: with it, hyper buffers a streamed body without bound
        // for a client that doesn't read.
        .writev(false);
    http
}

/// What connections are served with.
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

    async fn secure_and_serve(self, stream: Watched<TcpStream>) {
        match self.app.settings.identity.as_ref().map(Identity::acceptor) {
            None => self.serve(stream).await,
            Some(acceptor) => {
                if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    self.serve(stream).await;
                }
            }
        }
    }

    /// Answers one connection until it ends: what it can on the short way, and the rest by the routes.
    async fn serve<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(UNREAD));
        let mut stream = Box::pin(stream);
        let Some(read) = swift::answer(&mut stream, &self.app, &self.stop).await else { return };
        let stream = TokioIo::new(Rewound { read, stream });
        let mut served = std::pin::pin!(self.http.serve_connection(stream, self.routes));
        // An error here is the client's: it left, was too slow, or sent no HTTP.
        tokio::select! {
            _ = &mut served => return,
            () = self.stop.cancelled() => served.as_mut().graceful_shutdown(),
        }
        drop(served.await);
    }
}

/// Serves one connection, for the fuzzer.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) async fn serve_one<S>(stream: S, app: Arc<App>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Server::new(app, CancellationToken::new()).serve(stream).await;
}

async fn accept(listener: &TcpListener, places: &Places) -> Option<(TcpStream, Place)> {
    let place = places.take().await?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            // Mostly: no more file descriptors. Those of connections that end become free.
            tracing::warn!(%error, "can't accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}
