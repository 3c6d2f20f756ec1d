//! The connection to PostgreSQL and the table.

pub(crate) mod encoding;
mod data;
pub(crate) mod check;
mod failure;
mod pooler;
pub(crate) mod schema;
pub(crate) mod position;
pub(crate) mod expiry;

use std::collections::{HashMap, HashSet};
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use order::RowFormat;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

pub(crate) use self::data::{Data, array_type};
use self::encoding::Encoding;
pub(crate) use self::failure::ConnectError;
pub(crate) use self::schema::format_of_table;
use self::schema::{Refused, Traits};
use crate::config::{Home, Postgres, Table, Target};
use crate::finding::Finding;
use crate::position::Mark;
use crate::random;
use crate::tls::Mode;

/// How long one of several servers may take to answer.
const ANSWER: Duration = Duration::from_millis(1500);

/// When an answer counts as slow, and when it is given up.
pub(crate) const SLOW_ANSWER: Duration = Duration::from_secs(5);
pub(crate) const STUCK_ANSWER: Duration = Duration::from_secs(30);

/// How long the start waits for the table to be checked.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the table is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{}", describe(.0))]
    Database(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Why a question is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{}", describe(.0))]
    Database(#[from] tokio_postgres::Error),
}

/// Why an answer is not waited for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("PostgreSQL does not answer")]
    Silent,
    #[error("another PostgreSQL server takes writes now")]
    Moved,
}

/// A connection; its task ends when it is dropped.
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// Which of these servers it leads to.
    target: Arc<Target>,
    server: usize,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Connects once, to the first of the servers that takes it, from the one on that was reached last. One of
/// several that doesn't answer is left for the next one.
pub(crate) async fn connect(settings: &Postgres) -> Result<Connection, ConnectError> {
    let target = settings.target.fresh();
    let count = target.servers.0.len();
    let limit = if count == 1 { STUCK_ANSWER } else { ANSWER };
    let first = match target.servers.0[0].get_load_balance_hosts() {
        LoadBalanceHosts::Random => usize::from_str_radix(&random::hex::<4>(), 16).unwrap_or_default(),
        _ => target.preferred.load(Ordering::Relaxed),
    };
    let mut failed = Vec::new();
    for place in (first..first + count).map(|place| place % count) {
        // A caller that gives up waiting begins with the next address when it tries again.
        target.preferred.store((place + 1) % count, Ordering::Relaxed);
        let server = &target.servers.0[place];
        match timeout(limit, connect_to(&target, place)).await {
            Ok(Ok(connection)) => {
                target.preferred.store(place, Ordering::Relaxed);
                return match admit(&settings.home, &connection.client, &target.place).await {
                    Ok(()) => Ok(connection),
                    Err(finding) => Err(ConnectError(vec![finding])),
                };
            }
            Ok(Err(error)) => failed.push(failure::refused(server, &error)),
            Err(_) => failed.push(failure::silent(server)),
        }
    }
    Err(ConnectError(failed))
}

/// Waits until another server than that of this connection takes writes: a standby was promoted. For ever, where
/// there is only one, or where writes are not asked for.
async fn moved(connection: &Connection) {
    let target = &connection.target;
    let servers = &target.servers.0;
    let writes =
        |server: &&usize| servers[**server].get_target_session_attrs() == TargetSessionAttrs::ReadWrite;
    let others: Vec<usize> = (0..servers.len()).filter(|&server| server != connection.server).collect();
    loop {
        for &server in others.iter().filter(writes) {
            if let Ok(Ok(_)) = timeout(ANSWER, connect_to(target, server)).await {
                target.preferred.store(server, Ordering::Relaxed);
                return;
            }
        }
        tokio::time::sleep(ANSWER).await;
    }
}

/// As [`connect`], but not for ever, however many servers there are.
pub(crate) async fn connect_in_time(settings: &Postgres) -> Result<Connection, ConnectError> {
    let connected = timeout(STUCK_ANSWER, connect(settings)).await;
    connected.unwrap_or_else(|_| {
        let target = settings.target.current();
        Err(ConnectError(target.servers.0.iter().map(failure::silent).collect()))
    })
}

/// Waits for an answer on a connection, however long it takes, unless another server takes writes by then.
pub(crate) async fn unless_moved<T>(
    connection: &Connection,
    answer: impl Future<Output = T>,
) -> Result<T, Unanswered> {
    tokio::select! {
        answer = answer => Ok(answer),
        () = async { tokio::time::sleep(SLOW_ANSWER).await; moved(connection).await } => Err(Unanswered::Moved),
    }
}

