//! The connection to PostgreSQL and the table.

use std::error::Error as _;

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::config::{Postgres, Table};

/// A connection; its task ends when it is dropped.
pub(crate) struct Connection {
    pub(crate) client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Connects once.
pub(crate) async fn connect(settings: &Postgres) -> Result<Connection, tokio_postgres::Error> {
    let (client, connection) = settings.connect.0.connect(settings.tls.0.clone()).await?;
    let driver = tokio::spawn(async move {
        // Whoever uses the client sees the error, with what was being done.
        drop(connection.await);
    });
    Ok(Connection { client, driver })
}

/// Makes the table where it is missing. A role that may not make it is fine where it is there.
pub(crate) async fn prepare(client: &Client, settings: &Postgres) -> Result<(), tokio_postgres::Error> {
    let table = settings.table.quoted();
    let made = format!("CREATE TABLE IF NOT EXISTS {table} (id text NOT NULL PRIMARY KEY, data bytea)");
    match client.batch_execute(&made).await {
        Ok(()) => Ok(()),
        Err(error) => match client.batch_execute(&format!("SELECT FROM {table} LIMIT 0")).await {
            Ok(()) => Ok(()),
            Err(_) => Err(error),
        },
    }
}

/// An error of PostgreSQL with its cause and without what its detail may quote of a row.
pub(crate) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(refused) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", refused.message(), refused.code().code());
    }
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Connects once, for a command.
pub(crate) async fn connect_once(settings: &Postgres) -> anyhow::Result<Connection> {
    let connected = connect(settings).await;
    connected.map_err(|error| {
        anyhow::anyhow!(
            "can't connect to PostgreSQL: {}; are PG_HOST, PG_PORT and PG_PASSWORD right?",
            describe(&error)
        )
    })
}

/// The statement that adds rows and passes over those whose keys are there.
pub(crate) fn insert(table: &Table) -> String {
    let table = table.quoted();
    format!(
        "INSERT INTO {table} (id, data) SELECT * FROM unnest($1::text[], $2::bytea[]) ON CONFLICT (id) DO NOTHING"
    )
}

/// An error for a person.
pub(crate) fn explain(error: tokio_postgres::Error) -> anyhow::Error {
    anyhow::anyhow!("PostgreSQL: {}", describe(&error))
}
