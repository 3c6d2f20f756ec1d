//! The health of the service: which parts are up and since when, as `/readyz` and `/healthz` show it.

pub(crate) mod readyz_warning;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::watch;

use self::readyz_warning::{Warning, WarningKind};
use crate::metrics::Metrics;

/// A part that can be down while the others continue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// The connection to NATS.
    Nats,
    /// PostgreSQL, as the writing connection sees it.
    Postgres,
    /// The subscription to the stream.
    Intake,
    /// The fill of memory from the table.
    Fill,
}

const PARTS: [(Part, &str); 4] =
    [(Part::Nats, "nats"), (Part::Postgres, "postgres"), (Part::Intake, "intake"), (Part::Fill, "fill")];

/// The state of one component.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct State {
    /// Whether it is up.
    pub(crate) up: bool,
    /// Since when it is so.
    #[serde(serialize_with = "time::serde::rfc3339::serialize")]
    pub(crate) since: OffsetDateTime,
    /// Why it is not up, without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

impl State {
    /// Up without a reason, down with one.
    fn set(&mut self, reason: Option<String>) {
        if self.up != reason.is_none() {
            self.up = reason.is_none();
            self.since = OffsetDateTime::now_utc();
        }
        self.reason = reason;
    }
}

/// The state of a part as it was reported, the guards that hold it down, and the state that follows from both.
struct PartState {
    reported: State,
    /// The reason of each [`DownGuard`], by its number.
    guards: BTreeMap<u64, String>,
    shown: State,
}

/// Keeps a part down until the guard is dropped, whatever is reported meanwhile.
pub(crate) struct DownGuard {
    health: Arc<Health>,
    part: Part,
    number: u64,
}

impl DownGuard {
    /// Why the part is down now.
    pub(crate) fn explain(&self, reason: String) {
        self.health.change(self.part, |known| {
            known.guards.insert(self.number, reason);
        });
    }
}

impl Drop for DownGuard {
    fn drop(&mut self) {
        self.health.change(self.part, |known| {
            known.guards.remove(&self.number);
        });
    }
}

/// All parts.
pub(crate) struct Health {
    states: Mutex<[PartState; 4]>,
    next_guard: AtomicU64,
    /// Which parts are up, readable without a lock on every request.
    up: [AtomicBool; 4],
    changed: watch::Sender<()>,
    /// By the watcher that reports them.
    warnings: Mutex<BTreeMap<&'static str, Vec<Warning>>>,
    /// Shutdown has begun: the service still serves, but is not ready.
    draining: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Health {
    /// All components down, since now.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        let away = State { up: false, since: OffsetDateTime::now_utc(), reason: Some("starting".into()) };
        for (_, name) in PARTS {
            metrics.up.with_label_values(&[name]).set(0);
        }
        let states = Mutex::new(std::array::from_fn(|_| PartState {
            reported: away.clone(),
            guards: BTreeMap::new(),
            shown: away.clone(),
        }));
        Arc::new(Self {
            states,
            next_guard: AtomicU64::new(0),
            up: Default::default(),
            changed: watch::Sender::new(()),
            warnings: Mutex::default(),
            draining: AtomicBool::new(false),
            metrics,
        })
    }

    /// Begins to drain: the service is no longer ready, and each response is its connection's last.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether shutdown has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Reports a part as up. Logs it if it was down.
    pub(crate) fn up(&self, part: Part) {
        self.change(part, |known| known.reported.set(None));
    }

    /// Replaces the warnings of one watcher, and logs the changes.
    pub(crate) fn warn(&self, watcher: &'static str, warnings: Vec<Warning>) {
        let before = self.replace_warnings(watcher, &warnings);
        let has = |some: &[Warning], warning: &Warning| some.iter().any(|other| other.is_as(warning));
        for warning in warnings.iter().filter(|warning| !has(&before, warning)) {
            tracing::warn!(what = warning.kind.as_str(), "{}", warning.finding);
        }
        for warning in before.iter().filter(|warning| !has(&warnings, warning)) {
            tracing::info!(what = warning.kind.as_str(), "resolved: {}", warning.finding.problem);
        }
    }

