//! Upper bounds: the same rows or messages, moved by the servers' own clients.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::consumer;
use futures_util::StreamExt;

use crate::environment::Environment;
use crate::tools;

/// Messages per fetch, for all kinds of fetch.
const BATCH: usize = 500;

/// Seconds that `psql` takes to copy the rows of a file into a new table equal to the service's.
pub(crate) fn copy_in(env: &mut Environment, file: &Path, rows: u64) -> Result<f64> {
    let table = env.empty_table()?;
    let mut psql = env.psql_command(&format!("\\copy {table} from '{}' (format binary)", file.display()));
    let begun = Instant::now();
    run(&mut psql, Stdio::null())?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(env.rows_in(&table)? == rows, "psql has not copied {rows} rows");
    env.settle(Some(&table))?;
    Ok(seconds)
}

/// Seconds that `psql` takes to copy a table to /dev/null.
pub(crate) fn copy_out(env: &Environment, table: &str) -> Result<f64> {
    let mut psql = env.psql_command(&format!("copy {table} to stdout (format binary)"));
    let begun = Instant::now();
    run(&mut psql, File::create("/dev/null")?.into())?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Writes a table to a file, for [`copy_in`].
pub(crate) fn save(env: &Environment, table: &str, file: &Path) -> Result<()> {
    run(&mut env.psql_command(&format!("copy {table} to stdout (format binary)")), File::create(file)?.into())
}

fn run(psql: &mut Command, output: Stdio) -> Result<()> {
    let status = psql.stdin(Stdio::null()).stdout(output).status().context("cannot run psql")?;
    ensure!(status.success(), "psql ended with {status}");
    Ok(())
}

/// A client that fetches a whole stream with a durable consumer, acknowledging each message.
pub(crate) enum Fetch {
    /// `nats bench js fetch`
    Nats(PathBuf),
    /// Our own loop, with the service's client library.
    Own,
}

impl Fetch {
    pub(crate) fn find() -> Self {
        tools::nats().map_or(Self::Own, Self::Nats)
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Nats(_) => "nats bench js fetch",
            Self::Own => "fetch loop of our own",
        }
    }

    /// Messages a second.
    pub(crate) fn rate(&self, env: &mut Environment, stream: &str, count: u64) -> Result<f64> {
        let durable = env.name("fetch");
        env.make_durable(stream, &durable)?;
        match self {
            Self::Nats(program) => nats_bench(program, env, stream, &durable, count),
            Self::Own => fetch_rate(env, stream, &durable, count),
        }
    }
}

fn nats_bench(program: &Path, env: &Environment, stream: &str, durable: &str, count: u64) -> Result<f64> {
    let (url, batch, count) = (env.nats.url(), BATCH.to_string(), count.to_string());
    let mut command = Command::new(program);
    command.args(["bench", "js", "fetch", "--no-context", "--no-progress", "-s", &url, "--acks", "explicit"]);
    command.args(["--stream", stream, "--consumer", durable, "--msgs", &count, "--batch", &batch]);
    // Keeps its settings apart from the user's.
    command.env("XDG_CONFIG_HOME", env.temp_dir.path());
    let output = command.stdin(Stdio::null()).output().context("cannot run nats")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate = rate_in(&text).filter(|_| output.status.success());
    rate.with_context(|| {
        format!("nats bench gave no rate: {text}{}", String::from_utf8_lossy(&output.stderr))
    })
}

/// The last `81,234 msgs/sec` of its output.
fn rate_in(text: &str) -> Option<f64> {
    let before = &text[..text.rfind(" msgs/sec")?];
    let word = before.rsplit(|c: char| c != ',' && !c.is_ascii_digit()).next()?;
    word.replace(',', "").parse().ok()
}

fn fetch_rate(env: &Environment, stream: &str, durable: &str, count: u64) -> Result<f64> {
    let context = &env.context;
    env.runtime.block_on(async {
        let consumer: consumer::PullConsumer = context.get_consumer_from_stream(durable, stream).await?;
        let begun = Instant::now();
        let mut fetched = 0;
        while fetched < count {
            let mut messages = consumer.fetch().max_messages(BATCH).messages().await?;
            while let Some(message) = messages.next().await {
                let message = message.map_err(anyhow::Error::from_boxed)?;
                message.ack().await.map_err(anyhow::Error::from_boxed)?;
                fetched += 1;
            }
        }
        env.client.flush().await?;
        Ok(count as f64 / begun.elapsed().as_secs_f64())
    })
}

#[cfg(test)]
mod tests {
    use super::rate_in;

    #[test]
    fn the_rate_is_found_in_what_nats_says() {
        let text =
            "NATS JetStream durable consumer fetch aggregated stats: 81,234 msgs/sec ~ 79 MiB/sec ~ 12us\n";
        assert_eq!(rate_in(text), Some(81_234.0));
        assert_eq!(rate_in("nothing"), None);
    }
}
