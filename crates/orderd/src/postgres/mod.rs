//! The connection to PostgreSQL, and the preparation of the table.

pub(crate) mod encoding;
mod data_column;
pub(crate) mod check;
mod failure;
mod half_open;
mod identity_check;
mod idle_connections;
mod pooler;
pub(crate) mod schema;
pub(crate) mod position;
pub(crate) mod fence;
pub(crate) mod lease;
mod rows;
mod erased_keys;
pub(crate) mod kept_rows;
mod wal;
pub(crate) mod old_rows;
pub(crate) mod old_partitions;

use std::error::Error as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_postgres::Client;
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub(crate) use self::data_column::{Data, array_type, data_type};
pub(crate) use self::erased_keys::{
    ERASED, create_erased_statement, create_erased_table, erased_keys, erased_table,
};
pub(crate) use self::failure::ConnectError;
pub(crate) use self::half_open::SessionWatch;
use self::identity_check::admit;
pub(crate) use self::rows::{FoundRows, RowLookup, existing_ids, insert, insert_from};
use self::schema::{Inspection, TableRefused, TableTraits};
pub(crate) use self::schema::{format_of_table, wrong_format};
pub(crate) use self::wal::{Wal, wal};
use crate::config::{Postgres, Target};
use crate::finding::{Finding, Severity};
use crate::random;
use crate::tls::TlsMode;

/// Time limit for a connection to one of several servers, and the interval at which the others are tried.
const FAILOVER_TIMEOUT: Duration = Duration::from_millis(1500);

/// Time limit for a connection to one of several servers where none answered within [`FAILOVER_TIMEOUT`]. Less than the
/// 5 s that a look-up waits in all.
const SLOW_NETWORK_TIMEOUT: Duration = Duration::from_millis(4500);

/// If an attempt to connect has no answer after this time, further attempts are made beside it at this interval.
const HEDGE_INTERVAL: Duration = Duration::from_secs(1);

/// Number and interval of attempts to connect after spare connections were closed to make room.
const MAX_ROOM_ATTEMPTS: u32 = 10;
const ROOM_INTERVAL: Duration = Duration::from_millis(50);

/// Time for a dropped connection to close before its running query is cancelled.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(100);

/// Time limits for a query that reads or writes a single row, and for one that may wait for locks or read many rows.
pub(crate) const SHORT_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const LONG_TIMEOUT: Duration = Duration::from_secs(30);

/// Time limit for a connection that is tried once, including the first answer: a pooler accepts connections before it has
/// one to the server. A longer `connect_timeout` extends it.
const CONNECT_ONCE_TIMEOUT: Duration = Duration::from_secs(8);
/// Additional time for the first answer after `connect_timeout`.
const FIRST_ANSWER: Duration = Duration::from_secs(1);

/// How long an export or an import waits for PostgreSQL before it asks whether the server still answers.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a command that only looks waits for a lock, and the interval at which the connection's watch is asked for it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(8);
const LOCK_INTERVAL: Duration = Duration::from_millis(500);

/// How long startup waits for the check of the table.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the table is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{}", describe(.0))]
    Database(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Refused(#[from] TableRefused),
    /// The query, and why it has no answer.
    #[error("{0}")]
    NotAnswered(String),
}

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{}", describe(.0))]
    Database(#[from] tokio_postgres::Error),
    #[error("{}", Abandoned::TimedOut)]
    TimedOut,
}

/// Why a query was abandoned before it finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Abandoned {
    #[error("PostgreSQL does not answer")]
    TimedOut,
    #[error("another PostgreSQL server accepts writes now")]
    Moved,
}

/// The connections that are being closed.
static CLOSING: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);

/// A connection. Dropping it closes it, and cancels the query that it still runs.
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// The server that it is connected to.
    target: Arc<Target>,
    server: usize,
    /// `None` once it is dropped.
    driver: Option<AbortOnDropHandle<()>>,
    watch: Arc<SessionWatch>,
}

impl Connection {
    /// The watch that waits for statements on this connection, and gives it up if it is half-open.
    pub(crate) fn watch(&self) -> Arc<SessionWatch> {
        self.watch.clone()
    }