/// Waits for an answer on a connection, and calls `slow` where it is slow. One that doesn't come is cancelled, so that
/// no lock is waited for in vain.
pub(crate) async fn answered<T>(
    connection: &Connection,
    answer: impl Future<Output = T>,
    slow: impl FnOnce(),
) -> Result<T, Unanswered> {
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => return Ok(answer),
        () = tokio::time::sleep(SLOW_ANSWER) => slow(),
    }
    tokio::select! {
        answer = &mut answer => return Ok(answer),
        () = tokio::time::sleep(STUCK_ANSWER) => {}
        () = moved(connection) => return Err(Unanswered::Moved),
    }
    let cancelled = connection.client.cancel_token();
    drop(
        timeout(SLOW_ANSWER, cancelled.cancel_query(connection.target.connector.fresh().as_ref().clone()))
            .await,
    );
    timeout(SLOW_ANSWER, answer).await.map_err(|_| Unanswered::Silent)
}

/// Connects as libpq does: with `prefer`, without TLS too where the server refuses it with TLS; with `allow`, the
/// other way round.
async fn connect_to(target: &Arc<Target>, server: usize) -> Result<Connection, tokio_postgres::Error> {
    let config = target.server(server);
    // libpq speaks no TLS over a Unix socket, whatever `sslmode` says.
    let is_socket = matches!(config.get_hosts(), [Host::Unix(_)]) && config.get_hostaddrs().is_empty();
    let (first, second) = match target.mode {
        _ if is_socket => (SslMode::Disable, None),
        Mode::Disable => (SslMode::Disable, None),
        Mode::Allow => (SslMode::Disable, Some(SslMode::Require)),
        Mode::Prefer => (SslMode::Prefer, Some(SslMode::Disable)),
        Mode::Require | Mode::VerifyCa | Mode::VerifyFull => (SslMode::Require, None),
    };
    let tls = target.connector.fresh();
    let open = async |mode| open(&config, mode, &tls, target, server).await;
    match (open(first).await, second) {
        (Err(error), Some(second)) if depends_on_tls(&error) => {
            match open(second).await {
                // "No rule" says less than what was wrong the first time.
                Err(other) if is_rule(&other) => Err(error),
                opened => opened,
            }
        }
        (opened, _) => opened,
    }
}

/// Whether a server may refuse this with TLS and not without, or the other way round.
fn depends_on_tls(error: &tokio_postgres::Error) -> bool {
    // Who may connect, and what poolers say there. A failed handshake has no error kind.
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
    let driver = tokio::spawn(async move {
        // The caller that uses the client sees the error, with what was being done.
        drop(connection.await);
    });
    Ok(Connection { client, target: target.clone(), server, driver })
}

/// Makes the table where it is missing, and checks that it can keep what the service promises.
///
/// # Errors
/// PostgreSQL can't be asked, or the table is refused.
pub(crate) async fn prepare(client: &Client, settings: &Postgres) -> Result<Traits, PrepareError> {
    let table = &settings.table;
    let mut found = schema::inspect(client, settings).await?;
    found.findings.extend(pooler::check(client, settings).await?);
    let is_there = found.is_there;
    let mut traits = found.accepted()?;
    if !is_there {
        made_or_there(client, &schema::create(settings), &table.quoted()).await?;
        traits = schema::inspect(client, settings).await?.accepted()?;
        tracing::info!(%table, data = traits.format.column_type(), "table made");
    }
    let made = position::create_statement(table);
    made_or_there(client, &made, &position::positions(table)).await?;
    position::add_columns(client, table).await?;
    // Not needed to read or write an order: a role that may not make it can do without.
    drop(make_erased(client, &settings.table).await);
    Ok(traits)
}

/// Checks the table before anything else runs, where PostgreSQL can be reached soon; else its writer and the fill do
/// so when it can. Logs what does not work, and can be done without.
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
        tracing::warn!(problem = warning.problem, fix = warning.fix, "PostgreSQL is not as it should be");
    }
    found.accepted().map(drop).map_err(|refused| anyhow::anyhow!("PostgreSQL: {refused}"))
}

/// A connection on which rows are asked for by their ids. To plan the question costs more than a few rows do.
pub(crate) struct LookUp {
    connection: Connection,
    by_ids: Statement,
    encoding: Encoding,
    /// That of the rows that are found.
    format: RowFormat,
}

