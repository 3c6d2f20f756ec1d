//! Settings: what the raw flags and variables of `cli.rs` mean, checked.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use order::Parser;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::cli::{HttpArgs, NatsArgs, PgArgs, ServeArgs};
use crate::serve::MAX_SEARCH;
use crate::tls::{self, Mode};

/// A setting that can't be used: its name, and what it takes.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct ConfigError {
    setting: &'static str,
    problem: String,
}

impl ConfigError {
    /// `problem` says what is wrong and what the setting takes.
    pub fn new(setting: &'static str, problem: impl ToString) -> Self {
        Self { setting, problem: problem.to_string() }
    }
}

fn wrong(setting: &'static str, problem: impl ToString) -> ConfigError {
    ConfigError::new(setting, problem)
}

/// Settings of `orderd serve`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where orders come from.
    pub nats: Nats,
    /// The durable consumer's name.
    pub durable: String,
    /// Where orders are kept.
    pub postgres: Postgres,
    /// Where orders are served.
    pub http: Http,
    /// Tokens that may erase orders; none: nobody may over HTTP.
    pub erase_tokens: Secret<Vec<String>>,
    /// Members that must be there and not empty.
    pub require: Vec<String>,
    /// Members by which orders are found.
    pub search: Vec<String>,
    /// How often the table is read again; `None` for never.
    pub refill_every: Option<Duration>,
}

/// Where NATS is and what is taken from it.
#[derive(Debug, Clone)]
pub struct Nats {
    /// Servers, with what is needed to get in.
    pub servers: Secret<Vec<async_nats::ServerAddr>>,
    /// Credentials file.
    pub credentials: Option<PathBuf>,
    /// Authorities to trust besides the machine's.
    pub authorities: Option<PathBuf>,
    /// Our own certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The subject.
    pub topic: String,
    /// The stream that is made where none takes the subject.
    pub stream: String,
}

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

/// Where HTTP listens and who may ask.
#[derive(Debug, Clone)]
pub struct Http {
    /// Address to listen on.
    pub addr: SocketAddr,
    /// Tokens that open it; none: it is open.
    pub tokens: Tokens,
}

/// Something that is never printed.
#[derive(Clone, Default)]
pub struct Secret<T>(pub T);

impl<T> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
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

impl Settings {
    /// Checks what was given.
    ///
    /// # Errors
    /// The first setting that can't be used.
    pub fn new(args: &ServeArgs) -> Result<Self, ConfigError> {
        let require = list(&args.orders.require);
        Parser::new(&require).map_err(|error| wrong("REQUIRE", error))?;
        let search = list(&args.search);
        order::searchable(&search).map_err(|error| wrong("SEARCH", error))?;
        if search.len() > MAX_SEARCH {
            return Err(wrong("SEARCH", format!("takes {MAX_SEARCH} members at most")));
        }
        let http = Http::new(&args.http)?;
        if !http.addr.ip().is_loopback() && http.tokens.current().0.is_empty() && !args.http_anonymous {
            return Err(wrong(
                "HTTP_ADDR",
                format!(
                    "{} is reachable from elsewhere and orders are personal data: set HTTP_TOKEN, or \
                     HTTP_ANONYMOUS=true to serve them to anybody",
                    http.addr
                ),
            ));
        }
        Ok(Self {
            nats: Nats::new(&args.nats)?,
            durable: stream_name("NATS_DURABLE", &args.nats_durable)?,
            postgres: Postgres::new(&args.pg)?,
            http,
            erase_tokens: Secret(list(
                &secret("HTTP_ERASE_TOKEN", args.http_erase_token.as_deref())?.unwrap_or_default(),
            )),
            require,
            search,
            refill_every: duration("REFILL_EVERY", &args.refill_every)?,
        })
    }
}

