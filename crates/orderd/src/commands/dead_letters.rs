//! `orderd dead-letters`: what could not be taken in, why, and back into the topic after a mend.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, Context, Message};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use comfy_table::Table;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::progress::Progress;
use crate::cli::{DeadLetterAction, DeadLetterList, DeadLetterShow, DeadLettersArgs, DeadLettersCommand};
use crate::config::Nats;
use crate::ingest::dead_letters::{DeadLetters, SECOND_PART, header};
use crate::ingest::payload::KEY_HEADER;
use crate::nats;

/// How long the server may take for one message of a listing.
const PATIENCE: Duration = Duration::from_secs(5);

/// A dead letter as the stream has it.
struct Found {
    /// `dead.{subject}.{key}`
    subject: String,
    key: String,
    headers: HeaderMap,
    /// The first part, where there are two.
    payload: Bytes,
}

/// Runs one of them. `show` of a key that isn't there: 1.
///
/// # Errors
/// A server that can't be reached, or what it refuses.
pub async fn run(args: DeadLettersArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        DeadLettersCommand::List(args) => list(args).await,
        DeadLettersCommand::Show(args) => show(args).await,
        DeadLettersCommand::Replay(args) => replay(args).await,
        DeadLettersCommand::Drop(args) => discard(args).await,
    }
}

async fn list(args: DeadLetterList) -> anyhow::Result<ExitCode> {
    let (context, _) = connect(&Nats::new(&args.nats)?).await?;
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["KEY", "TIME", "REASON", "PLACE", "BYTES"]);
    let wanted =
        |found: &Found| args.reason.as_ref().is_none_or(|reason| found.header(header::REASON) == reason);
    let mut lines = String::new();
    for found in all(&context).await?.iter().filter(|found| wanted(found)) {
        let size = payload(&context, found).await?.len();
        if args.json {
            lines.push_str(&format!("{}\n", found.describe(size)));
        } else {
            let place = format!("{} {}", found.header(header::PATH), found.header(header::OFFSET));
            table.add_row([
                &found.key,
                found.header(header::TIME),
                found.header(header::REASON),
                &place,
                &size.to_string(),
            ]);
        }
    }
    super::print(&if args.json { lines } else { format!("{table}\n") })?;
    Ok(ExitCode::SUCCESS)
}