impl LookUp {
    pub(crate) async fn open(settings: &Postgres) -> Result<Self, AskError> {
        let connection = connect(settings).await?;
        // In one statement, so that the position is not newer than what is not there.
        let query = format!(
            "SELECT id, data, NULL::bigint, NULL::bigint, NULL::bigint FROM {} WHERE id = ANY($1)
             UNION ALL (SELECT NULL, NULL, seq, (extract(epoch FROM seq_time) * 1000000)::bigint, session FROM {}
               WHERE table_name = $2 AND ($3 = '' OR stream = $3 AND topic = $4) ORDER BY seq LIMIT 1)",
            settings.table.quoted(),
            position::positions(&settings.table)
        );
        let types = [Type::TEXT_ARRAY, Type::TEXT, Type::TEXT, Type::TEXT];
        let by_ids = connection.client.prepare_typed(&query, &types).await?;
        let encoding = Encoding::of(&connection.client).await?;
        let format = schema::format_of_table(&connection.client, &settings.table).await?;
        Ok(Self { connection, by_ids, encoding, format })
    }
}

/// What the table said when it was asked for ids.
#[derive(Default)]
pub(crate) struct Found {
    /// The rows that are there; data may be null.
    pub(crate) rows: HashMap<String, Option<Vec<u8>>>,
    pub(crate) format: RowFormat,
    /// The table's position at that moment.
    pub(crate) position: Mark,
    /// The writer's session at that moment.
    pub(crate) session: i64,
}

/// The rows of these ids that are there, and the position of a stream and topic; of any, where the stream is not known
/// yet and is `""`. Opens the connection where there is none.
pub(crate) async fn rows(
    look_up: &mut Option<LookUp>,
    settings: &Postgres,
    (stream, topic): (&str, &str),
    ids: &[&str],
) -> Result<Found, AskError> {
    let LookUp { connection, by_ids, encoding, format } = match look_up {
        Some(opened) if !opened.connection.client.is_closed() => opened,
        _ => look_up.insert(LookUp::open(settings).await?),
    };
    let ids = encoding.holdable(&connection.client, ids).await?;
    let mut found = Found { format: *format, ..Found::default() };
    for row in connection.client.query(by_ids, &[&ids, &settings.table.to_string(), &stream, &topic]).await? {
        if let Some(id) = row.try_get(0)? {
            let data: Option<Data<Vec<u8>>> = row.try_get(1)?;
            found.rows.insert(id, data.map(|data| data.0));
        } else {
            found.position = Mark { seq: row.try_get::<_, i64>(2)?.cast_unsigned(), time: row.try_get(3)? };
            found.session = row.try_get(4)?;
        }
    }
    Ok(found)
}

/// The text can't be stored in this database: it has a null character, or one that the encoding lacks.
pub(crate) fn is_no_text(error: &tokio_postgres::Error) -> bool {
    let codes = [SqlState::CHARACTER_NOT_IN_REPERTOIRE, SqlState::UNTRANSLATABLE_CHARACTER];
    error.code().is_some_and(|code| codes.contains(code))
}

/// Whether a row is refused because one with its id is stored already: by a trigger in another table, for instance,
/// where `ON CONFLICT (id)` does not see it.
pub(crate) fn is_stored_already(error: &tokio_postgres::Error) -> bool {
    // In whatever language the server speaks.
    let names_id = |detail: &str| detail.contains("(id)=(");
    error.as_db_error().is_some_and(|refused| {
        *refused.code() == SqlState::UNIQUE_VIOLATION && refused.detail().is_some_and(names_id)
    })
}

/// An error of PostgreSQL with its cause and without what its detail may quote of a row.
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

/// Connects once, for a command.
pub(crate) async fn connect_once(settings: &Postgres) -> anyhow::Result<Connection> {
    Ok(connect(settings).await?)
}

/// The statement that adds rows and passes over those whose keys are there or were erased: `$1` ids, `$2` data.
///
/// # Errors
/// PostgreSQL can't be asked, or may not say, which keys were erased.
pub(crate) async fn insert(
    client: &Client,
    table: &Table,
    traits: Traits,
) -> Result<String, tokio_postgres::Error> {
    let source = format!("unnest($1::text[], $2::{}[]) AS new (id, data)", traits.format.column_type());
    insert_from(client, table, traits, &source).await
}

