//! The environment of all benches: private servers, the built service, tables and streams of orders.
//!
//! PostgreSQL and NATS run with their defaults: `fsync` and `synchronous_commit` are on, and NATS answers a publish
//! before it is on disk.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::{self, consumer, stream};
use devstack::{Nats, NatsOptions, Postgres, PostgresOptions, TempDir, tools};
use tokio::runtime::Runtime;

use crate::say;
use crate::{go_rows, orders};

/// Maximum number of pending acknowledgements; a publisher then waits until half of them have arrived.
const OPEN: usize = 4096;

pub(crate) struct Environment {
    pub(crate) postgres: Postgres,
    pub(crate) nats: Nats,
    pub(crate) runtime: Runtime,
    pub(crate) client: async_nats::Client,
    pub(crate) context: jetstream::Context,
    /// The service.
    pub(crate) program: PathBuf,
    pub(crate) psql: PathBuf,
    pub(crate) temp_dir: TempDir,
    /// Number of orders in the backlog.
    pub(crate) orders: u64,
    /// Number of rows in the largest table.
    pub(crate) rows: u64,
    tables: HashMap<u64, String>,
    streams: HashSet<String>,
    names: u64,
}

impl Environment {
    pub(crate) fn start(program: PathBuf, orders: u64, rows: u64) -> Result<Self> {
        let psql = tools::find_postgres().context("cannot find psql")?.join("psql");
        let postgres = Postgres::temporary(PostgresOptions::default())?;
        let nats = Nats::temporary(NatsOptions::default())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (client, context) = runtime.block_on(async {
            let client = async_nats::connect(nats.url()).await?;
            // Starts a separate task.
            anyhow::Ok((client.clone(), jetstream::new(client)))
        })?;
        Ok(Self {
            postgres,
            nats,
            runtime,
            client,
            context,
            program,
            psql,
            temp_dir: TempDir::new()?,
            orders,
            rows,
            tables: HashMap::new(),
            streams: HashSet::new(),
            names: 0,
        })
    }

    /// A unique name.
    pub(crate) fn name(&mut self, stem: &str) -> String {
        self.names += 1;
        format!("{stem}_{}", self.names)
    }

    /// A new, empty table like the service's own.
    pub(crate) fn empty_table(&mut self) -> Result<String> {
        self.empty_table_of("bytea")
    }

    /// A new, empty table whose column `data` has this type.
    pub(crate) fn empty_table_of(&mut self, column_type: &str) -> Result<String> {
        let table = format!("public.{}", self.name("orders"));
        self.postgres
            .psql(&format!("create table {table} (id text not null primary key, data {column_type})"))?;
        Ok(table)
    }

    /// A table with orders 0 to `count`, as the Go service writes them; created once.
    pub(crate) fn table(&mut self, count: u64) -> Result<String> {
        if let Some(table) = self.tables.get(&count) {
            return Ok(table.clone());
        }
        let table = self.new_table(count, 0)?;
        self.tables.insert(count, table.clone());
        Ok(table)
    }

    /// Another table, with this number of partitions by hash of the id, or without partitions.
    pub(crate) fn new_table(&mut self, count: u64, partitions: u32) -> Result<String> {
        say(&format!("writing a table of {count} rows"));
        let table = match partitions {
            0 => self.empty_table()?,
            _ => self.partitioned_table(partitions)?,
        };
        let mut child = self.psql_command(&format!("copy {table} from stdin (format binary)"));
        let mut child =
            child.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().context("cannot run psql")?;
        let mut rows = child.stdin.take().context("psql has no stdin")?;
        rows.write_all(go_rows::COPY_HEAD)?;
        for chunk in orders::chunks(0..count, go_rows::copy_row) {
            rows.write_all(&chunk.concat())?;
        }
        rows.write_all(go_rows::COPY_TAIL)?;
        drop(rows);
        ensure!(child.wait()?.success(), "psql could not fill {table}");
        self.postgres.psql(&format!("vacuum (freeze, analyze) {table}"))?;
        Ok(table)
    }

