//! Finds half-open connections: a gateway has dropped a connection without notice to either end, so that a statement is
//! never answered. A statement that is slow or waits for a lock looks the same. The server's view of the session,
//! queried on a new connection, distinguishes the two.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::types::Type;
use tokio_postgres::{CancelToken, Client, Error};

use super::{Connection, LONG_TIMEOUT, SHORT_TIMEOUT, connect_hedged};
use crate::config::Target;

/// Time without an answer after which the session is looked up on the server.
const SUSPECT_AFTER: Duration = Duration::from_millis(500);

/// How long the session may wait for this process while this process waits for it. After a number of consecutive
/// connections that were given up, each next one gets twice the time, because the network may only be slow.
const GRACE: Duration = Duration::from_millis(500);
const MIN_GIVEN_UP: u32 = 3;

/// For how long given-up connections are remembered.
const MEMORY: Duration = Duration::from_secs(120);

/// Interval of look-ups while the session works, or can't be looked up.
const MIN_INTERVAL: Duration = Duration::from_millis(250);
const MAX_INTERVAL: Duration = Duration::from_secs(2);

/// The session `$1`: the process id of the querying session, whether `$1` exists, its state, its wait event, for how
/// many seconds it has been in that state and has run, and when it began.
const SESSION: &str = "SELECT pg_backend_pid(), asked.pid IS NOT NULL, asked.state, asked.wait_event_type,
        extract(epoch FROM clock_timestamp() - asked.state_change)::float8,
        extract(epoch FROM clock_timestamp() - asked.backend_start)::float8,
        extract(epoch FROM asked.backend_start)::text
    FROM (SELECT) AS one LEFT JOIN pg_catalog.pg_stat_activity AS asked ON asked.pid = $1";

/// Progress of the COPY of session `$1`; unknown before PostgreSQL 14.
const COPIED: &str = "SELECT bytes_processed FROM pg_catalog.pg_stat_progress_copy WHERE pid = $1";

/// The tables on which session `$1` waits for a lock, and the sessions that block it.
const LOCKS: &str = "SELECT coalesce(string_agg(DISTINCT relation::regclass::text, ', '), ''),
        array_to_string(pg_blocking_pids($1), ', ')
    FROM pg_catalog.pg_locks WHERE pid = $1 AND relation IS NOT NULL AND (NOT granted OR EXISTS
        (SELECT FROM pg_catalog.pg_locks AS waiting WHERE waiting.pid = $1 AND NOT waiting.granted
           AND waiting.relation IS NULL) AND locktype = 'tuple')";

/// Terminates session `$1` that began at `$2`, because it may hold locks that the next one needs.
const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
    WHERE pid = $1 AND extract(epoch FROM backend_start)::text = $2";

/// Looks up a connection's session, and closes the connection if it is half-open.
pub(crate) struct SessionWatch {
    target: Arc<Target>,
    server: usize,
    driver: AbortHandle,
    cancel: CancelToken,
    opened: Instant,
    /// Statements that run on the connection now.
    running: AtomicUsize,
    was_lost: AtomicBool,
    /// The lock that the session waited for at the last look-up.
    waits_for: Mutex<Option<String>>,
}

/// The result of a look-up.
enum Verdict {
    /// It works, or waits for a lock.
    Works,
    /// It waits for this process, but not long enough to decide.
    Waits,
    /// The server does not answer now.
    Unknown,
    /// A pooler hides the sessions.
    Hidden,
    /// The connection is half-open.
    Lost(&'static str),
}

/// A session that waits for this process in the middle of a COPY.
struct Stalled {
    since: Instant,
    bytes: Option<i64>,
}

impl SessionWatch {
    pub(super) fn new(
        target: &Arc<Target>,
        server: usize,
        client: &Client,
        driver: AbortHandle,
    ) -> Arc<Self> {
        Arc::new(Self {
            target: target.clone(),
            server,
            driver,
            cancel: client.cancel_token(),
            opened: Instant::now(),
            running: AtomicUsize::new(0),
            was_lost: AtomicBool::new(false),
            waits_for: Mutex::default(),
        })
    }

