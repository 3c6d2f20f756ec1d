//! A short version of `cargo xtask chaos`, and faults of one kind again and again where that kind is the
//! most dangerous.

use std::path::Path;
use std::time::Duration;

use chaos::Plan;
use chaos::plan::{Blow, Fault, Target};

fn run(plans: impl IntoIterator<Item = Plan>) {
    let program = Path::new(env!("CARGO_BIN_EXE_orderd"));
    let report = chaos::run_plans(program, plans, &mut |line| eprintln!("{line}")).unwrap();
    assert!(report.failures().is_empty(), "{}", report.text());
}

/// The same blows so many times, each in a burst.
fn again_and_again(seed: u64, times: u64, blows: &[Blow]) -> Plan {
    let fault = |number: u64| Fault {
        after: Duration::from_millis(100),
        burst: 1500,
        // A little later in the burst each time.
        lead: Duration::from_millis(10 * number),
        blows: blows.to_vec(),
        hold: Duration::from_millis(100),
        backwards: false,
        gap: Duration::ZERO,
    };
    Plan { seed, rate: 500, faults: (0..times).map(fault).collect() }
}

#[test]
fn nothing_is_lost_or_doubled_in_two_rounds_of_faults() {
    // Kills, stops, cuts and SIGTERM, on either side, alone and together.
    run([27, 35].map(Plan::new));
}

#[test]
fn nothing_is_lost_or_doubled_where_postgres_is_killed_while_it_copies() {
    run([again_and_again(1_001, 6, &[Blow::Kill(Target::Postgres)])]);
}

#[test]
fn nothing_is_lost_or_doubled_where_acks_go_with_the_server_that_has_them() {
    run([again_and_again(1_002, 5, &[Blow::Kill(Target::Nats)])]);
}

#[test]
fn nothing_is_lost_or_doubled_where_the_service_is_told_to_end_with_full_hands() {
    run([again_and_again(1_003, 5, &[Blow::Terminate])]);
}
