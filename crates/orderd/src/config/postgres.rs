//! Where PostgreSQL is, and which table is meant.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{ConfigError, Secret, secret, wrong};
use crate::cli::PgArgs;
use crate::tls::{self, Mode};

/// Bytes of PostgreSQL's longest name.
const MAX_NAME: usize = 63;

/// Where PostgreSQL is and which table is meant.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// How to connect, to each of the servers.
    pub servers: Secret<Vec<tokio_postgres::Config>>,
    /// The one to try first: which of them was reached last, shared by all connections.
    pub(crate) preferred: Arc<AtomicUsize>,
    /// How sure to be of whom one speaks to.
    pub tls: Secret<MakeRustlsConnect>,
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

    /// Its name alone, as a text literal of SQL.
    pub fn literal(&self) -> String {
        // An E before it, so that a backslash means the same whatever `standard_conforming_strings` is.
        format!("E'{}'", self.name.replace('\\', r"\\").replace('\'', "''"))
    }

    /// Another table of the same schema, quoted.
    pub fn sibling(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(name))
    }
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
        let url = secret("DATABASE_URL", args.database_url.as_deref())?;
        let (mut connect, mode, root) = match url {
            Some(url) => address(&url)?,
            None => {
                let mut config = tokio_postgres::Config::new();
                config.host(&args.pg_host).port(args.pg_port).user(&args.pg_user).dbname(&args.pg_dbname);
                (config, Mode::Prefer, None)
            }
        };
        connect.ssl_mode(match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        });
        let tls = tls::connector(mode, root.as_deref()).map_err(|problem| wrong("DATABASE_URL", problem))?;
        if let Some(password) = secret("PG_PASSWORD", args.pg_password.as_deref())?
            && connect.get_password().is_none()
        {
            connect.password(password);
        }
        connect.connect_timeout(Duration::from_secs(3)).tcp_user_timeout(Duration::from_secs(8));
        // A server that silently goes while nothing is under way to it is noticed in about ten seconds.
        connect.keepalives_idle(Duration::from_secs(5));
        connect.keepalives_interval(Duration::from_secs(2)).keepalives_retries(3);
        if connect.get_application_name().is_none() {
            connect.application_name("orderd");
        }
        Ok(Self {
            servers: Secret(servers(&connect)),
            preferred: Arc::default(),
            tls: Secret(tls),
            table: table(&args.pg_table)?,
        })
    }
}

/// What `DATABASE_URL` says. `sslmode` and `sslrootcert` are taken out first: the client library knows no
/// `verify-full`.
fn address(url: &str) -> Result<(tokio_postgres::Config, Mode, Option<PathBuf>), ConfigError> {
    let (mut mode, mut root) = (Mode::Prefer, None);
    // As an address, `…?name=value&name=value`, or as libpq's list, `name=value name=value`.
    let is_address = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
    if !is_address && url.split_once("://").is_some_and(|(scheme, _)| !scheme.contains('=')) {
        return Err(wrong("DATABASE_URL", "is no PostgreSQL address: that begins with postgresql://"));
    }
    let (front, options) = if is_address { url.split_once('?').unwrap_or((url, "")) } else { ("", url) };
    let separator = if is_address { "&" } else { " " };
    let mut others = Vec::new();
    for option in options.split(separator).filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("sslmode", value)) => {
                let takes = "sslmode takes disable, prefer, require, verify-ca or verify-full";
                mode = Mode::parse(value.trim_matches('\'')).ok_or_else(|| wrong("DATABASE_URL", takes))?;
            }
            Some(("sslrootcert", value)) => {
                let value =
                    percent_encoding::percent_decode_str(value.trim_matches('\'')).decode_utf8_lossy();
                root = Some(PathBuf::from(value.into_owned()));
            }
            _ => others.push(option),
        }
    }
    let others = others.join(separator);
    let stripped = if !is_address || others.is_empty() {
        format!("{front}{others}")
    } else {
        format!("{front}?{others}")
    };
    let config = stripped.parse().map_err(|error: tokio_postgres::Error| {
        // Only the cause: it names the option, never a value.
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        wrong("DATABASE_URL", format!("is no PostgreSQL address: {cause}"))
    })?;
    Ok((config, mode, root))
}

