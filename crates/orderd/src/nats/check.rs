//! What `orderd check --settings` says of NATS. Makes no stream and no consumer there, and changes nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{Client, Event, ServerAddr};
use tokio::time::timeout;

use super::create::{self, Instead};
use super::info::{self, Account, StreamConfig, StreamInfo, StreamState};
use super::{dead_config, failure, refuse_deaf, refuse_unusable, secured};
use crate::config::Nats;
use crate::finding::{Finding, Report, Severity};
use crate::{streams, subject};

/// How long one server may take to answer, TLS and login included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long all questions may take.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(20);

/// What a server says that it refuses: rights that the user lacks.
type Refusals = Arc<Mutex<Vec<String>>>;

/// Tries the settings.
pub(crate) async fn run(settings: &Nats, durable: &str) -> Report {
    let mut report = Report::default();
    let refusals = Refusals::default();
    let Some((server, client)) = reach(settings, &refusals, &mut report.findings).await else {
        return report;
    };
    let looked = look(settings, durable, &server, &client, &mut report);
    match timeout(INSPECT_TIMEOUT, looked).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => report.findings.push(Finding::blocked(
            format!("JetStream at {server} can't be asked: {error:#}"),
            "see the server's log; in a cluster, whether JetStream has a leader",
        )),
        Err(_) => report.findings.push(Finding::blocked(
            format!("JetStream at {server} did not answer within {} s", INSPECT_TIMEOUT.as_secs()),
            "see the server's log; in a cluster, whether JetStream has a leader",
        )),
    }
    for refusal in refusals.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        report.findings.push(Finding::blocked(
            format!("NATS at {server} refuses: {refusal}"),
            "give the user the right: it publishes on $JS.API.>, $JS.ACK.> and dead.>, and subscribes to _INBOX.>",
        ));
    }
    report
}

/// The first server that takes the connection. The others' failures are warnings then.
async fn reach(
    settings: &Nats,
    refusals: &Refusals,
    findings: &mut Vec<Finding>,
) -> Option<(String, Client)> {
    let mut reached = None;
    for server in &settings.servers.0 {
        match connect(settings, server, refusals).await {
            Ok(client) => reached = reached.or(Some((failure::shown(server), client))),
            Err(finding) => findings.push(finding),
        }
    }
    if reached.is_some() {
        findings.iter_mut().for_each(|finding| finding.severity = Severity::Warning);
    }
    reached
}

async fn connect(settings: &Nats, server: &ServerAddr, refusals: &Refusals) -> Result<Client, Finding> {
    let noted = refusals.clone();
    let options =
        secured(settings).map_err(|error| Finding::blocked(format!("NATS: {error:#}"), "check that file"))?;
    let options = options.event_callback(move |event| {
        if let Event::ServerError(error) = event {
            noted.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
        }
        std::future::ready(())
    });
    let error = match timeout(CONNECT_TIMEOUT, options.connect(server.clone())).await {
        Ok(Ok(client)) => return Ok(client),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "timed out".to_owned(),
    };
    let cause = failure::cause(&error);
    let fix = failure::advice(&cause).unwrap_or("check NATS_HOST and NATS_PORT, or NATS_URL");
    Err(Finding::blocked(format!("can't connect to NATS at {}: {cause}", failure::shown(server)), fix))
}

async fn look(
    settings: &Nats,
    durable: &str,
    server: &str,
    client: &Client,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.found = format!("NATS {} at {server}", client.server_info().version);
    if let Err(error) = refuse_unusable(client, settings).await {
        report.findings.push(refused(&error));
        return Ok(());
    }
    let context = settings.jetstream(client.clone());
    let account = match info::account(&context).await {
        Ok(account) => account,
        Err(error) => {
            report.findings.push(Finding::blocked(
                format!("JetStream at {server} does not serve this account: {error:#}"),
                "turn JetStream on for the account (jetstream: enabled), and let the user publish on $JS.API.>",
            ));
            return Ok(());
        }
    };
    if let Some(domain) = &settings.domain {
        report.found.push_str(&format!(", JetStream's domain {domain}"));
    }
    let is_alone = client.server_info().cluster.is_none() && settings.domain.is_none();
    let at = Place { context: &context, account: &account, is_alone };
    at.check_store(settings, &mut report.findings);
    let stream = at.check_stream(settings, durable, &mut report.findings).await?;
    let dead = at.check_dead(settings, &mut report.findings).await?;
    report.found.push_str(&format!(", {stream}, {dead}"));
    Ok(())
}

/// An error that says what is wrong and, behind a semicolon, what to do.
fn refused(error: &anyhow::Error) -> Finding {
    split(&format!("{error:#}"))
}

fn split(words: &str) -> Finding {
    match words.split_once("; ") {
        Some((problem, fix)) => Finding::refusal(problem, fix),
        None => Finding::refusal(words, "see the server's log"),
    }
}

