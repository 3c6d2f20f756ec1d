//! The command line: what is typed or set in the environment, before anything is made of it.
//!
//! `config` turns these raw values into settings.
#![allow(
    rustdoc::bare_urls,
    rustdoc::broken_intra_doc_links,
    reason = "these comments are the text of --help"
)]

pub mod error;
pub mod parse;

use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};
use clap::{Args, Parser, Subcommand};

use crate::cli::parse::{boolean, number};
use crate::version;

/// Takes orders from NATS, keeps each exactly once in PostgreSQL, serves them over HTTP from memory.
#[derive(Parser, Debug)]
#[command(name = "orderd", version = version::text(), propagate_version = true, max_term_width = 110)]
#[command(after_help = "Without a command, orderd serves.\n\n\
    Exit codes: 0 stopped cleanly, 1 failed at run time, 2 wrong usage or configuration.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the service.
    Serve(ServeArgs),
    /// Send orders to NATS.
    Publish(PublishArgs),
    /// Write the table as JSON lines to stdout.
    Export(ExportArgs),
    /// Read JSON lines, as export writes them, into the table.
    Import(ImportArgs),
    /// Ask a running service whether it is ready, or try the settings before it runs.
    Check(CheckArgs),
    /// See, send again or drop messages that could not be taken in.
    #[command(name = "dead-letters")]
    DeadLetters(DeadLettersArgs),
    /// Compare stream, table and memory of a running installation.
    Verify(VerifyArgs),
    /// See, print and check the model: what documents look like.
    Model(ModelCommandArgs),
    /// Erase orders everywhere, for good.
    Erase(EraseArgs),
    /// Write a script by which a shell completes commands and flags.
    Completions(CompletionsArgs),
    /// Write the manual pages into a folder.
    Manual(ManualArgs),
    /// Take what a channel of NATS Streaming still holds into the stream, once each.
    #[cfg(feature = "drain-stan")]
    #[command(name = "drain-stan")]
    DrainStan(DrainStanArgs),
}

/// Where NATS is.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "NATS")]
pub struct NatsArgs {
    /// Host of the NATS server: a name, or an address of IPv4 or IPv6.
    #[arg(long, env = "NATS_HOST", default_value = "127.0.0.1", value_name = "HOST")]
    pub nats_host: String,
    /// Port of the NATS server.
    #[arg(long, env = "NATS_PORT", default_value = "4222", value_name = "PORT")]
    pub nats_port: String,
    /// One or several servers, separated by commas, in place of host and port: nats://user:password@host:port,
    /// nats://token@host, tls://host. Also from the file that NATS_URL_FILE names.
    #[arg(long, env = "NATS_URL", hide_env_values = true, value_name = "URL,…")]
    pub nats_url: Option<String>,
    /// File with NATS credentials (JWT and seed), read again when it changes.
    #[arg(long, env = "NATS_CREDS", value_name = "FILE")]
    pub nats_creds: Option<PathBuf>,
    /// Seed of an nkey to log in with (SU…). Also from the file that NATS_NKEY_FILE names.
    #[arg(long, env = "NATS_NKEY", hide_env_values = true, value_name = "SEED")]
    pub nats_nkey: Option<String>,
    /// File of authorities to trust besides the machine's. Like tls://, it lets no connection go without TLS.
    #[arg(long, env = "NATS_CA", value_name = "FILE")]
    pub nats_ca: Option<PathBuf>,
    /// File with the certificate to show to the server. Like tls://, it lets no connection go without TLS.
    #[arg(long, env = "NATS_CERT", value_name = "FILE")]
    pub nats_cert: Option<PathBuf>,
    /// File with that certificate's key.
    #[arg(long, env = "NATS_KEY", value_name = "FILE")]
    pub nats_key: Option<PathBuf>,
    /// Begin with TLS before the server's greeting, as a server with handshake_first wants.
    #[arg(long, env = "NATS_TLS_FIRST", default_value_t = false, action = clap::ArgAction::Set, value_parser = boolean, value_name = "true|false")]
    pub nats_tls_first: bool,
    /// Domain of JetStream, where it is another than the server's own: at a leaf node, that of the hub.
    #[arg(long, env = "NATS_JS_DOMAIN", value_name = "NAME")]
    pub nats_js_domain: Option<String>,
    /// Subject on which orders arrive; orders.> and orders.*.new are many.
    #[arg(long, env = "PUB_TOPIC", default_value = "TESTING", value_name = "SUBJECT")]
    pub pub_topic: String,
    /// Stream that is made where no stream takes the subject, or the one to take from that has it from others.
    #[arg(long, env = "NATS_STREAM", default_value = "ORDERS", value_name = "NAME")]
    pub nats_stream: String,
    /// Stream of dead letters, made where it is missing; by default the name of the stream that is taken from, and _DEAD.
    #[arg(long, env = "NATS_DEAD_STREAM", value_name = "NAME")]
    pub nats_dead_stream: Option<String>,
    /// On how many servers of a cluster each stream is kept that is made: 1 to 5.
    #[arg(long, env = "NATS_REPLICAS", default_value_t = 1, value_name = "N", value_parser = number(1..=5))]
    pub nats_replicas: u32,
}

