//! The flags of NATS, PostgreSQL and HTTP, which `serve` and most commands share.

use std::path::PathBuf;

use clap::Args;

use super::parse::{boolean, number};

/// Where NATS is.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "NATS")]
pub struct NatsArgs {
    /// Host of the NATS server: a name, or an IPv4 or IPv6 address.
    #[arg(long, env = "NATS_HOST", default_value = "127.0.0.1", value_name = "HOST")]
    pub nats_host: String,
    /// Port of the NATS server.
    #[arg(long, env = "NATS_PORT", default_value = "4222", value_name = "PORT")]
    pub nats_port: String,
    /// One or more servers, separated by commas, instead of host and port: nats://user:password@host:port,
    /// nats://token@host, tls://host. Also read from the file that NATS_URL_FILE names.
    #[arg(long, env = "NATS_URL", hide_env_values = true, value_name = "URL,…")]
    pub nats_url: Option<String>,
    /// File with NATS credentials (JWT and seed), reread when it changes.
    #[arg(long, env = "NATS_CREDS", value_name = "FILE")]
    pub nats_creds: Option<PathBuf>,
    /// Seed of an nkey to log in with (SU…). Also read from the file that NATS_NKEY_FILE names.
    #[arg(long, env = "NATS_NKEY", hide_env_values = true, value_name = "SEED")]
    pub nats_nkey: Option<String>,
    /// File with certificate authorities to trust in addition to the machine's. Like tls://, it requires TLS for all
    /// connections.
    #[arg(long, env = "NATS_CA", value_name = "FILE")]
    pub nats_ca: Option<PathBuf>,
    /// File with the client certificate. Like tls://, it requires TLS for all connections.
    #[arg(long, env = "NATS_CERT", value_name = "FILE")]
    pub nats_cert: Option<PathBuf>,
    /// File with that certificate's key.
    #[arg(long, env = "NATS_KEY", value_name = "FILE")]
    pub nats_key: Option<PathBuf>,
    /// Start TLS before the server's greeting, for a server with handshake_first.
    #[arg(long, env = "NATS_TLS_FIRST", default_value_t = false, action = clap::ArgAction::Set, value_parser = boolean, value_name = "true|false")]
    pub nats_tls_first: bool,
    /// JetStream domain, if it differs from the server's: on a leaf node, the domain of the hub.
    #[arg(long, env = "NATS_JS_DOMAIN", value_name = "NAME")]
    pub nats_js_domain: Option<String>,
    /// Subject on which documents arrive, also with wildcards: orders.>, orders.*.new.
    #[arg(long, env = "PUB_TOPIC", default_value = "TESTING", value_name = "SUBJECT")]
    pub pub_topic: String,
    /// Stream to create if no stream has the subject, or the stream to read from that sources it from others.
    #[arg(long, env = "NATS_STREAM", default_value = "ORDERS", value_name = "NAME")]
    pub nats_stream: String,
    /// Stream of dead letters, created if missing; by default the name of the stream that is read, plus _DEAD.
    #[arg(long, env = "NATS_DEAD_STREAM", value_name = "NAME")]
    pub nats_dead_stream: Option<String>,
    /// Number of replicas of a stream that is created, 1 to 5.
    #[arg(long, env = "NATS_REPLICAS", default_value_t = 1, value_name = "N", value_parser = number(1..=5))]
    pub nats_replicas: u32,
}

/// The flags of PostgreSQL.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "PostgreSQL")]
pub struct PgArgs {
    /// Host of the PostgreSQL server: a name, an IPv4 or IPv6 address, or the folder of a Unix socket.
    #[arg(long, env = "PG_HOST", default_value = "127.0.0.1", value_name = "HOST")]
    pub pg_host: String,
    /// Port of the PostgreSQL server.
    #[arg(long, env = "PG_PORT", default_value = "5432", value_name = "PORT")]
    pub pg_port: String,
    /// Role to connect as.
    #[arg(long, env = "PG_USER", default_value = "postgres", value_name = "ROLE")]
    pub pg_user: String,
    /// Password of the role. Also read from the file that PG_PASSWORD_FILE names.
    #[arg(long, env = "PG_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    pub pg_password: Option<String>,
    /// Database.
    #[arg(long, env = "PG_DBNAME", default_value = "demo1", value_name = "NAME")]
    pub pg_dbname: String,
    /// Replaces all of the above: postgresql://user:password@host:port,host:port/db?sslmode=verify-full. Also read from
    /// the file that DATABASE_URL_FILE names.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Table of the documents, created if missing.
    #[arg(long, env = "PG_TABLE", default_value = "public.orders2", value_name = "SCHEMA.TABLE")]
    pub pg_table: String,
    /// Format of rows in a table that is created: gob (column data bytea, as in the Go service), jsonb or json (the
    /// document itself, for SQL; needs a UTF-8 database). In an existing table, the column's type decides. By default
    /// gob.
    #[arg(long, env = "PG_FORMAT", value_name = "gob|jsonb|json")]
    pub pg_format: Option<PgFormat>,
}

/// The format of rows in a table that is created.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum PgFormat {
    /// `bytea`, as in the Go service.
    Gob,
    /// `jsonb`: the document as PostgreSQL normalizes it.
    Jsonb,
    /// `json`: the document byte for byte.
    Json,
}

/// Where HTTP is.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "HTTP")]
pub struct HttpArgs {
    /// Address to listen on: 127.0.0.1:8090, [::1]:8090, a name, or :8090 for all addresses of the machine. Port 0
    /// chooses a free port.
    #[arg(long, env = "HTTP_ADDR", default_value = "127.0.0.1:8090", value_name = "ADDR:PORT")]
    pub http_addr: String,
    /// Bearer tokens, separated by commas; every request for documents must carry one. A token may have a name for the
    /// audit log, as in ops:TOKEN. Also read from the file that HTTP_TOKEN_FILE names, which is reread when it changes.
    #[arg(long, env = "HTTP_TOKEN", hide_env_values = true, value_name = "TOKEN,…")]
    pub http_token: Option<String>,
    /// File with the service's certificate, followed by intermediate certificates: enables TLS. Commands that query the
    /// service trust only this certificate.
    #[arg(long, env = "HTTP_TLS_CERT", value_name = "FILE")]
    pub http_tls_cert: Option<PathBuf>,
}