    fn partitioned_table(&mut self, partitions: u32) -> Result<String> {
        let table = format!("public.{}", self.name("orders"));
        let mut sql = format!(
            "create table {table} (id text not null primary key, data bytea) partition by hash (id);"
        );
        for part in 0..partitions {
            sql += &format!(
                "create table {table}_p{part} partition of {table} for values with (modulus {partitions}, remainder {part});"
            );
        }
        self.postgres.psql(&sql)?;
        Ok(table)
    }

    /// A copy of [`Environment::table`] that may be written to.
    pub(crate) fn own_table(&mut self, count: u64) -> Result<String> {
        let (from, table) = (self.table(count)?, self.empty_table()?);
        self.postgres.psql(&format!("insert into {table} select * from {from}"))?;
        Ok(table)
    }

    /// A stream with orders 0 to `count`, and its subject; created once, and not by the service, which would purge it.
    pub(crate) fn stream(&mut self, count: u64) -> Result<(String, String)> {
        let (name, subject) = (format!("BACKLOG_{count}"), format!("bench.backlog.{count}"));
        if self.streams.contains(&name) {
            return Ok((name, subject));
        }
        say(&format!("publishing {count} orders"));
        self.make_stream(&name, &subject)?;
        self.publish(&subject, count)?;
        self.streams.insert(name.clone());
        Ok((name, subject))
    }

    /// An empty stream.
    pub(crate) fn make_stream(&self, name: &str, subject: &str) -> Result<()> {
        let subjects = vec![subject.to_owned()];
        let config = stream::Config { name: name.to_owned(), subjects, ..stream::Config::default() };
        self.runtime.block_on(self.context.create_stream(config))?;
        Ok(())
    }

    /// Publishes orders 0 to `count`; returns when all are acknowledged.
    pub(crate) fn publish(&self, subject: &str, count: u64) -> Result<()> {
        self.publish_each(subject, count, orders::json)
    }

    /// Publishes `payload` of the numbers 0 to `count`; returns when all are acknowledged.
    pub(crate) fn publish_each(&self, subject: &str, count: u64, payload: fn(u64) -> Vec<u8>) -> Result<()> {
        self.runtime.block_on(publish(&self.context, subject, count, payload))
    }

    pub(crate) fn remove_stream(&self, name: &str) -> Result<()> {
        self.runtime.block_on(self.context.delete_stream(name))?;
        Ok(())
    }

    /// A durable consumer of a whole stream.
    pub(crate) fn make_durable(&self, stream: &str, durable: &str) -> Result<()> {
        let config = consumer::pull::Config {
            durable_name: Some(durable.to_owned()),
            ack_policy: consumer::AckPolicy::Explicit,
            max_ack_pending: 50_000,
            ..consumer::pull::Config::default()
        };
        self.runtime.block_on(async {
            self.context.get_stream_no_info(stream).await?.create_consumer(config).await?;
            Ok(())
        })
    }

    pub(crate) fn rows_in(&self, table: &str) -> Result<u64> {
        Ok(self.postgres.psql(&format!("select count(*) from {table}"))?.trim().parse()?)
    }

    /// Drops a table that is no longer needed, and flushes dirty pages, so that no measurement pays for earlier work.
    pub(crate) fn settle(&self, done: Option<&str>) -> Result<()> {
        if let Some(table) = done {
            self.postgres.psql(&format!("drop table {table}"))?;
        }
        self.postgres.psql("checkpoint")?;
        std::thread::sleep(Duration::from_millis(300));
        Ok(())
    }

    /// psql on our database, for one statement.
    pub(crate) fn psql_command(&self, statement: &str) -> Command {
        let mut command = Command::new(&self.psql);
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.postgres.url(), "-c", statement]);
        command
    }
}

async fn publish(
    context: &jetstream::Context,
    subject: &str,
    count: u64,
    payload: fn(u64) -> Vec<u8>,
) -> Result<()> {
    let mut open = VecDeque::with_capacity(OPEN);
    let chunks = orders::chunks(0..count, payload);
    for json in chunks.into_iter().flatten() {
        open.push_back(context.publish(subject.to_owned(), json.into()).await?);
        if open.len() == OPEN {
            for acknowledgement in open.drain(..OPEN / 2) {
                acknowledgement.await?;
            }
        }
    }
    for acknowledgement in open {
        acknowledgement.await?;
    }
    Ok(())
}
