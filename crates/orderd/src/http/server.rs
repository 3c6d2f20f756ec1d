//! Accepts connections, within limits on what a client may send, keep open or leave unread.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::{App, router};

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

/// Serves until told to stop, and then finishes what is under way.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>, stop: CancellationToken) {
    let router = router(app);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = GracefulShutdown::new();
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
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stop.cancelled() => break,
        };
        let Some((stream, place)) = accepted else { continue };
        // Refused only where the connection is gone already.
        drop(stream.set_nodelay(true));
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(UNREAD));
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service);
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // An error here is the client's: it left, was too slow, or sent no HTTP.
            drop(connection.await);
            drop(place);
        });
    }
    drop(listener);
    drop(tokio::time::timeout(DRAIN, connections.shutdown()).await);
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
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
