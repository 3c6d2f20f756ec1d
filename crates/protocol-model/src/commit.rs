//! PostgreSQL executes and commits the writers' transactions.

use crate::action::Action;
use crate::database::{Document, Fence, Phase, Position, Purpose, Transaction};
use crate::mutation::Mutation;
use crate::process::Condition;
use crate::state::{ORPHAN, State};
use crate::stream::ORDERS;
use crate::successors::Successors;
use crate::world::{Kind, World};

pub(crate) fn actions(world: &World, state: &State, next: &mut Successors<'_>) {
    let in_halves = world.has(Mutation::PositionBeforeRows) || world.has(Mutation::RowsBeforePosition);
    for (number, transaction) in state.transactions.iter().enumerate() {
        // A process that stalls during its COPY neither ends it nor releases the lock.
        let stalled = number != ORPHAN && state.processes[number].condition == Condition::Stalled;
        match transaction.phase {
            Phase::Sent if world.holds_lock && state.is_locked() => {}
            Phase::Sent if world.holds_lock => {
                next.add(Action::Execute(number), |s| decide(s, number, |s| execute(world, s, number)));
            }
            Phase::Sent if in_halves => {
                next.add(Action::HalfCommit(number), |s| decide(s, number, |s| first_half(world, s, number)));
            }
            Phase::HalfCommitted => {
                next.add(Action::Commit(number), |s| decide(s, number, |s| second_half(world, s, number)));
            }
            Phase::Executed if stalled => {}
            Phase::Sent | Phase::Executed => {
                next.add(Action::Commit(number), |s| decide(s, number, |s| commit(world, s, number)));
            }
            _ => {}
        }
    }
}

/// Nobody receives the outcome of a transaction whose connection is gone.
fn decide(state: &mut State, number: usize, outcome: impl FnOnce(&mut State) -> Phase) {
    state.transactions[number].phase = outcome(state);
    if number == ORPHAN && state.transactions[number].is_decided() {
        state.transactions[number] = Transaction::default();
    }
}

fn execute(world: &World, state: &State, number: usize) -> Phase {
    if passes_fence(world, state, number) { Phase::Executed } else { Phase::Fenced }
}

fn commit(world: &World, state: &mut State, number: usize) -> Phase {
    if !passes_fence(world, state, number) {
        return Phase::Fenced;
    }
    if !insert_rows(world, state, number) {
        return Phase::Refused;
    }
    move_position(state, number);
    Phase::Committed
}

fn first_half(world: &World, state: &mut State, number: usize) -> Phase {
    if !passes_fence(world, state, number) {
        return Phase::Fenced;
    }
    if world.has(Mutation::PositionBeforeRows) {
        move_position(state, number);
    } else if !insert_rows(world, state, number) {
        return Phase::Refused;
    }
    Phase::HalfCommitted
}

fn second_half(world: &World, state: &mut State, number: usize) -> Phase {
    if world.has(Mutation::PositionBeforeRows) {
        insert_rows(world, state, number);
    } else if passes_fence(world, state, number) {
        move_position(state, number);
    } else {
        return Phase::Fenced;
    }
    Phase::Committed
}

/// The position row is the version that the writer has seen, and its lease has not expired: a table that goes back has
/// an earlier version again, perhaps that of a writer that another one had replaced in between.
pub(crate) fn passes_fence(world: &World, state: &State, number: usize) -> bool {
    let fence = state.transactions[number].fence;
    let Position { watermark, created, writer, nonce, leased, .. } = state.database.position;
    let sent = state.transactions[number].phase == Phase::Sent;
    if sent && !leased && !world.has(Mutation::ExpiredLeaseWrites) {
        return false;
    }
    let same_watermark =
        Fence { sequence: watermark.sequence, created, writer, nonce: 0 } == Fence { nonce: 0, ..fence };
    let same_nonce = nonce == fence.nonce;
    if world.has(Mutation::NoFence) {
        true
    } else if world.has(Mutation::FenceWithoutNonce) {
        same_watermark
    } else if world.has(Mutation::FenceByNonceAlone) {
        same_nonce
    } else {
        same_watermark && same_nonce
    }
}

/// `INSERT … ON CONFLICT DO NOTHING`, or a `COPY` that falls back to it after a unique violation. `false` if PostgreSQL
/// refused a row, and the transaction changed nothing.
fn insert_rows(world: &World, state: &mut State, number: usize) -> bool {
    let rows = state.transactions[number].rows;
    let new: Vec<usize> = (0..ORDERS).filter(|&order| !rows[order].is_none()).collect();
    if new.iter().any(|&order| is_refusable(world, state, rows[order])) {
        return false;
    }
    let conflicts = new.iter().any(|&order| !state.database.rows[order].is_none());
    if conflicts && world.has(Mutation::ConflictIsRefusal) {
        return false;
    }
    for order in new {
        if state.database.rows[order].is_none() {
            state.database.rows[order] = rows[order];
        } else if world.has(Mutation::KeyFromClock) {
            state.record.doubled.add(key(order));
        }
        state.database.position.last_row = key(order) + 1;
    }
    true
}

fn key(order: usize) -> u8 {
    u8::try_from(order).unwrap_or(u8::MAX)
}

fn is_refusable(world: &World, state: &State, document: Document) -> bool {
    let message = &state.messages[document.message()];
    message.has_original() && world.kind(message.order) == Kind::Refusable && !state.database.fixed
}

/// A commit also renews the lease.
fn move_position(state: &mut State, number: usize) {
    let Transaction { to, created, purpose, .. } = state.transactions[number];
    let position = &mut state.database.position;
    position.watermark = to;
    position.created = created;
    position.leased = true;
    state.change_nonce();
    if purpose != Purpose::Batch {
        // No memory can continue from the former position: every view starts again.
        state.begin_session();
        state.database.position.previous_session = 0;
        state.database.position.last_row = 0;
        state.database.position.gap_end = if purpose == Purpose::PassGap { to.sequence } else { 0 };
    }
    if purpose == Purpose::SetBack {
        state.database.position.dead_letter_losses = state.dead_letter_losses;
        state.record.rows_restored = false;
    }
    let position = state.database.position;
    let transaction = &mut state.transactions[number];
    transaction.nonce = position.nonce;
    transaction.session = position.session;
}
