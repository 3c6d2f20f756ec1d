//! Notices that files of settings have changed (tokens, passwords, credentials, certificates), and has them read again.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::metrics::Metrics;
use crate::pace;

/// How often the files are looked at: a few calls to the kernel.
const EVERY: Duration = Duration::from_secs(2);

/// Looks at the files until the service stops; at a SIGHUP, reads them whether they have changed or not.
///
/// # Errors
/// The signal can't be listened to.
pub(crate) async fn run(
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    show_ends(&settings, &metrics);
    loop {
        let always = tokio::select! {
            () = pace::next(EVERY) => false,
            _ = hangup.recv() => true,
            () = stop.cancelled() => return Ok(()),
        };
        let (settings, metrics) = (settings.clone(), metrics.clone());
        // A file may be on a network that is away.
        let looked = tokio::task::spawn_blocking(move || read_again(&settings, &metrics, always));
        looked.await.map_err(|_| anyhow::anyhow!("reading the files of settings again panicked"))?;
    }
}

fn read_again(settings: &Settings, metrics: &Metrics, always: bool) {
    let mut read = Vec::new();
    for made in settings.files() {
        match made.reload(always) {
            None => {}
            Some(Ok(())) => read.push(made.setting()),
            Some(Err(error)) => {
                tracing::error!(%error, "a changed file can't be used; what was read before it stays")
            }
        }
    }
    if !read.is_empty() {
        tracing::info!(settings = read.join(" "), "files of settings read again");
        show_ends(settings, metrics);
    }
}

fn show_ends(settings: &Settings, metrics: &Metrics) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for (setting, end) in settings.files().iter().flat_map(|made| made.ends()) {
        metrics.certificate_end.with_label_values(&[setting]).set(end);
        if u64::try_from(end).is_ok_and(|end| end <= now.as_secs()) {
            tracing::warn!(setting, "the certificate or credential has ended: nobody who checks it takes it");
        }
    }
}