/// Where PostgreSQL is.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "PostgreSQL")]
pub struct PgArgs {
    /// Host of the PostgreSQL server: a name, an address of IPv4 or IPv6, or the folder of a Unix socket.
    #[arg(long, env = "PG_HOST", default_value = "127.0.0.1", value_name = "HOST")]
    pub pg_host: String,
    /// Port of the PostgreSQL server.
    #[arg(long, env = "PG_PORT", default_value = "5432", value_name = "PORT")]
    pub pg_port: String,
    /// Role to connect as.
    #[arg(long, env = "PG_USER", default_value = "postgres", value_name = "ROLE")]
    pub pg_user: String,
    /// Password of the role. Also from the file that PG_PASSWORD_FILE names.
    #[arg(long, env = "PG_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    pub pg_password: Option<String>,
    /// Database.
    #[arg(long, env = "PG_DBNAME", default_value = "demo1", value_name = "NAME")]
    pub pg_dbname: String,
    /// In place of all of the above: postgresql://user:password@host:port,host:port/db?sslmode=verify-full. Also
    /// from the file that DATABASE_URL_FILE names.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Table of the orders, made where it is missing.
    #[arg(long, env = "PG_TABLE", default_value = "public.orders2", value_name = "SCHEMA.TABLE")]
    pub pg_table: String,
    /// Form of the rows of a table that is made: gob (column data bytea, as the Go service has it), jsonb or json (the
    /// document itself, for SQL; needs a UTF-8 database). A table that is there decides by the type of its column. By
    /// default gob.
    #[arg(long, env = "PG_FORMAT", value_name = "gob|jsonb|json")]
    pub pg_format: Option<PgFormat>,
}

/// The form of the rows of a table that is made.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum PgFormat {
    /// `bytea`, as the Go service has it.
    Gob,
    /// `jsonb`: the document in PostgreSQL's normal form.
    Jsonb,
    /// `json`: the document as it came.
    Json,
}

/// Where HTTP is.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "HTTP")]
pub struct HttpArgs {
    /// Address to listen on: 127.0.0.1:8090, [::1]:8090, a name, or :8090 for all addresses of the machine. Port 0
    /// takes a free one.
    #[arg(long, env = "HTTP_ADDR", default_value = "127.0.0.1:8090", value_name = "ADDR:PORT")]
    pub http_addr: String,
    /// Bearer tokens, separated by commas, one of which each request must carry that shows orders. Each may have a
    /// name before it for the audit log, as in ops:TOKEN. Also from the file that HTTP_TOKEN_FILE names, which is read
    /// again when it changes.
    #[arg(long, env = "HTTP_TOKEN", hide_env_values = true, value_name = "TOKEN,…")]
    pub http_token: Option<String>,
    /// File with the service's certificate, and those between it and its authority: it speaks TLS then. Commands
    /// that ask the service trust this certificate and no other.
    #[arg(long, env = "HTTP_TLS_CERT", value_name = "FILE")]
    pub http_tls_cert: Option<PathBuf>,
}

