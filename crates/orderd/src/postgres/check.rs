//! What `orderd check --settings` says of PostgreSQL. Changes nothing there.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config};

use super::schema::{self, Inspection};
use super::{Connection, connect_to, describe, pooler};
use crate::config::{Postgres, Table};
use crate::finding::{Finding, Report, Severity};

/// How long one server may take to answer, TLS and login included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long all questions may take: a lock on the table holds up some of them.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Tries the settings.
pub(crate) async fn run(settings: &Postgres) -> Report {
    let mut report = Report::default();
    let Some((server, connection)) = reach(settings, &mut report.findings).await else { return report };
    let server = &settings.servers.0[server];
    match timeout(INSPECT_TIMEOUT, look(&connection.client, settings, server, &mut report)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => report.findings.push(Finding::blocked(
            format!("PostgreSQL at {} can't be asked: {}", address(server), describe(&error)),
            "see its log, and what stands between: poolers, firewalls",
        )),
        Err(_) => report.findings.push(Finding::blocked(
            format!(
                "PostgreSQL at {} did not answer within {} s",
                address(server),
                INSPECT_TIMEOUT.as_secs()
            ),
            format!("see in pg_stat_activity what holds a lock on {}", settings.table),
        )),
    }
    report
}

/// The first server that takes the connection. The others' failures are warnings then.
async fn reach(settings: &Postgres, findings: &mut Vec<Finding>) -> Option<(usize, Connection)> {
    let mut reached = None;
    for (place, server) in settings.servers.0.iter().enumerate() {
        let failure = match timeout(CONNECT_TIMEOUT, connect_to(settings, place)).await {
            Ok(Ok(connection)) => {
                reached = reached.or(Some((place, connection)));
                continue;
            }
            Ok(Err(error)) => unreachable(server, &error),
            Err(_) => Finding::blocked(
                format!("PostgreSQL at {} does not answer", address(server)),
                "check PG_HOST and PG_PORT, or DATABASE_URL, and firewalls",
            ),
        };
        findings.push(failure);
    }
    if reached.is_some() {
        findings.iter_mut().for_each(|finding| finding.severity = Severity::Warning);
    }
    reached
}

/// `host:port`, or the folder of a socket.
fn address(server: &Config) -> String {
    let host = match server.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(folder)) => folder.display().to_string(),
        None => server.get_hostaddrs().first().map(ToString::to_string).unwrap_or_default(),
    };
    let port = server.get_ports().first().copied().unwrap_or(5432);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Why a server does not take the connection, and what to change.
fn unreachable(server: &Config, error: &tokio_postgres::Error) -> Finding {
    let (role, database) = (server.get_user().unwrap_or_default(), server.get_dbname().unwrap_or_default());
    let words = describe(error);
    let is = |code: &SqlState| error.code() == Some(code);
    let says = |text: &str| words.to_lowercase().contains(text);
    let fix = if is(&SqlState::INVALID_PASSWORD) {
        format!("set PG_PASSWORD, or the password in DATABASE_URL, to that of role {role}")
    } else if says("password missing") {
        format!(
            "set PG_PASSWORD or PG_PASSWORD_FILE, or the password in DATABASE_URL: the server asks role {role} for one"
        )
    } else if is(&SqlState::INVALID_CATALOG_NAME) {
        format!(
            "set PG_DBNAME to a database that is there, or make it: CREATE DATABASE {};",
            quoted(database)
        )
    } else if says("pg_hba.conf") {
        format!(
            "let role {role} in from this host to database {database} by a line in pg_hba.conf; where it says \"no \
             encryption\", set sslmode=require in DATABASE_URL"
        )
    } else if is(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) {
        format!("set PG_USER to a role that may log in, or make it: CREATE ROLE {} LOGIN;", quoted(role))
    } else if is(&SqlState::INSUFFICIENT_PRIVILEGE) {
        format!("GRANT CONNECT ON DATABASE {} TO {};", quoted(database), quoted(role))
    } else if is(&SqlState::TOO_MANY_CONNECTIONS) {
        "end other connections, or raise max_connections or the CONNECTION LIMIT of role or database"
            .to_owned()
    } else if is(&SqlState::CANNOT_CONNECT_NOW) {
        "wait until the server has started".to_owned()
    } else if says("server does not support tls") {
        "turn TLS on at the server (ssl = on), or set sslmode=prefer in DATABASE_URL".to_owned()
    } else if says("certificate") || says("tls handshake") {
        "set sslrootcert in DATABASE_URL to the file of the server's authority, and use the host's name that is in \
         its certificate"
            .to_owned()
    } else if says("lookup") || says("resolve") {
        "check the host's name in PG_HOST or DATABASE_URL".to_owned()
    } else if says("does not allow writes") {
        "name the primary too, or wait until a standby is promoted".to_owned()
    } else {
        "check PG_HOST and PG_PORT, or DATABASE_URL, and that PostgreSQL runs there".to_owned()
    };
    Finding::blocked(format!("can't connect to PostgreSQL at {}: {words}", address(server)), fix)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

async fn look(
    client: &Client,
    settings: &Postgres,
    server: &Config,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let table = &settings.table;
    let Inspection { is_there, findings, .. } = schema::inspect(client, table).await?;
    report.findings.extend(findings);
    report.findings.extend(pooler::check(client, settings).await?);
    report.found = found(client, table, server, is_there).await?;
    Ok(())
}

/// One line: the server, the database, the role, the table, its key.
async fn found(
    client: &Client,
    table: &Table,
    server: &Config,
    is_there: bool,
) -> Result<String, tokio_postgres::Error> {
    let query =
        "SELECT current_setting('server_version'), current_database()::text, getdatabaseencoding()::text,
                        current_user::text, coalesce((SELECT ssl FROM pg_catalog.pg_stat_ssl
                                                       WHERE pid = pg_backend_pid()), false)";
    let rows = client.query_typed(query, &[]).await?;
    let Some(row) = rows.first() else { return Ok(String::new()) };
    let text = |place: usize| row.try_get::<_, String>(place);
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
    if !is_there {
        return Ok(format!("{line}, no table {table} yet"));
    }
    let key = schema::key(client, table).await?.map_or("no key".to_owned(), |key| format!("key {key}"));
    Ok(format!("{line}, table {table}, {key}, rights: {}", rights(client, table).await?))
}

async fn rights(client: &Client, table: &Table) -> Result<String, tokio_postgres::Error> {
    let query = "SELECT right_name FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS right_name
                 WHERE has_table_privilege($1, right_name)";
    let rows = client.query_typed(query, &[(&table.quoted(), Type::TEXT)]).await?;
    let rights = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<&str>, _>>()?;
    Ok(if rights.is_empty() { "none".to_owned() } else { rights.join(", ") })
}
