//! Erasing an order: its key is stored in NATS, then in the table, and then the rest of it is deleted. The eraser may
//! stop after any step; each process completes erasures that it finds.

use crate::action::Action;
use crate::database::Document;
use crate::keys::Order;
use crate::mutation::Mutation;
use crate::state::{Erasure, State};
use crate::stream::MESSAGES;
use crate::successors::Successors;
use crate::world::{Kind, World};

pub(crate) fn actions(world: &World, state: &State, next: &mut Successors<'_>) {
    for order in (0..state.orders).filter(|&order| world.kind(order) != Kind::Empty) {
        eraser(world, state, order, next);
    }
    for process in 0..world.processes {
        if state.processes[process].reaches_postgres() {
            in_table(world, state, process, next);
        }
        if state.processes[process].reaches_nats() {
            in_nats(world, state, process, next);
        }
    }
}

fn eraser(world: &World, state: &State, key: Order, next: &mut Successors<'_>) {
    let n = usize::from(key);
    let table_first = world.has(Mutation::ErasureInTableFirst) || world.has(Mutation::ErasureNotInNats);
    // The transaction waits for the lock of the position row.
    let waits = state.is_locked() && !world.has(Mutation::ErasureMissesFence);
    match state.erasures[n] {
        Erasure::No if state.budget.erasures > 0 && !(table_first && waits) => {
            next.add(Action::BeginErasure(key), |s| {
                s.budget.erasures -= 1;
                s.erasures[n] = Erasure::KeyInFirst;
                if table_first {
                    erase_in_table(world, s, key)
                } else {
                    s.dead_letters[n].erased = true;
                }
            });
        }
        Erasure::KeyInFirst if table_first || !waits => next.add(Action::EraseInSecondPlace(key), |s| {
            s.erasures[n] = Erasure::KeyInBoth;
            if !table_first {
                erase_in_table(world, s, key);
            } else if !world.has(Mutation::ErasureNotInNats) {
                s.dead_letters[n].erased = true;
            }
        }),
        Erasure::KeyInBoth => next.add(Action::EraseMessages(key), |s| {
            s.erasures[n] = Erasure::Done;
            s.messages
                .iter_mut()
                .filter(|message| message.order == key)
                .for_each(|message| message.stored = false);
            s.dead_letters[n].copy = 0;
        }),
        _ => {}
    }
}

/// One transaction changes key, row, and the position row's nonce, so that a batch prepared without knowing of the
/// erasure misses the fence.
fn erase_in_table(world: &World, state: &mut State, key: Order) {
    let before = state.database;
    state.database.erased.add(key);
    state.database.rows[usize::from(key)] = Document::NONE;
    if state.database != before && !world.has(Mutation::ErasureMissesFence) {
        state.change_nonce();
    }
}

/// A process reads all erased keys, and adds missing ones to the table.
fn in_table(world: &World, state: &State, process: usize, next: &mut Successors<'_>) {
    let known = state.processes[process].erased;
    if let Some(key) = state.database.erased.without(known).iter().next() {
        next.add(Action::SeeErasedKey(process, key), |s| s.processes[process].learn_erased(key));
    }
    let waits = state.is_locked() && !world.has(Mutation::ErasureMissesFence);
    let lacking = known.without(state.database.erased).iter().next();
    if let Some(key) = lacking.filter(|_| !waits && !world.has(Mutation::ErasureNotRepeated)) {
        next.add(Action::RepeatErasure(process, key), |s| erase_in_table(world, s, key));
    }
}

/// A process that finds a message or a dead letter of an erased order deletes it.
fn in_nats(world: &World, state: &State, process: usize, next: &mut Successors<'_>) {
    if world.has(Mutation::ErasedMessagesStay) {
        return;
    }
    let erased = state.processes[process].erased;
    for message in (0..MESSAGES).filter(|&n| state.messages[n].stored && erased.has(state.messages[n].order))
    {
        next.add(Action::DeleteErasedMessage { process, message }, |s| s.messages[message].stored = false);
    }
    for key in erased.iter().filter(|&key| state.dead_letters[usize::from(key)].is_stored()) {
        next.add(Action::DeleteErasedDeadLetter(process, key), |s| s.dead_letters[usize::from(key)].copy = 0);
    }
}
