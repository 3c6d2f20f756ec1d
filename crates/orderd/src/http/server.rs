//! Accepts connections, within limits on what a client may send, keep open or leave unread.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::App;
use super::answers::Answers;
use crate::config::Identity;

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 20_000;

/// How long a client may take to send a request's head, which is also how long it may keep an idle connection.
const HEAD: Duration = Duration::from_secs(15);

/// How long a client may leave an answer unread.
const UNREAD: Duration = Duration::from_secs(30);

/// How much a request's head may have; more is answered by 431.
const HEADERS: usize = 64;
const BUFFER: usize = 32 << 10;

/// How long answers that are under way may take once the service stops.
const DRAIN: Duration = Duration::from_secs(3);

/// How long a client may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves until told to stop, and then finishes what is under way.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>, stop: CancellationToken) {
    let server = Server {
        identity: app.settings.identity.clone(),
        answers: Answers::new(app),
        http: http(),
        connections: GracefulShutdown::new(),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stop.cancelled() => break,
        };
        let Some((stream, place)) = accepted else { continue };
        // Refused only where the connection is gone already.
        drop(stream.set_nodelay(true));
        match &server.identity {
            None => server.serve(stream, place),
            Some(identity) => server.serve_tls(stream, place, identity),
        }
    }
    drop(listener);
    drop(tokio::time::timeout(DRAIN, server.connections.shutdown()).await);
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
struct Server {
    identity: Option<Identity>,
    answers: Answers,
    http: http1::Builder,
    connections: GracefulShutdown,
}

impl Server {
    fn serve(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let served = self.connections.watch(connection(&self.http, stream, self.answers.clone()));
        tokio::spawn(async move {
            // An error here is the client's: it left, was too slow, or sent no HTTP.
            drop(served.await);
            drop(place);
        });
    }

    fn serve_tls(&self, stream: TcpStream, place: OwnedSemaphorePermit, identity: &Identity) {
        let handshake = tokio::time::timeout(HANDSHAKE, identity.acceptor().accept(stream));
        let (http, answers, watcher) = (self.http.clone(), self.answers.clone(), self.connections.watcher());
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = handshake.await {
                drop(watcher.watch(connection(&http, stream, answers)).await);
            }
            drop(place);
        });
    }
}

/// Serves one connection, for the fuzzer.
#[cfg(feature = "fuzzing")]
pub(crate) async fn serve_one<S>(stream: S, app: Arc<App>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    drop(connection(&http(), stream, Answers::new(app)).await);
}

fn connection<S>(http: &http1::Builder, stream: S, answers: Answers) -> http1::Connection<Io<S>, Answers>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(UNREAD));
    http.serve_connection(TokioIo::new(Box::pin(stream)), answers)
}

/// A connection that ends when the client leaves an answer unread for too long.
type Io<S> = TokioIo<Pin<Box<TimeoutStream<S>>>>;

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
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
