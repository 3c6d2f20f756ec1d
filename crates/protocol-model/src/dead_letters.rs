//! Dead letters whose order became a row are deleted, possibly long afterwards: meanwhile the table may have gone back,
//! and other writers may have had their terms. Also the purge of the stream below the position.

use crate::action::Action;
use crate::database::Database;
use crate::drops;
use crate::mutation::Mutation;
use crate::process::Role;
use crate::state::{DeadLetter, State};
use crate::stream::ORDERS;
use crate::successors::Successors;
use crate::world::World;

pub(crate) fn actions(world: &World, state: &State, next: &mut Successors<'_>) {
    for process in 0..world.processes {
        let this = &state.processes[process];
        if this.reaches_nats() && this.writer.role == Role::Writer && this.writer.unlisted {
            next.add(Action::ListTakenIn(process), |s| list_taken_in(world, s, process));
        }
        for key in 0..state.orders {
            let n = usize::from(key);
            if this.reaches_postgres() && this.listed[n] > 0 {
                next.add(Action::LookForListedRow(process, key), |s| {
                    let listed = std::mem::take(&mut s.processes[process].listed[n]);
                    if world.has(Mutation::ListedRowLookedUpFirst) {
                        s.processes[process].deletes[n] = s.dead_letters[n].copy;
                    } else if !s.database.rows[n].is_none() {
                        s.processes[process].deletes[n] = listed;
                    }
                });
            }
            if this.reaches_nats() && this.deletes[n] > 0 {
                next.add(Action::DeleteDeadLetter(process, key), |s| delete(world, s, process, n));
            }
        }
    }
    forget_notes(world, state, next);
    if state.budget.purges > 0 {
        purge(world, state, next);
    }
}

/// Before the first write of a term: reads the copies beside notes of messages that the position has passed. If there is
/// a row, its writer was killed before it deleted the dead letter. The copy is read before the row is looked for, so that
/// a copy stored after the table lost that row stays.
fn list_taken_in(world: &World, state: &mut State, process: usize) {
    let position = state.processes[process].writer.watermark.sequence;
    for n in 0..ORDERS {
        let DeadLetter { copy, taken_in_by: by, .. } = state.dead_letters[n];
        let row_first = world.has(Mutation::ListedRowLookedUpFirst) && state.database.rows[n].is_none();
        let is_left = by > 0 && by <= position && !row_first && !world.has(Mutation::LeftCopiesNotListed);
        state.processes[process].listed[n] = if is_left { copy } else { 0 };
    }
    drops::list(world, state, process);
    state.processes[process].writer.unlisted = false;
}

/// Deletes the copy that was there before the row was committed, or an earlier one. A writer that has refused the order
/// since has stored a later one.
fn delete(world: &World, state: &mut State, process: usize, key: usize) {
    let up_to = std::mem::take(&mut state.processes[process].deletes[key]);
    if state.dead_letters[key].copy <= up_to || world.has(Mutation::DeletionWithoutBound) {
        state.dead_letters[key].copy = 0;
    }
}

/// Deletes notes whose messages have left the stream: both the order's own and the one that the note names. A note
/// beside a dead letter stays, for the next term's list.
fn forget_notes(world: &World, state: &State, next: &mut Successors<'_>) {
    let first = state.stream.first;
    for key in (0..state.orders).filter(|&key| state.client_message(key).watermark.sequence < first) {
        let n = usize::from(key);
        let DeadLetter { taken_in_by: by, dropped, .. } = state.dead_letters[n];
        let waits = state.dead_letters[n].is_stored() && !world.has(Mutation::NoteForgottenBesideDeadLetter);
        if !waits && ((by > 0 && by < first) || dropped) {
            next.add(Action::ForgetNotes(key), |s| {
                s.dead_letters[n].taken_in_by = if by < first { 0 } else { by };
                s.dead_letters[n].dropped = false;
            });
        }
    }
}

/// Purges flushed messages below the position; the message at the position stays, for the check of the stream.
fn purge(world: &World, state: &State, next: &mut Successors<'_>) {
    let cautious = state.can_go_back() && !world.loses_flushed && !world.has(Mutation::PurgeAboveFlushed);
    let Database { position, .. } = if cautious { state.durable } else { state.database };
    let watermark = position.watermark;
    let checked = watermark.time > 0 && state.is_in_stream(watermark, position.created);
    if watermark.sequence > state.stream.first && (checked || world.has(Mutation::PurgeUnchecked)) {
        next.add(Action::Purge, |s| {
            s.budget.purges -= 1;
            for message in &mut s.messages {
                message.stored &= message.watermark.sequence >= watermark.sequence;
            }
            s.stream.first = watermark.sequence;
        });
    }
}
