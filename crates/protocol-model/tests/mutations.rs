//! Each mistake breaks an invariant, and the same world without the mistake keeps all of them.
//!
//! `cargo test -p protocol-model --test mutations -- --nocapture` prints a shortest trace for each.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use protocol_model::Invariant::*;
use protocol_model::Kind::{Empty, Good, Malformed, NewModelOnly, Refusable, TwoForms};
use protocol_model::Mutation::*;
use protocol_model::{Budget, Invariant, Kind, Mutation, World, check};

/// The number of states after which a mutation counts as not found.
const MUTATED_STATES: usize = 1_000_000;
/// The number of states to explore without the mutation; `tests/holds.rs` explores such worlds completely.
const SOUND_STATES: usize = 30_000;

const NOTHING: Budget = Budget::NOTHING;

fn breaks(mutations: &[Mutation], invariant: Invariant, world: &World) {
    let mutated = mutations.iter().fold(world.clone(), |world, &mutation| world.with(mutation));
    let found = check(&mutated, MUTATED_STATES).err();
    let found = found.unwrap_or_else(|| panic!("{mutations:?} breaks nothing"));
    eprintln!("{mutations:?}, {found}");
    assert_eq!(found.broken, invariant, "{found}");
    check(world, SOUND_STATES).unwrap_or_else(|found| panic!("without {mutations:?}, {found}"));
}

fn world(orders: &[Kind], budget: Budget) -> World {
    World::new(orders, budget)
}

/// A world of one order without the memory of the processes.
fn one(order: Kind, budget: Budget) -> World {
    world(&[order], budget).one_by_one().without_views()
}

macro_rules! mutations {
    ($($name:ident: [$($mutation:ident),+] breaks $invariant:ident in $world:expr;)+) => {$(
        #[test]
        fn $name() {
            breaks(&[$($mutation),+], $invariant, &$world);
        }
    )+};
}

// The fence and the writer's transaction.
mutations! {
    no_fence_after_a_rollback: [NoFence] breaks PositionPassesOnlySettled in
        world(&[Good, Good], Budget { rollbacks: 1, ..NOTHING });
    no_fence_beside_an_erasure: [NoFence] breaks NothingIsLeftOfErased in
        world(&[Good], Budget { erasures: 1, ..NOTHING });
    fence_without_nonce: [FenceWithoutNonce] breaks NothingIsLeftOfErased in
        world(&[Good], Budget { erasures: 1, ..NOTHING });
    position_before_rows: [PositionBeforeRows] breaks PositionPassesOnlySettled in
        world(&[Good], Budget { crashes: 1, ..NOTHING }).alone();
    rows_before_position_by_copy: [RowsBeforePosition, ConflictIsRefusal] breaks OnlyRefusedOrdersAreDeadLetters in
        world(&[Good], Budget { crashes: 1, ..NOTHING }).alone();
    conflict_is_refusal_after_a_restore: [ConflictIsRefusal] breaks OnlyRefusedOrdersAreDeadLetters in
        world(&[Good, Good], Budget { stream_restores: 1, ..NOTHING });
    key_from_clock: [KeyFromClock] breaks OneRow in
        world(&[Good, Good], Budget { stream_restores: 1, ..NOTHING });
    writer_continues_from_memory: [WriterContinuesFromMemory] breaks NothingIsLost in
        world(&[Good], Budget { crashes: 1, ..NOTHING });
    idle_writer_does_not_look: [IdleWriterDoesNotLook] breaks NothingIsLost in
        world(&[Good], Budget { rollbacks: 1, ..NOTHING }).alone();
    blind_writer_keeps_lease: [BlindWriterKeepsLease] breaks NothingIsLost in
        world(&[Good], Budget { nats_cuts: 1, ..NOTHING });
    lock_is_waited_for: [LockIsWaitedFor] breaks NothingIsLost in
        world(&[Good], Budget { stalls: 1, ..NOTHING }).with_lock();
    expired_lease_writes: [ExpiredLeaseWrites] breaks PositionPassesOnlySettled in
        one(NewModelOnly, Budget { rollbacks: 1, early_expiries: 1, ..NOTHING }).with_old_model(1);
    last_row_not_checked: [LastRowNotChecked] breaks NothingIsLost in
        world(&[Good], Budget { row_restores: 1, ..NOTHING }).alone();
}

