//! Worlds without mistakes: no invariant is broken in any state.
//!
//! `cargo test -p protocol-model --test holds -- --nocapture` prints the number of explored states. Worlds that are too large
//! are explored up to `PROTOCOL_STATES` states (60,000 by default), and reported as such.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::env;

use protocol_model::Kind::{Empty, Good, Malformed, NewModelOnly, Refusable, TwoForms};
use protocol_model::{Budget, Kind, Mutation, World, check};

const NOTHING: Budget = Budget::NOTHING;

/// More states than any completely explored world has.
const ENOUGH: usize = 1_000_000;

fn holds(name: &str, world: &World) {
    let checked = check(world, ENOUGH).unwrap_or_else(|found| panic!("{name}, {found}"));
    eprintln!("{name}: holds in all {} states, {} of them at rest", checked.states, checked.at_rest);
    assert!(checked.complete, "{name} has more than {ENOUGH} states: list it under `in_part`");
}

fn holds_in_part(name: &str, world: &World) {
    let limit = env::var("PROTOCOL_STATES").ok().and_then(|states| states.parse().ok()).unwrap_or(60_000);
    let checked = check(world, limit).unwrap_or_else(|found| panic!("{name}, {found}"));
    let extent = if checked.complete { "all" } else { "CAPPED: the nearest" };
    eprintln!("{name}: holds in {extent} {} states, {} of them at rest", checked.states, checked.at_rest);
}

fn world(orders: &[Kind], budget: Budget) -> World {
    World::new(orders, budget)
}

/// A world of one order without the memory of the processes.
fn one(order: Kind, budget: Budget) -> World {
    world(&[order], budget).one_by_one().without_views()
}

macro_rules! worlds {
    ($check:ident: $($name:ident: $world:expr;)+) => {$(
        #[test]
        fn $name() {
            $check(stringify!($name), &$world);
        }
    )+};
}

// Writers: kills, stalls, lost answers, leases, locks.
worlds! { holds:
    two_kills: world(&[Good, Good], Budget { crashes: 2, ..NOTHING });
    stall_and_kill: world(&[Good, Good], Budget { stalls: 1, crashes: 1, ..NOTHING });
    early_expiry_and_lost_answer: world(&[Good], Budget { early_expiries: 1, lost_connections: 1, ..NOTHING });
    lost_answer_and_stall: world(&[Good], Budget { lost_connections: 1, stalls: 1, ..NOTHING });
    nats_cut_and_kill: world(&[Good], Budget { nats_cuts: 1, crashes: 1, ..NOTHING });
    lock_held_by_a_stalled_writer: world(&[Good], Budget { stalls: 1, ..NOTHING }).with_lock();
    empty_message: world(&[Empty, Good], Budget { crashes: 1, ..NOTHING });
}

// The table goes back.
worlds! { holds:
    rollback_with_late_commit: world(&[Good], Budget { rollbacks: 1, stalls: 1, ..NOTHING }).with_pooler();
    two_rollbacks_alone: world(&[Good, Good], Budget { rollbacks: 2, crashes: 1, ..NOTHING }).alone().with_pooler();
    rollback_of_three_orders: world(&[Good, Good, Good],
        Budget { crashes: 1, lost_connections: 1, rollbacks: 1, ..NOTHING }).with_pooler().without_views();
    rollback_and_purge: world(&[Good, Good], Budget { rollbacks: 1, purges: 1, ..NOTHING });
    standby_behind_and_purge: world(&[Good, Good], Budget { rollbacks: 1, purges: 1, ..NOTHING }).with_standby();
    rows_restored_alone: world(&[Good, Good], Budget { row_restores: 1, ..NOTHING });
    rows_restored_alone_and_rollback: world(&[Good, Good], Budget { row_restores: 1, rollbacks: 1, ..NOTHING }).alone();
}

