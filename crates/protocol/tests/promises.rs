//! Worlds without mistakes: whatever happens in them, no promise is broken.
//!
//! `cargo test -p protocol -- --nocapture` says how many states there are.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use protocol::Kind::{Good, Malformed, Refusable};
use protocol::{Budget, Kind, Protocol, check};

fn holds(orders: &[Kind], budget: Budget) {
    let begun = std::time::Instant::now();
    let checked = check(&Protocol::new(orders, budget)).unwrap_or_else(|found| panic!("{found}"));
    eprintln!("{orders:?}: {checked:?} in {:.1} s", begun.elapsed().as_secs_f64());
    assert!(checked.at_rest > 0, "nothing ever comes to rest");
}

#[test]
fn two_orders_two_kills() {
    holds(&[Good, Good], Budget { crashes: 2, lost_acks: 1, ..Budget::default() });
}

#[test]
fn three_orders_one_kill() {
    holds(&[Good, Good, Good], Budget { crashes: 1, ..Budget::default() });
}

#[test]
fn purges() {
    holds(&[Good, Good], Budget { crashes: 1, lost_acks: 1, purges: 2, ..Budget::default() });
}

#[test]
fn an_order_beside_one_that_is_refused() {
    holds(&[Good, Malformed], Budget { crashes: 1, lost_acks: 1, ..Budget::default() });
}

#[test]
fn forged_keys() {
    holds(&[Good], Budget { crashes: 1, forgeries: 1, ..Budget::default() });
}

#[test]
fn a_dead_letter_sent_again() {
    holds(&[Malformed], Budget { crashes: 1, replays: 1, ..Budget::default() });
}

#[test]
fn a_dead_letter_sent_again_twice() {
    holds(&[Malformed], Budget { replays: 2, ..Budget::default() });
}

#[test]
fn a_dead_letter_of_postgresql_sent_again() {
    holds(&[Refusable], Budget { crashes: 1, replays: 1, ..Budget::default() });
}

#[test]
fn an_erased_order() {
    holds(&[Good], Budget { crashes: 2, lost_acks: 1, erasures: 1, purges: 1, ..Budget::default() });
}

#[test]
fn an_erased_dead_letter() {
    holds(&[Malformed], Budget { crashes: 1, erasures: 1, ..Budget::default() });
}

#[test]
fn an_erased_dead_letter_sent_again() {
    holds(&[Malformed], Budget { erasures: 1, replays: 1, ..Budget::default() });
}

#[test]
fn an_erased_dead_letter_of_postgresql() {
    holds(&[Refusable], Budget { erasures: 1, ..Budget::default() });
}

#[test]
fn orders_that_are_told() {
    holds(&[Good, Good], Budget { crashes: 1, lost_acks: 1, tellings: 2, ..Budget::default() });
}

#[test]
fn orders_that_are_told_while_the_stream_is_purged() {
    holds(&[Good, Good], Budget { crashes: 1, purges: 1, tellings: 2, ..Budget::default() });
}

#[test]
fn dead_letters_that_are_told() {
    holds(&[Malformed], Budget { crashes: 1, replays: 1, tellings: 2, ..Budget::default() });
}

#[test]
fn dead_letters_of_postgresql_that_are_told() {
    holds(&[Refusable], Budget { replays: 1, tellings: 3, ..Budget::default() });
}

#[test]
fn an_erased_order_that_is_told() {
    holds(&[Good], Budget { crashes: 1, erasures: 1, tellings: 2, ..Budget::default() });
}
