//! The plan of a round: which fault hits which part, and when. Depends only on the seed.

use std::fmt;
use std::time::Duration;

use devstack::breaker::Mode;
use fastrand::Rng;
use order::RowFormat;

use crate::nats_file_damage::Damage;

/// A process that can be hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// `orderd`; with replicas, the one that the fault names.
    Service,
    /// PostgreSQL with all its backends.
    Postgres,
    /// The NATS server.
    Nats,
}

/// A connection of the service that can be broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// To PostgreSQL.
    Postgres,
    /// To NATS.
    Nats,
}

/// One thing that is done to one part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// SIGKILL, then a restart.
    Kill(Target),
    /// SIGSTOP, then SIGCONT.
    Pause(Target),
    /// SIGTERM of the service, which must exit by itself, then a restart.
    Terminate,
    /// A mode of a breaker, then normal operation.
    Break(Side, Mode),
    /// The server ends, and restarts with its disk of that moment.
    PowerOff(Target),
    /// NATS is killed, a file of its store is damaged, then it restarts.
    Damage(Damage),
    /// The table is restored to its state at the first fault, as from a backup.
    Restore,
}

/// What is done to one or several parts at once, lasts for a time, and is then undone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The pause before it.
    pub after: Duration,
    /// Number of orders published at once just before it.
    pub burst: usize,
    /// See `burst`.
    pub lead: Duration,
    /// At least one, each for a different part.
    pub kinds: Vec<FaultKind>,
    /// How long until they are undone.
    pub hold: Duration,
    /// Whether the last kind is undone first.
    pub backwards: bool,
    /// The pause between undoing two kinds: the service may be back before the servers.
    pub gap: Duration,
    /// The service that is hit, or whose connections are broken.
    pub replica: usize,
    /// Whether NATS's disk is synced before the burst. Otherwise it lacks everything that NATS has not synced.
    pub is_written_out: bool,
}

/// The storage of a round's servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disks {
    /// Folders; PostgreSQL does not sync.
    Folders,
    /// Disks whose power can fail; PostgreSQL syncs.
    Powered {
        /// Whether NATS syncs each message before it acknowledges it (`sync_interval: always`).
        sync_always: bool,
    },
}

/// A round's faults and load.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The seed of the plan.
    pub seed: u64,
    /// The number of services.
    pub replicas: usize,
    /// Whether NATS and PostgreSQL are clusters.
    pub clusters: bool,
    /// Whether the standby is asynchronous, and behind when it is promoted.
    pub is_standby_behind: bool,
    /// PostgreSQL's `synchronous_commit`.
    pub synchronous_commit: bool,
    /// The format of the table's rows.
    pub format: RowFormat,
    /// The storage of the servers.
    pub disks: Disks,
    /// Time limit for committing orders in flight after everything has recovered.
    pub committed_within: Duration,
    /// Orders per second, besides the bursts.
    pub rate: u32,
    /// One after the other.
    pub faults: Vec<Fault>,
}

/// The parts that faults hit: three processes and two connections.
const PARTS: usize = 5;

/// The contract's limit.
const COMMITTED_WITHIN: Duration = Duration::from_secs(5);

