//! Settings of PostgreSQL: servers, login and table.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};

use model::Model;
use order::RowFormat;
use tokio::time::Instant;
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::conninfo::Conninfo;
use super::database_identity::DatabaseIdentity;
use super::reloadable::{Files, Reload, Reloaded};
use super::{ConfigError, Secret, certificates, host, passfile, pg_options, secret, wrong};
use crate::cli::{PgArgs, PgFormat};
use crate::tls;

/// Bytes of PostgreSQL's longest name.
const MAX_NAME_BYTES: usize = 63;

/// The PostgreSQL servers, and the table.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// Where and how to connect; replaced when the file of DATABASE_URL changes.
    pub(crate) target: Reloaded<Target>,
    /// The database in use.
    pub(crate) identity: Arc<DatabaseIdentity>,
    /// The table.
    pub table: Table,
    /// The row format of a table that has to be created.
    pub format: RowFormat,
    /// Whether any other format is refused.
    pub only_this_format: bool,
}

/// Where and how to connect.
pub(crate) struct Target {
    /// Servers and database, in words, without role, password and options.
    pub(crate) address: String,
    /// How to connect, to each of the servers.
    pub(crate) servers: Secret<Vec<Config>>,
    /// Index of the server to try first, which was reached last. All connections share it.
    pub(crate) preferred: AtomicUsize,
    /// Whether none of several servers answered the last attempts in time.
    pub(crate) all_silent: AtomicBool,
    /// Whether the check for poolers has passed.
    pub(crate) pooler_checked: AtomicBool,
    /// Whether a pooler gives each transaction another session.
    pub(crate) is_pooled: AtomicBool,
    /// The half-open connections that were given up.
    pub(crate) given_up: Mutex<GivenUp>,
    /// How the server's certificate is verified.
    pub(crate) mode: tls::TlsMode,
    /// The TLS connector.
    pub(crate) connector: Reloaded<MakeRustlsConnect>,
    /// The passwords of servers without one in their address.
    passwords: Reloaded<Secret<Vec<Option<String>>>>,
}

/// When connections were given up because they seemed half-open.
#[derive(Default)]
pub(crate) struct GivenUp {
    /// Number of consecutive connections that were given up, each opened after the previous one was given up.
    pub(crate) in_a_row: u32,
    pub(crate) last: Option<Instant>,
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

    /// The table's name within the schema.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `schema.name` as a text literal of SQL.
    pub fn label_literal(&self) -> String {
        literal(&self.to_string())
    }

    /// The table's name without the schema, as a text literal of SQL.
    pub fn literal(&self) -> String {
        literal(&self.name)
    }

    /// Another table of the same schema, quoted.
    pub fn sibling(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(name))
    }
}

/// A text literal of SQL.
pub(crate) fn literal(text: &str) -> String {
    // With the prefix E, backslashes mean the same for every `standard_conforming_strings`.
    let prefix = if text.contains('\\') { "E" } else { "" };
    format!("{prefix}'{}'", text.replace('\\', r"\\").replace('\'', "''"))
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
        let table = table(&args.pg_table)?;
        let format = match args.pg_format {
            None | Some(PgFormat::Gob) => RowFormat::Gob,
            Some(PgFormat::Jsonb) => RowFormat::Jsonb,
            Some(PgFormat::Json) => RowFormat::Json,
        };
        let args = args.clone();
        let target = Reloaded::new("DATABASE_URL", move |files| Target::new(&args, files))?;
        Ok(Self { target, identity: Arc::default(), table, format, only_this_format: false })
    }

    /// Sets the row format for documents of this model. Arbitrary documents are stored byte for byte, which only `json`
    /// does.
    ///
    /// # Errors
    /// Another format is set.
    pub(crate) fn of_model(self, args: &PgArgs, model: &Model) -> Result<Self, ConfigError> {
        match args.pg_format {
            _ if !model.is_any() => Ok(self),
            None | Some(PgFormat::Json) => {
                Ok(Self { format: RowFormat::Json, only_this_format: true, ..self })
            }
            Some(_) => Err(wrong(
                "PG_FORMAT",
                "with MODEL=any it takes only json, which keeps documents byte for byte",
            )),
        }
    }

    /// What is made from files, and made again when they change.
    pub(super) fn files(&self) -> Vec<Box<dyn Reload>> {
        let target = self.target.current();
        vec![
            Box::new(self.target.clone()),
            Box::new(target.connector.clone()),
            Box::new(target.passwords.clone()),
        ]
    }
}