// The stream is purged, trimmed, restored, recreated.
worlds! { holds:
    purge_and_kill: world(&[Good, Good, Good], Budget { purges: 1, crashes: 1, ..NOTHING });
    trim_and_kill: world(&[Good, Good], Budget { trims: 1, crashes: 1, ..NOTHING });
    consumer_made_again_and_purge: world(&[Good, Good, Good], Budget { remade_consumers: 1, purges: 1, ..NOTHING });
    restore: world(&[Good, Good], Budget { stream_restores: 1, ..NOTHING });
    restore_of_three_orders: world(&[Good, Good, Good], Budget { stream_restores: 1, ..NOTHING }).one_by_one();
    restore_and_kill_alone: world(&[Good, Good, Good], Budget { stream_restores: 1, crashes: 1, ..NOTHING }).alone();
    restore_and_trim_alone: world(&[Good, Good, Good], Budget { stream_restores: 1, trims: 1, ..NOTHING }).alone();
    restore_and_purge: world(&[Good, Good, Good],
        Budget { stream_restores: 1, purges: 1, crashes: 1, ..NOTHING }).without_views();
    restore_and_rollback_alone: world(&[Good, Good],
        Budget { stream_restores: 1, rollbacks: 1, ..NOTHING }).one_by_one().alone();
    restore_and_rollback_of_three_orders: world(&[Good, Good, Good],
        Budget { stream_restores: 1, rollbacks: 1, ..NOTHING }).without_views();
}

// Dead letters and replays.
worlds! { holds:
    malformed_and_kill: world(&[Malformed, Good], Budget { crashes: 1, ..NOTHING });
    malformed_and_stall: world(&[Malformed, Good], Budget { stalls: 1, ..NOTHING });
    replay_and_stall_alone: world(&[Malformed], Budget { replays: 1, stalls: 1, crashes: 1, ..NOTHING }).alone();
    replay_and_rollback_alone: world(&[Malformed], Budget { replays: 1, rollbacks: 1, crashes: 1, ..NOTHING }).alone();
    replay_drop_purge_and_standby_alone: world(&[Malformed],
        Budget { rollbacks: 1, replays: 1, purges: 1, drops: 1, ..NOTHING }).with_standby().alone();
    replay_restore_and_rollback: world(&[Malformed, Good],
        Budget { stream_restores: 1, rollbacks: 1, replays: 1, ..NOTHING }).without_views();
    lost_dead_letter: world(&[Malformed, Good], Budget { lost_dead_letters: 1, ..NOTHING }).alone();
    lost_dead_letter_and_rollback_alone: world(&[Malformed],
        Budget { lost_dead_letters: 1, rollbacks: 1, replays: 1, ..NOTHING }).alone();
    refusable_fixed_and_replayed_alone: world(&[Refusable],
        Budget { replays: 1, fixes: 1, crashes: 1, ..NOTHING }).alone();
    refusable_among_three_alone: world(&[Good, Refusable, Good], Budget { crashes: 1, ..NOTHING }).alone();
    three_kinds_and_rollback: world(&[Good, Malformed, Refusable],
        Budget { crashes: 1, rollbacks: 1, ..NOTHING }).without_views();
    forged_key: world(&[Good], Budget { forgeries: 1, crashes: 1, ..NOTHING });
    forged_key_of_an_empty_message: world(&[Empty], Budget { forgeries: 1, crashes: 1, ..NOTHING });
}

