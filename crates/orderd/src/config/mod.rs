//! Settings: the parsed and checked flags and variables of `cli`.

mod nats;
mod nats_login;
mod postgres;
mod database_identity;
mod conninfo;
mod pg_options;
mod passfile;
mod model;
mod http;
mod tokens;
mod server_certificate;
mod host;
mod secret;
mod bounded_file;
mod reloadable;
mod certificates;
mod traces;

use std::sync::Arc;
use std::time::Duration;

use ::model::Model;
use axum::http::HeaderValue;
use cache::MAX_SEARCH_MEMBERS;
use order::Parser;

pub(crate) use self::certificates::machine as machine_authorities;
pub(crate) use self::database_identity::{DatabaseIdentity, PositionKey};
pub use self::http::Http;
use self::http::{cors_origins, hosts};
pub(crate) use self::model::{called, files_at, fingerprint, model, of_value, parser, read};
pub use self::nats::Nats;
pub(crate) use self::nats::{Address, Authorities};
pub use self::postgres::{Postgres, Table};
pub(crate) use self::postgres::{Target, literal};
pub use self::reloadable::Reloaded;
pub(crate) use self::reloadable::{Files, Reload, log as log_reload};
pub use self::secret::Secret;
use self::secret::secret;
pub use self::server_certificate::ServerCertificate;
pub use self::tokens::{Access, Right, Token, TokenList, Tokens};
pub(crate) use self::tokens::{is_token_id, tokens};
pub use self::traces::Traces;
use crate::cli::ServeArgs;
pub use crate::cli::error::ConfigError;
use crate::subject;

fn wrong(setting: &'static str, problem: impl ToString) -> ConfigError {
    ConfigError::new(setting, problem)
}

/// Settings of `orderd serve`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// NATS: the source of orders.
    pub nats: Nats,
    /// PostgreSQL: the store of orders.
    pub postgres: Postgres,
    /// HTTP: the address and access.
    pub http: Http,
    /// The server certificate of HTTP; `None` without TLS.
    pub server_certificate: Option<ServerCertificate>,
    /// The subjects, with wildcards, to which receipts may be sent.
    pub receipt_subjects: Vec<String>,
    /// The tokens for reading, replaying and erasing.
    pub access: Access,
    /// Origins whose pages may read; if empty, only our own page.
    pub cors_origins: Vec<HeaderValue>,
    /// Hosts that are served, besides addresses and `localhost`, when there are no tokens; `None` for all.
    pub http_hosts: Option<Vec<String>>,
    /// Timeout of an idle connection.
    pub http_idle_timeout: Duration,
    /// How long the service keeps serving after SIGTERM, while `/readyz` is 503.
    pub shutdown_delay: Duration,
    /// Maximum number of clients of `/events`.
    pub event_readers: usize,
    /// The model of documents.
    pub model: Arc<Model>,
    /// The parser for documents, by model and settings.
    pub parser: Parser,
    /// Equal for processes with the same model and the same rules.
    pub(crate) fingerprint: String,
    /// Members to search by, and their paths in the model.
    pub search: Vec<String>,
    pub(crate) search_paths: Vec<order::SearchPath>,
    /// Maximum memory for orders in bytes; `None` for no limit.
    pub cache_max_bytes: Option<usize>,
    /// Interval between refills; `None` for never.
    pub refill_every: Option<Duration>,
    /// How long committed messages stay in a stream that we created.
    pub stream_keep: Duration,
    /// The age at which orders leave; `None`: they stay.
    pub keep: Option<Duration>,
    /// The export of traces; `None` without tracing.
    pub traces: Option<Traces>,
}

