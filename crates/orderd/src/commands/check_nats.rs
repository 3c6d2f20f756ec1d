//! The findings of `orderd check --settings` about NATS. Creates no stream and no consumer, and changes nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{Client, Event, ServerAddr};
use tokio::time::timeout;

use crate::config::Nats;
use crate::dead_letters::subjects::DeadLetterSubjects;
use crate::dead_letters::{dead_letter_stream, legacy};
use crate::finding::{Finding, ServerReport, Severity};
use crate::nats::create::{self, StreamSetting};
use crate::nats::info::{self, AccountInfo, StreamConfig, StreamInfo};
use crate::nats::{CONSUMER_PREFIX, failure, orders_stream, refuse_unusable, secured};
use crate::{subject, warning_rules};

/// Time limit for connecting to one server, including TLS and login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit for all requests.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A server's refusals: permissions that the user lacks.
type Refusals = Arc<Mutex<Vec<String>>>;

/// Tries the settings.
pub(crate) async fn run(settings: &Nats) -> ServerReport {
    let mut report = ServerReport::default();
    let refusals = Refusals::default();
    let Some((server, client)) = reach(settings, &refusals, &mut report.findings).await else {
        return report;
    };
    let looked = inspect_server(settings, &server, &client, &mut report);
    match timeout(INSPECT_TIMEOUT, looked).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => report.findings.push(Finding::blocked(
            format!("can't query JetStream at {server}: {error:#}"),
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
            "give the user the right: it publishes on $JS.API.> and dead.>, and subscribes to _INBOX.>",
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
    for server in &settings.servers() {
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

async fn inspect_server(
    settings: &Nats,
    server: &str,
    client: &Client,
    report: &mut ServerReport,
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
    let at = AccountAtServer { context: &context, account: &account, is_alone };
    let full = warning_rules::of_account(at.account, settings.replicas);
    report.findings.extend(full.map(|warning| warning.finding));
    let (source, stream) = at.check_stream(settings, &mut report.findings).await?;
    let dead = at.check_dead(settings, &source, &mut report.findings).await?;
    report.found.push_str(&format!(", {stream}, {dead}"));
    Ok(())
}

/// A finding from an error with the problem and, after a semicolon, the fix.
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
struct AccountAtServer<'a> {
    context: &'a Context,
    account: &'a AccountInfo,
    /// Not in a cluster: it keeps each stream once.
    is_alone: bool,
}

impl AccountAtServer<'_> {
    /// Checks the stream of orders. Returns its name and its description.
    async fn check_stream(
        &self,
        settings: &Nats,
        findings: &mut Vec<Finding>,
    ) -> anyhow::Result<(String, String)> {
        let ours = || settings.stream.clone();
        let name = match orders_stream::find_name(self.context, settings).await {
            Ok(Some(name)) => name,
            Ok(None) => {
                self.check_new(
                    &orders_stream::config_of_new(settings),
                    StreamSetting("NATS_STREAM"),
                    findings,
                )
                .await;
                let found =
                    format!("no stream for {} yet, {} will be created", settings.topic, settings.stream);
                return Ok((ours(), found));
            }
            Err(error) => {
                findings.push(refused(&error));
                return Ok((ours(), format!("no stream for {}", settings.topic)));
            }
        };
        let Some(stream) = info::stream(self.context, &name).await? else {
            anyhow::bail!("the stream {name} was just deleted");
        };
        check_config(&stream, settings, findings);
        self.check_consumers(&stream, findings).await?;
        let messages = crate::wording::counted(stream.state.messages, "message");
        let found = format!("stream {name} for {} ({messages})", settings.topic);
        Ok((name, found))
    }

    /// Whether the stream allows one more consumer, which the service needs. A running service already has its own.
    async fn check_consumers(&self, stream: &StreamInfo, findings: &mut Vec<Finding>) -> anyhow::Result<()> {
        let name = &stream.config.name;
        let limit = u64::try_from(stream.config.max_consumers).unwrap_or(0);
        if limit == 0 || stream.state.consumer_count < limit {
            return Ok(());
        }
        let consumers = info::consumers(self.context, name).await?;
        if !consumers.iter().any(|consumer| consumer.name.starts_with(CONSUMER_PREFIX)) {
            findings.push(Finding::blocked(
                format!("the stream {name} has reached its limit of {limit} consumers (max_consumers)"),
                format!("remove one that is not needed: nats consumer rm {name}"),
            ));
        }
        Ok(())
    }

    /// Checks the stream of dead letters for the stream `source`. Returns its description.
    async fn check_dead(
        &self,
        settings: &Nats,
        source: &str,
        findings: &mut Vec<Finding>,
    ) -> anyhow::Result<String> {
        let subjects = DeadLetterSubjects::new(settings, source);
        findings.extend(legacy::findings(self.context, &subjects, &settings.topic).await?);
        let name = &subjects.stream;
        let Some(stream) = info::stream(self.context, name).await? else {
            let config = dead_letter_stream::config_of_new(&subjects, settings.replicas);
            self.check_new(&config, dead_letter_stream::STREAM_SETTING, findings).await;
            return Ok(format!("{name} for dead letters will be created"));
        };
        match dead_letter_stream::refuse_unfit(&stream.config, &subjects) {
            Err(error) => findings.push(refused(&error)),
            Ok(()) => findings.extend(warned(&stream, "dead letters")),
        }
        let count = info::subjects(self.context, name, &subjects.all_dead_letters()).await?.len();
        Ok(format!("{name} for dead letters ({count})"))
    }

    /// Checks whether a missing stream could be created.
    async fn check_new(&self, config: &Config, instead: StreamSetting, findings: &mut Vec<Finding>) {
        let limits = self.account.tier(config.num_replicas as u64).limits;
        let streams = u64::try_from(limits.max_streams).unwrap_or(0);
        if self.is_alone && config.num_replicas > 1 {
            findings.push(Finding::blocked(
                format!(
                    "can't keep the stream {} on {} servers: this server is not in a cluster",
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
            ("the account requires max_bytes for each stream", ErrorCode::STREAM_MAX_BYTES_REQUIRED)
        } else if streams > 0 && self.account.tier(config.num_replicas as u64).streams >= streams {
            ("the account has reached its limit of streams", ErrorCode::MAXIMUM_STREAMS_LIMIT)
        } else {
            return;
        };
        if code == ErrorCode::MAXIMUM_STREAMS_LIMIT {
            findings.push(Finding::blocked(
                format!("can't create the stream {}: {reason} ({streams})", config.name),
                "raise the account's limit (max_streams), or remove a stream that is not needed",
            ));
            return;
        }
        let words = create::refusal(self.context, config, reason, code, instead).await;
        findings.push(Finding { severity: Severity::Blocked, ..split(&words) });
    }
}

/// A stream that orders are read from: whether it takes and keeps them.
fn check_config(stream: &StreamInfo, settings: &Nats, findings: &mut Vec<Finding>) {
    let StreamConfig { name, subjects, retention, sources, mirror, subject_transform, .. } = &stream.config;
    findings.extend(warned(stream, "unread messages"));
    if let Err(error) = orders_stream::refuse_retention(name, retention) {
        findings.push(split(&error.to_string()));
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

/// Warnings about a stream that refuses or drops messages.
fn warned(stream: &StreamInfo, what: &str) -> impl Iterator<Item = Finding> {
    warning_rules::of_stream(stream, what).into_iter().map(|warning| warning.finding)
}