    /// Whether the connection was half-open, and was given up.
    pub(crate) fn was_lost(&self) -> bool {
        self.watch.was_lost()
    }

    /// Marks the connection as spare: while idle, it is closed if another connection needs its slot on the server.
    pub(crate) fn spare(self) -> Self {
        idle_connections::add(&self.watch);
        self
    }

    /// Waits for a statement of a command for as long as the server answers. Whenever nothing has come for `patience`, a
    /// further connection asks it: a server that is slow, or a statement that waits for a lock, is waited for.
    ///
    /// # Errors
    /// Neither the statement nor that connection has an answer within [`CONNECT_ONCE_TIMEOUT`] more.
    pub(crate) async fn unless_stuck<T>(
        &self,
        patience: Duration,
        statement: impl Future<Output = T>,
    ) -> Result<T, ConnectError> {
        // A refusal is an answer too.
        let answered = async || {
            if let Ok(connection) = connect_to(&self.target, self.server).await {
                drop(connection.client.batch_execute("").await);
            }
        };
        let stuck = async {
            loop {
                tokio::time::sleep(patience).await;
                if timeout(CONNECT_ONCE_TIMEOUT, answered()).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            result = statement => Ok(result),
            () = stuck => Err(ConnectError(vec![failure::silent(&self.target.servers.0[self.server])])),
        }
    }

    /// Returns once a watched statement of a command still waits for a lock after [`LOCK_TIMEOUT`], with the lock. Where a
    /// pooler hides the session, it never returns.
    pub(crate) async fn lock(&self) -> String {
        tokio::time::sleep(LOCK_TIMEOUT).await;
        loop {
            if let Some(lock) = self.watch.lock() {
                return lock;
            }
            tokio::time::sleep(LOCK_INTERVAL).await;
        }
    }

    /// Waits for a statement on this connection, and gives the connection up if it is half-open.
    pub(crate) async fn watched<T>(&self, statement: impl Future<Output = T>) -> T {
        self.watch.over(statement).await
    }
}

impl Drop for Connection {
    /// A backend that waits for a lock does not notice that its client has disconnected. Without the cancel it would
    /// keep waiting, and every abandoned query would use up one of the server's connections.
    fn drop(&mut self) {
        let (Some(driver), Ok(runtime)) = (self.driver.take(), Handle::try_current()) else { return };
        let (cancel, target) = (self.client.cancel_token(), self.target.clone());
        let closing = async move {
            tokio::pin!(driver);
            // An idle connection ends as soon as its client is dropped.
            if timeout(CLOSE_TIMEOUT, &mut driver).await.is_ok() {
                return;
            }
            let connector = target.connector.fresh().as_ref().clone();
            drop(timeout(SHORT_TIMEOUT, cancel.cancel_query(connector)).await);
            drop(timeout(SHORT_TIMEOUT, driver).await);
        };
        CLOSING.spawn_on(closing, &runtime);
    }
}

/// Waits up to one second until dropped connections are closed and their queries cancelled.
pub async fn closed() {
    CLOSING.close();
    drop(timeout(Duration::from_secs(1), CLOSING.wait()).await);
}

/// Connects once: to the last reached server, or else to the next one that accepts the connection in time.
pub(crate) async fn connect(settings: &Postgres) -> Result<Connection, ConnectError> {
    let target = settings.target.fresh();
    let count = target.servers.0.len();
    let first = match target.servers.0[0].get_load_balance_hosts() {
        LoadBalanceHosts::Random => usize::from_str_radix(&random::hex::<4>(), 16).unwrap_or_default(),
        _ => target.preferred.load(Ordering::Relaxed),
    };
    let order = (first..first + count).map(|index| index % count);
    let begun = Instant::now();
    let connected = if count > 1 && target.all_silent.load(Ordering::Relaxed) {
        connect_to_all(&target, order).await
    } else {
        connect_one_by_one(&target, order).await
    };
    match connected {
        Ok(connection) => {
            target.preferred.store(connection.server, Ordering::Relaxed);
            if begun.elapsed() < FAILOVER_TIMEOUT {
                target.all_silent.store(false, Ordering::Relaxed);
            }
            let admitted = admit(&settings.identity, &connection.client, &target.address);
            match connection.watched(admitted).await {
                Ok(()) => Ok(connection),
                Err(finding) => Err(ConnectError(vec![finding])),
            }
        }
        Err(failed) => {
            let all_silent = failed.iter().all(|(_, is_silent)| *is_silent);
            target.all_silent.store(all_silent, Ordering::Relaxed);
            Err(ConnectError(failed.into_iter().map(|(finding, _)| finding).collect()))
        }
    }
}

/// Why a server did not accept the connection, and whether it did not answer at all.
type Failed = (Finding, bool);

/// Returns the first server that accepts. Each of several servers has little time, because an unreachable server may be
/// the first.
async fn connect_one_by_one(
    target: &Arc<Target>,
    servers: impl Iterator<Item = usize>,
) -> Result<Connection, Vec<Failed>> {
    let count = target.servers.0.len();
    let limit = if count == 1 { LONG_TIMEOUT } else { FAILOVER_TIMEOUT };
    let mut failed = Vec::new();
    for index in servers {
        // If the caller gives up, its next attempt begins with the next server.
        target.preferred.store((index + 1) % count, Ordering::Relaxed);
        match connect_within(limit, target, index).await {
            Ok(connection) => return Ok(connection),
            Err(failure) => failed.push(failure),
        }
    }
    Err(failed)
}

/// Tries all servers at once, with more time: none has answered in time before, so the network may be slow.
async fn connect_to_all(
    target: &Arc<Target>,
    servers: impl Iterator<Item = usize>,
) -> Result<Connection, Vec<Failed>> {
    let mut attempts: FuturesUnordered<_> =
        servers.map(|index| connect_within(SLOW_NETWORK_TIMEOUT, target, index)).collect();
    let mut failed = Vec::new();
    while let Some(attempt) = attempts.next().await {
        match attempt {
            Ok(connection) => return Ok(connection),
            Err(failure) => failed.push(failure),
        }
    }
    Err(failed)
}

async fn connect_within(limit: Duration, target: &Arc<Target>, index: usize) -> Result<Connection, Failed> {
    let server = &target.servers.0[index];
    match timeout(limit, connect_making_room(target, index)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err((failure::refused(server, &error), false)),
        Err(_) => Err((failure::silent(server), true)),
    }
}

/// Waits until another server accepts writes, because a standby was promoted. Never returns if only one server is
/// configured, or if writes are not required.
async fn moved(connection: &Connection) {
    let target = &connection.target;
    let servers = &target.servers.0;
    let writes =
        |server: &&usize| servers[**server].get_target_session_attrs() == TargetSessionAttrs::ReadWrite;
    let others: Vec<usize> = (0..servers.len()).filter(|&server| server != connection.server).collect();
    loop {
        let is_slow = target.all_silent.load(Ordering::Relaxed);
        let limit = if is_slow { SLOW_NETWORK_TIMEOUT } else { FAILOVER_TIMEOUT };
        for &server in others.iter().filter(writes) {
            if let Ok(Ok(_)) = timeout(limit, connect_to(target, server)).await {
                target.preferred.store(server, Ordering::Relaxed);
                return;
            }
        }
        tokio::time::sleep(FAILOVER_TIMEOUT).await;
    }
}

/// As [`connect`], within a time limit, however many servers there are.
pub(crate) async fn connect_in_time(settings: &Postgres) -> Result<Connection, ConnectError> {
    let connected = timeout(LONG_TIMEOUT, connect(settings)).await;
    connected.unwrap_or_else(|_| Err(all_silent(settings)))
}

fn all_silent(settings: &Postgres) -> ConnectError {
    ConnectError(settings.target.current().servers.0.iter().map(failure::silent).collect())
}

/// Waits for a query without a time limit, unless another server accepts writes meanwhile.
pub(crate) async fn unless_moved<T>(
    connection: &Connection,
    query: impl Future<Output = T>,
) -> Result<T, Abandoned> {
    tokio::select! {
        result = connection.watched(query) => Ok(result),
        () = async { tokio::time::sleep(SHORT_TIMEOUT).await; moved(connection).await } => Err(Abandoned::Moved),
    }
}

/// Waits for a query, and calls `slow` if it is slow. After [`LONG_TIMEOUT`] the query is cancelled, so that it does
/// not keep waiting for a lock.
pub(crate) async fn finished_or_cancelled<T>(
    connection: &Connection,
    query: impl Future<Output = T>,
    slow: impl FnOnce(),
) -> Result<T, Abandoned> {
    let query = connection.watched(query);
    tokio::pin!(query);
    tokio::select! {
        result = &mut query => return Ok(result),
        () = tokio::time::sleep(SHORT_TIMEOUT) => slow(),
    }
    tokio::select! {
        result = &mut query => return Ok(result),
        () = tokio::time::sleep(LONG_TIMEOUT) => {}
        () = moved(connection) => return Err(Abandoned::Moved),
    }
    let cancelled = connection.client.cancel_token();
    drop(
        timeout(SHORT_TIMEOUT, cancelled.cancel_query(connection.target.connector.fresh().as_ref().clone()))
            .await,
    );
    timeout(SHORT_TIMEOUT, query).await.map_err(|_| Abandoned::TimedOut)
}

/// As [`connect_hedged`]. If the role or the server has no connection left, closes spare connections of this process.
async fn connect_making_room(
    target: &Arc<Target>,
    server: usize,
) -> Result<Connection, tokio_postgres::Error> {
    let mut attempts = 0;
    loop {
        match connect_hedged(target, server).await {
            Err(error) if has_no_room(&error) && (idle_connections::close_idle() || attempts > 0) => {
                attempts += 1;
                if attempts > MAX_ROOM_ATTEMPTS {
                    return Err(error);
                }
                // The server takes a moment to end the sessions.
                tokio::time::sleep(ROOM_INTERVAL).await;
            }
            connected => return connected,
        }
    }
}

/// Whether the server, the database, the role or a pooler accepts no more connections.
fn has_no_room(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS)
}

