//! Erasing an order: its key is kept first, so that nobody writes it any more, then all that there is of it goes.

use crate::protocol::{Protocol, Trap};
use crate::state::{Erasing, Number, Sender, State};
use crate::stream::{delete, spend};

pub(crate) fn forget(state: &mut State, order: Number) -> bool {
    let erasing = state.erasing[usize::from(order)];
    if order >= state.orders || erasing != Erasing::No || !spend(&mut state.left.erasures) {
        return false;
    }
    state.forgotten.add(order);
    state.erasing[usize::from(order)] = Erasing::Key;
    true
}

/// The dead letter goes before the messages, so that none is sent again meanwhile.
pub(crate) fn erase(world: &Protocol, state: &mut State, order: Number) -> bool {
    let place = usize::from(order);
    let next = match state.erasing[place] {
        Erasing::No | Erasing::Done => return false,
        Erasing::Key => {
            state.table.remove(order);
            Erasing::Row
        }
        Erasing::Row => {
            state.dead[place] = 0;
            Erasing::DeadLetter
        }
        Erasing::DeadLetter => {
            messages(world, state, order);
            Erasing::Done
        }
    };
    state.erasing[place] = next;
    true
}

/// What was stored after all, by a replica that held a copy. `false`: nothing was.
pub(crate) fn erase_again(world: &Protocol, state: &mut State, order: Number) -> bool {
    let before = *state;
    if !world.has(Trap::LateRowKept) {
        state.table.remove(order);
    }
    let late = state.dead[usize::from(order)] > 0
        || state
            .messages
            .iter()
            .any(|message| message.order == order && message.there && message.sender == Sender::Replay);
    if late && !world.has(Trap::LateDeadLetterKept) {
        state.dead[usize::from(order)] = 0;
        messages(world, state, order);
    }
    *state != before
}

fn messages(world: &Protocol, state: &mut State, order: Number) {
    let kept = |sender| sender == Sender::Replay && world.has(Trap::ReplayedMessageKept);
    for message in 0..state.published {
        let found = state.message(message);
        if found.order == order && found.sender != Sender::Forger && !kept(found.sender) {
            delete(state, message);
        }
    }
}
