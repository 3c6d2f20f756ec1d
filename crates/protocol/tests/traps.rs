//! Each mistake put back breaks a promise; without it the same world keeps them all.
//!
//! `cargo test -p protocol --test traps -- --nocapture` shows what happens.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use protocol::Kind::{Good, Malformed, Refusable};
use protocol::{Budget, Kind, Protocol, Trap, check};

fn breaks(trap: Trap, promise: &str, orders: &[Kind], budget: Budget) {
    let world = Protocol::new(orders, budget);
    let found = check(&world.clone().with(trap)).err();
    let found = found.unwrap_or_else(|| panic!("{trap:?} breaks nothing"));
    eprintln!("{trap:?}, {found}");
    assert_eq!(found.broken, promise, "{found}");
    check(&world).unwrap_or_else(|found| panic!("without {trap:?}, {found}"));
}

const NOTHING: Budget =
    Budget { crashes: 0, lost_acks: 0, replays: 0, erasures: 0, purges: 0, forgeries: 0, tellings: 0 };

#[test]
fn an_ack_before_the_commit() {
    let budget = Budget { crashes: 1, ..NOTHING };
    breaks(Trap::AckBeforeCommit, "an acknowledged order is not lost", &[Good], budget);
}

#[test]
fn ack_policy_all() {
    let budget = Budget { crashes: 1, ..NOTHING };
    breaks(Trap::AckAll, "an acknowledged order is not lost", &[Good, Good], budget);
}

#[test]
fn a_snapshot_before_the_place_in_the_stream_is_known() {
    let budget = Budget { crashes: 1, ..NOTHING };
    breaks(Trap::FillBeforeFeed, "memory is the table", &[Good], budget);
}

#[test]
fn a_purge_above_the_ack_floor() {
    let budget = Budget { crashes: 1, purges: 1, ..NOTHING };
    breaks(Trap::PurgeAboveFloor, "an acknowledged order is not lost", &[Good, Good], budget);
}

#[test]
fn a_key_from_the_clock() {
    breaks(Trap::KeyFromClock, "an order is in the table once", &[Good], NOTHING);
}

#[test]
fn a_dead_letter_stored_unconditionally() {
    breaks(Trap::DeadLetterUnconditional, "a dead letter is stored once", &[Malformed], NOTHING);
}

#[test]
fn a_replay_without_the_look_up() {
    let budget = Budget { forgeries: 1, ..NOTHING };
    breaks(Trap::ReplayWithoutLookUp, "nobody chooses a key", &[Good], budget);
}

#[test]
fn a_purge_that_a_replica_does_not_notice() {
    let budget = Budget { purges: 1, ..NOTHING };
    breaks(Trap::GapUnnoticed, "memory is the table", &[Good], budget);
}

#[test]
fn a_miss_for_which_the_table_is_not_asked() {
    breaks(Trap::MissNotAsked, "an order of the table is served", &[Good], NOTHING);
}

#[test]
fn a_replay_that_counts_as_taken_in() {
    let budget = Budget { replays: 1, ..NOTHING };
    breaks(Trap::ReplayCountsAsTaken, "memory is the table", &[Malformed], budget);
}

#[test]
fn a_refused_order_that_stays_away_from_memory() {
    let budget = Budget { replays: 1, ..NOTHING };
    breaks(Trap::RefusedForEver, "memory is the table", &[Refusable], budget);
}

#[test]
fn a_row_that_is_told_before_the_commit() {
    let budget = Budget { tellings: 1, ..NOTHING };
    breaks(Trap::ToldBeforeCommit, "memory is the table", &[Refusable], budget);
}

#[test]
fn a_message_that_counts_as_known_without_its_order() {
    let budget = Budget { tellings: 1, ..NOTHING };
    breaks(Trap::ToldWithoutRow, "memory is the table", &[Good], budget);
}

#[test]
fn a_row_that_was_being_written_when_its_order_was_forgotten() {
    let budget = Budget { erasures: 1, ..NOTHING };
    breaks(Trap::LateRowKept, "nothing is left of a forgotten order", &[Good], budget);
}

#[test]
fn a_dead_letter_that_was_being_stored_when_its_order_was_forgotten() {
    let budget = Budget { erasures: 1, ..NOTHING };
    breaks(Trap::LateDeadLetterKept, "nothing is left of a forgotten order", &[Malformed], budget);
}

#[test]
fn only_the_first_message_of_a_forgotten_order_is_deleted() {
    let budget = Budget { erasures: 1, replays: 1, ..NOTHING };
    breaks(Trap::ReplayedMessageKept, "nothing is left of a forgotten order", &[Malformed], budget);
}