/// The same, from a source that names its rows `new (id, data)`.
pub(crate) async fn insert_from(
    client: &Client,
    table: &Table,
    traits: Traits,
    source: &str,
) -> Result<String, tokio_postgres::Error> {
    let (name, erased) = (table.quoted(), erased(table));
    let remembered = match client.batch_execute(&format!("SELECT 1 FROM {erased} LIMIT 0")).await {
        Ok(()) => format!(
            "WHERE NOT EXISTS (SELECT FROM {erased} AS gone WHERE gone.table_name = {} AND gone.id = new.id)",
            table.literal()
        ),
        // The keys may be there and are not to be passed over.
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => return Err(error),
        Err(error) if error.as_db_error().is_some() => String::new(),
        Err(error) => return Err(error),
    };
    // ON CONFLICT sees no row of a table that inherits from this one.
    let elsewhere = format!("NOT EXISTS (SELECT FROM {name} AS stored WHERE stored.id = new.id)");
    let remembered = match (traits.routes_rows, remembered.is_empty()) {
        (false, _) => remembered,
        (true, true) => format!("WHERE {elsewhere}"),
        (true, false) => format!("{remembered} AND {elsewhere}"),
    };
    Ok(format!(
        "INSERT INTO {name} (id, data) SELECT new.id, new.data FROM {source}
         {remembered} ON CONFLICT (id) DO NOTHING"
    ))
}

/// The keys of all orders of this table that were erased.
pub(crate) async fn erased_keys(
    client: &Client,
    table: &Table,
) -> Result<HashSet<String>, tokio_postgres::Error> {
    let query = format!("SELECT id FROM {} WHERE table_name = {}", erased(table), table.literal());
    match client.query_typed(&query, &[]).await {
        Ok(rows) => rows.iter().map(|row| row.try_get(0)).collect(),
        // Nothing was ever erased, or this role may not know.
        Err(error) if error.as_db_error().is_some() => Ok(HashSet::new()),
        Err(error) => Err(error),
    }
}

/// The table of the keys of erased orders: one for all tables of a schema, by their names.
pub(crate) const ERASED: &str = "orderd_erased";

/// That table, quoted.
pub(crate) fn erased(table: &Table) -> String {
    table.sibling(ERASED)
}

/// The statement that makes it.
pub(crate) fn create_erased(table: &Table) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (table_name text NOT NULL, id text NOT NULL, \
         erased_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (table_name, id))",
        erased(table)
    )
}

/// Makes that table where it is missing.
pub(crate) async fn make_erased(client: &Client, table: &Table) -> Result<(), tokio_postgres::Error> {
    made_or_there(client, &create_erased(table), &erased(table)).await
}

/// Makes a table. Where the role may not and it is there, that is fine.
async fn made_or_there(client: &Client, made: &str, table: &str) -> Result<(), tokio_postgres::Error> {
    match client.batch_execute(made).await {
        Ok(()) => Ok(()),
        Err(error) => client.batch_execute(&format!("SELECT FROM {table} LIMIT 0")).await.map_err(|_| error),
    }
}

/// Where PostgreSQL's log ends.
pub(crate) struct Wal {
    /// What has been written to it, be it only in memory.
    pub(crate) inserted: u64,
    /// What would survive: on this server's disk, and replayed by the standbys that can be seen.
    pub(crate) safe: u64,
}

/// Where the log ends. A role that may not see standbys sees none.
pub(crate) async fn wal(client: &Client) -> Result<Wal, tokio_postgres::Error> {
    let query = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint,
                        (least(pg_current_wal_flush_lsn(),
                               (SELECT min(replay_lsn) FROM pg_stat_replication)) - '0/0')::bigint";
    let rows = client.query_typed(query, &[]).await?;
    let lsn = |column| match rows.first() {
        Some(row) => row.try_get::<_, i64>(column).map(i64::cast_unsigned),
        None => Ok(0),
    };
    Ok(Wal { inserted: lsn(0)?, safe: lsn(1)? })
}

/// An error for a person.
pub(crate) fn explain(error: tokio_postgres::Error) -> anyhow::Error {
    anyhow::anyhow!("PostgreSQL: {}", describe(&error))
}

/// Lets a connection be used. One to another place than before has to lead to a table with our position: what has none is not
/// written to.
///
/// # Errors
/// What is there instead.
async fn admit(home: &Home, client: &Client, place: &str) -> Result<(), Finding> {
    let Some((key, created)) = home.expected_at(place) else {
        home.set_place(place);
        return Ok(());
    };
    let problem = match position::read(client, &key).await {
        Ok(Some(found)) if found.stream_created == created => {
            tracing::info!(place, "DATABASE_URL has changed: new connections go to another place");
            home.set_place(place);
            return Ok(());
        }
        Ok(Some(_)) => format!("its position is of another stream {}", key.stream),
        Ok(None) => format!("it has no position of {} in the stream {}", key.table, key.stream),
        Err(error) => describe(&error),
    };
    Err(Finding::blocked(
        format!(
            "the changed DATABASE_URL leads to {place}, and orders of this service are not kept there: {problem}"
        ),
        "restart orderd to begin in that database, or put the previous address back",
    ))
}