/// As [`connect_to`], with hedged attempts: an attempt made while the server was down may never be answered. So further
/// attempts, each with a shorter time limit, are made in parallel to the first, which a slow server may still answer.
async fn connect_hedged(target: &Arc<Target>, server: usize) -> Result<Connection, tokio_postgres::Error> {
    let first = connect_to(target, server);
    tokio::pin!(first);
    let mut due = tokio::time::interval(HEDGE_INTERVAL);
    due.tick().await;
    loop {
        let fresh = async {
            due.tick().await;
            timeout(HEDGE_INTERVAL, connect_to(target, server)).await
        };
        tokio::select! {
            connected = &mut first => return connected,
            // If it was refused, the first attempt reports the reason too.
            fresh = fresh => if let Ok(Ok(connection)) = fresh { return Ok(connection) },
        }
    }
}

/// Connects as libpq does: with `prefer`, retries without TLS if the server refuses the connection with TLS; with
/// `allow`, the other way round.
async fn connect_to(target: &Arc<Target>, server: usize) -> Result<Connection, tokio_postgres::Error> {
    let config = target.server(server);
    // libpq speaks no TLS over a Unix socket, whatever `sslmode` says.
    let is_socket = matches!(config.get_hosts(), [Host::Unix(_)]) && config.get_hostaddrs().is_empty();
    let (first, second) = match target.mode {
        _ if is_socket => (SslMode::Disable, None),
        TlsMode::Disable => (SslMode::Disable, None),
        TlsMode::Allow => (SslMode::Disable, Some(SslMode::Require)),
        TlsMode::Prefer => (SslMode::Prefer, Some(SslMode::Disable)),
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => (SslMode::Require, None),
    };
    let tls = target.connector.fresh();
    let open = async |mode| open(&config, mode, &tls, target, server).await;
    match (open(first).await, second) {
        (Err(error), Some(second)) if depends_on_tls(&error) => {
            match open(second).await {
                // The first error says more than "no rule".
                Err(other) if is_rule(&other) => Err(error),
                opened => opened,
            }
        }
        (opened, _) => opened,
    }
}