    /// Waits for a statement. If its connection turns out to be half-open, the connection is closed, and the statement
    /// fails.
    pub(crate) async fn over<T>(&self, statement: impl Future<Output = T>) -> T {
        let _running = Running::new(self);
        tokio::pin!(statement);
        tokio::select! {
            biased;
            result = &mut statement => return result,
            // Boxed because the future is large and rarely polled.
            reason = async { sleep(SUSPECT_AFTER).await; Box::pin(self.lost()).await } => {
                tracing::warn!(reason, "a connection to PostgreSQL was lost and not closed; it is given up");
            }
        }
        self.was_lost.store(true, Ordering::Release);
        self.driver.abort();
        statement.await
    }

    /// Whether the connection was given up as half-open.
    pub(super) fn was_lost(&self) -> bool {
        self.was_lost.load(Ordering::Acquire)
    }

    /// Why a statement is not answered, as far as known: the lock that it waits for.
    pub(crate) fn explain(&self, otherwise: &str) -> String {
        self.lock().unwrap_or_else(|| otherwise.to_owned())
    }

    /// The lock that the statement waits for, if it was seen to wait for one.
    pub(super) fn lock(&self) -> Option<String> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes the connection if no statement runs on it.
    pub(super) fn close_if_idle(&self) -> bool {
        let closes = self.running.load(Ordering::Acquire) == 0 && !self.driver.is_finished();
        if closes {
            self.driver.abort();
        }
        closes
    }

    /// Returns once the connection is known to be half-open, with the reason.
    async fn lost(&self) -> &'static str {
        let begun = Instant::now() - SUSPECT_AFTER;
        let (mut pause, mut stalled) = (MIN_INTERVAL, None);
        loop {
            match self.ask(begun, &mut stalled).await {
                Verdict::Lost(reason) => return reason,
                Verdict::Hidden => std::future::pending().await,
                Verdict::Waits => pause = MIN_INTERVAL,
                Verdict::Works | Verdict::Unknown => pause = (pause * 2).min(MAX_INTERVAL),
            }
            sleep(pause).await;
        }
    }

    async fn ask(&self, begun: Instant, stalled: &mut Option<Stalled>) -> Verdict {
        if self.target.is_pooled.load(Ordering::Relaxed) {
            return Verdict::Hidden;
        }
        let Some(pid) = process_id(&self.cancel).await else { return Verdict::Hidden };
        // While the server is unreachable, this waits until it is back.
        let Ok(Ok(asking)) = timeout(LONG_TIMEOUT, connect_hedged(&self.target, self.server)).await else {
            return Verdict::Unknown;
        };
        let asked = timeout(SHORT_TIMEOUT, self.judge(&asking, pid, begun, stalled)).await;
        asked.ok().and_then(Result::ok).unwrap_or(Verdict::Unknown)
    }

