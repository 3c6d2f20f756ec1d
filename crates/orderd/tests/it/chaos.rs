//! A short version of `cargo xtask chaos`; repeated faults of the most dangerous kinds; and a stream restored from a
//! copy.

use std::path::Path;
use std::time::Duration;

use chaos::Plan;
use chaos::plan::{Disks, Fault, FaultKind, Side, Target};
use devstack::breaker::Mode;

use crate::support::{Stack, eventually};

fn run(plans: &[Plan]) {
    let program = Path::new(env!("CARGO_BIN_EXE_orderd"));
    // `cargo xtask chaos` measures times; this limit only ends endless waits, beside other tests.
    let patient = |plan: &Plan| Plan { committed_within: Duration::from_secs(30), ..plan.clone() };
    let plans: Vec<_> = plans.iter().map(patient).collect();
    let report = chaos::run(program, &plans, 1, &mut |line| eprintln!("{line}")).unwrap();
    assert!(report.failures().is_empty(), "{}", report.text());
}

/// The same fault `times` times, each in a burst.
fn again_and_again(seed: u64, times: u64, kinds: &[FaultKind]) -> Plan {
    let fault = |number: u64| Fault {
        after: Duration::from_millis(100),
        burst: 1500,
        // A little later in the burst each time.
        lead: Duration::from_millis(10 * number),
        kinds: kinds.to_vec(),
        hold: Duration::from_millis(100),
        backwards: false,
        gap: Duration::ZERO,
        replica: 0,
        is_written_out: true,
    };
    Plan { synchronous_commit: true, rate: 500, faults: (0..times).map(fault).collect(), ..Plan::new(seed) }
}

#[test]
fn nothing_is_lost_or_doubled_in_two_rounds_of_faults() {
    // Kills, stops, cuts and SIGTERM, on either side, alone and together.
    run(&[27, 35].map(Plan::new));
}

#[test]
fn nothing_is_lost_or_missing_in_a_round_with_three_services() {
    run(&[Plan::with_replicas(7, 3)]);
}

#[test]
fn nothing_is_lost_or_doubled_where_postgres_is_killed_while_it_copies() {
    run(&[again_and_again(1_001, 6, &[FaultKind::Kill(Target::Postgres)])]);
}

#[test]
fn nothing_is_lost_or_doubled_where_nats_is_killed_while_it_delivers() {
    run(&[again_and_again(1_002, 5, &[FaultKind::Kill(Target::Nats)])]);
}

#[test]
fn nothing_is_lost_or_doubled_where_the_service_is_told_to_end_with_full_hands() {
    run(&[again_and_again(1_003, 5, &[FaultKind::Terminate])]);
}

#[test]
fn service_ends_in_time_while_nats_does_not_answer() {
    // Messages that claim a key wait for an answer; the breaker passes again after the service has ended.
    let mut plan =
        again_and_again(1_004, 2, &[FaultKind::Break(Side::Nats, Mode::BlackHole), FaultKind::Terminate]);
    plan.faults.iter_mut().for_each(|fault| fault.backwards = true);
    run(&[plan]);
}

#[test]
fn nothing_is_lost_or_doubled_where_leaders_are_struck_and_another_takes_their_place() {
    let kinds = [
        FaultKind::Kill(Target::Nats),
        FaultKind::Kill(Target::Postgres),
        FaultKind::Pause(Target::Postgres),
    ];
    let mut plan = again_and_again(1_005, 6, &[]);
    for (fault, kind) in plan.faults.iter_mut().zip(kinds.into_iter().cycle()) {
        fault.kinds = vec![kind];
        // Long enough for the standby to be promoted.
        fault.hold = Duration::from_millis(1200);
    }
    run(&[Plan { clusters: true, replicas: 2, ..plan }]);
}

#[test]
fn nothing_is_lost_where_the_power_of_nats_and_postgres_fails_and_nats_syncs_always() {
    // Mounting needs root; the error says so.
    let mut plan = again_and_again(
        1_006,
        3,
        &[FaultKind::PowerOff(Target::Nats), FaultKind::PowerOff(Target::Postgres)],
    );
    plan.faults[1].kinds.insert(0, FaultKind::Kill(Target::Service));
    plan.synchronous_commit = false;
    plan.disks = Disks::Powered { sync_always: true };
    run(&[plan]);
}

#[test]
fn what_nats_has_lost_and_nothing_else_is_missing_where_its_power_fails_and_it_does_not_sync() {
    let mut plan = again_and_again(
        1_007,
        3,
        &[FaultKind::PowerOff(Target::Nats), FaultKind::PowerOff(Target::Postgres)],
    );
    plan.faults[1].is_written_out = false;
    plan.disks = Disks::Powered { sync_always: false };
    run(&[plan]);
}

async fn wait_rows(stack: &Stack, count: usize) {
    eventually(&format!("{count} rows"), async || (stack.rows() == count).then_some(())).await;
}

/// Copies a folder to where nothing is.
fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_restored_from_a_copy_doubles_nothing_and_hides_nothing() {
    let (mut stack, service) = Stack::started().await;
    stack.publish_numbers(0..50).await;
    wait_rows(&stack, 50).await;
    let (store, copied) = (stack.nats.store_dir(), stack.temp_dir.path().join("copy"));
    stack.nats.stop();
    copy(&store, &copied);
    stack.nats.start_again().unwrap();
    stack.publish_numbers(50..100).await;
    wait_rows(&stack, 100).await;
    stack.nats.stop();
    std::fs::remove_dir_all(&store).unwrap();
    copy(&copied, &store);
    stack.nats.start_again().unwrap();
    // They get sequences that others had before them.
    stack.publish_numbers(100..150).await;
    wait_rows(&stack, 150).await;
    service.wait_len(150).await;
    let ids = service.ids().await;
    assert!(ids.len() == 150 && ids.is_sorted_by(|one, next| one < next), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_has_lost_rows_gets_them_from_the_stream_again() {
    let (stack, mut service) = Stack::started().await;
    stack.publish_numbers(0..50).await;
    wait_rows(&stack, 50).await;
    assert_eq!(service.stop(), Some(0));
    stack.postgres.psql("DELETE FROM public.orders2 WHERE id LIKE '%3'").unwrap();
    assert_eq!(stack.rows(), 45);
    // Rows that are missing in the middle are seen by `orderd verify` alone.
    stack.postgres.psql("DELETE FROM public.orderd_position").unwrap();
    let again = stack.serve(&[]).await;
    wait_rows(&stack, 50).await;
    again.wait_len(50).await;
}