/// Whether the refusal may depend on the use of TLS.
fn depends_on_tls(error: &tokio_postgres::Error) -> bool {
    // Authentication, and poolers' messages about it. A failed handshake has no error kind.
    let of_class = |class| error.code().is_some_and(|code| code.code().starts_with(class));
    of_class("28") || of_class("08") || error.to_string() == "error performing TLS handshake"
}

fn is_rule(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
}

async fn open(
    config: &tokio_postgres::Config,
    mode: SslMode,
    tls: &MakeRustlsConnect,
    target: &Arc<Target>,
    server: usize,
) -> Result<Connection, tokio_postgres::Error> {
    let (client, connection) = config.clone().ssl_mode(mode).connect(tls.clone()).await?;
    let driver = AbortOnDropHandle::new(tokio::spawn(async move {
        // The caller that uses the client gets the error, with its context.
        drop(connection.await);
    }));
    let watch = SessionWatch::new(target, server, &client, driver.abort_handle());
    Ok(Connection { client, target: target.clone(), server, driver: Some(driver), watch })
}

/// Creates the table if it is missing, and checks that it supports the service's guarantees.
///
/// # Errors
/// PostgreSQL does not answer, or the table is refused.
pub(crate) async fn prepare(
    connection: &Connection,
    settings: &Postgres,
) -> Result<TableTraits, PrepareError> {
    let client = &connection.client;
    // First: a watch that does not know of a pooler takes another client's session for its own.
    let pooler = pooler::check(client, settings).await?;
    // Behind a pooler that is refused, further statements may fail for the same reason.
    let (refused, pooler): (Vec<_>, Vec<_>) =
        pooler.into_iter().partition(|finding| finding.severity == Severity::Refusal);
    if !refused.is_empty() {
        return Err(TableRefused(refused).into());
    }
    let mut found = connection.watched(schema::inspect(client, settings)).await?;
    found.findings.extend(pooler);
    connection.watched(make_table(client, settings, found)).await
}