impl Settings {
    /// Checks what was given.
    ///
    /// # Errors
    /// The first setting that can't be used.
    pub fn new(args: &ServeArgs) -> Result<Self, ConfigError> {
        let model = model(&args.orders.model)?;
        let (search, search_paths) = self::model::search(args.search.as_deref(), &model)?;
        if search.len() > MAX_SEARCH_MEMBERS {
            return Err(wrong(
                "SEARCH",
                format!("it names {} members, and takes {MAX_SEARCH_MEMBERS} at most", search.len()),
            ));
        }
        let http = Http::new(&args.http)?;
        if !http.addr.ip().is_loopback() && http.tokens.current().is_empty() && !args.http_anonymous {
            return Err(wrong(
                "HTTP_ADDR",
                format!(
                    "{} is reachable from elsewhere, and documents may contain personal data: set HTTP_TOKEN, or \
                     HTTP_ANONYMOUS=true to serve them to anyone",
                    http.addr
                ),
            ));
        }
        let nats = Nats::new(&args.nats)?;
        Ok(Self {
            receipt_subjects: receipt_subjects(&args.receipt_subjects, &nats.topic)?,
            nats,
            postgres: Postgres::new(&args.pg)?.of_model(&args.pg, &model)?,
            server_certificate: ServerCertificate::new(
                http.certificate.as_deref(),
                args.http_tls_key.as_deref(),
            )?,
            access: Access {
                read: http.tokens.clone(),
                replay: tokens(Right::Replay, args.http_replay_token.as_deref())?,
                erase: tokens(Right::Erase, args.http_erase_token.as_deref())?,
            },
            http,
            http_hosts: if args.http_anonymous { None } else { Some(hosts(&args.http_hosts)?) },
            http_idle_timeout: positive_duration("HTTP_IDLE_TIMEOUT", &args.http_idle_timeout)?,
            shutdown_delay: duration("SHUTDOWN_DELAY", &args.shutdown_delay)?.unwrap_or_default(),
            event_readers: args.http_event_readers as usize,
            cors_origins: cors_origins(args.http_cors_origin.as_deref().unwrap_or_default())?,
            parser: parser(&args.orders, &model)?,
            fingerprint: fingerprint(&args.orders, &model)?,
            model,
            search,
            search_paths,
            cache_max_bytes: bytes("CACHE_MAX_BYTES", args.cache_max_bytes.as_deref().unwrap_or_default())?,
            refill_every: duration("REFILL_EVERY", &args.refill_every)?,
            stream_keep: duration("STREAM_KEEP", &args.stream_keep)?.unwrap_or_default(),
            keep: keep("KEEP", args.keep.keep.as_deref())?,
            traces: Traces::new(&args.traces)?,
        })
    }
}

/// The age at which orders leave; `None`: they stay.
///
/// # Errors
/// Less than an hour: with a mistyped unit, new orders and a table that is being restored would be lost.
pub(crate) fn keep(setting: &'static str, text: Option<&str>) -> Result<Option<Duration>, ConfigError> {
    const MIN_KEEP: Duration = Duration::from_secs(3600);
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    let takes = "it takes 1h or more, such as 12h, 30d or 52w";
    match seconds(text).map(Duration::from_secs) {
        Some(keep) if keep >= MIN_KEEP => Ok(Some(keep)),
        Some(_) => Err(wrong(setting, format!("{text:?} is too short: {takes}"))),
        None => Err(wrong(setting, format!("{text:?} is not a time: {takes}"))),
    }
}

impl Settings {
    /// All values that are loaded from files, and reloaded when these change.
    pub(crate) fn files(&self) -> Vec<Box<dyn Reload>> {
        let certificate = self.server_certificate.as_ref().map(ServerCertificate::files);
        self.access
            .files()
            .into_iter()
            .chain(certificate)
            .chain(self.nats.files())
            .chain(self.postgres.files())
            .chain(self.traces.iter().flat_map(Traces::files))
            .collect()
    }
}

/// Subjects, with wildcards; `none` for an empty list. No receipt goes into the topic, where it would become an order.
fn receipt_subjects(text: &str, topic: &str) -> Result<Vec<String>, ConfigError> {
    let subjects = list(text);
    let refuse = |problem: String| Err(wrong("RECEIPT_SUBJECTS", problem));
    match &subjects[..] {
        [] => return refuse("it names no subject; write none for no receipts".into()),
        [none] if is_none(none) => return Ok(Vec::new()),
        _ => refuse_none_among("RECEIPT_SUBJECTS", &subjects)?,
    }
    for given in &subjects {
        if !subject::is_valid(given) {
            return refuse(format!("{given:?} is not a NATS subject, such as _INBOX.> or done.*"));
        }
        if is_never_answered(given) {
            return refuse(format!(
                "no receipt is ever sent on {given:?}: subjects that begin with $ are the server's, and dead.> has the \
                 dead letters; it takes subjects such as _INBOX.> or done.*"
            ));
        }
        if subject::covers(topic, given) {
            return refuse(format!(
                "no receipt is ever sent on {given:?}: it lies within PUB_TOPIC {topic:?}, where it would be read as a \
                 document; it takes subjects outside of that, such as _INBOX.> or done.*"
            ));
        }
    }
    Ok(subjects)
}

/// Whether receipts are refused on every subject that this one covers.
fn is_never_answered(subject: &str) -> bool {
    subject.starts_with('$') || subject.split('.').next() == Some(subject::DEAD_PREFIX)
}

/// The word for an empty list.
fn is_none(text: &str) -> bool {
    text.eq_ignore_ascii_case("none")
}

/// Refuses the word for an empty list beside other values.
fn refuse_none_among(setting: &'static str, listed: &[String]) -> Result<(), ConfigError> {
    match listed.iter().any(|given| is_none(given)) {
        true => Err(wrong(setting, "it takes none alone, or a list without it")),
        false => Ok(()),
    }
}

fn list(text: &str) -> Vec<String> {
    text.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty()).map(Into::into).collect()
}

