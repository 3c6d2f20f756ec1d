//! The lease in the position row, which makes a process the writer, by the database's clock. A writer whose lease has
//! expired takes it again, in a new session: it must look up again what it knows of dead letters, because the table may
//! have gone back, with a term of another writer.

use crate::action::Action;
use crate::database::{Document, Phase, Transaction};
use crate::mutation::Mutation;
use crate::process::{Condition, Role, Writer};
use crate::state::State;
use crate::stream::ORDERS;
use crate::successors::Successors;
use crate::world::World;

pub(crate) fn actions(world: &World, state: &State, next: &mut Successors<'_>) {
    let position = &state.database.position;
    if position.leased {
        if !is_renewed(world, state) {
            next.add(Action::ExpireLease, expire);
        } else if state.budget.early_expiries > 0 {
            next.add(Action::ExpireLeaseEarly, |s| {
                s.budget.early_expiries -= 1;
                expire(s);
            });
        }
    }
    for process in 0..world.processes {
        if state.processes[process].reaches_postgres() {
            of_process(world, state, process, next);
        }
    }
}

/// The clock does not go back with the table: if the lease has expired, it has in an earlier state of the row as well.
fn expire(state: &mut State) {
    state.database.position.leased = false;
    state.durable.position.leased = false;
}

/// Whether the writer can renew the lease. A writer that can't read the stream does not.
fn is_renewed(world: &World, state: &State) -> bool {
    let holder = usize::from(state.database.position.writer) - 1;
    let process = &state.processes[holder];
    let able = match process.condition {
        Condition::Running => true,
        Condition::CutFromNats => world.has(Mutation::BlindWriterKeepsLease),
        _ => false,
    };
    able && process.writer.role == Role::Writer
}

fn of_process(world: &World, state: &State, process: usize, next: &mut Successors<'_>) {
    let idle = state.transactions[process].phase == Phase::None;
    let role = state.processes[process].writer.role;
    let is_free = !state.database.position.leased;
    let waits_for_lock = state.is_locked() && world.has(Mutation::LockIsWaitedFor);
    if idle && is_free && !waits_for_lock && state.processes[process].reaches_nats() {
        next.add(Action::TakeLease(process), |s| take_lease(world, s, process));
    }
    let changed = !knows_row(state, process);
    if idle && role == Role::Writer && changed && !world.has(Mutation::IdleWriterDoesNotLook) {
        next.add(Action::FindRowChanged(process), |s| become_unsure(s, process));
    }
    if role == Role::Unsure {
        next.add(Action::ReadOwnRow(process), |s| read_own_row(world, s, process));
    }
    let waits = state.transactions[process].phase == Phase::Sent && state.is_locked();
    if waits && !world.has(Mutation::LockIsWaitedFor) {
        next.add(Action::StopWaiting(process), |s| {
            s.transactions[process] = Transaction::default();
            s.processes[process].writer.role = Role::Unsure;
        });
    }
}

/// The position row is unchanged since this writer's last write.
fn knows_row(state: &State, process: usize) -> bool {
    state.processes[process].writer.nonce == state.database.position.nonce
}

fn become_unsure(state: &mut State, process: usize) {
    state.processes[process].writer.role = Role::Unsure;
    state.processes[process].writer.certain = true;
}

/// Takes the lease, and ends the backend that still holds the row's lock (`pg_terminate_backend`).
fn take_lease(world: &World, state: &mut State, process: usize) {
    for number in 0..state.transactions.len() {
        if state.transactions[number].phase == Phase::Executed {
            state.transactions[number] = Transaction::default();
            if let Some(former) = state.processes.get_mut(number) {
                former.writer.role = Role::Unsure;
            }
        }
    }
    let position = &mut state.database.position;
    position.writer = u8::try_from(process).unwrap_or(u8::MAX) + 1;
    position.leased = true;
    position.old_model = world.old_model[process];
    state.begin_session();
    state.change_nonce();
    start_writing(world, state, process);
}

/// A writer that finds the row changed continues from the row, if it is still the writer.
fn read_own_row(world: &World, state: &mut State, process: usize) {
    let position = state.database.position;
    if usize::from(position.writer) != process + 1 || !position.leased {
        state.processes[process].writer.role = Role::Follower;
        return;
    }
    if state.is_locked() {
        return;
    }
    let writer = state.processes[process].writer;
    let known_session = if world.has(Mutation::SessionComparedWithView) {
        state.processes[process].view.session
    } else {
        writer.session
    };
    // An erasure changes only the nonce; then the session continues.
    let unchanged =
        position.watermark.sequence == writer.watermark.sequence && position.session == known_session;
    let goes_on = writer.certain && unchanged;
    if !goes_on && !world.has(Mutation::SessionKeptByUnsureWriter) {
        state.begin_session();
        state.change_nonce();
    }
    start_writing(world, state, process);
}

/// Begins to write from the current position row.
fn start_writing(world: &World, state: &mut State, process: usize) {
    if !world.has(Mutation::ErasedRowsStay) {
        for key in state.database.erased.iter() {
            state.database.rows[usize::from(key)] = Document::NONE;
        }
    }
    for key in (0..).take(ORDERS).filter(|&key| state.database.erased.has(key)) {
        state.processes[process].learn_erased(key);
    }
    let position = state.database.position;
    let mut watermark = position.watermark;
    let memory_is_ahead = state.processes[process].view.watermark.sequence > watermark.sequence;
    if world.has(Mutation::WriterContinuesFromMemory) && memory_is_ahead {
        watermark = state.processes[process].view.watermark;
    }
    let former = state.processes[process].writer;
    state.processes[process].writer = Writer {
        role: Role::Writer,
        watermark,
        created: position.created,
        nonce: position.nonce,
        session: position.session,
        unchecked: true,
        stored_late: former.stored_late,
        unlisted: world.has_dead_letters(),
        ..Writer::default()
    };
}
