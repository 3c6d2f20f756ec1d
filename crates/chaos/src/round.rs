//! One round: a new environment, load, the faults of the plan, recovery, and the check.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_nats::{Client, ConnectOptions, ServerAddr};
use tokio::runtime::Runtime;

use crate::checker::{Snapshot, check, check_served, missing};
use crate::environment::Environment;
use crate::known_losses::{Losses, reported_losses};
use crate::ledger::{Entry, Kind, Ledger};
use crate::observer::Observer;
use crate::plan::{Disks, Fault, FaultKind, Plan, Target};
use crate::prober::{Prober, Probes};
use crate::publisher::Publisher;
use crate::snapshot;
use crate::wording::seconds;

/// Time limit for readiness after the last fault.
const READY_LIMIT: Duration = Duration::from_secs(15);

/// Time limit, after the last fault, for the table's position to reach the end of the stream.
const COMMIT_LIMIT: Duration = Duration::from_secs(40);

/// Messages in flight that make a moment busy; and how long a fault waits for one.
const BUSY: u64 = 10;
const PUT_OFF: Duration = Duration::from_secs(3);

/// Limits of memory: a base, and an amount per stored order.
const MEMORY_KIB: u64 = 192 << 10;
const MEMORY_KIB_AN_ORDER: u64 = 1;

/// Time limit, after the last fault, for the memory of all services to equal the table.
const CONVERGENCE_LIMIT: Duration = Duration::from_secs(60);

const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum number of wrong responses that a round reports.
const MAX_REPORTED: usize = 5;

/// Work in flight when a fault hit.
#[derive(Clone, Copy, Default, Debug)]
pub struct InFlight {
    /// Orders acknowledged to the publisher and not in the table.
    pub uncommitted: usize,
    /// Messages in the stream after the table's position.
    pub behind: u64,
    /// Chunks in the service's channels; `None` if it did not answer.
    pub channels: Option<u64>,
}

/// A fault, and the work in flight.
#[derive(Clone, Debug)]
pub struct InjectedFault {
    /// What was done.
    pub fault: Fault,
    /// Work in flight.
    pub in_flight: InFlight,
    /// Whether it was delayed because nothing was in flight.
    pub replanned: bool,
}

/// The result of a round.
#[derive(Clone, Default, Debug)]
pub struct Outcome {
    /// The seed that repeats it.
    pub seed: u64,
    /// The number of services.
    pub replicas: usize,
    /// Whether NATS and PostgreSQL were clusters.
    pub clusters: bool,
    /// The special properties of the servers.
    pub traits: Vec<&'static str>,
    /// Whether NATS could lose acknowledged messages.
    pub may_lose: bool,
    /// Whether its faults were power failures and damaged files.
    pub power: bool,
    /// Its faults.
    pub hits: Vec<InjectedFault>,
    /// Orders that the stream acknowledged.
    pub acknowledged: usize,
    /// Orders that it did not acknowledge.
    pub unacknowledged: usize,
    /// Bad messages.
    pub bad: usize,
    /// Messages without a payload.
    pub empty: usize,
    /// Messages that claim a key.
    pub forged: usize,
    /// Rows in the end.
    pub rows: usize,
    /// Dead letters in the end.
    pub dead: usize,
    /// Orders that NATS acknowledged and no longer has, and that no table has.
    pub gone: usize,
    /// How many of them the services reported as lost.
    pub reported_lost: u64,
    /// Time from recovery until everything acknowledged was in the table; not measured if NATS may lose messages.
    pub committed: Option<Duration>,
    /// Time from recovery until the position was at the stream's end.
    pub settled: Option<Duration>,
    /// Time from recovery until the memory of every service equalled the table.
    pub same: Option<Duration>,
    /// Responses to the prober.
    pub probes: Probes,
    /// The service's peak memory.
    pub peak_kib: u64,
    /// All violations.
    pub violations: Vec<String>,
    /// The services' logs, concatenated.
    pub log: String,
}