/// `orderd erase`
#[derive(Args, Debug, Clone)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["ids", "criterion", "older_than"]))]
#[command(
    after_help = "Examples:\n  orderd erase 1700000000000000000-42\n  orderd erase --where order_uid=b563feb7b2b84b6test --yes\n  orderd erase --older-than 400d --dry-run\n\n\
    Deletes the row, the message in the stream and the dead letter, and keeps the key, so that nothing brings the \
    order back. Says how many there were. Stopped half-way, it goes on when it is run again.\n\n\
    Exit codes: 0 erased, 1 nothing was there, the answer was no, or something could not be erased."
)]
pub struct EraseArgs {
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) pg: PgArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    /// Ids of orders.
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub ids: Vec<String>,
    /// All orders with this value. The running service is asked which they are, so that MEMBER is one of its SEARCH.
    #[arg(long = "where", value_name = "MEMBER=VALUE")]
    pub criterion: Option<String>,
    /// All orders whose rows are older than this, by the time in their ids against PostgreSQL's clock: 12h, 400d; 1h at
    /// least.
    #[arg(long, value_name = "TIME")]
    pub older_than: Option<String>,
    /// Say what would be erased, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Don't ask before erasing.
    #[arg(long)]
    pub yes: bool,
}

/// `orderd drain-stan`
#[cfg(feature = "drain-stan")]
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd drain-stan --client-id service --durable my-durable\n  \
    orderd drain-stan --from nats://old:4222 --cluster c1 --client-id service --durable d1\n\n\
    Stop the program first whose durable subscription it is. NATS Streaming knows it by client id, \
    channel, name and queue group, and gives any other one all that the channel still has. Its \
    monitoring shows them: /streaming/channelsz?channel=TESTING&subs=1\n\n\
    Killed, or ended by an error, it goes on where it stopped when it is run again.")]
pub struct DrainStanArgs {
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    /// Server of NATS Streaming: nats://user:password@host:port, by default nats://127.0.0.1:4223. Also from the
    /// file that STAN_URL_FILE names.
    #[arg(
        long,
        env = "STAN_URL",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "NATS Streaming"
    )]
    pub from: Option<String>,
    /// Its cluster.
    #[arg(long, default_value = "TESTCLUSTER", value_name = "NAME", help_heading = "NATS Streaming")]
    pub cluster: String,
    /// The client whose durable subscription it is.
    #[arg(long, value_name = "NAME", help_heading = "NATS Streaming")]
    pub client_id: String,
    /// The name of the durable subscription.
    #[arg(long, value_name = "NAME", help_heading = "NATS Streaming")]
    pub durable: String,
    /// Its queue group, if it has one.
    #[arg(long, value_name = "NAME", help_heading = "NATS Streaming")]
    pub queue_group: Option<String>,
    /// The channel; that of the subject's name where none is named.
    #[arg(long, value_name = "NAME", help_heading = "NATS Streaming")]
    pub channel: Option<String>,
    /// Send to this subject of the topic; needed where PUB_TOPIC has wildcards.
    #[arg(long, value_name = "SUBJECT", help_heading = "NATS")]
    pub subject: Option<String>,
}

/// What documents must have and by what they are found.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Orders")]
pub struct OrderArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Members that must be there and not empty, separated by commas; a document without one is a dead letter. none takes
    /// all that decodes. By default order_uid, where the model has it.
    #[arg(long, env = "REQUIRE", value_name = "MEMBER,…")]
    pub require: Option<String>,
    /// Members that the model lacks: ignore names each once in the log, refuse makes such a document a dead letter, to be
    /// replayed when the model has them.
    #[arg(long, env = "UNKNOWN", default_value = "ignore", value_name = "ignore|refuse")]
    pub unknown: UnknownMembers,
}