// Dead letters are deleted late, after the table went back and other writers had their terms. Two models, or what
// PostgreSQL refuses, let one writer accept what the other refuses.
worlds! { holds:
    late_deletion: one(NewModelOnly, Budget { replays: 1, rollbacks: 1, early_expiries: 2, ..NOTHING })
        .with_old_model(1);
    late_deletion_by_the_first_writer: one(NewModelOnly,
        Budget { replays: 1, rollbacks: 1, early_expiries: 2, ..NOTHING }).with_old_model(2);
    late_deletion_and_two_replays: one(NewModelOnly, Budget { replays: 2, rollbacks: 1, early_expiries: 1, ..NOTHING })
        .with_old_model(1);
    late_deletion_and_two_corrections: one(Malformed, Budget { replays: 2, rollbacks: 1, early_expiries: 1, ..NOTHING });
    late_deletion_of_a_refused_row: one(Refusable,
        Budget { fixes: 1, replays: 1, rollbacks: 1, early_expiries: 1, ..NOTHING });
    late_deletion_of_two_orders: world(&[NewModelOnly, NewModelOnly],
        Budget { rollbacks: 1, early_expiries: 1, ..NOTHING }).without_views().with_old_model(1);
    late_deletion_beside_a_good_order: world(&[NewModelOnly, Good],
        Budget { replays: 1, rollbacks: 1, ..NOTHING }).without_views().with_old_model(1);
    late_deletion_and_kill: one(NewModelOnly, Budget { replays: 1, rollbacks: 1, crashes: 1, ..NOTHING })
        .with_old_model(1);
    late_deletion_and_stall: one(NewModelOnly, Budget { replays: 1, rollbacks: 1, stalls: 1, ..NOTHING })
        .with_old_model(1);
    late_deletion_and_lost_answer: one(NewModelOnly,
        Budget { replays: 1, rollbacks: 1, lost_connections: 1, ..NOTHING }).with_old_model(1).with_pooler();
    late_deletion_and_drop: one(NewModelOnly, Budget { replays: 1, rollbacks: 1, early_expiries: 1, drops: 1, ..NOTHING })
        .with_old_model(1);
    late_deletion_and_purge: world(&[NewModelOnly, Good], Budget { replays: 1, rollbacks: 2, purges: 1, ..NOTHING })
        .one_by_one().without_views().with_old_model(1);
    late_deletion_and_lost_dead_letter: one(NewModelOnly,
        Budget { rollbacks: 1, early_expiries: 1, lost_dead_letters: 1, ..NOTHING }).with_old_model(1);
    late_deletion_and_restored_rows: one(NewModelOnly,
        Budget { replays: 1, row_restores: 1, early_expiries: 1, ..NOTHING }).with_old_model(1);
    late_deletion_and_trim: one(NewModelOnly, Budget { replays: 1, rollbacks: 1, trims: 1, ..NOTHING })
        .with_old_model(1);
}

// A drop meets with a replay.
worlds! { holds:
    drop_and_replay: one(Malformed, Budget { replays: 1, rollbacks: 1, drops: 1, crashes: 1, ..NOTHING });
    drop_and_replay_alone: world(&[Malformed],
        Budget { replays: 1, rollbacks: 1, drops: 1, ..NOTHING }).alone();
    drop_and_two_replays: one(Malformed, Budget { replays: 2, rollbacks: 1, drops: 1, ..NOTHING });
    two_drops_and_a_replay: one(Malformed, Budget { replays: 1, rollbacks: 1, drops: 2, ..NOTHING });
    drop_and_refused_row: one(Refusable, Budget { fixes: 1, replays: 1, rollbacks: 1, drops: 1, ..NOTHING });
    drop_replay_and_purge: world(&[Malformed, Good],
        Budget { replays: 1, rollbacks: 1, drops: 1, purges: 1, ..NOTHING }).one_by_one().without_views().alone();
}

// A drop meets with a writer that reads the message again and refuses it.
worlds! { holds:
    drop_and_refusal: one(Malformed, Budget { rollbacks: 1, drops: 1, crashes: 1, early_expiries: 1, ..NOTHING });
    drop_and_refusal_beside_a_stalled_writer: one(Malformed, Budget { rollbacks: 1, drops: 1, stalls: 1, ..NOTHING });
    two_drops_and_a_refusal: one(Malformed, Budget { rollbacks: 2, drops: 2, early_expiries: 1, ..NOTHING });
}