/// One of this many plans restores the table from an older copy.
const RESTORED_IN: u8 = 3;

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        // Adjacent seeds begin with similar numbers.
        for _ in 0..8 {
            rng.u64(..);
        }
        let rate = rng.u32(500..2500);
        let count = rng.usize(2..=4);
        let mut plan = Self {
            seed,
            replicas: 1,
            clusters: false,
            is_standby_behind: false,
            synchronous_commit: true,
            format: format(seed),
            disks: Disks::Folders,
            committed_within: COMMITTED_WITHIN,
            rate,
            faults: (0..count).map(|_| Fault::new(&mut rng)).collect(),
        };
        plan.synchronous_commit = rng.bool();
        if rng.u8(..RESTORED_IN) == 0 {
            let restore = Fault { kinds: vec![FaultKind::Restore], ..Fault::new(&mut rng) };
            plan.faults.insert(rng.usize(1..=count), restore);
        }
        plan
    }

    /// The plan with three NATS servers, and a standby of PostgreSQL, which lags in every second plan.
    pub fn with_clusters(self) -> Self {
        let is_standby_behind = Rng::with_seed(self.seed.rotate_left(32)).bool();
        Self { clusters: true, is_standby_behind, ..self }
    }

    /// Power failures of NATS, PostgreSQL, both, or the whole machine with the service; and damage to NATS's files.
    pub fn with_power_failures(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed.rotate_left(16));
        let sync_always = seed.is_multiple_of(2);
        let count = rng.usize(2..=4);
        let faults = (0..count).map(|number| Fault::of_disks(&mut rng, number == 0)).collect();
        Self { disks: Disks::Powered { sync_always }, faults, ..Self::new(seed) }
    }

    /// Whether NATS may lose what it has acknowledged.
    pub fn may_lose(&self) -> bool {
        let damages = |fault: &Fault| fault.kinds.iter().any(|kind| matches!(kind, FaultKind::Damage(_)));
        self.disks == Disks::Powered { sync_always: false } || self.faults.iter().any(damages)
    }

    /// The special properties of the servers, in words.
    pub fn traits(&self) -> Vec<&'static str> {
        let all = [
            (!self.synchronous_commit, "synchronous_commit off"),
            (self.format == RowFormat::Jsonb, "jsonb rows"),
            (self.format == RowFormat::Json, "json rows"),
            (self.is_standby_behind, "asynchronous standby"),
            (self.disks == Disks::Powered { sync_always: true }, "sync_interval always"),
            (self.disks == Disks::Powered { sync_always: false }, "sync_interval 2 m"),
        ];
        all.into_iter().filter(|(is_so, _)| *is_so).map(|(_, words)| words).collect()
    }

    /// The plan of a seed with several services: each fault hits one service, and more faults of a single service
    /// follow.
    pub fn with_replicas(seed: u64, replicas: usize) -> Self {
        let mut plan = Self::new(seed);
        if replicas > 1 {
            let mut rng = Rng::with_seed(!seed);
            let faults = std::mem::take(&mut plan.faults);
            let each = faults.into_iter().flat_map(|fault| {
                let alone = [Fault::of_service(&mut rng), Fault::of_service(&mut rng)];
                std::iter::once(fault).chain(alone)
            });
            plan.faults = each.collect();
            plan.faults.iter_mut().for_each(|fault| fault.replica = rng.usize(..replicas));
            plan.replicas = replicas;
        }
        plan
    }
}

/// gob in every second plan.
fn format(seed: u64) -> RowFormat {
    [RowFormat::Gob, RowFormat::Gob, RowFormat::Jsonb, RowFormat::Json]
        [Rng::with_seed(seed.rotate_left(48)).usize(..4)]
}

impl Fault {
    fn new(rng: &mut Rng) -> Self {
        let mut parts: Vec<usize> = (0..PARTS).collect();
        rng.shuffle(&mut parts);
        let together = [1, 1, 1, 1, 1, 1, 2, 2, 2, 3][rng.usize(..10)];
        let kinds = parts[..together].iter().map(|&part| FaultKind::new(part, rng)).collect();
        let mut fault = Self {
            after: millis(rng, 50..700),
            burst: rng.usize(200..1500),
            lead: millis(rng, 0..60),
            kinds,
            hold: hold(rng),
            backwards: rng.bool(),
            gap: millis(rng, 0..500),
            replica: 0,
            is_written_out: true,
        };
        if rng.u32(..100) == 0 {
            fault = Self::long(fault, rng);
        }
        fault
    }

    /// Mostly a kill, which leaves the most unfinished work.
    fn of_service(rng: &mut Rng) -> Self {
        let kind = match rng.u8(..10) {
            0..=5 => FaultKind::Kill(Target::Service),
            6..=7 => FaultKind::Pause(Target::Service),
            _ => FaultKind::Terminate,
        };
        Self { kinds: vec![kind], ..Self::new(rng) }
    }