impl Nats {
    /// Checks what was given.
    ///
    /// # Errors
    /// The first setting that can't be used.
    pub fn new(args: &NatsArgs) -> Result<Self, ConfigError> {
        let url = match secret("NATS_URL", args.nats_url.as_deref())? {
            Some(url) => url,
            None => format!("nats://{}:{}", args.nats_host, args.nats_port),
        };
        let servers = list(&url).iter().map(|server| server.parse()).collect::<Result<Vec<_>, _>>();
        let servers = servers
            // The error quotes the address, which may hold a password.
            .map_err(|_| {
                wrong("NATS_URL", "takes addresses such as nats://host:4222, separated by commas")
            })?;
        if servers.is_empty() {
            return Err(wrong("NATS_URL", "names no server"));
        }
        let topic = args.pub_topic.trim();
        let tokens_are_whole = topic.split('.').all(|token| !token.is_empty());
        if !tokens_are_whole || topic.contains(char::is_whitespace) {
            return Err(wrong(
                "PUB_TOPIC",
                format!("{topic:?} is no NATS subject, such as TESTING or orders.>"),
            ));
        }
        let certificate = match (&args.nats_cert, &args.nats_key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            _ => return Err(wrong("NATS_CERT", "needs NATS_KEY, and the other way round")),
        };
        Ok(Self {
            servers: Secret(servers),
            credentials: args.nats_creds.clone(),
            authorities: args.nats_ca.clone(),
            certificate,
            topic: topic.into(),
            stream: stream_name("NATS_STREAM", &args.nats_stream)?,
        })
    }
}

fn stream_name(setting: &'static str, name: &str) -> Result<String, ConfigError> {
    let usable = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if usable {
        Ok(name.into())
    } else {
        Err(wrong(setting, format!("{name:?} is no name: it takes letters, digits, - and _")))
    }
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

/// Bearer tokens, which may change while the service runs, so that they can be rotated.
#[derive(Debug, Clone)]
pub struct Tokens {
    given: Secret<Option<String>>,
    current: Arc<RwLock<Secret<Vec<String>>>>,
}

impl Tokens {
    /// Reads the file that `HTTP_TOKEN_FILE` names again.
    ///
    /// # Errors
    /// A file that can't be read, or that opens to anybody what was closed. The tokens stay what they were.
    pub fn read_again(&self) -> Result<(), ConfigError> {
        let tokens = list(&secret("HTTP_TOKEN", self.given.0.as_deref())?.unwrap_or_default());
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if tokens.is_empty() && !current.0.is_empty() {
            return Err(wrong("HTTP_TOKEN", "the file holds no token any more; the tokens before it stay"));
        }
        current.0 = tokens;
        Ok(())
    }

    /// Those of now.
    pub fn current(&self) -> Secret<Vec<String>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Http {
    /// Checks what was given.
    ///
    /// # Errors
    /// The first setting that can't be used.
    pub fn new(args: &HttpArgs) -> Result<Self, ConfigError> {
        let addr = args.http_addr.to_socket_addrs().ok().and_then(|mut addrs| addrs.next());
        let addr = addr.ok_or_else(|| {
            wrong("HTTP_ADDR", format!("{:?} is no address, such as 127.0.0.1:8090", args.http_addr))
        })?;
        let tokens = Tokens { given: Secret(args.http_token.clone()), current: Arc::default() };
        tokens.read_again()?;
        Ok(Self { addr, tokens })
    }
}

/// A secret from the environment or a flag, or else from the file that `{setting}_FILE` names.
///
/// # Errors
/// A file that can't be read.
fn secret(setting: &'static str, given: Option<&str>) -> Result<Option<String>, ConfigError> {
    if let Some(given) = given.filter(|given| !given.is_empty()) {
        return Ok(Some(given.into()));
    }
    let Some(file) = std::env::var_os(format!("{setting}_FILE")) else { return Ok(None) };
    let read = std::fs::read_to_string(&file);
    let text = read.map_err(|error| wrong(setting, format!("can't read {}: {error}", file.display())))?;
    Ok(Some(text.trim().to_owned()))
}

fn list(text: &str) -> Vec<String> {
    text.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty()).map(Into::into).collect()
}

fn duration(setting: &'static str, text: &str) -> Result<Option<Duration>, ConfigError> {
    let text = text.trim();
    let number_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match &text[number_end..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    match text[..number_end].parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
        Some(0) if unit > 0 => Ok(None),
        Some(seconds) if unit > 0 => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(wrong(setting, format!("{text:?} is no time, such as 30s, 10m, 1h or 0"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("REFILL_EVERY", "0").unwrap(), None);
        assert_eq!(duration("REFILL_EVERY", "90").unwrap(), Some(Duration::from_secs(90)));
        assert_eq!(duration("REFILL_EVERY", "2m").unwrap(), Some(Duration::from_secs(120)));
        for wrong in ["", "s", "-1", "1d", "99999999999999999999"] {
            assert!(duration("REFILL_EVERY", wrong).is_err(), "{wrong}");
        }
    }

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