/// One for each server, so that one of them that doesn't answer can be left. What doesn't fit together, such as
/// two servers and three ports, is left to the client library, which says so.
fn servers(all: &tokio_postgres::Config) -> Vec<tokio_postgres::Config> {
    let (hosts, addresses, ports) = (all.get_hosts(), all.get_hostaddrs(), all.get_ports());
    let count = hosts.len().max(addresses.len());
    let fits = |length: usize| length == 0 || length == count;
    if count < 2 || !fits(hosts.len()) || !fits(addresses.len()) || !(fits(ports.len()) || ports.len() == 1) {
        return vec![all.clone()];
    }
    (0..count).map(|place| one_of(all, place)).collect()
}

fn one_of(all: &tokio_postgres::Config, place: usize) -> tokio_postgres::Config {
    let mut one = tokio_postgres::Config::new();
    match all.get_hosts().get(place) {
        Some(Host::Tcp(host)) => drop(one.host(host)),
        Some(Host::Unix(path)) => drop(one.host_path(path)),
        None => {}
    }
    all.get_hostaddrs().get(place).map(|address| one.hostaddr(*address));
    all.get_ports().get(place).or(all.get_ports().first()).map(|port| one.port(*port));
    all.get_user().map(|user| one.user(user));
    all.get_password().map(|password| one.password(password));
    all.get_dbname().map(|name| one.dbname(name));
    all.get_options().map(|options| one.options(options));
    all.get_application_name().map(|name| one.application_name(name));
    all.get_connect_timeout().map(|limit| one.connect_timeout(*limit));
    all.get_tcp_user_timeout().map(|limit| one.tcp_user_timeout(*limit));
    all.get_keepalives_interval().map(|interval| one.keepalives_interval(interval));
    all.get_keepalives_retries().map(|retries| one.keepalives_retries(retries));
    one.keepalives(all.get_keepalives()).keepalives_idle(all.get_keepalives_idle());
    one.ssl_mode(all.get_ssl_mode()).ssl_negotiation(all.get_ssl_negotiation());
    one.channel_binding(all.get_channel_binding()).target_session_attrs(all.get_target_session_attrs());
    one
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
    fn sslmode_is_taken_out_of_both_forms() {
        let (config, mode, root) =
            address("postgresql://u:p@a:1,b:2/d?sslmode=verify-full&sslrootcert=%2Fca.pem&connect_timeout=3")
                .unwrap();
        assert_eq!((mode, root, config.get_hosts().len()), (Mode::VerifyFull, Some("/ca.pem".into()), 2));
        let (config, mode, _) = address("host=a user=u dbname=d sslmode=require").unwrap();
        assert_eq!((mode, config.get_dbname()), (Mode::Require, Some("d")));
        assert!(address("postgresql://h/d?sslmode=perhaps").is_err());
    }

    #[test]
    fn each_server_has_all_but_the_others_hosts() {
        let url =
            "postgresql://u:p@a:1,b:2/d?target_session_attrs=read-write&options=-cx%3Dy&application_name=n";
        let all: tokio_postgres::Config = url.parse().unwrap();
        let each = servers(&all);
        let one: Vec<tokio_postgres::Config> =
            ["a:1", "b:2"].map(|host| url.replace("a:1,b:2", host).parse().unwrap()).into();
        assert_eq!(each, one);
        assert_eq!(servers(&"postgresql://u@a:1,b:2,c:3/d".parse().unwrap()).len(), 3);
        assert_eq!(servers(&"host=a,b port=1 user=u".parse().unwrap())[1].get_ports(), [1]);
    }

    #[test]
    fn a_table_is_quoted() {
        assert_eq!(table("orders2").unwrap().quoted(), r#""public"."orders2""#);
        assert_eq!(table("s.o\"x").unwrap().quoted(), r#""s"."o""x""#);
        assert!(table("a.b.c").is_err() && table(".b").is_err());
    }
}