/// An account at a server.
struct Place<'a> {
    context: &'a Context,
    account: &'a Account,
    /// Not in a cluster: it keeps each stream once.
    is_alone: bool,
}

impl Place<'_> {
    /// What the account may store in all.
    fn check_store(&self, settings: &Nats, findings: &mut Vec<Finding>) {
        let tier = self.account.tier(settings.replicas as u64);
        let (used, limit) = (tier.storage, u64::try_from(tier.limits.max_storage).unwrap_or(0));
        let left = limit.saturating_sub(used);
        // What does not fit in whole is refused, so that some bytes always stay.
        let (new, words): (fn(String, &'static str) -> Finding, _) = match limit {
            0 => return,
            _ if left < limit / 100 => (Finding::blocked, "is full, so that publishers are refused"),
            _ if left < limit / 10 => (Finding::warning, "is nearly full"),
            _ => return,
        };
        findings.push(new(
            format!("the storage of the account {words}: {used} of {limit} bytes"),
            "raise the account's limit (max_file), or remove what is not needed: nats stream purge",
        ));
    }

    /// The stream that orders are taken from, in words.
    async fn check_stream(
        &self,
        settings: &Nats,
        durable: &str,
        findings: &mut Vec<Finding>,
    ) -> anyhow::Result<String> {
        let name = match streams::choose(self.context, settings).await {
            Ok(Some(name)) => name,
            Ok(None) => {
                self.check_new(&streams::ours(settings), Instead("NATS_STREAM"), findings).await;
                return Ok(format!("no stream for {} yet, {} will be made", settings.topic, settings.stream));
            }
            Err(error) => {
                findings.push(refused(&error));
                return Ok(format!("no stream for {}", settings.topic));
            }
        };
        let Some(stream) = info::stream(self.context, &name).await? else {
            anyhow::bail!("the stream {name} has just gone");
        };
        check_config(&stream, settings, findings);
        self.check_consumer(&stream, durable, findings).await?;
        let messages = crate::commands::counted(stream.state.messages, "message");
        Ok(format!("stream {name} for {} ({messages})", settings.topic))
    }

    /// The durable consumer, or whether one can be made.
    async fn check_consumer(
        &self,
        stream: &StreamInfo,
        durable: &str,
        findings: &mut Vec<Finding>,
    ) -> anyhow::Result<()> {
        let name = &stream.config.name;
        let consumers = info::consumers(self.context, name).await?;
        let ours = consumers.iter().find(|consumer| consumer.config.durable_name.as_deref() == Some(durable));
        let limit = u64::try_from(stream.config.max_consumers).unwrap_or(0);
        match ours {
            Some(consumer) if consumer.paused => findings.push(Finding::blocked(
                format!("the consumer {durable} of stream {name} is paused: no orders are taken in"),
                format!("nats consumer resume {name} {durable}"),
            )),
            None if limit > 0 && stream.state.consumer_count >= limit => findings.push(Finding::blocked(
                format!("the stream {name} has {limit} consumers, as many as it may have (max_consumers)"),
                format!("remove one that is not needed: nats consumer rm {name}"),
            )),
            _ => {}
        }
        Ok(())
    }

    /// The stream of dead letters, in words.
    async fn check_dead(&self, settings: &Nats, findings: &mut Vec<Finding>) -> anyhow::Result<String> {
        let config = dead_config(settings.replicas);
        let name = &config.name;
        let Some(stream) = info::stream(self.context, name).await? else {
            self.check_new(&config, Instead("NATS_STREAM"), findings).await;
            return Ok(format!("{name} for dead letters will be made"));
        };
        if let Err(error) = refuse_deaf(&stream.config, &config.subjects) {
            findings.push(refused(&error));
        }
        findings.extend(closed(&stream));
        findings.extend(losses(&stream.config, "dead letters"));
        Ok(format!("{name} for dead letters ({})", stream.state.messages))
    }

    /// Whether a stream that is missing could be made.
    async fn check_new(&self, config: &Config, instead: Instead, findings: &mut Vec<Finding>) {
        let limits = self.account.tier(config.num_replicas as u64).limits;
        let streams = u64::try_from(limits.max_streams).unwrap_or(0);
        if self.is_alone && config.num_replicas > 1 {
            findings.push(Finding::blocked(
                format!(
                    "can't keep the stream {} on {} servers: this one is in no cluster",
                    config.name, config.num_replicas
                ),
                "set NATS_REPLICAS=1, or use a cluster",
            ));
            return;
        }
        let overlapping = create::overlapping(self.context, config).await;
        let (reason, code) = if !overlapping.is_empty() {
            ("subjects overlap with an existing stream", ErrorCode::STREAM_SUBJECT_OVERLAP)
        } else if limits.max_bytes_required {
            ("the account wants max_bytes for each stream", ErrorCode::STREAM_MAX_BYTES_REQUIRED)
        } else if streams > 0 && self.account.tier(config.num_replicas as u64).streams >= streams {
            ("the account has as many streams as it may have", ErrorCode::MAXIMUM_STREAMS_LIMIT)
        } else {
            return;
        };
        if code == ErrorCode::MAXIMUM_STREAMS_LIMIT {
            findings.push(Finding::blocked(
                format!("can't make the stream {}: {reason} ({streams})", config.name),
                "raise the account's limit (max_streams), or remove a stream that is not needed",
            ));
            return;
        }
        let words = create::refusal(self.context, config, reason, code, instead).await;
        findings.push(Finding { severity: Severity::Blocked, ..split(&words) });
    }
}

