//! The findings of `orderd check --settings` about NATS. Creates no stream and no consumer, and stores nothing.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Config;
use async_nats::{Client, Event, ServerAddr};
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::check_rights;
use crate::config::Nats;
use crate::dead_letters::subjects::DeadLetterSubjects;
use crate::dead_letters::{dead_letter_stream, legacy};
use crate::finding::{Finding, ServerReport, Severity};
use crate::nats::create::{self, StreamSetting};
use crate::nats::failure::ServerKind;
use crate::nats::info::{self, AccountInfo, StreamConfig, StreamInfo};
use crate::nats::{CONSUMER_PREFIX, failure, orders_stream, refuse_unusable, secured};
use crate::{subject, warning_rules};

/// Time limit for connecting to one server, including TLS and login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long no request is answered. A slow server may take longer for all of them.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(8);

/// Time limit for the end of the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The number of connections that the service keeps open: the intake has its own.
const CONNECTIONS: usize = 2;

/// A server's refusals: permissions that the user lacks.
#[derive(Clone, Default)]
struct Refusals {
    noted: Arc<Mutex<Vec<String>>>,
    /// The connection has ended, after its last refusal.
    closed: Arc<Notify>,
}

impl Refusals {
    fn note(&self, event: Event) {
        match event {
            Event::ServerError(error) => {
                self.noted.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
            }
            Event::Closed => self.closed.notify_one(),
            _ => {}
        }
    }