async fn show(args: DeadLetterShow) -> anyhow::Result<ExitCode> {
    let (context, _) = connect(&Nats::new(&args.nats)?).await?;
    let found = all(&context).await?.into_iter().find(|found| found.key == args.key);
    let found = found.with_context(|| format!("there is no dead letter {}", args.key))?;
    let payload = payload(&context, &found).await?;
    let mut described = found.describe(payload.len());
    if args.json {
        described["payload_base64"] = BASE64_STANDARD.encode(&payload).into();
        described["payload"] = std::str::from_utf8(&payload).map_or(Value::Null, Value::from);
        super::print(&format!("{described}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for (name, value) in described.as_object().into_iter().flatten() {
        text.push_str(&format!("{name}: {}\n", value.as_str().map_or(value.to_string(), str::to_owned)));
    }
    super::print(&format!("{text}\n{}\n", String::from_utf8_lossy(&payload)))?;
    Ok(ExitCode::SUCCESS)
}

/// Publishes each with its key. The service takes it as the order of that key and removes the dead letter;
/// running it twice, or being killed in between, makes no second order.
async fn replay(args: DeadLetterAction) -> anyhow::Result<ExitCode> {
    let settings = Nats::new(&args.nats)?;
    let (context, _) = connect(&settings).await?;
    let chosen = chosen(&context, &args).await?;
    let progress = Progress::new(Some(chosen.len() as u64), "dead letters");
    for found in &chosen {
        let mut headers = HeaderMap::new();
        headers.insert(KEY_HEADER, found.key.as_str());
        let payload = payload(&context, found).await?;
        let subject = found.original_subject();
        let sent = context.publish_with_headers(subject.to_owned(), headers, payload).await?;
        sent.await.with_context(|| format!("can't send {} into {subject} again", found.key))?;
        progress.add(1);
    }
    done(&args, progress, "dead letters", chosen.len())
}

async fn discard(args: DeadLetterAction) -> anyhow::Result<ExitCode> {
    let (context, dead_letters) = connect(&Nats::new(&args.nats)?).await?;
    let chosen = chosen(&context, &args).await?;
    if !args.yes && !chosen.is_empty() && !confirmed(chosen.len())? {
        super::complain("nothing dropped");
        return Ok(ExitCode::FAILURE);
    }
    let progress = Progress::new(Some(chosen.len() as u64), "dead letters");
    for found in &chosen {
        dead_letters.delete(&found.subject).await.with_context(|| format!("can't drop {}", found.key))?;
        progress.add(1);
    }
    done(&args, progress, "dead letters", chosen.len())
}

fn done(args: &DeadLetterAction, progress: Progress, things: &str, count: usize) -> anyhow::Result<ExitCode> {
    let line = progress.finish(things);
    super::print(&if args.json { format!("{}\n", json!({ "count": count })) } else { format!("{line}\n") })?;
    Ok(ExitCode::SUCCESS)
}

fn confirmed(count: usize) -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    anyhow::ensure!(stdin.is_terminal(), "drop is for good: say --yes where there is nobody to ask");
    super::complain(&format!("Drop {count} dead letters for good? Type yes:"));
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

async fn connect(settings: &Nats) -> anyhow::Result<(Context, DeadLetters)> {
    let client = nats::connect_once(settings).await?;
    Ok((jetstream::new(client.clone()), DeadLetters::new(client)))
}

/// The dead letters that are meant.
///
/// # Errors
/// A key that has none.
async fn chosen(context: &Context, args: &DeadLetterAction) -> anyhow::Result<Vec<Found>> {
    let found = all(context).await?;
    for key in &args.keys {
        anyhow::ensure!(found.iter().any(|found| found.key == *key), "there is no dead letter {key}");
    }
    let of_reason =
        |found: &Found| args.reason.as_ref().is_none_or(|reason| found.header(header::REASON) == reason);
    let of_keys = |found: &Found| args.keys.is_empty() || args.keys.contains(&found.key);
    Ok(found.into_iter().filter(|found| of_reason(found) && of_keys(found)).collect())
}

/// All dead letters, oldest first; second parts are left to whoever reads the first.
async fn all(context: &Context) -> anyhow::Result<Vec<Found>> {
    let mut stream = nats::dead_stream(context).await?;
    let mut left = stream.info().await?.state.messages;
    let consumer = stream
        .create_consumer(pull::Config {
            ack_policy: AckPolicy::None,
            deliver_policy: DeliverPolicy::All,
            inactive_threshold: Duration::from_secs(30),
            ..Default::default()
        })
        .await?;
    let mut messages = consumer.messages().await?;
    let mut found = Vec::new();
    while left > 0 {
        let message =
            tokio::time::timeout(PATIENCE, messages.next()).await.context("the server stopped answering")?;
        let Some(message) = message else { break };
        let message = message?;
        left = message.info().map_or(0, |info| info.pending);
        found.extend(Found::new(&message));
    }
    Ok(found)
}

/// The whole payload, put together where it is in two parts.
async fn payload(context: &Context, found: &Found) -> anyhow::Result<Bytes> {
    if found.header(header::PARTS) != "2" {
        return Ok(found.payload.clone());
    }
    let stream = context.get_stream_no_info(nats::DEAD_STREAM).await?;
    let rest = stream.get_last_raw_message_by_subject(&format!("{}.{SECOND_PART}", found.subject)).await?;
    Ok([&found.payload[..], &rest.payload[..]].concat().into())
}

impl Found {
    fn new(message: &Message) -> Option<Self> {
        let subject = message.subject.to_string();
        let key = subject.rsplit('.').next()?.to_owned();
        if key == SECOND_PART {
            return None;
        }
        let headers = message.headers.clone().unwrap_or_default();
        Some(Self { key, subject, headers, payload: message.payload.clone() })
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.as_str())
    }

    /// The subject it came by.
    fn original_subject(&self) -> &str {
        let rest = self.subject.strip_prefix(nats::DEAD_PREFIX).unwrap_or(&self.subject);
        rest.strip_suffix(&self.key).unwrap_or(rest).trim_matches('.')
    }

    fn describe(&self, size: usize) -> Value {
        let number = |name| self.header(name).parse::<u64>().ok();
        json!({
            "key": self.key,
            "subject": self.original_subject(),
            "sequence": number(header::SEQUENCE),
            "time": self.header(header::TIME),
            "reason": self.header(header::REASON),
            "detail": self.header(header::DETAIL),
            "path": Some(self.header(header::PATH)).filter(|path| !path.is_empty()),
            "offset": number(header::OFFSET),
            "bytes": size,
        })
    }
}
