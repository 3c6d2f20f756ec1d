//! What the writer looks up and stores in NATS before the position passes a message: for a message that may become a
//! row, and for one that it refuses. Between any two steps another writer may do anything.

use crate::action::Action;
use crate::drops;
use crate::mutation::Mutation;
use crate::process::{Prepared, Storing};
use crate::state::State;
use crate::stream::{Message, Sender};
use crate::successors::Successors;
use crate::world::{Kind, World};

/// Whether the dead-letter stream may have something of a client's message that this process accepts.
pub(crate) fn may_have_dead_letter(kind: Kind) -> bool {
    matches!(kind, Kind::NewModelOnly | Kind::Refusable)
}

/// The next step for a message that may become a row.
pub(crate) fn for_row(
    world: &World,
    state: &State,
    process: usize,
    message: usize,
    next: &mut Successors<'_>,
) {
    let key = state.messages[message].order;
    let n = usize::from(key);
    let put = |s: &mut State, prepared| s.processes[process].writer.prepared[message] = prepared;
    match state.processes[process].writer.prepared[message] {
        before @ (Prepared::No | Prepared::LookedUp) => next.add(Action::LookUp { process, message }, |s| {
            put(s, look_up(world, s, message, before));
        }),
        Prepared::Honoured => next.add(Action::LookForRow { process, message }, |s| {
            let row = s.database.rows[n];
            if row.is_none() || row.message() == message {
                put(s, Prepared::KeyIsFree);
            } else {
                s.record.beside_row.add(key);
                put(s, Prepared::Skipped);
            }
        }),
        Prepared::KeyIsFree if !world.has(Mutation::NotedAfterCommit) => {
            next.add(Action::NoteTakenIn { process, message }, |s| {
                note_taken_in(world, s, message);
                put(s, Prepared::Noted);
            });
        }
        Prepared::KeyIsFree | Prepared::Noted => next.add(Action::ReadCopy { process, message }, |s| {
            s.processes[process].writer.copies[n] = s.dead_letters[n].copy;
            put(s, Prepared::Ready);
        }),
        Prepared::Skipped | Prepared::Ready => {}
    }
}

/// Looks up the dead letter and the notes, in two steps: of a replay the dead letter first, of a client's message the
/// notes.
fn look_up(world: &World, state: &State, message: usize, before: Prepared) -> Prepared {
    let Message { order, sender, watermark, .. } = state.messages[message];
    let dead_letter = state.dead_letters[usize::from(order)];
    let by = dead_letter.taken_in_by;
    match (sender, before) {
        (Sender::Client, Prepared::No) => {
            let is_open = !dead_letter.dropped && (by == 0 || by == watermark.sequence);
            if is_open { Prepared::LookedUp } else { Prepared::Skipped }
        }
        (Sender::Client, _) if dead_letter.is_stored() => Prepared::KeyIsFree,
        // There is no copy to delete, so it needs no note.
        (Sender::Client, _) => Prepared::Ready,
        (_, Prepared::No) => {
            let honoured = dead_letter.is_stored() || world.has(Mutation::KeyHeaderAlwaysHonoured);
            if honoured { Prepared::Honoured } else { Prepared::LookedUp }
        }
        _ => {
            let honoured = by == watermark.sequence && !world.has(Mutation::NoteNotHonoured);
            if honoured && !dead_letter.dropped { Prepared::Honoured } else { Prepared::Skipped }
        }
    }
}

/// Notes that a message becomes the order, unless a later one is noted. A note only advances: otherwise a writer that was
/// replaced could name a message that the position has passed. Nobody withdraws it: deletions and renewals rely on it.
pub(crate) fn note_taken_in(world: &World, state: &mut State, message: usize) {
    let Message { order, watermark, .. } = state.messages[message];
    let n = usize::from(order);
    let by = state.dead_letters[n].taken_in_by;
    let may_go_back = world.has(Mutation::NoteGoesBack) && state.database.rows[n].is_none();
    if by < watermark.sequence || (by > watermark.sequence && may_go_back) {
        state.dead_letters[n].taken_in_by = watermark.sequence;
        state.announce(order);
    }
}

/// The next step for a message whose dead letter must be there before the position passes it. A copy that is there
/// beside a note may be deleted at any time, by a writer that does not know that the row is lost; a new copy is not.
pub(crate) fn dead_letter(
    world: &World,
    state: &State,
    process: usize,
    message: usize,
    next: &mut Successors<'_>,
) {
    let key = state.messages[message].order;
    let n = usize::from(key);
    if state.processes[process].is_storing(n) {
        return;
    }
    let put = |s: &mut State, storing| s.processes[process].writer.storing = storing;
    let done = if world.has(Mutation::NoteWithdrawn) { Storing::Stored } else { Storing::Done };
    match state.processes[process].writer.storing {
        Storing::No if world.budget.drops > 0 => next.add(Action::LookForDrop(process, key), |s| {
            put(s, if s.dead_letters[n].dropped { done } else { Storing::NotDropped });
        }),
        Storing::No | Storing::NotDropped => next.add(Action::StoreDeadLetter(process, key), |s| {
            let found = s.dead_letters[n].is_stored();
            if !found {
                drops::store(world, s, process, key);
            }
            put(s, if found && !world.has(Mutation::NoRenewal) { Storing::Found } else { done });
        }),
        Storing::Found => next.add(Action::LookUpNote(process, key), |s| {
            put(s, if s.dead_letters[n].taken_in_by > 0 { Storing::FoundWithNote } else { done });
        }),
        Storing::FoundWithNote => next.add(Action::RenewDeadLetter(process, key), |s| {
            let found = s.dead_letters[n].is_stored();
            if found {
                drops::store(world, s, process, key);
            }
            put(s, if found { done } else { Storing::NotDropped });
        }),
        Storing::Stored => next.add(Action::WithdrawNote { process, message }, |s| {
            let note = &mut s.dead_letters[n].taken_in_by;
            *note = if *note == s.messages[message].watermark.sequence { 0 } else { *note };
            put(s, Storing::Done);
        }),
        Storing::Done => {}
    }
}