/// What becomes of members that the model lacks.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownMembers {
    /// They are left out.
    Ignore,
    /// The document is refused.
    Refuse,
}

/// What documents look like.
#[derive(Args, Debug, Clone)]
pub struct ModelArgs {
    /// What documents look like: a sample, several (separated by commas, or a folder), or a JSON Schema; any for JSON
    /// objects of any form, kept and served byte for byte. By default the order that is built in.
    #[arg(long, env = "MODEL", value_name = "FILE,…")]
    pub model: Option<String>,
}

/// How long orders are kept.
#[derive(Args, Debug, Clone)]
pub struct KeepArgs {
    /// Orders older than this leave table, memory, dead letters and the stream that orderd made: 12h, 30d, 52w; 1h at
    /// least. The time in their ids counts, against PostgreSQL's clock; ids without a time stay. By default all stay for ever.
    #[arg(long, env = "KEEP", value_name = "TIME")]
    pub keep: Option<String>,
}

/// `orderd serve`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example:\n  PG_HOST=db NATS_HOST=nats orderd serve\n\n\
    Signals: SIGTERM and SIGINT drain and stop, a second one stops at once; SIGUSR1 reads the table again; \
    SIGHUP reads the files of tokens, certificate and key again at once.")]
pub struct ServeArgs {
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    /// Subjects, separated by commas and with wildcards, on which a message may ask for a receipt by its header
    /// Orderd-Receipt. none sends none.
    #[arg(
        long,
        env = "RECEIPT_SUBJECTS",
        default_value = "_INBOX.>",
        value_name = "SUBJECT,…",
        help_heading = "NATS"
    )]
    pub receipt_subjects: String,
    /// How long messages that the table has stay in the stream that orderd made, so that a table that loses its last
    /// rows has them again: 1h, 2d, 0 for not at all. The last 100,000 always stay.
    #[arg(long, env = "STREAM_KEEP", default_value = "1h", value_name = "TIME", help_heading = "NATS")]
    pub stream_keep: String,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    #[command(flatten)]
    pub(crate) pg: PgArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    /// Listen on other addresses than loopback without a token: anybody who reaches them sees the orders.
    #[arg(
        long,
        env = "HTTP_ANONYMOUS",
        default_value_t = false,
        action = clap::ArgAction::Set,
        value_parser = boolean,
        value_name = "true|false"
    )]
    pub http_anonymous: bool,
    /// Names of hosts that are served besides addresses and localhost where neither HTTP_TOKEN nor HTTP_ANONYMOUS is
    /// set. Others are refused, so that no page from elsewhere reads orders by a name that it lets point here.
    #[arg(long, env = "HTTP_HOSTS", default_value = "none", value_name = "NAME,…")]
    pub http_hosts: String,
    /// Bearer tokens that POST /dead_letters/{key}/replay needs, separated by commas; without any, nothing can be
    /// replayed over HTTP. Also from the file that HTTP_REPLAY_TOKEN_FILE names.
    #[arg(
        long,
        env = "HTTP_REPLAY_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN,…",
        help_heading = "HTTP"
    )]
    pub http_replay_token: Option<String>,
    /// Bearer tokens that DELETE /order/{id} needs, separated by commas; without any, nothing can be erased over
    /// HTTP. Also from the file that HTTP_ERASE_TOKEN_FILE names.
    #[arg(
        long,
        env = "HTTP_ERASE_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN,…",
        help_heading = "HTTP"
    )]
    pub http_erase_token: Option<String>,
    /// How long an idle connection is kept: longer than balancers in front keep theirs, mostly 60s.
    #[arg(
        long,
        env = "HTTP_IDLE_TIMEOUT",
        default_value = "75s",
        value_name = "TIME",
        help_heading = "HTTP"
    )]
    pub http_idle_timeout: String,
    /// Maximum number of clients of /events; one more gets 503.
    #[arg(
        long,
        env = "HTTP_EVENT_READERS",
        default_value_t = 4096,
        value_name = "N",
        value_parser = number(0..=1_000_000),
        help_heading = "HTTP"
    )]
    pub http_event_readers: u32,
    /// Origins, separated by commas, whose pages may read: https://example.com, or * for all. Without any,
    /// browsers let no other page read.
    #[arg(long, env = "HTTP_CORS_ORIGIN", value_name = "ORIGIN,…", help_heading = "HTTP")]
    pub http_cors_origin: Option<String>,
    /// File with the key of the certificate in HTTP_TLS_CERT. Both are read again when they change.
    #[arg(long, env = "HTTP_TLS_KEY", value_name = "FILE", help_heading = "HTTP")]
    pub http_tls_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) orders: OrderArgs,
    /// Members by which /order and /orders find, separated by commas; none for none. Nested ones by path: delivery.email,
    /// items.nm_id (any element); \. is a dot within a name. By default those of order_uid and track_number that the model has.
    #[arg(long, env = "SEARCH", value_name = "MEMBER,…")]
    pub search: Option<String>,
    /// How much memory orders may take, in bytes or as 512MiB, 4GiB; by default there is no bound. Orders above it
    /// are read from the table when they are asked for.
    #[arg(long, env = "CACHE_MAX_BYTES", value_name = "BYTES")]
    pub cache_max_bytes: Option<String>,
    /// Read the whole table again so often, for rows that others write: 30s, 10m, 0 for never.
    #[arg(long, env = "REFILL_EVERY", default_value = "0", value_name = "TIME")]
    pub refill_every: String,
    /// How long all goes on after the first SIGTERM or SIGINT while /readyz is 503 already, so that balancers notice
    /// before the service stops: 5s, 1m, 0 for no time.
    #[arg(long, env = "SHUTDOWN_DELAY", default_value = "0", value_name = "TIME")]
    pub shutdown_delay: String,
    /// What is logged: error, warn, info, debug, trace, off, or a filter such as info,orderd=debug. Of libraries, nothing
    /// below info.
    #[arg(long, env = "LOG", default_value = "info", value_name = "LEVEL")]
    pub log: String,
    /// Form of the log on stderr.
    #[arg(long, env = "LOG_FORMAT", default_value = "text", value_name = "text|json")]
    pub log_format: LogFormat,
}