    /// All refusals of this connection, which ends.
    async fn of(self, client: Client) -> Vec<String> {
        let closing = async {
            client.drain().await.ok()?;
            self.closed.notified().await;
            Some(())
        };
        // Without an answer, what was noted so far counts.
        drop(timeout(CLOSE_TIMEOUT, closing).await);
        std::mem::take(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tries the settings.
pub(crate) async fn run(settings: &Nats) -> ServerReport {
    let mut report = ServerReport::default();
    let Some((server, client, refusals)) = reach(settings, &mut report.findings).await else {
        return report;
    };
    let problem = tokio::select! {
        inspected = inspect_server(settings, &server, &client, &mut report) => {
            inspected.err().map(|error| format!("can't query JetStream at {server}: {error:#}"))
        }
        () = silence(&client) => {
            Some(format!("JetStream at {server} has not answered for {} s", SILENCE_TIMEOUT.as_secs()))
        }
    };
    report.findings.extend(problem.map(|problem| {
        Finding::blocked(problem, "see the server's log; in a cluster, whether JetStream has a leader")
    }));
    for refusal in refusals.of(client).await {
        report
            .findings
            .push(Finding::blocked(format!("NATS at {server} refuses: {refusal}"), check_rights::ADVICE));
    }
    report
}

/// Returns once no message has come for [`SILENCE_TIMEOUT`].
async fn silence(client: &Client) {
    let statistics = client.statistics();
    let mut before = None;
    loop {
        let received = Some(statistics.in_messages.load(Ordering::Relaxed));
        if received == before {
            return;
        }
        before = received;
        sleep(SILENCE_TIMEOUT).await;
    }
}

/// The first server that takes the connection. The others' failures are warnings then. All are asked at the same time,
/// because one that does not answer takes seconds.
async fn reach(settings: &Nats, findings: &mut Vec<Finding>) -> Option<(String, Client, Refusals)> {
    let servers = settings.servers();
    let asked = servers.iter().map(async |server| {
        let refusals = Refusals::default();
        let client = connect(settings, server, &refusals).await?;
        Ok((server, client, refusals))
    });
    let (mut reached, mut others) = (None, Vec::new());
    for connected in join_all(asked).await {
        match connected {
            Ok(first) if reached.is_none() => reached = Some(first),
            Ok((_, client, refusals)) => others.push(refusals.of(client)),
            Err(finding) => findings.push(finding),
        }
    }
    // The further connections must not meet with these at a limit of the account.
    join_all(others).await;
    let (server, client, refusals) = reached?;
    findings.iter_mut().for_each(|finding| finding.severity = Severity::Warning);
    let mut held = Vec::new();
    for number in 2..=CONNECTIONS {
        match connect(settings, server, &Refusals::default()).await {
            Ok(further) => held.push(further),
            Err(Finding { problem, fix, .. }) => findings.push(Finding::blocked(
                format!("orderd needs {CONNECTIONS} connections to NATS, and can't open number {number}: {problem}"),
                fix,
            )),
        }
    }
    Some((failure::shown(server), client, refusals))
}

async fn connect(settings: &Nats, server: &ServerAddr, refusals: &Refusals) -> Result<Client, Finding> {
    let noted = refusals.clone();
    let options =
        secured(settings).map_err(|error| Finding::blocked(format!("NATS: {error:#}"), "check that file"))?;
    let options = options.event_callback(move |event| {
        noted.note(event);
        std::future::ready(())
    });
    let error = match timeout(CONNECT_TIMEOUT, options.connect(server.clone())).await {
        Ok(Ok(client)) => return Ok(client),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "timed out".to_owned(),
    };
    let cause = failure::cause(&error);
    let fix =
        failure::advice(ServerKind::Nats, &cause).unwrap_or("check NATS_HOST and NATS_PORT, or NATS_URL");
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
    let max_payload = client.max_payload();
    let mut at =
        AccountAtServer { context: &context, account: &account, is_alone, max_payload, planned: Vec::new() };
    let full = warning_rules::of_account(at.account, settings.replicas);
    report.findings.extend(full.map(|warning| warning.finding));
    let (source, stream) = at.check_stream(settings, &mut report.findings).await?;
    let dead = at.check_dead(settings, &source, &mut report.findings).await?;
    report.found.push_str(&format!(", {stream}, {dead}"));
    let planned = std::mem::take(&mut at.planned);
    check_rights::try_all(client, settings, &DeadLetterSubjects::new(settings, &source), &planned).await
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
    /// Bytes of the largest message that the server takes.
    max_payload: usize,
    /// The missing streams, which the service would create.
    planned: Vec<String>,
}

impl AccountAtServer<'_> {
    /// Checks the stream of orders. Returns its name and its description.
    async fn check_stream(
        &mut self,
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
        let of_account = self.account.tier(stream.config.num_replicas).limits.max_consumers;
        let limits =
            [(stream.config.max_consumers, ""), (of_account, " that the account allows each stream")];
        let limits =
            limits.into_iter().filter_map(|(limit, whose)| Some((u64::try_from(limit).ok()?, whose)));
        let Some((limit, whose)) = limits.filter(|(limit, _)| *limit > 0).min() else { return Ok(()) };
        if stream.state.consumer_count < limit {
            return Ok(());
        }
        let consumers = info::consumers(self.context, name).await?;
        if !consumers.iter().any(|consumer| consumer.name.starts_with(CONSUMER_PREFIX)) {
            findings.push(Finding::blocked(
                format!(
                    "the stream {name} has reached the limit of {limit} consumers{whose} (max_consumers)"
                ),
                format!("raise that limit, or remove a consumer that is not needed: nats consumer rm {name}"),
            ));
        }
        Ok(())
    }

    /// Checks the stream of dead letters for the stream `source`. Returns its description.
    async fn check_dead(
        &mut self,
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
        match dead_letter_stream::refuse_unfit(&stream.config, &subjects, self.max_payload) {
            Err(error) => findings.push(refused(&error)),
            Ok(()) => findings.extend(warned(&stream, "dead letters")),
        }
        let count = info::subjects(self.context, name, &subjects.all_dead_letters()).await?.len();
        Ok(format!("{name} for dead letters ({count})"))
    }

    /// Checks whether a missing stream could be created, after those that are planned already.
    async fn check_new(&mut self, config: &Config, instead: StreamSetting, findings: &mut Vec<Finding>) {
        let planned = self.planned.len() as u64;
        self.planned.push(config.name.clone());
        let predicted =
            create::predicted_refusal(self.context, config, self.account, planned, self.is_alone).await;
        let Some((reason, code)) = predicted else { return };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::NatsError;

    #[test]
    fn each_error_of_a_server_or_its_streams_has_its_own_fix() {
        let named = || "ORDERS".to_owned();
        for (error, fix) in [
            (NatsError::TooOld("2.9.0".into()), "upgrade nats-server"),
            (NatsError::NoJetStream, "start it with -js"),
            (NatsError::Retention { stream: named(), retention: "interest".into() }, "make a stream"),
            (
                NatsError::NothingMatches { stream: named(), stored: "a".into(), topic: "b".into() },
                "set PUB_TOPIC",
            ),
            (NatsError::Scattered { topic: "a.*".into(), streams: "A, B".into() }, "make a stream"),
        ] {
            let finding = split(&error.to_string());
            assert!(finding.fix.starts_with(fix), "{finding:?}");
        }
    }
}