/// A stream that orders are taken from: whether it takes and keeps them.
fn check_config(stream: &StreamInfo, settings: &Nats, findings: &mut Vec<Finding>) {
    let StreamConfig { name, subjects, retention, sources, mirror, subject_transform, .. } = &stream.config;
    findings.extend(closed(stream));
    findings.extend(losses(&stream.config, "orders that nobody has read"));
    if !["", "limits"].contains(&retention.as_str()) {
        findings.push(Finding::warning(
            format!("the stream {name} does not keep what is acknowledged (its retention is {retention}): a process \
                     that was away misses orders until it reads the table again"),
            format!(
                "take from a stream that has this one as its source: nats stream add {name}_ALL --source={name} \
                 --storage=file --retention=limits --defaults, and set NATS_STREAM={name}_ALL"
            ),
        ));
    }
    let is_direct = sources.is_empty() && mirror.is_none() && subject_transform.is_none();
    if is_direct && !subjects.iter().any(|taken| subject::covers(taken, &settings.topic)) {
        let subjects = subjects.join(",");
        findings.push(Finding::warning(
            format!("the stream {name} takes {subjects}, only a part of PUB_TOPIC {}", settings.topic),
            format!("nats stream edit {name} --subjects='{}', or narrow PUB_TOPIC", settings.topic),
        ));
    }
}

/// Why a stream takes no messages.
fn closed(stream: &StreamInfo) -> Option<Finding> {
    let StreamConfig { name, discard, sealed, max_msgs, max_bytes, .. } = &stream.config;
    if *sealed {
        return Some(Finding::blocked(
            format!("the stream {name} is sealed: publishers are refused, for ever"),
            format!(
                "make another stream for its subjects, once they are taken out of {name}, which can only be \
                     deleted: nats stream rm {name} (its messages go with it)"
            ),
        ));
    }
    let StreamState { messages, bytes, .. } = stream.state;
    let is_over =
        |limit: i64, wanted: u64| u64::try_from(limit).is_ok_and(|limit| limit > 0 && wanted > limit);
    // What does not fit in whole is refused: one more of the usual size.
    let usual = bytes / messages.max(1);
    let is_full = is_over(*max_msgs, messages + 1) || is_over(*max_bytes, bytes + usual);
    (is_full && discard == "new").then(|| {
        Finding::blocked(
            format!("the stream {name} is full: publishers are refused"),
            format!("raise its bounds: nats stream edit {name} --max-bytes=… --max-msgs=…"),
        )
    })
}

/// How a stream may drop what it has taken.
fn losses<'c>(config: &'c StreamConfig, what: &'c str) -> impl Iterator<Item = Finding> + 'c {
    let StreamConfig { name, storage, discard, max_msgs, max_bytes, max_age, max_msgs_per_subject, .. } =
        config;
    let drops = discard != "new";
    let bounds = [("max_msgs", max_msgs, drops), ("max_bytes", max_bytes, drops), ("max_age", max_age, true)];
    let bounds = bounds.into_iter().chain([("max_msgs_per_subject", max_msgs_per_subject, drops)]);
    let bounds: Vec<&str> =
        bounds.filter(|(_, bound, counts)| **bound > 0 && *counts).map(|(name, ..)| name).collect();
    let memory = (storage == "memory").then(|| {
        Finding::warning(
            format!("the stream {name} is kept in memory: a restart of NATS drops {what}"),
            format!("once it is empty, remove it (nats stream rm {name}) and make it with --storage=file: the storage of a stream can't be changed"),
        )
    });
    let bounded = (!bounds.is_empty()).then(|| {
        let bounds = bounds.join(", ");
        Finding::warning(
            format!("the stream {name} may drop {what}: {bounds} with discard {discard}"),
            format!("nats stream edit {name} --discard=new --max-age=0s --max-msgs-per-subject=-1; what is full refuses publishers \
                     then and drops nothing"),
        )
    });
    memory.into_iter().chain(bounded)
}
