//! The findings of `orderd check --settings` about PostgreSQL. Changes nothing there.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use order::RowFormat;
use tokio::time::timeout;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config};

use super::failure::{self, ConnectError, address};
use super::schema::{self, Inspection};
use super::{Connection, connect_to, describe, pooler};
use crate::config::{Postgres, Table, Target};
use crate::finding::{Finding, ServerReport, Severity};

/// Time limit for connecting to one server, including TLS and login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long queries run before a further connection asks whether the server still answers.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time limit for all queries of a server that answers.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(60);

/// Tests the settings.
pub(crate) async fn run(settings: &Postgres) -> ServerReport {
    let mut report = ServerReport::default();
    let target = settings.target.current();
    let Some((server, connection)) = reach(&target, &mut report.findings).await else { return report };
    let server = &target.servers.0[server];
    let fix = || format!("see in pg_stat_activity what holds a lock on {}", settings.table);
    let inspected = inspect_server(&connection, settings, server, &mut report);
    let inspected = timeout(INSPECT_TIMEOUT, connection.unless_stuck(PATIENCE, inspected));
    let finding = tokio::select! {
        inspected = inspected => match inspected {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(Finding::blocked(
                format!("PostgreSQL at {} can't be queried: {}", address(server), describe(&error)),
                "see its log, and check the poolers and firewalls in between",
            )),
            Ok(Err(ConnectError(silent))) => silent.into_iter().next(),
            Err(_) => Some(Finding::blocked(
                format!(
                    "PostgreSQL at {} did not answer all queries within {} s",
                    address(server),
                    INSPECT_TIMEOUT.as_secs()
                ),
                fix(),
            )),
        },
        lock = connection.lock() => Some(Finding::blocked(
            format!("a query of PostgreSQL at {} is not answered: {lock}", address(server)),
            fix(),
        )),
    };
    report.findings.extend(finding);
    report
}

/// The first server that accepts the connection. Failures of the others are then warnings. All are asked at the same
/// time, because one that does not answer takes seconds.
async fn reach(target: &Arc<Target>, findings: &mut Vec<Finding>) -> Option<(usize, Connection)> {
    let (mut reached, mut standbys) = (None, Vec::new());
    let servers = &target.servers.0;
    let asked = (0..servers.len()).map(|index| timeout(CONNECT_TIMEOUT, connect_to(target, index)));
    for (index, (server, connected)) in servers.iter().zip(join_all(asked).await).enumerate() {
        let failure = match connected {
            Ok(Ok(connection)) => {
                reached = reached.or(Some((index, connection)));
                continue;
            }
            Ok(Err(error)) if failure::is_standby(&error) => {
                standbys.push(failure::refused(server, &error));
                continue;
            }
            Ok(Err(error)) => failure::refused(server, &error),
            Err(_) => failure::silent(server),
        };
        findings.push(failure);
    }
    match reached {
        // Beside a primary, a standby is as it should be.
        Some(_) => findings.iter_mut().for_each(|finding| finding.severity = Severity::Warning),
        None => findings.extend(standbys),
    }
    reached
}

async fn inspect_server(
    connection: &Connection,
    settings: &Postgres,
    server: &Config,
    report: &mut ServerReport,
) -> Result<(), tokio_postgres::Error> {
    let (client, table) = (&connection.client, &settings.table);
    // First: a watch that does not know of a pooler takes another client's session for its own.
    let pooler = pooler::check(client, settings).await?;
    if let Some(refused) = pooler.as_ref().filter(|finding| finding.severity == Severity::Refusal) {
        // Further statements may fail for the same reason.
        report.findings.push(refused.clone());
        return Ok(());
    }
    let inspected = async {
        let Inspection { is_there, findings, traits } = schema::inspect(client, settings).await?;
        report.findings.extend(findings);
        report.findings.extend(pooler);
        report.found = found(client, table, server, is_there.then_some(traits.format)).await?;
        Ok(())
    };
    connection.watched(inspected).await
}

/// One line: the server, the database, the role, the table, its key.
async fn found(
    client: &Client,
    table: &Table,
    server: &Config,
    format: Option<RowFormat>,
) -> Result<String, tokio_postgres::Error> {
    let query =
        "SELECT current_setting('server_version'), current_database()::text, getdatabaseencoding()::text,
                        current_user::text, coalesce((SELECT ssl FROM pg_catalog.pg_stat_ssl
                                                       WHERE pid = pg_backend_pid()), false)";
    let rows = client.query_typed(query, &[]).await?;
    let Some(row) = rows.first() else { return Ok(String::new()) };
    let text = |column: usize| row.try_get::<_, String>(column);
    let is_encrypted: bool = row.try_get(4)?;
    let line = format!(
        "PostgreSQL {} at {} {} TLS, database {} ({}), role {}",
        text(0)?.split(' ').next().unwrap_or_default(),
        address(server),
        if is_encrypted { "with" } else { "without" },
        text(1)?,
        text(2)?,
        text(3)?
    );
    let Some(format) = format else { return Ok(format!("{line}, no table {table} yet")) };
    let rows = if format.is_document() { format!(" of {}", format.column_type()) } else { String::new() };
    let key = schema::key(client, table).await?.map_or("no key".to_owned(), |key| format!("key {key}"));
    Ok(format!("{line}, table {table}{rows}, {key}, rights: {}", rights(client, table).await?))
}

async fn rights(client: &Client, table: &Table) -> Result<String, tokio_postgres::Error> {
    let query = "SELECT right_name FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS right_name
                 WHERE has_table_privilege($1, right_name)";
    let rows = client.query_typed(query, &[(&table.quoted(), Type::TEXT)]).await?;
    let rights = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<&str>, _>>()?;
    Ok(if rights.is_empty() { "none".to_owned() } else { rights.join(", ") })
}
