//! The report of the rounds, as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::plan::FaultKind;
use crate::round::{InjectedFault, Outcome};
use crate::wording::seconds;

const SINGLE: &str = "one NATS, one PostgreSQL";
const CLUSTERS: &str = "three NATS that keep each stream; PostgreSQL with a synchronous standby";

/// All rounds of a run.
#[derive(Clone, Default, Debug)]
pub struct Report {
    /// One after the other.
    pub rounds: Vec<Outcome>,
}

impl Report {
    /// Why the run has failed, one line each; empty if it has not.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for round in &self.rounds {
            let mut repeat = format!("cargo xtask chaos --rounds 1 --seed {}", round.seed);
            if round.replicas > 1 {
                let _ = write!(repeat, " --replicas {}", round.replicas);
            }
            if round.clusters {
                repeat += " --clusters";
            }
            if round.power {
                repeat += " --power";
            }
            failures.extend(round.violations.iter().map(|what| format!("{what} (repeat: {repeat})")));
        }
        if !self.hits().any(|hit| hit.in_flight.behind > 0) {
            failures.push("no fault hit a busy moment: nothing was tested".into());
        }
        failures
    }

    fn hits(&self) -> impl Iterator<Item = &InjectedFault> {
        self.rounds.iter().flat_map(|round| &round.hits)
    }

    fn traits(&self) -> String {
        let mut rounds: BTreeMap<&str, usize> = BTreeMap::new();
        self.rounds.iter().flat_map(|round| &round.traits).for_each(|it| *rounds.entry(it).or_default() += 1);
        let counts: Vec<_> = rounds.iter().map(|(it, count)| format!("{it} in {count} rounds")).collect();
        if counts.is_empty() { "as by default".into() } else { counts.join(", ") }
    }

    fn sum(&self, of: impl Fn(&Outcome) -> u64) -> u64 {
        self.rounds.iter().map(of).sum()
    }

    /// The whole report.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write_summary(&mut out);
        self.write_faults(&mut out);
        self.write_violations(&mut out);
        self.write_rounds(&mut out);
        out
    }

    fn write_summary(&self, out: &mut String) {
        let seeds = (self.rounds.first().map_or(0, |it| it.seed), self.rounds.last().map_or(0, |it| it.seed));
        let hits = self.hits().count();
        let busy = self.hits().filter(|hit| hit.in_flight.behind > 0).count();
        let replanned = self.hits().filter(|hit| hit.replanned).count();
        let lines = [
            ("rounds", format!("{}, seeds {} to {}", self.rounds.len(), seeds.0, seeds.1)),
            ("services in each", self.rounds.iter().map(|it| it.replicas).max().unwrap_or(0).to_string()),
            ("servers", if self.rounds.iter().any(|it| it.clusters) { CLUSTERS } else { SINGLE }.to_owned()),
            ("settings of the servers", self.traits()),
            ("faults", format!("{hits}; {busy} hit a busy moment, {replanned} of all were put off for one")),
            (
                "orders published",
                format!(
                    "{} acknowledged, {} not acknowledged",
                    self.sum(|it| it.acknowledged as u64),
                    self.sum(|it| it.unacknowledged as u64)
                ),
            ),
            (
                "other messages",
                format!(
                    "{} bad, {} empty, {} that claim a key",
                    self.sum(|it| it.bad as u64),
                    self.sum(|it| it.empty as u64),
                    self.sum(|it| it.forged as u64)
                ),
            ),
            ("rows in the table", self.sum(|it| it.rows as u64).to_string()),
            ("dead letters", self.sum(|it| it.dead as u64).to_string()),
            (
                "orders that NATS acknowledged and lost, and no table has",
                format!(
                    "{}, in {} rounds; the services have said {} messages to be lost",
                    self.sum(|it| it.gone as u64),
                    self.rounds.iter().filter(|it| it.gone > 0).count(),
                    self.sum(|it| it.reported_lost)
                ),
            ),
            ("in flight at a fault", spread(self.hits().map(|hit| hit.in_flight.behind).collect())),
            (
                "of it acknowledged to the publisher, not in the table",
                spread(self.hits().map(|hit| hit.in_flight.uncommitted as u64).collect()),
            ),
            (
                "chunks in the service's channels",
                spread(self.hits().filter_map(|hit| hit.in_flight.channels).collect()),
            ),
            ("all committed, after all parts were back", times(&self.rounds, |it| it.committed)),
            (
                "the position at the stream's end, after all parts were back",
                times(&self.rounds, |it| it.settled),
            ),
            ("in the memory of every service, after all parts were back", times(&self.rounds, |it| it.same)),
            (
                "reads of known orders meanwhile",
                format!(
                    "{} answered 200, {} answered 503, {} not answered",
                    self.sum(|it| it.probes.found),
                    self.sum(|it| it.probes.later),
                    self.sum(|it| it.probes.unanswered)
                ),
            ),
            (
                "the service's peak memory",
                format!("{} MiB", self.rounds.iter().map(|it| it.peak_kib).max().unwrap_or(0) >> 10),
            ),
            ("violations", self.sum(|it| it.violations.len() as u64).to_string()),
        ];
        out.push_str("| | |\n|---|---|\n");
        for (name, value) in lines {
            let _ = writeln!(out, "| {name} | {value} |");
        }
    }

    fn write_faults(&self, out: &mut String) {
        let mut kinds: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for hit in self.hits() {
            for label in hit.fault.kinds.iter().map(FaultKind::label) {
                kinds.entry(label).or_default().push(hit.in_flight.behind);
            }
        }
        out.push_str("\n| what was done | times | in flight at it |\n|---|---|---|\n");
        for (label, in_flight) in kinds {
            let _ = writeln!(out, "| {label} | {} | {} |", in_flight.len(), spread(in_flight));
        }
        let together = self.hits().filter(|hit| hit.fault.kinds.len() > 1);
        let _ = writeln!(out, "| several of these at once | {} | |", together.count());
        let long = self.hits().filter(|hit| hit.fault.hold > Duration::from_secs(5));
        let _ = writeln!(out, "| held for longer than 5 s | {} | |", long.count());
    }

    fn write_violations(&self, out: &mut String) {
        for failure in self.failures() {
            let _ = writeln!(out, "\n**Violation**: {failure}");
        }
    }

    fn write_rounds(&self, out: &mut String) {
        out.push_str(
            "\n| seed | rows | committed | settled | in every memory | faults, with what was in flight |\n",
        );
        out.push_str("|---|---|---|---|---|---|\n");
        for round in &self.rounds {
            let hit = |hit: &InjectedFault| format!("{} ({})", hit.fault, hit.in_flight.behind);
            let traits = round.traits.iter().map(ToString::to_string);
            let faults: Vec<_> = traits.chain(round.hits.iter().map(hit)).collect();
            let committed = if round.may_lose { "".into() } else { seconds(round.committed) };
            let settled = seconds(round.settled);
            let _ = writeln!(
                out,
                "| {} | {} | {committed} | {settled} | {} | {} |",
                round.seed,
                round.rows,
                seconds(round.same),
                faults.join("; ")
            );
        }
    }
}

