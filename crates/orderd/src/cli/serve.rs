//! `orderd serve`.

use std::path::PathBuf;

use clap::Args;

use super::connection_args::{HttpArgs, NatsArgs, PgArgs};
use super::model::OrderArgs;
use super::parse::{boolean, number};
use super::traces::TracesArgs;

/// The setting `KEEP`.
#[derive(Args, Debug, Clone)]
pub struct KeepArgs {
    /// Removes documents older than this from table, memory, dead letters and a stream that orderd created: 12h, 30d,
    /// 52w; 1h at least. The age is PostgreSQL's clock minus the time in the id; documents whose ids have no time stay.
    /// No limit by default.
    #[arg(long, env = "KEEP", value_name = "TIME")]
    pub keep: Option<String>,
}

/// `orderd serve`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example:\n  PG_HOST=db NATS_HOST=nats orderd serve\n\n\
    Signals: SIGTERM and SIGINT drain and stop, a second one stops at once; SIGUSR1 rereads the table; \
    SIGHUP rereads the files of tokens, certificates and keys at once.")]
pub struct ServeArgs {
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    /// Subjects, separated by commas and with wildcards, on which a message may request a receipt in its header
    /// Orderd-Receipt; none for none.
    #[arg(
        long,
        env = "RECEIPT_SUBJECTS",
        default_value = "_INBOX.>",
        value_name = "SUBJECT,…",
        help_heading = "NATS"
    )]
    pub receipt_subjects: String,
    /// How long committed messages stay in a stream that orderd created, so that a table that loses its last rows gets
    /// them back: 1h, 2d; 0 purges at once. The last 100,000 always stay.
    #[arg(long, env = "STREAM_KEEP", default_value = "1h", value_name = "TIME", help_heading = "NATS")]
    pub stream_keep: String,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    #[command(flatten)]
    pub(crate) pg: PgArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    /// Listen on addresses other than loopback without a token: anyone who can reach them can read the documents.
    #[arg(
        long,
        env = "HTTP_ANONYMOUS",
        default_value_t = false,
        action = clap::ArgAction::Set,
        value_parser = boolean,
        value_name = "true|false"
    )]
    pub http_anonymous: bool,
    /// Host names, separated by commas, to serve in addition to IP addresses and localhost if neither HTTP_TOKEN nor
    /// HTTP_ANONYMOUS is set. Other names are refused, which prevents DNS rebinding.
    #[arg(long, env = "HTTP_HOSTS", default_value = "none", value_name = "NAME,…")]
    pub http_hosts: String,
    /// Bearer tokens for POST /dead_letters/{key}/replay and DELETE /dead_letters/{key}, separated by commas; if unset,
    /// these requests are refused. Also read from the file that HTTP_REPLAY_TOKEN_FILE names.
    #[arg(
        long,
        env = "HTTP_REPLAY_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN,…",
        help_heading = "HTTP"
    )]
    pub http_replay_token: Option<String>,
    /// Bearer tokens for DELETE /order/{id}, separated by commas; if unset, that request is refused. Also read from the
    /// file that HTTP_ERASE_TOKEN_FILE names.
    #[arg(
        long,
        env = "HTTP_ERASE_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN,…",
        help_heading = "HTTP"
    )]
    pub http_erase_token: Option<String>,
    /// How long an idle connection is kept: longer than load balancers keep theirs, which is usually 60s.
    #[arg(
        long,
        env = "HTTP_IDLE_TIMEOUT",
        default_value = "75s",
        value_name = "TIME",
        help_heading = "HTTP"
    )]
    pub http_idle_timeout: String,
    /// Maximum number of clients of /events; further clients get 503.
    #[arg(
        long,
        env = "HTTP_EVENT_READERS",
        default_value_t = 4096,
        value_name = "N",
        value_parser = number(0..=1_000_000),
        help_heading = "HTTP"
    )]
    pub http_event_readers: u32,
    /// Origins, separated by commas, whose pages may read: https://example.com, or * for all. By default, browsers
    /// allow no other origin.
    #[arg(long, env = "HTTP_CORS_ORIGIN", value_name = "ORIGIN,…", help_heading = "HTTP")]
    pub http_cors_origin: Option<String>,
    /// File with the key of the certificate in HTTP_TLS_CERT. Both are reread when they change.
    #[arg(long, env = "HTTP_TLS_KEY", value_name = "FILE", help_heading = "HTTP")]
    pub http_tls_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) orders: OrderArgs,
    /// Members that /order and /orders search, separated by commas; none for none. Nested members by path:
    /// delivery.email, items.nm_id (any element); \. is a dot within a name, and \, a comma. By default those of
    /// order_uid and track_number that the model has.
    #[arg(long, env = "SEARCH", value_name = "MEMBER,…")]
    pub search: Option<String>,
    /// Memory limit for documents and their index, in bytes or as 512MiB, 4GiB; no limit by default. A document that
    /// does not fit is read from the table when a client requests it.
    #[arg(long, env = "CACHE_MAX_BYTES", value_name = "BYTES")]
    pub cache_max_bytes: Option<String>,
    /// Interval at which to reread the whole table, for rows that other programs write: 30s, 10m; 0 for never.
    #[arg(long, env = "REFILL_EVERY", default_value = "0", value_name = "TIME")]
    pub refill_every: String,
    /// How long after the first SIGTERM or SIGINT the service still works while /readyz is already 503, so that load
    /// balancers notice before it stops: 5s, 1m; 0 for no delay.
    #[arg(long, env = "SHUTDOWN_DELAY", default_value = "0", value_name = "TIME")]
    pub shutdown_delay: String,
    /// What to log: error, warn, info, debug, trace, off, or a filter such as info,orderd=debug. Libraries log nothing
    /// below info.
    #[arg(long, env = "LOG", default_value = "info", value_name = "LEVEL")]
    pub log: String,
    /// Format of the log on stderr.
    #[arg(long, env = "LOG_FORMAT", default_value = "text", value_name = "text|json")]
    pub log_format: LogFormat,
    #[command(flatten)]
    pub(crate) traces: TracesArgs,
}

/// The format of the log.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
