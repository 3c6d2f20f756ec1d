//! Detects changed files of settings (tokens, passwords, credentials, certificates), and reloads them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Settings, log_reload as log};
use crate::health::Health;
use crate::health::readyz_warning::Warning;
use crate::metrics::Metrics;
use crate::warning_rules;
use crate::{aligned_interval, nats, postgres};

/// Interval of checks of the files, which take a few system calls.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Time limit for the servers of a changed DATABASE_URL.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Looks at the files until the service stops; at a SIGHUP, reads them whether they have changed or not.
///
/// # Errors
/// The signal can't be listened to.
pub(crate) async fn run(
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    client: Client,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut ended = HashSet::new();
    let mut servers = settings.nats.servers();
    show_ends(&settings, &metrics, &mut ended);
    loop {
        let always = tokio::select! {
            () = aligned_interval::next(CHECK_INTERVAL) => false,
            _ = hangup.recv() => true,
            () = stop.cancelled() => return Ok(()),
        };
        let read = settings.clone();
        // A file may be on an unreachable network.
        let looked = tokio::task::spawn_blocking(move || read_again(&read, always));
        looked.await.map_err(|_| anyhow::anyhow!("the reload of the files of settings panicked"))?;
        show_ends(&settings, &metrics, &mut ended);
        let unusable = settings
            .files()
            .into_iter()
            .filter_map(|made| Some(warning_rules::of_file(made.setting(), made.problem()?)));
        health.replace_warnings("files", &unusable.collect::<Vec<_>>());
        health.warn("place", elsewhere(&settings).await);
        nats::follow_servers(&client, &settings.nats, &mut servers).await;
    }
}

/// Whether a changed DATABASE_URL leads to a database that is not used. Tried here, for the open connections stay where
/// they are.
async fn elsewhere(settings: &Settings) -> Vec<Warning> {
    let postgres = &settings.postgres;
    if !postgres.identity.is_elsewhere(&postgres.target.current().address) {
        return Vec::new();
    }
    let Ok(Err(refused)) = tokio::time::timeout(CONNECT_TIMEOUT, postgres::connect(postgres)).await else {
        return Vec::new();
    };
    refused.0.into_iter().map(|found| warning_rules::of_place(found.problem, found.fix)).collect()
}

fn read_again(settings: &Settings, always: bool) {
    let mut is_read = false;
    for made in settings.files() {
        if let Some(read) = made.reload(always) {
            log(made.setting(), &read);
            is_read |= read.is_ok();
        }
    }
    if is_read {
        settings.access.warn_of_short_ones();
    }
}

/// Sets the metrics of expiry, and logs each certificate and credential once when it has expired.
fn show_ends(settings: &Settings, metrics: &Metrics, ended: &mut HashSet<(&'static str, i64)>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for (setting, end) in settings.files().iter().flat_map(|made| made.ends()) {
        metrics.certificate_end.with_label_values(&[setting]).set(end);
        if u64::try_from(end).is_ok_and(|end| end <= now.as_secs()) && ended.insert((setting, end)) {
            tracing::warn!(
                setting,
                "the certificate or credential has expired, and servers and clients refuse it; replace the file"
            );
        }
    }
}
