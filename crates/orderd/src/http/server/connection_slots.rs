//! Slots for connections: as many as the limit on open files allows, less those that the rest of the process needs. If
//! no slot is free, the connection that has been idle longest is closed, so that `/healthz` answers however many
//! clients are idle.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Maximum number of connections, if open files allow; more wait to be accepted.
const MAX_CONNECTIONS: usize = 20_000;

/// Open files for all but HTTP: runtimes, listener, log, connections to PostgreSQL and NATS, files that are read again.
const RESERVED_FILES: usize = 48;

/// A process with fewer open files than it needs serves some all the same.
const MIN_CONNECTIONS: usize = 8;

/// A connection without reads and writes for this time may lose its slot.
const MIN_IDLE: Duration = Duration::from_secs(1);

/// How often to scan for such a connection while no slot is free.
const SCAN_INTERVAL: Duration = Duration::from_millis(100);

/// All slots.
pub(crate) struct ConnectionSlots {
    free: Arc<Semaphore>,
    taken: Arc<Mutex<HashMap<u64, SlotActivity>>>,
    next: AtomicU64,
}

/// The activity of a connection at the last scan.
struct SlotActivity {
    moves: Arc<AtomicU64>,
    seen: u64,
    since: Instant,
    close: CancellationToken,
}

/// The slot of one connection, free again when it is dropped.
pub(crate) struct ConnectionSlot {
    id: u64,
    moves: Arc<AtomicU64>,
    /// Cancelled when the slot is needed.
    pub(crate) close: CancellationToken,
    /// A response has begun and not ended. If the connection ends then, it is reset, because to a client of HTTP/1.0 a
    /// connection that is closed in good order means that the response is complete.
    pub(crate) is_unfinished: Arc<AtomicBool>,
    taken: Arc<Mutex<HashMap<u64, SlotActivity>>>,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionSlots {
    /// As many as the process's limit of open files allows.
    pub(crate) fn within_limit() -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let count = count(usize::try_from(files).unwrap_or(usize::MAX));
        if count < MAX_CONNECTIONS / 20 {
            tracing::warn!(
                connections = count,
                files,
                "few connections fit into the limit of open files; raise it (ulimit -n, LimitNOFILE)"
            );
        }
        Self::new(count)
    }

    fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), taken: Arc::default(), next: AtomicU64::new(0) }
    }

    /// Waits for a slot.
    pub(crate) async fn take(&self) -> Option<ConnectionSlot> {
        let permit = match self.free.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => tokio::select! {
                permit = self.free.clone().acquire_owned() => permit.ok()?,
                () = self.make_room() => return None,
            },
        };
        let (id, moves) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::default());
        let close = CancellationToken::new();
        let taken =
            SlotActivity { moves: Arc::clone(&moves), seen: 0, since: Instant::now(), close: close.clone() };
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(id, taken);
        let (is_unfinished, taken) = (Arc::default(), self.taken.clone());
        Some(ConnectionSlot { id, moves, close, is_unfinished, taken, _permit: permit })
    }

    /// Closes the connection that has been idle for the longest, repeatedly, while a caller waits for a slot.
    async fn make_room(&self) {
        loop {
            self.close_quietest();
            tokio::time::sleep(SCAN_INTERVAL).await;
        }
    }

    fn close_quietest(&self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        for connection in taken.values_mut() {
            let moves = connection.moves.load(Ordering::Relaxed);
            if moves != connection.seen {
                (connection.seen, connection.since) = (moves, now);
            }
        }
        let quiet = taken.values().filter(|one| !one.close.is_cancelled() && now - one.since >= MIN_IDLE);
        if let Some(quietest) = quiet.min_by_key(|connection| connection.since) {
            quietest.close.cancel();
        }
    }
}

fn count(files: usize) -> usize {
    files.saturating_sub(RESERVED_FILES).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
}

impl ConnectionSlot {
    /// The stream, with its reads and writes counted.
    pub(crate) fn watch(&self, stream: TcpStream) -> WatchedStream {
        // Restarts its idle time.
        self.moves.fetch_add(1, Ordering::Relaxed);
        WatchedStream { stream, moves: self.moves.clone(), is_unfinished: self.is_unfinished.clone() }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// A stream that counts its reads and writes, and is reset if it ends within a response.
pub(crate) struct WatchedStream {
    stream: TcpStream,
    moves: Arc<AtomicU64>,
    is_unfinished: Arc<AtomicBool>,
}

impl WatchedStream {
    fn moved<T>(&self, done: io::Result<T>) -> Poll<io::Result<T>> {
        self.moves.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(done)
    }
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        if self.is_unfinished.load(Ordering::Relaxed) {
            // Fails if the connection is already closed.
            drop(self.stream.set_zero_linger());
        }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        self.moved(done)
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.moved(done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, parts));
        self.moved(done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_kept_back_for_all_but_http() {
        assert_eq!((count(64), count(256), count(20_000)), (16, 208, 19_952));
        assert_eq!((count(10), count(1 << 20)), (MIN_CONNECTIONS, MAX_CONNECTIONS));
    }

    #[tokio::test]
    async fn the_quietest_connection_gives_its_place() {
        let slots = ConnectionSlots::new(2);
        let (quiet, busy) = (slots.take().await.unwrap(), slots.take().await.unwrap());
        let third = async {
            tokio::select! {
                slot = slots.take() => slot.unwrap(),
                () = async { loop {
                    busy.moves.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                } } => unreachable!("it never returns"),
            }
        };
        let leaves = async move {
            quiet.close.cancelled().await;
            drop(quiet);
        };
        let (_third, ()) = tokio::join!(third, leaves);
        assert!(!busy.close.is_cancelled());
    }
}