/// One round as a line.
pub(crate) fn line(round: &Outcome) -> String {
    let in_flight: Vec<_> = round.hits.iter().map(|hit| hit.in_flight.behind.to_string()).collect();
    format!(
        "seed {}: {} rows, in flight at faults {}, committed {}, settled {}, {} violations",
        round.seed,
        round.rows,
        in_flight.join(" "),
        seconds(round.committed),
        seconds(round.settled),
        round.violations.len()
    )
}

fn spread(mut values: Vec<u64>) -> String {
    values.sort_unstable();
    let at = |share: usize| values.get((values.len() * share / 100).min(values.len().saturating_sub(1)));
    match (at(50), at(100)) {
        (Some(median), Some(most)) => format!("median {median}, at most {most}"),
        _ => "none".into(),
    }
}

fn times(rounds: &[Outcome], of: impl Fn(&Outcome) -> Option<Duration>) -> String {
    let mut times: Vec<_> = rounds.iter().filter_map(&of).collect();
    times.sort_unstable();
    let never = rounds.iter().filter(|round| of(round).is_none() && !round.may_lose).count();
    let at =
        |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).copied();
    let never = if never == 0 { String::new() } else { format!(", never in {never} rounds") };
    format!("p50 {}, p95 {}, at most {}{never}", seconds(at(50)), seconds(at(95)), seconds(at(100)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_tested_nothing_has_failed() {
        let idle = Report { rounds: vec![Outcome::default()] };
        assert_eq!(idle.failures(), ["no fault hit a busy moment: nothing was tested"]);
    }

    #[test]
    fn a_violation_names_what_repeats_it() {
        let violations = vec!["1 lost".to_owned()];
        let report = Report { rounds: vec![Outcome { seed: 17, violations, ..Outcome::default() }] };
        assert!(report.failures()[0].ends_with("(repeat: cargo xtask chaos --rounds 1 --seed 17)"));
        assert!(report.text().contains("**Violation**: 1 lost"));
    }
}
