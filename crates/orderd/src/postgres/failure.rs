//! Explains why there is no connection to PostgreSQL: which server, its answer, and what to change.

use std::fmt::{self, Display};

use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, Error};

use super::describe;
use super::schema::quoted;
use crate::finding::Finding;

/// Why no server accepts the connection: for each, the cause and what to change.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) struct ConnectError(pub(crate) Vec<Finding>);

impl Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ". Also: " };
            write!(f, "{separator}{finding}")?;
        }
        Ok(())
    }
}

/// `host:port`, or the directory of a socket.
pub(super) fn address(server: &Config) -> String {
    let host = match server.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(folder)) => folder.display().to_string(),
        None => server.get_hostaddrs().first().map(ToString::to_string).unwrap_or_default(),
    };
    let port = server.get_ports().first().copied().unwrap_or(5432);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The finding for a server that does not answer.
pub(super) fn silent(server: &Config) -> Finding {
    Finding::blocked(
        format!("PostgreSQL at {} does not answer", address(server)),
        "check PG_HOST and PG_PORT, or DATABASE_URL, and firewalls, and whether the server is stuck, or a pooler has no \
         free connection (default_pool_size)",
    )
}

/// Why a server does not accept the connection, and what to change.
pub(super) fn refused(server: &Config, error: &Error) -> Finding {
    let words = describe(error);
    let fix = fix(server, error, &words.to_lowercase());
    Finding::blocked(format!("can't connect to PostgreSQL at {}: {words}", address(server)), fix)
}

/// Whether the server takes connections, but no writes, which `target_session_attrs` asks for.
pub(super) fn is_standby(error: &Error) -> bool {
    describe(error).contains("database does not allow writes")
}

fn fix(server: &Config, error: &Error, words: &str) -> String {
    let (role, database) = (server.get_user().unwrap_or_default(), server.get_dbname().unwrap_or_default());
    let is = |code: &SqlState| error.code() == Some(code);
    let says = |text: &str| words.contains(text);
    if is(&SqlState::INVALID_PASSWORD) {
        format!("set PG_PASSWORD, or the password in DATABASE_URL, to that of role {role}")
    } else if says("password missing") {
        format!(
            "set PG_PASSWORD or PG_PASSWORD_FILE, or the password in DATABASE_URL: the server asks role {role} for one"
        )
    } else if says("certificaterequired")
        || says("certificate required")
        || says("client certificate")
        || says("certificate authentication failed")
    {
        "set sslcert and sslkey in DATABASE_URL to a certificate for this role, and its key".to_owned()
    } else if is(&SqlState::INVALID_CATALOG_NAME) {
        format!("set PG_DBNAME to an existing database, or create it: CREATE DATABASE {};", quoted(database))
    } else if says("pg_hba.conf") {
        format!(
            "allow role {role} from this host to database {database} in pg_hba.conf; if it says \"no \
             encryption\", set sslmode=require in DATABASE_URL"
        )
    } else if is(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) {
        format!("set PG_USER to a role that may log in, or create it: CREATE ROLE {} LOGIN;", quoted(role))
    } else if is(&SqlState::INSUFFICIENT_PRIVILEGE) {
        format!("GRANT CONNECT ON DATABASE {} TO {};", quoted(database), quoted(role))
    } else if is(&SqlState::INVALID_PARAMETER_VALUE) || is(&SqlState::UNDEFINED_OBJECT) {
        "correct that parameter in the options of DATABASE_URL, or in PGOPTIONS, PGDATESTYLE, PGTZ or PGGEQO"
            .to_owned()
    } else if is(&SqlState::TOO_MANY_CONNECTIONS) {
        "end other connections, or raise max_connections or the CONNECTION LIMIT of role or database"
            .to_owned()
    } else if is(&SqlState::CANNOT_CONNECT_NOW) {
        "wait until the server has started or recovered, or see its log".to_owned()
    } else if says("server does not support tls") {
        "turn TLS on at the server (ssl = on), or set sslmode=prefer in DATABASE_URL".to_owned()
    } else if says("notvalidforname") {
        "use the name in the server's certificate as the host, or sslmode=verify-ca in DATABASE_URL"
            .to_owned()
    } else if says("expired") {
        "replace the certificate that has expired: that of the server, or sslcert and sslkey".to_owned()
    } else if says("protocolversion") {
        "the server has no version of TLS that ssl_min_protocol_version and ssl_max_protocol_version allow"
            .to_owned()
    } else if says("channel binding") || says("channel_binding") {
        "set channel_binding=prefer in DATABASE_URL, or use TLS and scram-sha-256 at the server".to_owned()
    } else if says("certificate") || says("tls handshake") {
        "set sslrootcert in DATABASE_URL to the file of the server's authority, and use the host's name that is in \
         its certificate"
            .to_owned()
    } else if says("lookup") || says("resolve") {
        "check the host's name in PG_HOST or DATABASE_URL".to_owned()
    } else if is_standby(error) {
        "name the primary too, or wait until a standby is promoted; to read from a standby, set \
         target_session_attrs=any in DATABASE_URL"
            .to_owned()
    } else {
        "check PG_HOST and PG_PORT, or DATABASE_URL, and that PostgreSQL runs there and listens on that address".to_owned()
    }
}