impl Target {
    fn new(args: &PgArgs, files: &mut Files) -> Result<Self, ConfigError> {
        let url = secret("DATABASE_URL", args.database_url.as_deref(), files)?;
        let mut given = match &url {
            Some(url) => Conninfo::parse(url).map_err(|problem| wrong("DATABASE_URL", problem))?,
            None => of_flags(args)?,
        };
        pg_options::from_environment(&mut given, url.is_some());
        let refused = |(setting, problem): (&'static str, String)| wrong(setting, problem);
        pg_options::check(&given).map_err(refused)?;
        let servers = pg_options::servers(&given).map_err(refused)?;
        let tls = pg_options::tls(&given, files).map_err(refused)?;
        let mode = tls.mode;
        let has_password = given.get("password").is_some();
        let (setting, passfile) = (args.pg_password.clone().map(Secret), pg_options::passfile(&given));
        let asked = Secret(servers.clone());
        let passwords = Reloaded::new("PG_PASSWORD", move |files| {
            if has_password {
                return Ok(Secret(vec![None; asked.0.len()]));
            }
            let setting = setting.as_ref().map(|password| password.0.as_str());
            let of_setting = secret("PG_PASSWORD", setting, files)?;
            let passwords = asked.0.iter().map(|server| match &of_setting {
                Some(password) => Some(password.clone()),
                None => passfile.as_ref().and_then(|file| passfile::find(file, server, files)),
            });
            Ok(Secret(passwords.collect()))
        })?;
        Ok(Self {
            address: pg_options::address(&given),
            servers: Secret(servers),
            preferred: AtomicUsize::default(),
            all_silent: AtomicBool::default(),
            pooler_checked: AtomicBool::default(),
            is_pooled: AtomicBool::default(),
            given_up: Mutex::default(),
            mode,
            connector: Reloaded::new("DATABASE_URL", move |files| connector(&tls, files))?,
            passwords,
        })
    }

    /// How to connect to one of the servers, with its current password.
    pub(crate) fn server(&self, index: usize) -> Config {
        let mut config = self.servers.0[index].clone();
        if let Some(Some(password)) = self.passwords.fresh().0.get(index) {
            config.password(password);
        }
        config
    }
}

/// Reads the files that TLS needs.
fn connector(client: &tls::ClientTls, files: &mut Files) -> Result<MakeRustlsConnect, ConfigError> {
    let of = |option: &'static str| move |error: ConfigError| wrong(pg_options::setting(option), error);
    let authorities = match client.authorities() {
        None => None,
        Some(tls::Roots::File(file)) => {
            let read = certificates::authorities("sslrootcert", file, files);
            Some(read.map_err(of("sslrootcert"))?)
        }
        Some(tls::Roots::System) => {
            let found = certificates::machine(files);
            Some(found.map_err(|problem| problem.of(pg_options::setting("sslrootcert")))?)
        }
    };
    let identity = match &client.identity {
        None => None,
        Some((certificate, key)) => {
            let chain = certificates::chain("sslcert", certificate, files).map_err(of("sslcert"))?;
            pg_options::check_key(key).map_err(|(setting, problem)| wrong(setting, problem))?;
            let secret = certificates::key("sslkey", key, files).map_err(of("sslkey"))?;
            Some((chain, secret))
        }
    };
    client.connector(authorities, identity).map_err(|problem| {
        let problem = match &client.identity {
            Some((certificate, key)) => {
                format!("sslkey {} does not fit sslcert {}: {problem}", key.display(), certificate.display())
            }
            None => problem,
        };
        wrong(pg_options::setting("sslcert"), problem)
    })
}

/// The options of `--pg-host` and the other single flags.
fn of_flags(args: &PgArgs) -> Result<Conninfo, ConfigError> {
    let mut given = Conninfo::default();
    // The folder of a Unix socket is not parsed.
    let folder = Some(args.pg_host.clone()).filter(|host| host.starts_with('/'));
    let host = folder.map_or_else(|| host::host("PG_HOST", &args.pg_host), Ok)?;
    let port = host::port("PG_PORT", &args.pg_port, "DATABASE_URL")?.to_string();
    let parts = [("host", &host), ("port", &port), ("user", &args.pg_user), ("dbname", &args.pg_dbname)];
    parts.into_iter().for_each(|(name, value)| given.set(name, value));
    Ok(given)
}

fn table(name: &str) -> Result<Table, ConfigError> {
    let (schema, table) = name.split_once('.').unwrap_or(("public", name));
    if schema.is_empty() || table.is_empty() || table.contains('.') || name.contains('\0') {
        return Err(wrong(
            "PG_TABLE",
            format!("{name:?} is not the name of a table, such as public.orders2"),
        ));
    }
    // PostgreSQL keeps the names of schemas that begin with pg_ to itself.
    if schema.starts_with("pg_") || schema == "information_schema" {
        return Err(wrong(
            "PG_TABLE",
            format!(
                "{name:?} is in {schema}, a schema of PostgreSQL itself, where no documents are stored: set it to a table \
                 such as public.orders2"
            ),
        ));
    }
    // PostgreSQL truncates longer names, so two tables could become one.
    if schema.len() > MAX_NAME_BYTES || table.len() > MAX_NAME_BYTES {
        return Err(wrong(
            "PG_TABLE",
            format!("{name:?} is too long: PostgreSQL takes {MAX_NAME_BYTES} bytes at most in each part"),
        ));
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

    #[test]
    fn a_table_of_postgresql_itself_is_refused() {
        for system in ["pg_catalog.pg_class", "pg_toast.x", "pg_temp.orders2", "information_schema.tables"] {
            let refused = table(system).unwrap_err().to_string();
            assert!(refused.starts_with("PG_TABLE: ") && refused.contains("PostgreSQL itself"), "{refused}");
        }
        assert!(table("pg_orders").is_ok() && table("PG_X.orders2").is_ok());
    }
}
