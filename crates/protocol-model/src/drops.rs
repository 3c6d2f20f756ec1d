//! Dropping a dead letter, while a replay may become its row, and the table may go back.
//!
//! The drop asks the table, notes what it has found, and asks again; if that has changed, it notes the change. A writer
//! deletes the note of a drop after it has committed the row, and when its term begins. So one of them sees the other.
//! Last, the drop deletes the copy of the dead letter that it had read after its note, before it asked again, and no later
//! one: a writer that refuses the message later, after the table went back, sees a note and stores a new copy.
//!
//! A writer that refuses the message looks for the note of a drop, stores a copy, and looks for the note again; if it is
//! there now, the writer deletes that copy. So the writer sees the note, or the drop reads that copy.

use crate::action::Action;
use crate::mutation::Mutation;
use crate::state::{Drop, State};
use crate::stream::{Message, ORDERS, Sender};
use crate::successors::Successors;
use crate::world::World;

pub(crate) fn actions(world: &World, state: &State, next: &mut Successors<'_>) {
    for order in 0..state.orders {
        drop_dead_letter(world, state, order, next);
    }
    for process in 0..world.processes {
        let this = &state.processes[process];
        for key in (0..state.orders).filter(|_| this.reaches_nats()) {
            let n = usize::from(key);
            if this.stored[n] > 0 {
                next.add(Action::LookForDropAgain(process, key), |s| {
                    let stored = std::mem::take(&mut s.processes[process].stored[n]);
                    if s.dead_letters[n].dropped {
                        s.processes[process].takes_back[n] = stored;
                    }
                });
            }
            if this.takes_back[n] > 0 {
                next.add(Action::TakeBackCopy(process, key), |s| {
                    let stored = std::mem::take(&mut s.processes[process].takes_back[n]);
                    if s.dead_letters[n].copy == stored || world.has(Mutation::AllCopiesTakenBack) {
                        s.dead_letters[n].copy = 0;
                        s.announce(key);
                    }
                });
            }
        }
        for key in this.listed_drops.iter().filter(|_| this.reaches_postgres()) {
            next.add(Action::LookForDroppedRow(process, key), |s| {
                s.processes[process].listed_drops.remove(key);
                if !s.database.rows[usize::from(key)].is_none() {
                    s.processes[process].forgets.add(key);
                }
            });
        }
        for key in this.forgets.iter().filter(|_| this.reaches_nats()) {
            next.add(Action::ForgetDrop(process, key), |s| {
                s.processes[process].forgets.remove(key);
                forget(s, key);
            });
        }
    }
}

fn drop_dead_letter(world: &World, state: &State, order: u8, next: &mut Successors<'_>) {
    let n = usize::from(order);
    let is_row = !state.database.rows[n].is_none();
    let found = if is_row && !world.has(Mutation::DropAsksNothing) { Drop::Row } else { Drop::NoRow };
    let copy_first = world.has(Mutation::DropReadsCopyFirst);
    match state.drops[n] {
        Drop::No if state.budget.drops == 0 || !state.dead_letters[n].is_stored() => {}
        Drop::No => next.add(Action::Drop(order), |s| {
            s.budget.drops -= 1;
            s.drops[n] = found;
        }),
        half @ (Drop::NoRow | Drop::NoRowHalfway) if copy_first == (half == Drop::NoRowHalfway) => {
            next.add(Action::NoteDrop(order), |s| {
                s.dead_letters[n].dropped = !world.has(Mutation::DropLeavesNoNote);
                s.announce(order);
                s.drops[n] = half.next();
            });
        }
        half @ (Drop::Row | Drop::RowHalfway) if copy_first == (half == Drop::RowHalfway) => {
            next.add(Action::NoteRowOfDropped(order), |s| {
                if s.dead_letters[n].taken_in_by == 0 {
                    s.dead_letters[n].taken_in_by = s.messages[n].watermark.sequence;
                }
                s.dead_letters[n].dropped = false;
                s.announce(order);
                s.drops[n] = half.next();
            });
        }
        half @ (Drop::NoRow | Drop::NoRowHalfway | Drop::Row | Drop::RowHalfway) => {
            next.add(Action::ReadCopyOfDropped(order), |s| {
                s.drop_copies[n] = s.dead_letters[n].copy;
                s.drops[n] = half.next();
            });
        }
        noted @ (Drop::NoRowNoted | Drop::RowNoted) => next.add(Action::AskAboutDrop(order), |s| {
            let has_changed = (noted == Drop::RowNoted) != (found == Drop::Row);
            let goes_on = !has_changed || world.has(Mutation::DropAsksOnce);
            s.drops[n] = if goes_on { Drop::Decided } else { found };
            if noted == Drop::NoRowNoted && !is_row {
                s.record.dropped.add(order);
            }
        }),
        Drop::Decided => next.add(Action::DeleteDropped(order), |s| {
            let up_to = std::mem::take(&mut s.drop_copies[n]);
            if s.dead_letters[n].copy <= up_to || world.has(Mutation::DropDeletesAllCopies) {
                s.dead_letters[n].copy = 0;
                s.announce(order);
            }
            s.drops[n] = Drop::No;
        }),
    }
}

impl Drop {
    /// The state after one more of its two steps between the questions: the note, and the number of the copy.
    fn next(self) -> Self {
        match self {
            Self::NoRow => Self::NoRowHalfway,
            Self::NoRowHalfway => Self::NoRowNoted,
            Self::Row => Self::RowHalfway,
            Self::RowHalfway => Self::RowNoted,
            other => other,
        }
    }
}

/// Stores a copy. The dead letter may have been dropped since the writer looked for a note of that, so it looks again.
pub(crate) fn store(world: &World, state: &mut State, process: usize, key: u8) {
    state.put_dead_letter(process, key);
    if world.budget.drops > 0 && !world.has(Mutation::DropLookedUpOnce) {
        let n = usize::from(key);
        state.processes[process].stored[n] = state.dead_letters[n].copy;
    }
}

/// The order is a row, so it counts as dropped no longer.
fn forget(state: &mut State, key: u8) {
    let n = usize::from(key);
    state.dead_letters[n].dropped = false;
    if !state.database.rows[n].is_none() {
        state.record.dropped.remove(key);
    }
}

/// After the commit of the row of a message whose key had a dead letter.
pub(crate) fn forget_after_commit(world: &World, state: &mut State, process: usize, message: usize) {
    let Message { order: key, sender, watermark, .. } = state.messages[message];
    let is_noted = state.dead_letters[usize::from(key)].taken_in_by == watermark.sequence;
    if world.budget.drops == 0 || (sender == Sender::Client && !is_noted) {
        return;
    }
    if world.has(Mutation::DropStaysBesideRow) {
        state.record.dropped.remove(key);
    } else {
        state.processes[process].forgets.add(key);
    }
}

/// When a term begins: a writer may have been killed before it deleted the note of a drop.
pub(crate) fn list(world: &World, state: &mut State, process: usize) {
    let position = state.processes[process].writer.watermark.sequence;
    for key in (0..).take(ORDERS) {
        let n = usize::from(key);
        let by = state.dead_letters[n].taken_in_by;
        let is_left = state.dead_letters[n].dropped && by > 0 && by <= position;
        if world.has(Mutation::ListedDropsStay) && is_left && !state.database.rows[n].is_none() {
            state.record.dropped.remove(key);
        } else if is_left {
            state.processes[process].listed_drops.add(key);
        }
    }
}