struct Round<'a> {
    runtime: &'a Runtime,
    environment: Environment,
    observer: Observer,
    ledger: Arc<Ledger>,
    prober: Prober,
    /// Set if NATS may lose acknowledged messages.
    losses: Option<Losses>,
    outcome: Outcome,
}

/// Runs it.
///
/// # Errors
/// A failure of the environment; violations by the service are in the outcome.
pub(crate) fn run(plan: &Plan, program: &Path, runtime: &Runtime) -> Result<Outcome> {
    let environment = Environment::start(program, plan)?;
    let urls = environment.servers.nats_urls();
    let (publishing, observing) =
        runtime.block_on(async { anyhow::Ok((connect(&urls).await?, connect(&urls).await?)) })?;
    let ledger = Arc::new(Ledger::new(plan.seed));
    let publisher = Publisher::start(publishing.clone(), ledger.clone(), plan);
    let mut round = Round {
        runtime,
        observer: Observer::new(observing, environment.servers.postgres_url(), plan.format)?,
        prober: Prober::start(environment.addrs(), plan.seed),
        ledger,
        environment,
        losses: plan.may_lose().then(Losses::default),
        outcome: Outcome {
            seed: plan.seed,
            replicas: plan.replicas,
            clusters: plan.clusters,
            traits: plan.traits(),
            may_lose: plan.may_lose(),
            power: plan.disks != Disks::Folders,
            ..Outcome::default()
        },
    };
    let restores = plan.faults.iter().any(|fault| fault.kinds.contains(&FaultKind::Restore));
    for (number, fault) in plan.faults.iter().enumerate() {
        if restores && number == 0 {
            std::thread::sleep(fault.after);
            round.runtime.block_on(round.observer.keep())?;
        }
        round.fault(fault, &publisher).with_context(|| format!("cannot continue after {fault}"))?;
    }
    round.quiet(plan, publisher, &publishing)?;
    round.judge()
}

pub(crate) async fn connect(urls: &[String]) -> Result<Client> {
    let servers = urls.iter().map(|url| Ok(url.parse()?)).collect::<Result<Vec<ServerAddr>>>()?;
    let options = ConnectOptions::new()
        .max_reconnects(None)
        .reconnect_delay_callback(|_| Duration::from_millis(30))
        .ping_interval(Duration::from_secs(1))
        .connection_timeout(Duration::from_secs(2));
    Ok(options.connect(servers).await?)
}