/// As [`prepare`], for writers: also creates the tables of positions and erased keys.
pub(crate) async fn prepare_to_write(
    connection: &Connection,
    settings: &Postgres,
) -> Result<TableTraits, PrepareError> {
    let traits = prepare(connection, settings).await?;
    let (client, table) = (&connection.client, &settings.table);
    let made = async {
        made_or_there(client, &position::create_statement(table), &position::positions(table)).await?;
        position::add_columns(client, table).await?;
        // Optional: reading and writing orders does not need it, and the role may lack the privilege to create it.
        drop(create_erased_table(client, table).await);
        Ok(traits)
    };
    connection.watched(made).await
}

async fn make_table(
    client: &Client,
    settings: &Postgres,
    found: Inspection,
) -> Result<TableTraits, PrepareError> {
    // The writer and the fill find it missing at the same time: one of them makes it, and the other one sees that.
    static MAKING: Mutex<()> = Mutex::const_new(());
    let is_there = found.is_there;
    let traits = found.accepted()?;
    if is_there {
        return Ok(traits);
    }
    let _guard = MAKING.lock().await;
    let found = schema::inspect(client, settings).await?;
    if found.is_there {
        return Ok(found.accepted()?);
    }
    let table = &settings.table;
    made_or_there(client, &schema::create_statement(settings), &table.quoted()).await?;
    let traits = schema::inspect(client, settings).await?.accepted()?;
    tracing::info!(%table, data = traits.format.column_type(), "table made");
    Ok(traits)
}