// The writer's session.
mutations! {
    session_ignored: [SessionIgnored] breaks MemoryIsTheTable in
        world(&[Malformed], Budget { replays: 1, rollbacks: 1, ..NOTHING }).alone();
    session_ignored_after_a_restore: [SessionIgnored] breaks MemoryIsTheTable in
        world(&[Good, Good], Budget { stream_restores: 1, ..NOTHING });
    table_going_back_ignored: [TableGoingBackIgnored] breaks MemoryIsTheTable in
        world(&[Malformed], Budget { replays: 1, rollbacks: 1, ..NOTHING }).alone();
    session_kept_by_unsure_writer: [SessionKeptByUnsureWriter] breaks MemoryIsTheTable in
        world(&[Malformed], Budget { replays: 1, rollbacks: 1, ..NOTHING }).alone();
    session_compared_with_view: [SessionComparedWithView] breaks MemoryIsTheTable in
        world(&[Good, Good], Budget { rollbacks: 1, stream_restores: 1, ..NOTHING }).one_by_one().alone();
}

// Dead letters.
mutations! {
    dead_letter_after_position: [DeadLetterAfterPosition] breaks PositionPassesOnlySettled in
        world(&[Malformed], Budget { crashes: 1, ..NOTHING }).alone();
    key_header_always_honoured: [KeyHeaderAlwaysHonoured] breaks NobodyChoosesAKey in
        world(&[Empty], Budget { forgeries: 1, ..NOTHING });
    deletion_without_bound: [DeletionWithoutBound] breaks PositionPassesOnlySettled in
        one(NewModelOnly, Budget { rollbacks: 1, early_expiries: 1, ..NOTHING }).with_old_model(1);
    no_renewal: [NoRenewal] breaks PositionPassesOnlySettled in
        one(NewModelOnly, Budget { rollbacks: 1, early_expiries: 1, ..NOTHING }).with_old_model(1);
    noted_after_commit: [NotedAfterCommit] breaks RowOrDeadLetter in
        one(NewModelOnly, Budget { rollbacks: 1, early_expiries: 1, stalls: 1, ..NOTHING }).with_old_model(1);
    copy_read_after_commit: [CopyReadAfterCommit] breaks PositionPassesOnlySettled in
        one(NewModelOnly, Budget { rollbacks: 1, early_expiries: 1, stalls: 1, ..NOTHING }).with_old_model(1);
    note_goes_back: [NoteGoesBack] breaks PositionPassesOnlySettled in
        one(NewModelOnly, Budget { replays: 1, rollbacks: 1, early_expiries: 1, ..NOTHING }).with_old_model(2);
    note_withdrawn: [NoteWithdrawn] breaks PositionPassesOnlySettled in
        one(NewModelOnly, Budget { replays: 1, rollbacks: 1, early_expiries: 1, ..NOTHING }).with_old_model(1);
    note_withdrawn_after_a_refused_row: [NoteWithdrawn] breaks PositionPassesOnlySettled in
        one(Refusable, Budget { fixes: 1, rollbacks: 1, early_expiries: 1, ..NOTHING });
    note_not_honoured: [NoteNotHonoured] breaks PositionPassesOnlySettled in
        one(Malformed, Budget { replays: 1, rollbacks: 1, ..NOTHING }).alone();
    left_copies_not_listed: [LeftCopiesNotListed] breaks RowOrDeadLetter in
        one(Malformed, Budget { replays: 1, crashes: 1, ..NOTHING }).alone();
    listed_row_looked_up_first: [ListedRowLookedUpFirst] breaks PositionPassesOnlySettled in
        one(NewModelOnly, Budget { replays: 1, rollbacks: 1, early_expiries: 1, ..NOTHING }).with_old_model(1);
    note_forgotten_beside_dead_letter: [NoteForgottenBesideDeadLetter] breaks RowOrDeadLetter in
        world(&[Malformed, Good], Budget { replays: 1, crashes: 1, purges: 1, ..NOTHING })
            .one_by_one().without_views().alone();
    drop_leaves_no_note: [DropLeavesNoNote] breaks MemoryIsTheTable in
        world(&[NewModelOnly], Budget { drops: 1, ..NOTHING }).with_old_model(1);
    drop_asks_nothing: [DropAsksNothing] breaks PositionPassesOnlySettled in
        one(Malformed, Budget { replays: 1, rollbacks: 1, drops: 1, ..NOTHING }).alone();
    drop_asks_once: [DropAsksOnce] breaks PositionPassesOnlySettled in
        one(Malformed, Budget { replays: 1, rollbacks: 1, drops: 1, ..NOTHING }).alone();
    drop_of_a_row_asks_once: [DropAsksOnce] breaks NothingIsLost in
        one(NewModelOnly, Budget { rollbacks: 1, drops: 1, early_expiries: 1, ..NOTHING }).with_old_model(1);
    drop_deletes_all_copies: [DropDeletesAllCopies] breaks PositionPassesOnlySettled in
        one(NewModelOnly, Budget { rollbacks: 1, drops: 1, early_expiries: 1, ..NOTHING }).with_old_model(1);
    drop_reads_copy_first: [DropReadsCopyFirst] breaks DroppedIsGone in
        one(NewModelOnly, Budget { rollbacks: 1, drops: 1, early_expiries: 1, ..NOTHING }).with_old_model(1);
    drop_looked_up_once: [DropLookedUpOnce] breaks DroppedIsGone in
        one(Malformed, Budget { rollbacks: 1, drops: 1, ..NOTHING }).alone();
    all_copies_taken_back: [AllCopiesTakenBack] breaks PositionPassesOnlySettled in
        one(NewModelOnly, Budget { rollbacks: 1, drops: 1, early_expiries: 1, ..NOTHING }).with_old_model(1);
    drop_stays_beside_row: [DropStaysBesideRow] breaks NothingIsLost in
        one(Malformed, Budget { replays: 1, rollbacks: 1, drops: 1, ..NOTHING }).alone();
    listed_drops_stay: [ListedDropsStay] breaks NothingIsLost in
        one(Malformed, Budget { replays: 1, rollbacks: 1, drops: 1, crashes: 1, ..NOTHING }).alone();
    dead_letter_loss_ignored: [DeadLetterLossIgnored] breaks NothingIsLost in
        world(&[Malformed], Budget { lost_dead_letters: 1, ..NOTHING }).alone();
}