    /// Mostly a power failure; otherwise damage to NATS's files. With `may_restore`, the table is restored too, so that
    /// the service rereads damaged files; not after NATS has lost messages that the table had, because no process could
    /// detect that.
    fn of_disks(rng: &mut Rng, may_restore: bool) -> Self {
        let damage = match rng.bool() {
            true => FaultKind::Damage(Damage::Flip { seed: rng.u64(..) }),
            false => FaultKind::Damage(Damage::Cut { seed: rng.u64(..) }),
        };
        let (service, nats, postgres) = (
            FaultKind::Kill(Target::Service),
            FaultKind::PowerOff(Target::Nats),
            FaultKind::PowerOff(Target::Postgres),
        );
        let kinds = match rng.u8(..8) {
            0 => vec![nats],
            1 => vec![postgres],
            2..=3 => vec![nats, postgres],
            4..=5 => vec![service, nats, postgres],
            6..=7 if may_restore => vec![damage, FaultKind::Restore],
            _ => vec![damage],
        };
        let is_written_out = rng.bool();
        Self { kinds, hold: millis(rng, 30..1_500), is_written_out, ..Self::new(rng) }
    }

    /// Longer than the service waits for PostgreSQL.
    fn long(fault: Self, rng: &mut Rng) -> Self {
        let kind = match rng.u8(..3) {
            0 => FaultKind::Break(Side::Postgres, Mode::BlackHole),
            1 => FaultKind::Break(Side::Nats, Mode::BlackHole),
            _ => FaultKind::Pause(Target::Postgres),
        };
        Self { kinds: vec![kind], hold: millis(rng, 32_000..48_000), ..fault }
    }

    /// Its kinds, in the order in which they are undone.
    pub fn undone(&self) -> Vec<FaultKind> {
        let mut kinds = self.kinds.clone();
        if self.backwards {
            kinds.reverse();
        }
        kinds
    }
}

/// Mostly short; one in sixteen lasts for more than five seconds, longer than any lease.
fn hold(rng: &mut Rng) -> Duration {
    match rng.u8(..16) {
        0 => millis(rng, 5_300..8_000),
        1..=4 => millis(rng, 1_200..3_000),
        _ => millis(rng, 30..1_200),
    }
}