// Two models of the document.
worlds! { holds:
    old_writer_and_kill: world(&[NewModelOnly], Budget { crashes: 1, ..NOTHING }).with_old_model(1);
    old_writer_and_replay: world(&[NewModelOnly], Budget { replays: 1, ..NOTHING }).with_old_model(1);
    old_writer_and_drop: world(&[NewModelOnly], Budget { drops: 1, stalls: 1, ..NOTHING }).with_old_model(1);
    old_writer_and_rollback: world(&[NewModelOnly], Budget { rollbacks: 1, ..NOTHING }).with_old_model(1);
    two_forms: world(&[TwoForms], Budget { early_expiries: 1, crashes: 1, ..NOTHING }).with_old_model(2);
}

// Erasing.
worlds! { holds:
    erasure_alone: world(&[Good], Budget { erasures: 1, crashes: 1, stalls: 1, ..NOTHING }).alone();
    erasure_and_rollback_alone: world(&[Good], Budget { erasures: 1, rollbacks: 1, crashes: 1, ..NOTHING }).alone();
    erasure_and_restored_rows_alone: world(&[Good, Good],
        Budget { erasures: 1, row_restores: 1, ..NOTHING }).one_by_one().alone();
    erasure_and_purge_alone: world(&[Good, Good], Budget { erasures: 1, purges: 1, ..NOTHING }).alone();
    erasure_and_restore_alone: world(&[Good, Good],
        Budget { erasures: 1, stream_restores: 1, ..NOTHING }).one_by_one().alone();
    erasure_of_a_dead_letter_alone: world(&[Malformed], Budget { erasures: 1, replays: 1, ..NOTHING }).alone();
}

// Rules that the protocol does not need.
worlds! { holds:
    fence_by_nonce_alone: world(&[Good], Budget { rollbacks: 1, stalls: 1, erasures: 0, ..NOTHING })
        .with_pooler().with(Mutation::FenceByNonceAlone);
    rows_before_position_by_insert: world(&[Good], Budget { crashes: 2, ..NOTHING })
        .with(Mutation::RowsBeforePosition);
}

// Worlds too large to be explored completely in a test.
worlds! { holds_in_part:
    two_drops_beside_an_old_model_in_part: one(NewModelOnly,
        Budget { replays: 1, rollbacks: 2, drops: 2, early_expiries: 2, ..NOTHING }).with_old_model(1);
    lost_answer_and_kill_in_part: world(&[Good, Good], Budget { lost_connections: 1, crashes: 1, ..NOTHING });
    rollback_and_kill_in_part: world(&[Good, Good], Budget { rollbacks: 1, crashes: 1, ..NOTHING });
    replay_and_rollback_in_part: world(&[Malformed], Budget { replays: 1, rollbacks: 1, ..NOTHING });
    restore_and_rollback_in_part: world(&[Good, Good],
        Budget { stream_restores: 1, rollbacks: 1, ..NOTHING }).one_by_one();
    erasure_in_part: world(&[Good], Budget { erasures: 1, crashes: 1, stalls: 1, ..NOTHING });
    erasure_of_a_dead_letter_in_part: world(&[Malformed], Budget { erasures: 1, replays: 1, crashes: 1, ..NOTHING });
    erasure_and_standby_in_part: world(&[Good],
        Budget { erasures: 1, rollbacks: 1, crashes: 1, ..NOTHING }).with_standby();
    two_late_deletions_in_part: one(NewModelOnly, Budget { replays: 2, rollbacks: 2, early_expiries: 2, ..NOTHING })
        .with_old_model(1);
    late_deletion_kill_and_purge_in_part: world(&[NewModelOnly, Good],
        Budget { replays: 1, rollbacks: 1, purges: 1, early_expiries: 1, crashes: 1, ..NOTHING })
        .one_by_one().without_views().with_old_model(1);
    late_deletion_two_fixes_in_part: one(Refusable,
        Budget { fixes: 2, replays: 1, rollbacks: 2, early_expiries: 1, ..NOTHING });
    old_writer_replay_and_stall_in_part: world(&[NewModelOnly], Budget { replays: 1, stalls: 1, ..NOTHING })
        .with_old_model(1);
    old_follower_and_rollback_in_part: world(&[NewModelOnly],
        Budget { rollbacks: 1, early_expiries: 1, ..NOTHING }).with_old_model(2);
}
