//! Where PostgreSQL is, and which table is meant.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{ConfigError, Secret, secret, wrong};
use crate::cli::PgArgs;
use crate::tls::{self, Mode};

/// Where PostgreSQL is and which table is meant.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// How to connect.
    pub connect: Secret<tokio_postgres::Config>,
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

    /// Another table of the same schema, quoted.
    pub fn sibling(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(name))
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
        connect.keepalives_idle(Duration::from_secs(5));
        if connect.get_application_name().is_none() {
            connect.application_name("orderd");
        }
        Ok(Self { connect: Secret(connect), tls: Secret(tls), table: table(&args.pg_table)? })
    }
}

/// What `DATABASE_URL` says. `sslmode` and `sslrootcert` are taken out first: the client library knows no
/// `verify-full`.
fn address(url: &str) -> Result<(tokio_postgres::Config, Mode, Option<PathBuf>), ConfigError> {
    let (mut mode, mut root) = (Mode::Prefer, None);
    // As an address, `…?name=value&name=value`, or as libpq's list, `name=value name=value`.
    let is_address = url.contains("://");
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

fn table(name: &str) -> Result<Table, ConfigError> {
    let (schema, table) = name.split_once('.').unwrap_or(("public", name));
    if schema.is_empty() || table.is_empty() || table.contains('.') || name.contains('\0') {
        return Err(wrong("PG_TABLE", format!("{name:?} is no table, such as public.orders2")));
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
    fn a_table_is_quoted() {
        assert_eq!(table("orders2").unwrap().quoted(), r#""public"."orders2""#);
        assert_eq!(table("s.o\"x").unwrap().quoted(), r#""s"."o""x""#);
        assert!(table("a.b.c").is_err() && table(".b").is_err());
    }
}