fn millis(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

impl FaultKind {
    fn new(part: usize, rng: &mut Rng) -> Self {
        match part {
            0 => [Self::Kill(Target::Service), Self::Pause(Target::Service), Self::Terminate][rng.usize(..3)],
            1 => process(Target::Postgres, rng),
            2 => process(Target::Nats, rng),
            3 => Self::Break(Side::Postgres, mode(rng)),
            _ => Self::Break(Side::Nats, mode(rng)),
        }
    }

    /// Whether it hits the PostgreSQL server.
    pub fn is_of_postgres(&self) -> bool {
        matches!(self, Self::Kill(Target::Postgres) | Self::Pause(Target::Postgres))
    }

    /// Its name in the report.
    pub fn label(&self) -> String {
        match self {
            Self::Kill(target) => format!("kill -9 {target}"),
            Self::Pause(target) => format!("SIGSTOP {target}"),
            Self::Terminate => "SIGTERM service".into(),
            Self::Break(side, mode) => format!("{side} {}", name_of(*mode)),
            Self::PowerOff(target) => format!("power failure of {target}"),
            Self::Damage(Damage::Flip { .. }) => "kill -9 NATS, bytes of its store flipped".into(),
            Self::Damage(Damage::Cut { .. }) => "kill -9 NATS, a file of its store cut".into(),
            Self::Restore => "table restored from an older copy".into(),
        }
    }
}

fn process(target: Target, rng: &mut Rng) -> FaultKind {
    if rng.u8(..3) < 2 { FaultKind::Kill(target) } else { FaultKind::Pause(target) }
}

fn mode(rng: &mut Rng) -> Mode {
    match rng.u8(..5) {
        0 => Mode::Closed,
        1 => Mode::Refused,
        2 => Mode::BlackHole,
        3 => Mode::Slow { bytes_per_second: rng.u64(2_000..400_000) },
        _ => Mode::CutAfter { bytes: rng.u64(1..300_000) },
    }
}

fn name_of(mode: Mode) -> &'static str {
    match mode {
        Mode::Pass => "passing",
        Mode::Closed => "closed",
        Mode::Refused => "refused",
        Mode::BlackHole => "black hole",
        Mode::Swallow => "swallowing",
        Mode::Late(_) => "late",
        Mode::Distant(_) => "distant",
        Mode::Slow { .. } => "slow",
        Mode::CutAfter { .. } => "cut mid-message",
        Mode::CutAt { .. } => "cut at a text",
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "service",
            Self::Postgres => "PostgreSQL",
            Self::Nats => "NATS",
        })
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "service-PostgreSQL",
            Self::Nats => "service-NATS",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.kinds.iter().map(FaultKind::label).collect();
        write!(f, "{} for {:.1} s", labels.join(" + "), self.hold.as_secs_f64())?;
        if self.replica > 0 { write!(f, " at replica {}", self.replica + 1) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_plan_and_another_seed_another_one() {
        assert_eq!(Plan::new(7), Plan::new(7));
        assert_ne!(Plan::new(7).faults, Plan::new(8).faults);
    }

    #[test]
    fn a_hundred_plans_have_every_blow_alone_and_together_short_and_long() {
        let faults: Vec<_> = (1..=100).flat_map(|seed| Plan::new(seed).faults).collect();
        let labels: BTreeSet<_> =
            faults.iter().flat_map(|fault| &fault.kinds).map(FaultKind::label).collect();
        // Three kills, three stops, one SIGTERM, five modes on two sides, a restored table.
        assert_eq!(labels.len(), 18, "{labels:?}");
        assert!((1..=3).all(|count| faults.iter().any(|fault| fault.kinds.len() == count)));
        assert!(faults.iter().any(|fault| fault.hold > Duration::from_secs(5)));
        assert!(faults.iter().any(|fault| fault.hold > Duration::from_secs(31)));
    }

    #[test]
    fn every_hundred_plans_have_many_of_each_format() {
        for start in [0, 1_000_000, 512_345_678] {
            for format in RowFormat::ALL {
                let with = (start..start + 100).filter(|&seed| Plan::new(seed).format == format).count();
                assert!(with >= 10, "{with} of 100 plans from {start} on have {format:?} rows");
            }
        }
    }

    #[test]
    fn several_services_are_all_hit_and_killed_more_than_anything_else() {
        let faults: Vec<_> = (1..=30).flat_map(|seed| Plan::with_replicas(seed, 3).faults).collect();
        let kills = faults.iter().filter(|fault| fault.kinds.contains(&FaultKind::Kill(Target::Service)));
        assert!(kills.count() >= 100);
        assert!((0..3).all(|replica| faults.iter().any(|fault| fault.replica == replica)));
        assert_eq!(Plan::with_replicas(7, 1), Plan::new(7));
    }

    #[test]
    fn one_fault_has_no_two_blows_for_one_part() {
        for fault in (0..300).flat_map(|seed| Plan::new(seed).faults) {
            let mut parts: Vec<_> = fault.kinds.iter().map(part_of).collect();
            parts.sort_unstable();
            parts.dedup();
            assert_eq!(parts.len(), fault.kinds.len(), "{fault}");
        }
    }

    #[test]
    fn ten_plans_of_power_failures_have_every_combination_of_settings_and_every_blow() {
        let plans: Vec<_> = (1..=10).map(Plan::with_power_failures).collect();
        let settings: BTreeSet<_> =
            plans.iter().map(|plan| format!("{:?} {}", plan.disks, plan.synchronous_commit)).collect();
        assert_eq!(settings.len(), 4, "{settings:?}");
        let kinds = plans.iter().flat_map(|plan| &plan.faults).flat_map(|fault| &fault.kinds);
        let labels: BTreeSet<_> = kinds.map(FaultKind::label).collect();
        // Two power failures, the service with both, two kinds of damage, a restored table.
        assert_eq!(labels.len(), 6, "{labels:?}");
        assert!(plans.iter().any(|plan| !plan.may_lose()));
    }

    #[test]
    fn thirty_plans_with_clusters_have_a_standby_that_is_behind_and_one_that_is_not() {
        let behind = (1..=30).filter(|&seed| Plan::new(seed).with_clusters().is_standby_behind).count();
        assert!((8..=22).contains(&behind), "{behind}");
    }

    fn part_of(kind: &FaultKind) -> String {
        match kind {
            FaultKind::Kill(target) | FaultKind::Pause(target) | FaultKind::PowerOff(target) => {
                target.to_string()
            }
            FaultKind::Damage(_) => Target::Nats.to_string(),
            FaultKind::Restore => "table".into(),
            FaultKind::Terminate => Target::Service.to_string(),
            FaultKind::Break(side, _) => side.to_string(),
        }
    }
}