// Views.
mutations! {
    fill_before_position: [FillBeforePosition] breaks MemoryIsTheTable in
        world(&[Good], Budget { crashes: 1, ..NOTHING });
    own_refusal_trusted: [OwnRefusalTrusted] breaks MemoryIsTheTable in
        world(&[NewModelOnly], NOTHING).with_old_model(2);
    own_form_trusted: [OwnFormTrusted] breaks MemoryIsTheTable in
        world(&[TwoForms], NOTHING).with_old_model(2);
    asked_in_two_statements: [AskedInTwoStatements] breaks MemoryIsTheTable in
        world(&[Malformed], Budget { replays: 1, rollbacks: 1, lost_connections: 1, ..NOTHING })
            .alone()
            .with_pooler();
    replay_into_memory: [ReplayIntoMemory] breaks MemoryIsTheTable in
        world(&[Malformed], Budget { replays: 1, drops: 1, ..NOTHING });
    dead_letter_removes_order: [DeadLetterRemovesOrder] breaks MemoryIsTheTable in
        world(&[NewModelOnly], Budget { crashes: 1, ..NOTHING }).with_old_model(1);
    restart_keeps_memory: [RestartKeepsMemory] breaks MemoryIsTheTable in
        world(&[Good], Budget { stream_restores: 1, ..NOTHING });
    unread_purge_ignored: [UnreadPurgeIgnored] breaks MemoryIsTheTable in
        world(&[Good, Good], Budget { purges: 1, ..NOTHING });
    consumer_skips_one: [ConsumerSkipsOne] breaks MemoryIsTheTable in
        world(&[Good, Good], Budget { remade_consumers: 1, ..NOTHING });
    view_trusts_stream: [ViewTrustsStream] breaks MemoryIsTheTable in
        world(&[Good, Good], Budget { stream_restores: 1, ..NOTHING });
    view_accepts_missing_message: [ViewAcceptsMissingMessage] breaks MemoryIsTheTable in
        world(&[Good, Good], Budget { stream_restores: 1, erasures: 1, ..NOTHING }).one_by_one().alone();
    miss_not_asked: [MissNotAsked] breaks NotFoundIsTrue in
        world(&[Malformed], Budget { replays: 1, ..NOTHING });
    not_found_without_position: [NotFoundWithoutPosition] breaks NotFoundIsTrue in
        world(&[Good], Budget { rollbacks: 1, crashes: 1, ..NOTHING });
}