/// The form of the log.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `orderd publish`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd publish --count 1000\n  orderd publish --from orders.jsonl\n  \
    PUB_TOPIC='orders.>' orderd publish --subject orders.new\n  \
    producer | orderd publish --from - --core\n  \
    orderd publish --from orders.jsonl --wait-committed\n\n\
    Exit codes: 0 the server has acknowledged all of them (with --core: was given all of them; with --wait-committed: \
    the service has committed all of them), 1 it has not.")]
pub struct PublishArgs {
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// How many to send, made from the model's sample.
    #[arg(long, default_value_t = 1, value_name = "N", conflicts_with = "from")]
    pub count: u64,
    /// How many to send in a second; 0 is as fast as possible.
    #[arg(long, default_value_t = 0.0, value_name = "R")]
    pub rate: f64,
    /// Send these JSON documents, byte for byte: one a line, or each over many lines. - reads stdin. Of a file that is not
    /// JSON throughout, nothing is sent; of stdin, what stands before the error.
    #[arg(long, value_name = "FILE|-")]
    pub from: Option<PathBuf>,
    /// Send to this subject of the topic; needed where PUB_TOPIC has wildcards.
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Plain NATS publish, as any NATS client does, instead of JetStream publish with its acknowledgement.
    #[arg(long)]
    pub core: bool,
    /// Ask the service for a receipt of each message, and wait until all of them are committed or refused. Exits with 1
    /// where a message is refused, or its receipt does not come.
    #[arg(long)]
    pub wait_committed: bool,
    /// How long --wait-committed waits for the next receipt: 30s, 10m.
    #[arg(long, default_value = "30s", value_name = "TIME", requires = "wait_committed")]
    pub timeout: String,
}