    async fn judge(
        &self,
        asking: &Connection,
        pid: i32,
        begun: Instant,
        stalled: &mut Option<Stalled>,
    ) -> Result<Verdict, Error> {
        let asked_at = Instant::now();
        let rows = asking.client.query_typed(SESSION, &[(&pid, Type::INT4)]).await?;
        let Some(session) = rows.first() else { return Ok(Verdict::Unknown) };
        // A pooler gives its clients other numbers than the server's process ids.
        if process_id(&asking.client.cancel_token()).await != Some(session.try_get(0)?) {
            return Ok(Verdict::Hidden);
        }
        if !session.try_get::<_, bool>(1)? {
            return Ok(Verdict::Lost("its session at the server has ended"));
        }
        let (state, age): (Option<&str>, Option<f64>) = (session.try_get(2)?, session.try_get(5)?);
        let (Some(state), Some(age)) = (state, age) else { return Ok(Verdict::Unknown) };
        if age + 1.0 < self.opened.elapsed().as_secs_f64() {
            return Ok(Verdict::Lost("its session at the server has ended, and another one has its number"));
        }
        let grace = self.grace().max(asked_at.elapsed() * 4);
        let waits = if state.starts_with("idle") {
            let idle = Duration::try_from_secs_f64(session.try_get::<_, Option<f64>>(4)?.unwrap_or_default());
            idle.unwrap_or_default().min(begun.elapsed())
        } else if state == "active" && session.try_get::<_, Option<&str>>(3)? == Some("Client") {
            // Rows of a COPY may be in transit.
            let copied = asking.client.query_typed(COPIED, &[(&pid, Type::INT4)]).await;
            let bytes = copied.ok().and_then(|rows| rows.first()?.try_get(0).ok());
            if stalled.as_ref().is_none_or(|stalled| stalled.bytes != bytes) {
                *stalled = Some(Stalled { since: Instant::now(), bytes });
            }
            stalled.as_ref().map_or(Duration::ZERO, |stalled| stalled.since.elapsed())
        } else {
            *stalled = None;
            let is_locked = session.try_get::<_, Option<&str>>(3)? == Some("Lock");
            let waits_for = if is_locked { lock_of(&asking.client, pid).await? } else { None };
            *self.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = waits_for;
            return Ok(Verdict::Works);
        };
        if waits < grace {
            return Ok(Verdict::Waits);
        }
        self.note_given_up();
        let began: &str = session.try_get(6)?;
        let ended = asking.client.query_typed(END, &[(&pid, Type::INT4), (&began, Type::TEXT)]).await;
        drop(ended.inspect_err(|error| tracing::debug!(%error, "can't end a session that was given up")));
        Ok(Verdict::Lost("the server waits for this process, which waits for the server"))
    }

    /// How long the session may wait for this process.
    fn grace(&self) -> Duration {
        let given_up = self.target.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = given_up.last.is_some_and(|last| last.elapsed() < MEMORY);
        let doublings =
            if is_recent { (given_up.in_a_row + 1).saturating_sub(MIN_GIVEN_UP).min(10) } else { 0 };
        (GRACE * 2_u32.pow(doublings)).min(LONG_TIMEOUT)
    }

    /// Connections that were open at the same time count once, because one failure has dropped them all.
    fn note_given_up(&self) {
        let mut given_up = self.target.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        match given_up.last {
            Some(last) if last.elapsed() < MEMORY && self.opened < last => return,
            Some(last) if last.elapsed() < MEMORY => given_up.in_a_row += 1,
            _ => given_up.in_a_row = 0,
        }
        given_up.last = Some(Instant::now());
    }
}

async fn lock_of(client: &Client, pid: i32) -> Result<Option<String>, Error> {
    let rows = client.query_typed(LOCKS, &[(&pid, Type::INT4)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (tables, sessions): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let of = if tables.is_empty() { String::new() } else { format!(" on {tables}") };
    Ok(Some(format!("it waits for a lock{of} that another session holds (pid {sessions})")))
}

/// Counts a statement while it runs.
struct Running<'w>(&'w SessionWatch);

impl<'w> Running<'w> {
    fn new(watch: &'w SessionWatch) -> Self {
        watch.running.fetch_add(1, Ordering::AcqRel);
        Self(watch)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The process id that the server gave the connection. The client library shows it nowhere but in the request by which
/// a statement is cancelled, so that request is written to memory and read.
async fn process_id(cancel: &CancelToken) -> Option<i32> {
    let (near, mut far) = tokio::io::duplex(64);
    // Answers the TLS request, which may come first.
    far.write_all(b"S").await.ok()?;
    cancel.cancel_query_raw(near, NoEncryption).await.ok()?;
    let mut sent = Vec::new();
    far.read_to_end(&mut sent).await.ok()?;
    // Length, code, process id, key: four bytes each.
    let request: &[u8; 16] = sent.last_chunk()?;
    request[8..12].try_into().ok().map(i32::from_be_bytes)
}

/// A placeholder for TLS: nothing is sent.
struct NoEncryption;

struct Memory(DuplexStream);

impl TlsConnect<DuplexStream> for NoEncryption {
    type Stream = Memory;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Memory, Self::Error>>;

    fn connect(self, stream: DuplexStream) -> Self::Future {
        std::future::ready(Ok(Memory(stream)))
    }
}

impl TlsStream for Memory {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