/// A number of bytes; `None` if empty.
fn bytes(setting: &'static str, text: &str) -> Result<Option<usize>, ConfigError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let (number, unit) = split_number(text);
    let unit = match unit.trim_start() {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    match number.parse::<usize>().ok().and_then(|number| number.checked_mul(unit)) {
        Some(bytes) if bytes > 0 => Ok(Some(bytes)),
        _ => Err(wrong(
            setting,
            format!("{text:?} is not a number of bytes above 0, such as 1073741824, 512MiB or 1GiB"),
        )),
    }
}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// A time such as `30s`; `None` for 0.
fn duration(setting: &'static str, text: &str) -> Result<Option<Duration>, ConfigError> {
    match seconds(text) {
        Some(seconds) => Ok(Some(Duration::from_secs(seconds)).filter(|time| !time.is_zero())),
        None => Err(wrong(setting, format!("{text:?} is not a time, such as 30s, 10m, 1h, 2d, 4w or 0"))),
    }
}

/// A time above 0.
///
/// # Errors
/// 0, or not a time.
pub(crate) fn positive_duration(setting: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let above_0 = seconds(text).filter(|seconds| *seconds > 0).map(Duration::from_secs);
    above_0.ok_or_else(|| wrong(setting, format!("{text:?} is not a time above 0, such as 30s, 10m or 1h")))
}

/// The seconds of a time such as `30s`.
fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text.trim());
    let unit = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("REFILL_EVERY", "0").unwrap(), None);
        assert_eq!(duration("REFILL_EVERY", "90").unwrap(), Some(Duration::from_secs(90)));
        assert_eq!(duration("REFILL_EVERY", "2m").unwrap(), Some(Duration::from_secs(120)));
        assert_eq!(duration("KEEP", "2d").unwrap(), Some(Duration::from_secs(172_800)));
        assert_eq!(duration("KEEP", "1w").unwrap(), Some(Duration::from_secs(604_800)));
        for wrong in ["", "s", "-1", "1y", "99999999999999999999"] {
            assert!(duration("REFILL_EVERY", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn orders_are_kept_for_an_hour_at_least() {
        assert_eq!(keep("KEEP", None).unwrap(), None);
        assert_eq!(keep("KEEP", Some("1h")).unwrap(), Some(Duration::from_secs(3600)));
        for wrong in ["0", "59m", "30s", "400", "1y", "-1d"] {
            let error = keep("KEEP", Some(wrong)).unwrap_err().to_string();
            assert!(error.ends_with(": it takes 1h or more, such as 12h, 30d or 52w"), "{error}");
        }
    }

    #[test]
    fn errors_of_times_suggest_only_what_the_setting_takes() {
        for wrong in ["x", "0", "1ms"] {
            let error = positive_duration("HTTP_IDLE_TIMEOUT", wrong).unwrap_err().to_string();
            assert!(error.ends_with(" is not a time above 0, such as 30s, 10m or 1h"), "{error}");
        }
        for suggested in ["30s", "10m", "1h"] {
            assert!(positive_duration("HTTP_IDLE_TIMEOUT", suggested).is_ok(), "{suggested}");
        }
        for suggested in ["30s", "10m", "1h", "2d", "4w", "0"] {
            assert!(duration("REFILL_EVERY", suggested).is_ok(), "{suggested}");
        }
        for suggested in ["12h", "30d", "52w"] {
            assert!(keep("KEEP", Some(suggested)).is_ok(), "{suggested}");
        }
    }

    #[test]
    fn subjects_on_which_no_receipt_is_ever_sent_are_refused() {
        let given = |text| receipt_subjects(text, "orders.>");
        assert_eq!(given("_INBOX.>, done.*").unwrap(), ["_INBOX.>", "done.*"]);
        assert_eq!(given("none").unwrap(), Vec::<String>::new());
        assert_eq!(given("*.done").unwrap(), ["*.done"]);
        for wrong in [
            "",
            "none,done.*",
            "done.*,None",
            "$JS.>",
            "done.*,$SYS.a",
            "dead.>",
            "a b",
            "orders.done",
            "done.*,orders.*.done",
        ] {
            assert!(given(wrong).is_err(), "{wrong}");
        }
        assert!(receipt_subjects("orders", "orders").is_err());
    }

    #[test]
    fn bytes_have_units() {
        let given = |text| bytes("CACHE_MAX_BYTES", text).unwrap();
        assert_eq!(given(""), None);
        assert_eq!(given("1073741824"), Some(1 << 30));
        assert_eq!(given(" 512 MiB"), Some(512 << 20));
        assert_eq!((given("3KiB"), given("2GiB")), (Some(3072), Some(2 << 30)));
        for wrong in ["0", "0GiB", "-1", "1.5GiB", "1GB", "all", "MiB", "99999999999GiB"] {
            assert!(bytes("CACHE_MAX_BYTES", wrong).is_err(), "{wrong}");
        }
    }
}
