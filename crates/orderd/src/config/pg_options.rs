//! Applies the options of a connection string. Each is honoured, or refused by name; none is silently ignored or
//! weakened.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts, SslNegotiation, TargetSessionAttrs};

use super::conninfo::Conninfo;
use super::host;
use super::reloadable::Files;
use crate::tls::{ClientTls, Roots, TlsMode, TlsVersions};

/// A setting's name and what is wrong.
type OptionProblem = (&'static str, String);

/// Environment variables that libpq reads for missing options.
const VARIABLES: [(&str, &str); 34] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("service", "PGSERVICE"),
    ("options", "PGOPTIONS"),
    ("application_name", "PGAPPNAME"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcrl", "PGSSLCRL"),
    ("sslcrldir", "PGSSLCRLDIR"),
    ("sslsni", "PGSSLSNI"),
    ("requirepeer", "PGREQUIREPEER"),
    ("require_auth", "PGREQUIREAUTH"),
    ("sslcompression", "PGSSLCOMPRESSION"),
    ("min_protocol_version", "PGMINPROTOCOLVERSION"),
    ("max_protocol_version", "PGMAXPROTOCOLVERSION"),
    ("gssdelegation", "PGGSSDELEGATION"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("gssencmode", "PGGSSENCMODE"),
    ("krbsrvname", "PGKRBSRVNAME"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("client_encoding", "PGCLIENTENCODING"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
];

/// Environment variables that libpq sends as parameters of the session, which override those in `options`.
const PARAMETERS: [(&str, &str); 3] =
    [("datestyle", "PGDATESTYLE"), ("timezone", "PGTZ"), ("geqo", "PGGEQO")];

/// Connection options from `PG_HOST`, `PG_PORT`, `PG_USER`, `PG_PASSWORD` and `PG_DBNAME`, used without `DATABASE_URL`.
const ADDRESS: [&str; 6] = ["host", "hostaddr", "port", "dbname", "user", "password"];

/// Options that are honoured.
const HONOURED: [&str; 28] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "channel_binding",
    "connect_timeout",
    "options",
    "application_name",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslsni",
    "sslnegotiation",
    "sslcertmode",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "target_session_attrs",
    "load_balance_hosts",
];

/// Options that are accepted only with these values, which are what the service does anyway.
const FIXED: [(&str, &[&str]); 7] = [
    ("gssencmode", &["disable", "prefer"]),
    ("sslcompression", &["0"]),
    ("replication", &["false", "off", "no", "0"]),
    ("client_encoding", &["utf8", "utf-8", "UTF8", "UTF-8", "auto"]),
    ("gssdelegation", &["0"]),
    ("min_protocol_version", &["3.0"]),
    // The service speaks 3.0, which is below every allowed maximum.
    ("max_protocol_version", &["3.0", "3.2", "latest"]),
];

/// Options of libpq that the service can't implement.
const REFUSED: [&str; 15] = [
    "service",
    "servicefile",
    "sslcrl",
    "sslcrldir",
    "sslpassword",
    "requirepeer",
    "require_auth",
    "krbsrvname",
    "gsslib",
    "sslkeylogfile",
    "scram_client_key",
    "scram_server_key",
    "oauth_issuer",
    "oauth_client_id",
    "authtype",
];

/// Adds missing options from the environment; options that are present but empty stay empty. `whole`: also those of the
/// server's address.
pub(super) fn from_environment(given: &mut Conninfo, whole: bool) {
    for (option, variable) in VARIABLES {
        if (whole || !ADDRESS.contains(&option))
            && !given.has(option)
            && let Some(value) = std::env::var(variable).ok().filter(|value| !value.is_empty())
        {
            given.set(option, &value);
        }
    }
    let mut options = given.get("options").unwrap_or_default().to_owned();
    for (parameter, variable) in PARAMETERS {
        let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
        // As in libpq, this word leaves the parameter to the server.
        if let Some(value) = value.filter(|value| !value.eq_ignore_ascii_case("default")) {
            options.push_str(&format!(" -c {parameter}={}", escaped(&value)));
        }
    }
    if !options.is_empty() {
        given.set("options", options.trim_start());
    }
    // libpq still reads this variable; the newer one takes precedence.
    let requires = std::env::var("PGREQUIRESSL").is_ok_and(|value| value.starts_with('1'));
    if requires && !given.has("sslmode") {
        given.set("sslmode", "require");
    }
}

/// A value in `options`, where white space separates arguments and a backslash escapes.
fn escaped(value: &str) -> String {
    let escape = |letter: char| (letter == '\\' || letter.is_ascii_whitespace()).then_some('\\');
    value.chars().flat_map(|letter| escape(letter).into_iter().chain([letter])).collect()
}

/// Whether libpq has an option of this name, or had.
pub(super) fn is_known(name: &str) -> bool {
    name == super::conninfo::REQUIRESSL
        || HONOURED.contains(&name)
        || REFUSED.contains(&name)
        || FIXED.iter().any(|(fixed, _)| *fixed == name)
}

/// Options that libpq refuses if empty, because the requested protection would be dropped.
const NEVER_EMPTY: [&str; 16] = [
    "sslmode",
    "sslnegotiation",
    "sslcertmode",
    "channel_binding",
    "gssencmode",
    "target_session_attrs",
    "load_balance_hosts",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "min_protocol_version",
    "max_protocol_version",
    "service",
];

/// Refuses options that are not implemented.
pub(super) fn check(given: &Conninfo) -> Result<(), OptionProblem> {
    if let Some(name) = NEVER_EMPTY.into_iter().find(|name| given.is_empty(name)) {
        return Err(problem(name, "is empty: give it a value, or leave it out"));
    }
    let hosts = given.get("host").unwrap_or_default();
    if hosts.split(',').any(|host| host.trim_start().starts_with('@')) {
        return Err(problem("host", "names an abstract Unix socket, which is not supported: name a folder"));
    }
    for name in given.names().filter(|name| !HONOURED.contains(name)) {
        let value = given.get(name);
        let fixed = FIXED.iter().find(|(fixed, _)| *fixed == name);
        match (fixed, value) {
            (Some((_, values)), Some(value)) if !values.contains(&value) => {
                return Err(problem(name, format!("takes {}", values.join(" or "))));
            }
            (None, Some(_)) if REFUSED.contains(&name) => {
                return Err(problem(name, format!("is not supported: {}", in_place_of(name))));
            }
            (None, _) if !is_known(name) => {
                let problem = match given.get("password") {
                    None => format!("libpq knows no option {name}"),
                    // A password that is not percent-encoded can end in what looks like an option.
                    Some(_) => "has an option that libpq does not know".to_owned(),
                };
                return Err(("DATABASE_URL", problem));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What to do instead of a refused option.
fn in_place_of(option: &str) -> &'static str {
    match option {
        "service" | "servicefile" => "remove it, and write the options of the service into DATABASE_URL",
        "sslcrl" | "sslcrldir" => "remove it; certificates are verified, but not whether they are revoked",
        "sslpassword" => "remove it, and store the key of sslkey without a passphrase",
        "requirepeer" => "remove it, or connect over TCP with sslmode=verify-full",
        "require_auth" => {
            "remove it; sslmode=verify-full protects the password from other servers, and \
             channel_binding=require allows only scram-sha-256"
        }
        _ => "remove it",
    }
}

/// The setting that an option comes from: the environment variable if it is set, or else the string.
pub(super) fn setting(option: &str) -> &'static str {
    let variable = VARIABLES.iter().find(|(known, _)| *known == option).map(|(_, variable)| *variable);
    let is_set = |variable: &&str| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    variable.filter(is_set).unwrap_or("DATABASE_URL")
}

fn problem(option: &str, problem: impl std::fmt::Display) -> OptionProblem {
    (setting(option), format!("{option} {problem}"))
}

/// Refuses a key that others can read, as libpq does.
pub(super) fn check_key(key: &Path) -> Result<(), OptionProblem> {
    // The later read reports the error.
    let Ok(found) = std::fs::metadata(key) else { return Ok(()) };
    // Root's key may be readable by a group.
    let allowed = if found.uid() == 0 { 0o640 } else { 0o600 };
    if found.is_file() && found.mode() & 0o777 & !allowed != 0 {
        return Err(problem(
            "sslkey",
            format!("other users can read {key}: chmod 600 {key}", key = key.display()),
        ));
    }
    Ok(())
}

/// The TLS settings.
pub(super) fn tls(given: &Conninfo, files: &mut Files) -> Result<ClientTls, OptionProblem> {
    let roots = match given.get("sslrootcert") {
        Some("system") => Some(Roots::System),
        Some(file) => Some(Roots::File(file.into())),
        None => in_home("root.crt").filter(|file| files.is_file(file)).map(Roots::File),
    };
    let is_system = matches!(roots, Some(Roots::System));
    let mode = match given.get("sslmode") {
        None if is_system => TlsMode::VerifyFull,
        None => TlsMode::Prefer,
        Some(text) => TlsMode::parse(text).ok_or_else(|| {
            problem("sslmode", "takes disable, allow, prefer, require, verify-ca or verify-full")
        })?,
    };
    if is_system && mode != TlsMode::VerifyFull {
        return Err(problem(
            "sslrootcert",
            "system needs sslmode=verify-full: anyone can get a certificate from a public authority",
        ));
    }
    if mode == TlsMode::VerifyCa && roots.is_none() {
        return Err(problem(
            "sslmode",
            "verify-ca needs sslrootcert=FILE: anyone can get a certificate from a public authority",
        ));
    }
    // By default libpq's files for the user. A named certificate must exist; the default one may be missing.
    let certificate = match given.get("sslcert") {
        Some(file) => Some(file.into()),
        None => in_home("postgresql.crt").filter(|file| files.is_file(file)),
    };
    let identity = match certificate {
        Some(certificate) if mode != TlsMode::Disable && given.get("sslcertmode") != Some("disable") => {
            let key = given.get("sslkey").map(PathBuf::from).or_else(|| in_home("postgresql.key"));
            let key = key.ok_or_else(|| problem("sslcert", "needs sslkey, the file of its key"))?;
            Some((certificate, key))
        }
        _ => None,
    };
    if let Some(engine) = given.get("sslkey").filter(|key| !key.starts_with('/') && key.contains(':')) {
        let engine = engine.split(':').next().unwrap_or_default();
        return Err(problem(
            "sslkey",
            format!("is in the engine {engine}, which is not supported: name a file"),
        ));
    }
    if given.get("sslcertmode").is_some_and(|value| !["disable", "allow"].contains(&value)) {
        return Err(problem("sslcertmode", "takes disable or allow"));
    }
    let is_direct = given.get("sslnegotiation") == Some("direct");
    if is_direct && matches!(mode, TlsMode::Disable | TlsMode::Allow | TlsMode::Prefer) {
        return Err(problem("sslnegotiation", "direct needs sslmode=require or a stronger one"));
    }
    let client = ClientTls {
        mode,
        roots,
        identity,
        // As in libpq, every value except 1 turns it off.
        sni: !given.is_empty("sslsni") && given.get("sslsni").is_none_or(|value| value.starts_with('1')),
        versions: versions(given)?,
        is_direct,
    };
    // libpq reads this file by default if it verifies certificates.
    if let Some(file) = in_home("root.crl").filter(|file| files.is_file(file))
        && client.authorities().is_some()
    {
        return Err(problem(
            "sslcrl",
            format!(
                "is not supported, and {} lists revoked certificates: remove that file, or set HOME to another folder",
                file.display()
            ),
        ));
    }
    Ok(client)
}

/// rustls has TLS 1.2 and 1.3, which satisfy every older minimum.
fn versions(given: &Conninfo) -> Result<TlsVersions, OptionProblem> {
    const KNOWN: [&str; 4] = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
    let version = |option: &'static str, default: usize| match given.get(option) {
        None => Ok(default),
        Some(text) => KNOWN
            .iter()
            .position(|known| known.eq_ignore_ascii_case(text))
            .ok_or_else(|| problem(option, format!("takes {}", KNOWN.join(", ")))),
    };
    let (least, most) = (version("ssl_min_protocol_version", 2)?, version("ssl_max_protocol_version", 3)?);
    match (least, most) {
        (0..=2, 3) => Ok(TlsVersions::Both),
        (3, 3) => Ok(TlsVersions::Only13),
        (0..=2, 2) => Ok(TlsVersions::Only12),
        _ => Err(problem("ssl_max_protocol_version", "leaves no version: TLSv1.2 and TLSv1.3 can be used")),
    }
}

/// The folder of libpq's files for the user.
fn in_home(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty())?;
    Some(PathBuf::from(home).join(".postgresql").join(name))
}

/// The file of passwords that libpq reads.
pub(super) fn passfile(given: &Conninfo) -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    given.get("passfile").map(PathBuf::from).or_else(|| home().map(|home| home.join(".pgpass")))
}

/// The address of the database, in words: servers, port and name.
pub(super) fn address(given: &Conninfo) -> String {
    let or = |name: &str, default: &'static str| given.get(name).map_or(default.into(), ToOwned::to_owned);
    let servers = match (given.get("host"), given.get("hostaddr")) {
        (Some(host), Some(address)) => format!("{host} ({address})"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "a local socket".to_owned(),
    };
    let database = given.get("dbname").or_else(|| given.get("user")).unwrap_or("of the user's name");
    format!("{servers} port {} database {database}", or("port", "5432"))
}

/// One configuration per server: the common options, and one host.
pub(super) fn servers(given: &Conninfo) -> Result<Vec<Config>, OptionProblem> {
    // libpq would look up a host in brackets as a name.
    let list = |name: &str| -> Vec<String> {
        given
            .get(name)
            .map(|text| text.split(',').map(|part| host::without_brackets(part.trim()).to_owned()).collect())
            .unwrap_or_default()
    };
    let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = hosts.len().max(addresses.len()).max(1);
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(problem("hostaddr", "has a different number of addresses than host has names"));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(problem("port", "has a different number of ports than there are hosts"));
    }
    let mut shared = shared(given)?;
    // Otherwise a standby that happens to answer first would be used, which takes no orders and may lack the last ones.
    if count > 1 && given.get("target_session_attrs").is_none() {
        shared.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    (0..count)
        .map(|index| {
            let mut one = shared.clone();
            let port = ports.get(index).or_else(|| ports.first().filter(|_| ports.len() == 1));
            let port = match port.map(String::as_str).unwrap_or_default() {
                "" => 5432,
                port => port
                    .parse()
                    .ok()
                    .filter(|&port| port > 0)
                    .ok_or_else(|| {
                        problem(
                            "port",
                            format!(
                                "takes 1 to 65535, and that of host number {} is something else; in an address, a \
                                 password is percent-encoded: %40 for @, %2F for /, %3A for :",
                                index + 1
                            ),
                        )
                    })?,
            };
            one.port(port);
            match (
                hosts.get(index).filter(|host| !host.is_empty()),
                addresses.get(index).filter(|a| !a.is_empty()),
            ) {
                (host, Some(address)) => {
                    one.hostaddr(address.parse().map_err(|_| problem("hostaddr", format!("takes an IP address, and number {} is none", index + 1)))?);
                    if let Some(host) = host {
                        one.host(host);
                    }
                }
                (Some(host), None) => {
                    one.host(host);
                }
                (None, None) => {
                    one.host(socket_folder(port));
                }
            }
            Ok(one)
        })
        .collect()
}

/// libpq's default socket folder: Debian's, or that of PostgreSQL's source.
fn socket_folder(port: u16) -> &'static str {
    let has_socket = |folder: &&str| std::path::Path::new(folder).join(format!(".s.PGSQL.{port}")).exists();
    ["/var/run/postgresql", "/tmp"].into_iter().find(has_socket).unwrap_or("/var/run/postgresql")
}

fn shared(given: &Conninfo) -> Result<Config, OptionProblem> {
    let mut config = Config::new();
    if let Some(user) = given.get("user") {
        config.user(user);
    }
    if let Some(password) = given.get("password") {
        config.password(password);
    }
    if let Some(name) = given.get("dbname") {
        config.dbname(name);
    }
    if let Some(options) = given.get("options") {
        config.options(options);
    }
    let name = given.get("application_name").or_else(|| given.get("fallback_application_name"));
    config.application_name(name.unwrap_or("orderd"));
    times(given, &mut config)?;
    config.channel_binding(match given.get("channel_binding") {
        Some("disable") => ChannelBinding::Disable,
        None | Some("prefer") => ChannelBinding::Prefer,
        Some("require") => ChannelBinding::Require,
        Some(_) => return Err(problem("channel_binding", "takes disable, prefer or require")),
    });
    config.target_session_attrs(match given.get("target_session_attrs") {
        None | Some("any") => TargetSessionAttrs::Any,
        // A primary that is read-only by default can't store orders either.
        Some("read-write" | "primary") => TargetSessionAttrs::ReadWrite,
        Some("read-only") => TargetSessionAttrs::ReadOnly,
        Some(_) => {
            return Err(problem(
                "target_session_attrs",
                "takes any, read-write, primary or read-only: rows are written",
            ));
        }
    });
    config.load_balance_hosts(match given.get("load_balance_hosts") {
        None | Some("disable") => LoadBalanceHosts::Disable,
        Some("random") => LoadBalanceHosts::Random,
        Some(_) => return Err(problem("load_balance_hosts", "takes disable or random")),
    });
    config.ssl_negotiation(match given.get("sslnegotiation") {
        None | Some("postgres") => SslNegotiation::Postgres,
        Some("direct") => SslNegotiation::Direct,
        Some(_) => return Err(problem("sslnegotiation", "takes postgres or direct")),
    });
    Ok(config)
}

fn times(given: &Conninfo, config: &mut Config) -> Result<(), OptionProblem> {
    let number = |name: &'static str, default: i64| match given.get(name) {
        None => Ok(default),
        // Limited to 32 bits, as in libpq.
        Some(text) => {
            text.trim().parse::<i32>().map(i64::from).map_err(|_| problem(name, "takes a whole number"))
        }
    };
    // Keepalives detect within about ten seconds that the server of an idle connection is gone.
    let positive = |value: i64| u64::try_from(value).unwrap_or_default();
    match positive(number("connect_timeout", 3)?) {
        // libpq then waits forever.
        0 => {}
        seconds => {
            config.connect_timeout(Duration::from_secs(seconds));
        }
    }
    config.tcp_user_timeout(Duration::from_millis(positive(number("tcp_user_timeout", 8000)?)));
    config.keepalives(number("keepalives", 1)? != 0);
    if let idle @ 1.. = positive(number("keepalives_idle", 5)?) {
        config.keepalives_idle(Duration::from_secs(idle));
    }
    if let interval @ 1.. = positive(number("keepalives_interval", 2)?) {
        config.keepalives_interval(Duration::from_secs(interval));
    }
    if let retries @ 1.. = positive(number("keepalives_count", 3)?) {
        config.keepalives_retries(u32::try_from(retries).unwrap_or(u32::MAX));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_postgres::config::Host;

    #[test]
    fn hosts_of_ipv6_may_have_brackets() {
        let conninfo = Conninfo::parse("host=[::1],::1,db,[db] hostaddr=[::1],::1,,").unwrap();
        let servers = servers(&conninfo).unwrap();
        let hosts: Vec<_> = servers.iter().map(|server| server.get_hosts()).collect();
        let named = |name: &str| [Host::Tcp(name.into())];
        assert_eq!(hosts, ["::1", "::1", "db", "[db]"].map(named));
        let address: std::net::IpAddr = "::1".parse().unwrap();
        assert_eq!(servers[0].get_hostaddrs(), [address]);
        assert_eq!(servers[1].get_hostaddrs(), [address]);
    }
}
