//! Where PostgreSQL is, and which table is meant.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_postgres_rustls::MakeRustlsConnect;

use super::conninfo::Conninfo;
use super::reload::Files;
use super::{ConfigError, Secret, host, passfile, pg_options, secret, wrong};
use crate::cli::PgArgs;
use crate::command_line::is_blank;
use crate::tls;

/// Bytes of PostgreSQL's longest name.
const MAX_NAME: usize = 63;

/// Where PostgreSQL is and which table is meant.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// How to connect, to each of the servers.
    pub servers: Secret<Vec<tokio_postgres::Config>>,
    /// The one to try first: which of them was reached last, shared by all connections.
    pub(crate) preferred: Arc<AtomicUsize>,
    /// Whether what stands before the servers was found usable.
    pub(crate) pooler_checked: Arc<AtomicBool>,
    /// How sure to be of whom one speaks to.
    pub(crate) tls: Tls,
    /// The password, where the servers have none.
    pub(crate) password: Secret<Password>,
    /// The table.
    pub table: Table,
}

/// A table's name, quoted for SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    schema: String,
    name: String,
}

impl Table {
    /// `"schema"."name"`
    pub fn quoted(&self) -> String {
        self.sibling(&self.name)
    }

    /// The name of its schema.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Its name within the schema.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `schema.name` as a text literal of SQL.
    pub fn label_literal(&self) -> String {
        literal(&self.to_string())
    }

    /// Its name alone, as a text literal of SQL.
    pub fn literal(&self) -> String {
        literal(&self.name)
    }

    /// Another table of the same schema, quoted.
    pub fn sibling(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(name))
    }
}

fn literal(text: &str) -> String {
    // An E before it, so that a backslash means the same whatever `standard_conforming_strings` is.
    format!("E'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Postgres {
    /// Checks what was given.
    ///
    /// # Errors
    /// The first setting that can't be used.
    pub fn new(args: &PgArgs) -> Result<Self, ConfigError> {
        let url = secret("DATABASE_URL", args.database_url.as_deref(), &mut Files::default())?;
        let mut given = match &url {
            Some(url) => Conninfo::parse(url).map_err(|problem| wrong("DATABASE_URL", problem))?,
            None => of_flags(args)?,
        };
        pg_options::from_environment(&mut given, url.is_some());
        let refused = |(setting, problem): (&'static str, String)| wrong(setting, problem);
        pg_options::check(&given).map_err(refused)?;
        let password = match given.get("password") {
            Some(_) => Password::InAddress,
            None => Password::new(
                secret("PG_PASSWORD", args.pg_password.as_deref(), &mut Files::default())?,
                &given,
            ),
        };
        let tls = pg_options::tls(&given).map_err(refused)?;
        Ok(Self {
            servers: Secret(pg_options::servers(&given).map_err(refused)?),
            preferred: Arc::default(),
            pooler_checked: Arc::default(),
            tls: Tls::new(tls).map_err(|problem| wrong("DATABASE_URL", problem))?,
            password: Secret(password),
            table: table(&args.pg_table)?,
        })
    }
}

/// What the flags for single parts say.
fn of_flags(args: &PgArgs) -> Result<Conninfo, ConfigError> {
    let mut given = Conninfo::default();
    // The folder of a Unix socket is taken as it is.
    let folder = Some(args.pg_host.clone()).filter(|host| host.starts_with('/'));
    let host = folder.map_or_else(|| host::host("PG_HOST", &args.pg_host), Ok)?;
    let port = host::port("PG_PORT", &args.pg_port, "DATABASE_URL")?.to_string();
    let parts = [("host", &host), ("port", &port), ("user", &args.pg_user), ("dbname", &args.pg_dbname)];
    parts.into_iter().for_each(|(name, value)| given.set(name, value));
    Ok(given)
}

/// Where the password is, where the address has none. Files are read for each connection, so that a password that is
/// replaced counts from the next one on.
#[derive(Clone)]
pub(crate) enum Password {
    InAddress,
    Fixed(String),
    File(PathBuf),
    /// As libpq's `~/.pgpass`.
    Passfile(PathBuf),
    None,
}

impl Password {
    fn new(fixed: Option<String>, given: &Conninfo) -> Self {
        // The same order as in `secret`.
        let file = std::env::var_os("PG_PASSWORD_FILE").filter(|file| !is_blank(file));
        let is_set = std::env::var_os("PG_PASSWORD").is_some_and(|value| !is_blank(&value));
        match (fixed, file) {
            (Some(_), Some(file)) if !is_set => Self::File(file.into()),
            (Some(password), _) => Self::Fixed(password),
            (None, _) => pg_options::passfile(given).map_or(Self::None, Self::Passfile),
        }
    }

    /// The password for that server, as it is now.
    pub(crate) fn of(&self, server: &tokio_postgres::Config) -> Option<String> {
        match self {
            Self::InAddress | Self::None => None,
            Self::Fixed(password) => Some(password.clone()),
            Self::File(file) => std::fs::read_to_string(file).ok().map(|text| text.trim().to_owned()),
            Self::Passfile(file) => passfile::find(file, server),
        }
    }
}

/// TLS, with the files as they were when they could be read last.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) client: tls::Client,
    last: Arc<RwLock<MakeRustlsConnect>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.client.fmt(f)
    }
}

impl Tls {
    fn new(client: tls::Client) -> Result<Self, String> {
        let last = Arc::new(RwLock::new(client.connector()?));
        Ok(Self { client, last })
    }

    /// What makes TLS of a connection. Certificates that were replaced count from the next connection on; while they
    /// can't be read, those before do.
    pub(crate) fn connector(&self) -> MakeRustlsConnect {
        match self.client.connector() {
            Ok(read) => *self.last.write().unwrap_or_else(PoisonError::into_inner) = read,
            Err(problem) => tracing::warn!(problem, "can't read the certificates for PostgreSQL again"),
        }
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn table(name: &str) -> Result<Table, ConfigError> {
    let (schema, table) = name.split_once('.').unwrap_or(("public", name));
    if schema.is_empty() || table.is_empty() || table.contains('.') || name.contains('\0') {
        return Err(wrong("PG_TABLE", format!("{name:?} is no table, such as public.orders2")));
    }
    // PostgreSQL cuts longer names off, so that two tables could become one.
    if schema.len() > MAX_NAME || table.len() > MAX_NAME {
        return Err(wrong("PG_TABLE", format!("takes names of {MAX_NAME} bytes at most")));
    }
    Ok(Table { schema: schema.into(), name: table.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_quoted() {
        assert_eq!(table("orders2").unwrap().quoted(), r#""public"."orders2""#);
        assert_eq!(table("s.o\"x").unwrap().quoted(), r#""s"."o""x""#);
        assert!(table("a.b.c").is_err() && table(".b").is_err());
    }
}
