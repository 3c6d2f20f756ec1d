//! The flags of NATS, PostgreSQL and HTTP, which `serve` and most commands share.

use std::path::PathBuf;

use clap::Args;

use super::parse::{boolean, number};

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
    /// Subject on which documents arrive; orders.> and orders.*.new are many.
    #[arg(long, env = "PUB_TOPIC", default_value = "TESTING", value_name = "SUBJECT")]
    pub pub_topic: String,
    /// Stream that is made where no stream takes the subject, or the one to take from that has it from others.
    #[arg(long, env = "NATS_STREAM", default_value = "ORDERS", value_name = "NAME")]
    pub nats_stream: String,
    /// Stream of dead letters, made where it is missing; by default the name of the stream that is taken from, and
    /// _DEAD.
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
    /// Table of the documents, made where it is missing.
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
    /// Bearer tokens, separated by commas, one of which each request must carry that shows documents. Each may have a
    /// name before it for the audit log, as in ops:TOKEN. Also from the file that HTTP_TOKEN_FILE names, which is read
    /// again when it changes.
    #[arg(long, env = "HTTP_TOKEN", hide_env_values = true, value_name = "TOKEN,…")]
    pub http_token: Option<String>,
    /// File with the service's certificate, and those between it and its authority: it speaks TLS then. Commands
    /// that ask the service trust this certificate and no other.
    #[arg(long, env = "HTTP_TLS_CERT", value_name = "FILE")]
    pub http_tls_cert: Option<PathBuf>,
}