/// `orderd export`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example:\n  orderd export > orders.jsonl")]
pub struct ExportArgs {
    #[command(flatten)]
    pub(crate) pg: PgArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

/// `orderd import`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example:\n  orderd import orders.jsonl\n\n\
    Rows that are there already are left as they are, so that it may be run again.")]
pub struct ImportArgs {
    #[command(flatten)]
    pub(crate) pg: PgArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Lines {"id":…,"order":{…}}; - reads stdin.
    #[arg(default_value = "-", value_name = "FILE|-")]
    pub from: PathBuf,
}

/// `orderd completions`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd completions bash > /etc/bash_completion.d/orderd\n  \
    orderd completions zsh > /usr/local/share/zsh/site-functions/_orderd\n  \
    orderd completions fish > ~/.config/fish/completions/orderd.fish")]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: clap_complete::Shell,
}

/// `orderd manual`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example:\n  orderd manual /usr/local/share/man/man1")]
pub struct ManualArgs {
    /// The folder; pages of the same names are replaced.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// `orderd check`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd check --live || restart orderd\n  \
    PG_HOST=db NATS_HOST=nats orderd check --settings && orderd serve\n\n\
    --settings takes the settings of serve. It makes no table, stream or consumer, and changes nothing.\n\n\
    Exit codes: 0 ready, alive, or usable as it is set; 1 not; 2 wrong usage or configuration.")]
pub struct CheckArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// Ask only whether it is alive: one that serves reads while NATS is away is.
    #[arg(long)]
    pub live: bool,
    /// Try the settings against NATS and PostgreSQL without serving, and say what to change.
    #[arg(long, conflicts_with = "live")]
    pub settings: bool,
    /// For programs: one JSON object. Without --settings, the answer of the service is JSON anyway.
    #[arg(long)]
    pub json: bool,
}

/// `orderd dead-letters`
#[derive(Args, Debug, Clone)]
#[command(
    after_help = "Examples:\n  orderd dead-letters list\n  orderd dead-letters show 1700000000000000000-42\n  \
    orderd dead-letters replay --reason missing_member\n  \
    orderd dead-letters replay 1700000000000000000-42 --with corrected.json\n  orderd dead-letters drop --all --yes"
)]
pub struct DeadLettersArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: DeadLettersCommand,
}

/// What to do with dead letters.
#[derive(Subcommand, Debug, Clone)]
pub enum DeadLettersCommand {
    /// One line for each: key, time, reason, size.
    List(DeadLetterList),
    /// Everything about one, and its payload.
    Show(DeadLetterShow),
    /// Send them into the topic again, each as the order of its original key, and say what became of them.
    Replay(DeadLetterReplay),
    /// Delete them for good.
    Drop(DeadLetterDrop),
}

/// `orderd dead-letters list`
#[derive(Args, Debug, Clone)]
pub struct DeadLetterList {
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    /// Only those with this reason.
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    pub reason: Option<String>,
    /// For programs: one JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// `orderd dead-letters show`
#[derive(Args, Debug, Clone)]
pub struct DeadLetterShow {
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    /// Its key, as list shows it.
    pub key: String,
    /// For programs: one JSON object, the payload in base64 too.
    #[arg(long)]
    pub json: bool,
}

/// `orderd dead-letters replay`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd dead-letters replay --reason missing_member\n  \
    orderd dead-letters replay 1700000000000000000-42 --with corrected.json\n\n\
    Waits until the running service has taken each in or refused it again; one that can't be sent holds up no others.\n\n\
    Exit codes: 0 all were taken in, 1 some were refused again, could not be sent, or nothing is known of them yet.")]
pub struct DeadLetterReplay {
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) which: WhichDeadLetters,
    /// Send the document in this file in place of the payload of the one KEY; - is stdin.
    #[arg(long = "with", value_name = "FILE", requires = "keys", conflicts_with_all = ["all", "reason"])]
    pub document: Option<PathBuf>,
    /// For programs: one JSON object at the end.
    #[arg(long)]
    pub json: bool,
}

