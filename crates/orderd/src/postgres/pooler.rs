//! Detects poolers between the service and PostgreSQL. In transaction mode each transaction may get another server
//! connection, so that prepared statements work only if the pooler supports them, and session settings are lost. Such a
//! pooler seems to work until there is load; this check reveals it at startup.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Statement};

use super::{connect, describe, schema};
use crate::config::Postgres;
use crate::finding::Finding;

/// Number of attempts by which a second connection tries to get the server connection that the first had. PgBouncer
/// assigns the one that was used last, or in turn.
const PROBE_ROUNDS: usize = 3;

/// How long a statement may wait for a server connection. A pooler with only one has none free during a transaction.
const PROBE_TIMEOUT: Duration = Duration::from_millis(700);

/// How long a connection may take until its first answer: that waits for a free server connection of a pooler.
const SERVER_TIMEOUT: Duration = Duration::from_secs(5);

/// How to make PgBouncer usable.
const FIX: &str = "use PgBouncer 1.22.1 or newer with max_prepared_statements = 200, or set pool_mode = session, or \
                   connect to PostgreSQL itself";

/// Distinguishes the server connections of a pooler.
const BACKEND_PID_QUERY: &str = "SELECT pg_backend_pid()";

/// Whether a pooler gave this transaction a server that lacks a statement, or has it from another client.
pub(super) fn loses_statements(error: &Error) -> bool {
    let lost = [&SqlState::INVALID_SQL_STATEMENT_NAME, &SqlState::DUPLICATE_PSTATEMENT];
    error.code().is_some_and(|code| lost.contains(&code))
}

/// The message for such an error.
pub(super) fn advice() -> String {
    format!("a pooler in transaction mode is in between, and does not support prepared statements: {FIX}")
}

/// Looks for a pooler in transaction mode, once for these settings. A second connection holds a transaction while a
/// statement that was prepared on the first is executed.
///
/// # Errors
/// PostgreSQL can't be reached.
pub(super) async fn check(client: &Client, settings: &Postgres) -> Result<Option<Finding>, Error> {
    if settings.target.current().pooler_checked.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let found = match probe(client, settings).await {
        Err(error) if loses_statements(&error) => Some(unknown_statements(&error)),
        found => found?,
    };
    if found.is_none() {
        settings.target.current().pooler_checked.store(true, Ordering::Relaxed);
    }
    Ok(found)
}

async fn probe(client: &Client, settings: &Postgres) -> Result<Option<Finding>, Error> {
    let prepared = client.prepare_typed(BACKEND_PID_QUERY, &[]).await?;
    for _ in 0..PROBE_ROUNDS {
        let before = server(client, &prepared).await?;
        // If the role may have no second connection, the check can show nothing.
        let Ok(holder) = connect(settings).await else { return Ok(None) };
        match timeout(PROBE_TIMEOUT, hold(&holder.client)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Ok(error.as_db_error().is_some().then(|| single_statements(&error))),
            // In session mode, the only server belongs to the first connection.
            Err(_) => return Ok(Some(too_few_servers(1))),
        }
        let after = match timeout(PROBE_TIMEOUT, server(client, &prepared)).await {
            Ok(after) => after?,
            Err(_) => return Ok(Some(too_few_servers(1))),
        };
        holder.client.batch_execute("ROLLBACK").await?;
        if after != before {
            settings.target.current().is_pooled.store(true, Ordering::Relaxed);
            return Ok(None);
        }
    }
    Ok(few_servers(settings).await)
}

/// Whether a pooler in session mode has fewer connections to PostgreSQL than the service needs, beside that of the
/// caller. Their logins or first statements wait until others close. If the role may not have as many, which other
/// checks report, this shows nothing.
async fn few_servers(settings: &Postgres) -> Option<Finding> {
    let mut held = Vec::new();
    for answered in 1..schema::FEWEST_CONNECTIONS {
        let opened = async {
            let connection = connect(settings).await.ok()?;
            connection.client.query_typed(BACKEND_PID_QUERY, &[]).await.ok().map(|_| connection)
        };
        match timeout(SERVER_TIMEOUT, opened).await {
            Ok(connection) => held.push(connection?),
            Err(_) => return Some(too_few_servers(answered)),
        }
    }
    None
}

/// Begins a transaction, which pins its server connection.
async fn hold(client: &Client) -> Result<(), Error> {
    client.batch_execute("BEGIN").await?;
    client.query_typed(BACKEND_PID_QUERY, &[]).await.map(drop)
}

/// The process id of a connection's backend.
async fn server(client: &Client, prepared: &Statement) -> Result<i32, Error> {
    client.query(prepared, &[]).await?.first().map_or(Ok(0), |row| row.try_get(0))
}

fn unknown_statements(error: &Error) -> Finding {
    let refused = error.as_db_error().map_or_else(String::new, |refused| refused.message().to_owned());
    Finding::refusal(
        format!(
            "PostgreSQL is behind a pooler in transaction mode that does not support prepared statements ({refused})"
        ),
        FIX,
    )
}

fn single_statements(error: &Error) -> Finding {
    Finding::refusal(
        format!("PostgreSQL is behind a pooler that supports no transactions ({})", describe(error)),
        "set pool_mode = session or transaction in PgBouncer, or connect to PostgreSQL itself",
    )
}

/// A server that is merely slow looks the same: the service may start.
fn too_few_servers(answered: i32) -> Finding {
    let fewest = schema::FEWEST_CONNECTIONS;
    let others = if answered == 1 { "the first one".to_owned() } else { format!("{answered} others") };
    Finding::blocked(
        format!(
            "a further connection to PostgreSQL waits for {others}, and the service needs {fewest} at once"
        ),
        format!("where a pooler is between, set default_pool_size in PgBouncer to {fewest} or more"),
    )
}
