//! `orderd check`: whether a running service is ready or alive, or whether the service can run with these settings.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::time::timeout;

use super::{check_nats, check_rows, http_client};
use crate::cli::{self, CheckArgs, ServeArgs};
use crate::config::{Http, Settings};
use crate::finding::{Finding, ServerReport, Severity};
use crate::logging;
use crate::postgres;

/// A certificate that expires within this number of seconds is a warning.
const EXPIRY_WARNING_SECONDS: i64 = 14 * 86400;

/// Time limit for comparing the model with rows of a server that answers.
const ROWS_TIMEOUT: Duration = Duration::from_secs(60);

/// Prints the state of the service, or findings about the settings. Exit code 0: no problem; 1: a problem, or no
/// answer.
///
/// # Errors
/// No answer, or an invalid setting.
pub async fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    if args.settings {
        return settings(&args.serve, args.json).await;
    }
    let path = if args.live { "/healthz" } else { "/readyz" };
    let (status, body) = http_client::get(&Http::new(&args.serve.http)?, path).await?;
    super::print(&format!("{}\n", String::from_utf8_lossy(&body)))?;
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The findings about the settings.
#[derive(Serialize)]
struct CheckReport {
    /// Whether the service would start and take orders in.
    usable: bool,
    nats: ServerReport,
    postgres: ServerReport,
    http: ServerReport,
}

async fn settings(args: &ServeArgs, json: bool) -> anyhow::Result<ExitCode> {
    let settings = Settings::new(args)?;
    logging::filter::parse(&args.log)?;
    let (mut nats, mut postgres) =
        tokio::join!(check_nats::run(&settings.nats), postgres::check::run(&settings.postgres));
    if !postgres.findings.iter().any(is_in_the_way) {
        postgres.findings.extend(rows(&settings).await);
    }
    let mut http = http(&settings.http);
    http.findings.extend(settings.access.short_tokens());
    for (setting, finding) in expiring(&settings) {
        let part = match setting {
            _ if setting.starts_with("NATS") => &mut nats,
            _ if setting.starts_with("HTTP") => &mut http,
            _ => &mut postgres,
        };
        part.findings.push(finding);
    }
    for misspelt in cli::misspelt() {
        let setting = &misspelt.setting;
        let part = match setting.as_str() {
            _ if setting.starts_with("NATS") => &mut nats,
            _ if setting.starts_with("HTTP") => &mut http,
            _ => &mut postgres,
        };
        let fix = format!("rename it to {setting}, or remove it");
        part.findings.push(Finding::warning(misspelt.problem(), fix));
    }
    let parts = [&nats, &postgres, &http];
    let usable = !parts.iter().any(|part| part.findings.iter().any(is_in_the_way));
    let checked = CheckReport { usable, nats, postgres, http };
    let text = if json { serde_json::to_string(&checked)? + "\n" } else { checked.in_words() };
    super::print(&text)?;
    Ok(if usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the service would not take orders in.
fn is_in_the_way(finding: &Finding) -> bool {
    finding.severity != Severity::Warning
}

/// The finding about the rows of the table.
async fn rows(settings: &Settings) -> Option<Finding> {
    let checked = timeout(ROWS_TIMEOUT, check_rows::run(settings)).await;
    let no_answer = |_| anyhow::anyhow!("no answer within {} s", ROWS_TIMEOUT.as_secs());
    checked.map_err(no_answer).flatten().unwrap_or_else(|error| {
        Some(Finding::warning(
            format!(
                "can't read rows of {}, so the model was not compared with them: {error:#}",
                settings.postgres.table
            ),
            "see the log of PostgreSQL, and in pg_stat_activity what holds a lock on the table",
        ))
    })
}

/// Certificates and credentials that have expired or soon will, by their settings.
fn expiring(settings: &Settings) -> Vec<(&'static str, Finding)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let ends = settings.files().into_iter().flat_map(|made| made.ends());
    let finding = |(setting, end): (&'static str, i64)| {
        let fix =
            format!("replace the file of {setting}; a running service reads the new one without a restart");
        let finding = match end - now {
            ..=0 => Finding::blocked(format!("the certificate or credential in {setting} has expired"), fix),
            // Credentials may be valid for only hours.
            left if left < EXPIRY_WARNING_SECONDS && setting != "NATS_CREDS" => Finding::warning(
                format!(
                    "the certificate or credential in {setting} expires within {} h",
                    (left + 3599) / 3600
                ),
                fix,
            ),
            _ => return None,
        };
        Some((setting, finding))
    };
    ends.filter_map(finding).collect()
}

/// The address may be taken: by the service that runs with these settings already.
fn http(settings: &Http) -> ServerReport {
    let addr = settings.addr;
    let findings = match crate::listen(addr) {
        Ok(_) => Vec::new(),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => vec![Finding::warning(
            format!("HTTP_ADDR {addr} is in use"),
            "nothing to do if orderd already runs there; otherwise set HTTP_ADDR to a free address",
        )],
        Err(error) => vec![Finding::refusal(
            format!("can't listen on HTTP_ADDR {addr}: {error}"),
            "set HTTP_ADDR to an address of this machine, with a port that this user may listen on",
        )],
    };
    ServerReport { found: format!("HTTP at {addr}"), findings }
}

impl CheckReport {
    fn in_words(&self) -> String {
        let mut text = String::new();
        let parts = [("NATS", &self.nats), ("PostgreSQL", &self.postgres), ("HTTP", &self.http)];
        let findings =
            parts.iter().flat_map(|(part, report)| report.findings.iter().map(move |it| (part, it)));
        for (part, Finding { severity, problem, fix }) in findings {
            let word = match severity {
                Severity::Refusal | Severity::Blocked => "error",
                Severity::Warning => "warning",
            };
            text.push_str(&format!("{word}: {part}: {problem}\n    to fix it: {fix}\n"));
        }
        let found: Vec<&str> =
            parts.iter().map(|(_, report)| report.found.as_str()).filter(|found| !found.is_empty()).collect();
        let verdict = match (self.usable, text.is_empty()) {
            (true, true) => "all is well",
            (true, false) => "usable, with warnings",
            (false, _) => "not usable with these settings",
        };
        text.push_str(&format!("{verdict}: {}\n", found.join("; ")));
        text
    }
}