impl Round<'_> {
    /// Injects a fault while messages are in flight, waits, and undoes it.
    fn fault(&mut self, fault: &Fault, publisher: &Publisher) -> Result<()> {
        std::thread::sleep(fault.after);
        let rows = self.runtime.block_on(self.observer.some_rows())?;
        self.prober.learn(&rows);
        if let Some(leader) = self.runtime.block_on(self.observer.leader()) {
            self.environment.servers.aim(&leader);
        }
        if fault.is_written_out {
            self.environment.servers.write_out()?;
        }
        if fault.kinds.iter().any(FaultKind::is_of_postgres) {
            self.environment.servers.hold_standby_back(fault.hold)?;
        }
        let (in_flight, replanned) = self.busy_moment(fault, publisher)?;
        self.note_known(fault)?;
        self.environment.strike(&fault.kinds, fault.replica)?;
        if fault.kinds.contains(&FaultKind::Restore) {
            self.runtime.block_on(self.observer.restore())?;
        }
        std::thread::sleep(fault.hold);
        for (index, &kind) in fault.undone().iter().enumerate() {
            std::thread::sleep(if index == 0 { Duration::ZERO } else { fault.gap });
            self.environment.undo(kind, fault.replica, fault.hold)?;
        }
        self.outcome.hits.push(InjectedFault { fault: fault.clone(), in_flight, replanned });
        Ok(())
    }

    /// Records what a surviving service knows when this fault hits.
    fn note_known(&mut self, fault: &Fault) -> Result<()> {
        let Some(losses) = &mut self.losses else { return Ok(()) };
        let goes_on = !fault.kinds.contains(&FaultKind::Kill(Target::Service));
        if !goes_on && !self.environment.wait_ready(Duration::ZERO) {
            losses.end_unaware();
        }
        let position = self.runtime.block_on(self.observer.position_in_stream())?;
        let known = if goes_on { position } else { 0 };
        losses.strike(self.ledger.entries().len(), known);
        Ok(())
    }

    /// Waits for the planned moment, or a later one if nothing was in flight.
    fn busy_moment(&mut self, fault: &Fault, publisher: &Publisher) -> Result<(InFlight, bool)> {
        let begun = Instant::now();
        let mut replanned = false;
        loop {
            publisher.burst(fault.burst);
            std::thread::sleep(fault.lead);
            let in_flight = self.count_in_flight()?;
            if in_flight.behind >= BUSY || begun.elapsed() > PUT_OFF {
                return Ok((in_flight, replanned));
            }
            replanned = true;
        }
    }

    /// Work in flight; queries the fastest-changing value last.
    fn count_in_flight(&mut self) -> Result<InFlight> {
        let depths: Vec<_> = self.environment.addrs().into_iter().filter_map(snapshot::depths).collect();
        let channels = (!depths.is_empty()).then(|| depths.iter().sum());
        let acknowledged = self.ledger.acknowledged_orders();
        let table = self.runtime.block_on(self.observer.sequences())?;
        let uncommitted = acknowledged.iter().filter(|sequence| !table.contains(sequence)).count();
        let behind = self.runtime.block_on(self.observer.behind())?;
        Ok(InFlight { uncommitted, behind, channels })
    }

    /// Everything runs again: waits until everything is committed, then until the memories agree.
    fn quiet(&mut self, plan: &Plan, publisher: Publisher, publishing: &Client) -> Result<()> {
        if plan.clusters {
            self.runtime.block_on(self.observer.wait_for_leaders())?;
        }
        let back = Instant::now();
        publisher.stop();
        if self.losses.is_none() {
            self.wait_committed(back, plan.committed_within)?;
        }
        self.runtime.block_on(publisher.finish())?;
        self.runtime.block_on(async { tokio::time::timeout(FLUSH_TIMEOUT, publishing.flush()).await })??;
        self.outcome.settled =
            self.wait(back, COMMIT_LIMIT, |round| Ok(round.runtime.block_on(round.observer.behind())? == 0))?;
        if self.outcome.settled.is_none() {
            self.wrong(format!(
                "the position was not at the stream's end within {} s",
                COMMIT_LIMIT.as_secs()
            ));
        }
        if !self.environment.wait_ready(READY_LIMIT) {
            self.wrong("the service was not ready although all parts were back".into());
        }
        // NATS may acknowledge a message before it stores it, so the table is read again.
        let mut differ = String::new();
        self.outcome.same = self.wait(back, CONVERGENCE_LIMIT, |round| {
            let rows = round.runtime.block_on(round.observer.count())?;
            let held: Vec<_> = round.environment.addrs().into_iter().map(snapshot::mem_len).collect();
            differ = format!("{rows} rows are in the table, and in memory {held:?}");
            Ok(held.iter().all(|held| *held == Some(rows)))
        })?;
        if self.outcome.same.is_none() {
            self.wrong(format!("{differ}, {} s after all parts were back", CONVERGENCE_LIMIT.as_secs()));
        }
        Ok(())
    }

    fn wait_committed(&mut self, back: Instant, limit: Duration) -> Result<()> {
        let due = self.ledger.acknowledged_orders();
        self.outcome.committed = self.wait(back, COMMIT_LIMIT, |round| {
            let table = round.runtime.block_on(round.observer.sequences())?;
            Ok(due.iter().all(|sequence| table.contains(sequence)))
        })?;
        if self.outcome.committed.is_none_or(|committed| committed > limit) {
            let (limit, took) = (limit.as_secs(), seconds(self.outcome.committed));
            self.wrong(format!(
                "what was in flight was committed {took} after all parts were back, and not within {limit} s"
            ));
        }
        Ok(())
    }

    /// How long after `since` the condition held, within the limit.
    fn wait(
        &mut self,
        since: Instant,
        limit: Duration,
        mut condition: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<Option<Duration>> {
        while !condition(self)? {
            if since.elapsed() > limit {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(since.elapsed()))
    }

    fn wrong(&mut self, what: String) {
        self.outcome.violations.push(what);
    }

    /// Checks the snapshot against the ledger, and the service's behaviour during the round.
    fn judge(mut self) -> Result<Outcome> {
        let mut stored = self.runtime.block_on(snapshot::stored(&mut self.observer))?;
        let log = self.environment.service_log();
        self.judge_losses(&mut stored, &log)?;
        self.outcome.log = log.clone();
        let mut served = Vec::new();
        for addr in self.environment.addrs() {
            served.push(snapshot::served(addr, stored.clone())?);
        }
        self.environment.look_at_services();
        let mut outcome = self.outcome;
        let snapshot = &served[0];
        for (number, replica) in served.iter().enumerate().skip(1) {
            let wrong = check_served(replica).into_iter();
            outcome.violations.extend(wrong.map(|what| format!("replica {}: {what}", number + 1)));
        }
        self.ledger.entries().iter().for_each(|entry| outcome.count(entry));
        outcome.rows = snapshot.rows.len();
        outcome.dead = snapshot.dead.iter().filter(|(subject, _)| !subject.ends_with(".rest")).count();
        outcome.peak_kib = self.environment.peak_kib();
        outcome.probes = self.prober.finish();
        outcome.violations.extend(check(&self.ledger, snapshot));
        let is_there = |id: &String| snapshot.rows.iter().any(|(there, _)| there == id);
        let wrong = outcome.probes.wrong.iter();
        // For an order that was lost, 404 is right.
        let wrong = wrong.filter(|it| snapshot.gone.is_none() || it.status != 404 || is_there(&it.id));
        outcome.violations.extend(wrong.take(MAX_REPORTED).map(ToString::to_string));
        outcome.violations.append(&mut self.environment.complaints);
        outcome.violations.extend(in_log(&log));
        if outcome.peak_kib > MEMORY_KIB + MEMORY_KIB_AN_ORDER * outcome.rows as u64 {
            outcome.violations.push(format!("the service has taken {} MiB", outcome.peak_kib >> 10));
        }
        Ok(outcome)
    }
}

impl Round<'_> {
    /// Messages that NATS has lost may be missing, if the services reported those that they could know of.
    fn judge_losses(&mut self, stored: &mut Snapshot, log: &str) -> Result<()> {
        let Some(losses) = &mut self.losses else { return Ok(()) };
        let mut gone = HashSet::new();
        let bounds = self.runtime.block_on(self.observer.bounds())?;
        for (number, sequence) in missing(&self.ledger, &stored.rows) {
            let payload = self.runtime.block_on(self.observer.payload_at(sequence))?;
            let found = payload.as_deref().and_then(|payload| self.ledger.number_in(payload));
            if found != Some(number) {
                losses.add(number, sequence, payload.is_some(), bounds);
                gone.insert(number);
            }
        }
        self.outcome.gone = gone.len();
        self.outcome.reported_lost = reported_losses(log);
        self.outcome.violations.extend(losses.unreported(self.outcome.reported_lost));
        stored.gone = Some(gone);
        Ok(())
    }
}

impl Outcome {
    fn count(&mut self, entry: &Entry) {
        match (entry.kind, entry.acknowledged) {
            (Kind::Good, Some(_)) => self.acknowledged += 1,
            (Kind::Good, None) => self.unacknowledged += 1,
            (Kind::Bad, _) => self.bad += 1,
            (Kind::Empty, _) => self.empty += 1,
            (Kind::Forged, _) => self.forged += 1,
        }
    }
}

/// Finds panics, and content of orders, which must not be in a log.
fn in_log(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("panicked") || line.contains("chaos-"))?;
    Some(format!("the service's log has: {}", line.chars().take(200).collect::<String>()))
}