/// `orderd dead-letters drop`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd dead-letters drop 1700000000000000000-42\n  \
    orderd dead-letters drop --all --yes\n\n\
    Exit codes: 0 dropped, 1 a key has no dead letter, the answer was no, or NATS can't be asked.")]
pub struct DeadLetterDrop {
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) which: WhichDeadLetters,
    /// Don't ask before dropping.
    #[arg(long)]
    pub yes: bool,
    /// For programs: one JSON object at the end.
    #[arg(long)]
    pub json: bool,
}

/// The reasons that there are.
fn reasons() -> PossibleValuesParser {
    PossibleValuesParser::new(order::Reason::ALL.map(order::Reason::as_str))
}

/// Which dead letters are meant.
#[derive(Args, Debug, Clone)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args(["keys", "all", "reason"]))]
pub struct WhichDeadLetters {
    /// Their keys, as list shows them.
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
    /// All of them.
    #[arg(long, conflicts_with = "keys")]
    pub all: bool,
    /// Those with this reason.
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    pub reason: Option<String>,
}

/// `orderd verify`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example:\n  orderd verify && echo all there\n\n\
    Where something differs, all is read again for ten seconds, so that what is in flight can settle.\n\n\
    Exit codes: 0 nothing differs but what is in flight, 1 something differs.")]
pub struct VerifyArgs {
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) pg: PgArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    #[command(flatten)]
    pub(crate) orders: OrderArgs,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    /// For programs: one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `orderd model`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd model infer samples/*.json > parcel.schema.json\n  \
    orderd model go parcel.schema.json > parcel.go\n  orderd model check --model newer.json older.json\n  \
    PG_HOST=db MODEL=newer.json orderd model check")]
pub struct ModelCommandArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: ModelCommand,
}

/// What to do with the model.
#[derive(Subcommand, Debug, Clone)]
pub enum ModelCommand {
    /// Print the model of sample documents as a JSON Schema.
    Infer(InferArgs),
    /// Print the types for programs in Go, which also read the table's rows.
    Go(TypesArgs),
    /// Print the types for programs in Rust, with the traits of serde.
    Rust(RustTypesArgs),
    /// Print the types for programs in TypeScript.
    Typescript(TypesArgs),
    /// Say whether what was written under an older model is readable, member by member.
    Check(ModelCheckArgs),
}

/// `orderd model infer`
#[derive(Args, Debug, Clone)]
pub struct InferArgs {
    /// Sample documents, or folders of them.
    #[arg(required = true, value_name = "SAMPLE")]
    pub samples: Vec<PathBuf>,
}

/// `orderd model go` and `typescript`
#[derive(Args, Debug, Clone)]
pub struct TypesArgs {
    /// Sample documents or a JSON Schema, in place of MODEL.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

/// `orderd model rust`
#[derive(Args, Debug, Clone)]
pub struct RustTypesArgs {
    #[command(flatten)]
    pub(crate) types: TypesArgs,
    /// Also with the traits of the crate gobwire, for programs that read the table's rows.
    #[arg(long)]
    pub gob: bool,
}

/// `orderd model check`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd model check --model newer.json older.json\n  \
    PG_HOST=db MODEL=newer.json orderd model check\n\n\
    Exit codes: 0 all of it is readable, 1 some is not.")]
pub struct ModelCheckArgs {
    /// Samples, a folder of them, or a JSON Schema: the older model. Without it, the table's rows are read.
    #[arg(value_name = "OLD")]
    pub older: Option<String>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) pg: PgArgs,
}