/// Checks the table before anything else runs, if PostgreSQL can be reached soon; otherwise the writer and the fill
/// check it later. Logs problems that the service can work with.
///
/// # Errors
/// The table is refused.
pub(crate) async fn check_at_start(settings: &Postgres) -> anyhow::Result<()> {
    let inspected = async {
        let connection = connect(settings).await.ok()?;
        let mut found = schema::inspect(&connection.client, settings).await.ok()?;
        found.findings.extend(pooler::check(&connection.client, settings).await.ok()?);
        Some(found)
    };
    let Ok(Some(found)) = timeout(CHECK_TIMEOUT, inspected).await else { return Ok(()) };
    for warning in found.warnings() {
        tracing::warn!(problem = warning.problem, fix = warning.fix, "PostgreSQL fails the startup checks");
    }
    found.accepted().map(drop).map_err(|refused| anyhow::anyhow!("PostgreSQL: {refused}"))
}

/// The text can't be stored in this database: it has a null character, or one that the encoding lacks.
pub(crate) fn is_no_text(error: &tokio_postgres::Error) -> bool {
    let codes = [SqlState::CHARACTER_NOT_IN_REPERTOIRE, SqlState::UNTRANSLATABLE_CHARACTER];
    error.code().is_some_and(|code| codes.contains(code))
}

/// Whether PostgreSQL refuses a row, and may accept others: data exceptions, violated constraints, limits such as a row's
/// size, exceptions from triggers.
pub(crate) fn is_of_a_row(code: &SqlState) -> bool {
    ["22", "23", "44", "54", "P0"].iter().any(|class| code.code().starts_with(class))
}

/// Whether a row is refused because one with its id is stored already: by a trigger in another table, for instance,
/// where `ON CONFLICT (id)` does not see it.
pub(crate) fn is_stored_already(error: &tokio_postgres::Error) -> bool {
    // Independent of the server's language.
    let names_id = |detail: &str| detail.contains("(id)=(");
    error.as_db_error().is_some_and(|refused| {
        *refused.code() == SqlState::UNIQUE_VIOLATION && refused.detail().is_some_and(names_id)
    })
}

/// An error of PostgreSQL with its cause, without the detail, which may quote a row.
pub(crate) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(refused) = error.as_db_error() {
        if pooler::loses_statements(error) {
            return format!(
                "{} (SQLSTATE {}): {}",
                refused.message(),
                refused.code().code(),
                pooler::advice()
            );
        }
        return format!("{} (SQLSTATE {})", refused.message(), refused.code().code());
    }
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Connects once, for a command or a request, whose user waits.
///
/// # Errors
/// Why not; no answer within [`CONNECT_ONCE_TIMEOUT`], or within `connect_timeout` if that is longer.
pub(crate) async fn connect_once(settings: &Postgres) -> anyhow::Result<Connection> {
    let answered = async {
        let connection = connect(settings).await?;
        connection.client.batch_execute("").await.map_err(explain)?;
        Ok(connection)
    };
    let target = settings.target.current();
    let limits: Option<Vec<Duration>> =
        target.servers.0.iter().map(|server| server.get_connect_timeout().copied()).collect();
    // `connect_timeout=0` waits forever.
    let Some(limits) = limits else { return answered.await };
    let limit = limits.into_iter().fold(CONNECT_ONCE_TIMEOUT, |limit, asked| limit.max(asked + FIRST_ANSWER));
    timeout(limit, answered).await.unwrap_or_else(|_| Err(all_silent(settings).into()))
}

/// Creates a table. Succeeds if the role may not, but the table exists.
async fn made_or_there(client: &Client, made: &str, table: &str) -> Result<(), tokio_postgres::Error> {
    match client.batch_execute(made).await {
        Ok(()) => Ok(()),
        Err(error) => client.batch_execute(&format!("SELECT FROM {table} LIMIT 0")).await.map_err(|_| error),
    }
}

/// An error for the user of a command.
pub(crate) fn explain(error: tokio_postgres::Error) -> anyhow::Error {
    let advice = if error.code() == Some(&SqlState::UNDEFINED_TABLE) {
        ": check PG_TABLE, and the database in PG_DBNAME or DATABASE_URL; orderd serve makes the tables it needs"
    } else {
        ""
    };
    anyhow::anyhow!("PostgreSQL: {}{advice}", describe(&error))
}