    /// Replaces the warnings of one watcher without logging them, if they are logged elsewhere. Returns the former
    /// ones.
    pub(crate) fn replace_warnings(&self, watcher: &'static str, warnings: &[Warning]) -> Vec<Warning> {
        let mut all = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.insert(watcher, warnings.to_vec()).unwrap_or_default();
        let is_there = |kind| all.values().flatten().any(|warning: &Warning| warning.kind == kind);
        for kind in WarningKind::ALL {
            self.metrics.warnings.with_label_values(&[kind.as_str()]).set(i64::from(is_there(kind)));
        }
        drop(all);
        if before != warnings {
            self.changed.send_replace(());
        }
        before
    }

    /// Reports a part as down. Logs it if it was up, or if the reason has changed.
    pub(crate) fn down(&self, part: Part, reason: impl ToString) {
        self.change(part, |known| known.reported.set(Some(reason.to_string())));
    }

    /// Keeps a part down for as long as the guard lives, whatever is reported of the part.
    pub(crate) fn hold_down(self: &Arc<Self>, part: Part, reason: String) -> DownGuard {
        let number = self.next_guard.fetch_add(1, Ordering::Relaxed);
        let guard = DownGuard { health: self.clone(), part, number };
        guard.explain(reason);
        guard
    }

    /// Replaces the reason why a part is down. Does nothing if the part is up.
    pub(crate) fn explain(&self, part: Part, reason: String) {
        self.change(part, |known| {
            if !known.reported.up {
                known.reported.reason = Some(reason);
            }
        });
    }

    /// Changes the state of a part, and logs the change that it makes.
    fn change(&self, part: Part, change: impl FnOnce(&mut PartState)) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut states[part as usize];
        let before = known.shown.clone();
        change(known);
        match known.guards.values().next() {
            Some(reason) => known.shown.set(Some(reason.clone())),
            None => known.shown.set(known.reported.reason.clone()),
        }
        let now = known.shown.clone();
        self.up[part as usize].store(now.up, Ordering::Release);
        if now.up != before.up {
            self.metrics.up.with_label_values(&[name(part)]).set(i64::from(now.up));
        }
        drop(states);
        if now.up == before.up && now.reason == before.reason {
            return;
        }
        self.changed.send_replace(());
        match now.reason {
            None => tracing::info!(part = name(part), "up"),
            Some(reason) => tracing::warn!(part = name(part), reason, "away"),
        }
    }

    /// Notifies of parts that come up or go down, and of changed reasons and warnings.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits until a part is up.
    pub(crate) async fn wait_up(&self, part: Part) {
        let mut changed = self.changes();
        while !self.is_up(part) && changed.changed().await.is_ok() {}
    }

    /// The state of a component.
    pub(crate) fn state(&self, part: Part) -> State {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)[part as usize].shown.clone()
    }

    /// Whether a part is up.
    pub(crate) fn is_up(&self, part: Part) -> bool {
        self.up[part as usize].load(Ordering::Acquire)
    }
}

impl Health {
    /// All parts as JSON, and the counts of the fill.
    pub(crate) fn report(&self, fill: &[(&str, u64)]) -> Value {
        let mut report = json!({});
        for (part, name) in PARTS {
            report[name] = serde_json::to_value(self.state(part)).unwrap_or_default();
        }
        for (name, count) in fill {
            report["fill"][*name] = (*count).into();
        }
        let warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        let warnings: Vec<&Warning> = warnings.values().flatten().collect();
        report["warnings"] = serde_json::to_value(warnings).unwrap_or_default();
        report
    }
}

fn name(part: Part) -> &'static str {
    PARTS[part as usize].1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_down_until_nothing_keeps_it_down() {
        let health = Health::new(Metrics::new().unwrap());
        health.up(Part::Intake);
        let first = health.hold_down(Part::Intake, "first".into());
        let second = health.hold_down(Part::Intake, "second".into());
        // The reported state shows only while no guard keeps the part down.
        health.up(Part::Intake);
        assert_eq!(health.state(Part::Intake).reason.as_deref(), Some("first"));
        first.explain("first, still".into());
        assert_eq!(health.state(Part::Intake).reason.as_deref(), Some("first, still"));
        drop(first);
        assert_eq!(health.state(Part::Intake).reason.as_deref(), Some("second"));
        assert!(!health.is_up(Part::Intake));
        drop(second);
        assert!(health.is_up(Part::Intake));
        assert!(health.state(Part::Intake).up);
        let third = health.hold_down(Part::Intake, "third".into());
        health.down(Part::Intake, "its own");
        drop(third);
        assert_eq!(health.state(Part::Intake).reason.as_deref(), Some("its own"));
        assert!(!health.is_up(Part::Intake));
    }
}