// The stream.
mutations! {
    writer_trusts_stream: [WriterTrustsStream] breaks MemoryIsTheTable in
        world(&[Good, Good], Budget { stream_restores: 1, ..NOTHING });
    writer_accepts_missing_message: [WriterAcceptsMissingMessage] breaks MemoryIsTheTable in
        world(&[Good, Good], Budget { stream_restores: 1, erasures: 1, ..NOTHING }).one_by_one().alone();
    stream_checked_without_time: [StreamCheckedWithoutTime] breaks NothingIsLost in
        world(&[Good, Good], Budget { stream_restores: 1, ..NOTHING });
    purge_above_flushed: [PurgeAboveFlushed] breaks NothingIsLost in
        world(&[Good, Good], Budget { purges: 1, rollbacks: 1, ..NOTHING }).alone().without_views();
    purge_unchecked: [PurgeUnchecked] breaks NothingIsLost in
        world(&[Good, Good, Good], Budget { stream_restores: 1, purges: 1, ..NOTHING })
            .one_by_one()
            .without_views();
    gap_not_passed: [GapNotPassed] breaks MemoryIsTheTable in
        world(&[Good, Good], Budget { trims: 1, ..NOTHING });
    gap_not_remembered: [GapNotRemembered] breaks MemoryIsTheTable in
        world(&[Good, Good], Budget { stream_restores: 1, trims: 1, ..NOTHING }).alone();
}

// Erasing.
mutations! {
    erasure_misses_fence: [ErasureMissesFence] breaks NothingIsLeftOfErased in
        world(&[Good], Budget { erasures: 1, ..NOTHING });
    erasure_not_in_nats: [ErasureNotInNats] breaks NothingIsLeftOfErased in
        world(&[Good], Budget { erasures: 1, rollbacks: 1, crashes: 1, ..NOTHING }).alone();
    erasure_in_table_first: [ErasureInTableFirst] breaks NothingIsLeftOfErased in
        world(&[Good], Budget { erasures: 1, rollbacks: 1, crashes: 1, ..NOTHING }).alone();
    erasure_not_repeated: [ErasureNotRepeated] breaks NothingIsLeftOfErased in
        world(&[Good], Budget { erasures: 1, rollbacks: 1, ..NOTHING }).alone();
    erased_messages_stay: [ErasedMessagesStay] breaks NothingIsLeftOfErased in
        world(&[Malformed], Budget { erasures: 1, replays: 1, ..NOTHING }).alone();
    erased_rows_stay: [ErasedRowsStay] breaks NothingIsLeftOfErased in
        world(&[Good, Good], Budget { erasures: 1, row_restores: 1, ..NOTHING }).alone();
}
