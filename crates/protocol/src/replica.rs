//! What a replica does with a message that it has taken, up to its acknowledgement, and what it tells of that; its end
//! and its start.

use crate::protocol::{Kind, Protocol, Trap};
use crate::state::{Hand, Number, ORDERS, Replica, Sender, State, Telling};
use crate::stream::spend;

/// The key of a replica's copy of a message.
pub(crate) fn key(world: &Protocol, state: &State, replica: Number, message: Number) -> Number {
    let found = state.message(message);
    let copies = ORDERS as Number;
    match found.sender {
        // Something else under that order's key.
        Sender::Forger => found.order + copies,
        _ if world.has(Trap::KeyFromClock) => {
            found.order + copies * (state.replica(replica).deliveries[usize::from(message)] - 1)
        }
        _ => found.order,
    }
}

/// Whether a replica that runs is so far with a message.
fn is_at(state: &State, replica: Number, message: Number, hand: Hand) -> bool {
    state.replica(replica).up && state.replica(replica).hand(message) == hand
}

fn go(state: &mut State, replica: Number, message: Number, hand: Hand) -> bool {
    state.replicas[usize::from(replica)].hands[usize::from(message)] = hand;
    true
}

pub(crate) fn decode(world: &Protocol, state: &mut State, replica: Number, message: Number) -> bool {
    if !is_at(state, replica, message, Hand::Taken) {
        return false;
    }
    let found = state.message(message);
    if found.sender != Sender::Client {
        let stored = state.dead[usize::from(found.order)] > 0;
        if !stored && !world.has(Trap::ReplayWithoutLookUp) {
            if world.has(Trap::ReplayCountsAsTaken) {
                // Whoever took it in may have been another replica.
                state.replicas[usize::from(replica)].taken[usize::from(message)] = false;
            }
            return go(state, replica, message, Hand::Done);
        }
        state.replicas[usize::from(replica)].gone.remove(found.order);
    }
    if world.kind(found.order) == Kind::Malformed && !state.mended {
        return go(state, replica, message, Hand::Refused);
    }
    let key = key(world, state, replica, message);
    state.replicas[usize::from(replica)].coming.add(key);
    go(state, replica, message, Hand::Decoded)
}

/// By `COPY` what was delivered for the first time, which does not look at what is forgotten, else by `INSERT`.
pub(crate) fn write(world: &Protocol, state: &mut State, replica: Number, message: Number) -> bool {
    if !is_at(state, replica, message, Hand::Decoded) {
        return false;
    }
    let found = state.message(message);
    let key = key(world, state, replica, message);
    if world.kind(found.order) == Kind::Refusable && !state.mended {
        let taker = &mut state.replicas[usize::from(replica)];
        taker.memory.remove(key);
        taker.gone.add(key);
        return go(state, replica, message, Hand::Refused);
    }
    let is_there = if world.has(Trap::KeyFromClock) {
        state.table.has(key)
    } else {
        state.table.of_order(found.order) > 0
    };
    let fresh =
        state.replica(replica).deliveries[usize::from(message)] == 1 && found.sender == Sender::Client;
    if !is_there && (fresh || !state.forgotten.has(found.order)) {
        state.table.add(key);
    }
    go(state, replica, message, if found.sender == Sender::Client { Hand::Done } else { Hand::Written })
}

pub(crate) fn store_dead_letter(
    world: &Protocol,
    state: &mut State,
    replica: Number,
    message: Number,
) -> bool {
    if !is_at(state, replica, message, Hand::Refused) {
        return false;
    }
    let order = state.message(message).order;
    let stored = &mut state.dead[usize::from(order)];
    if *stored == 0 || world.has(Trap::DeadLetterUnconditional) {
        *stored = (*stored + 1).min(2);
    }
    go(state, replica, message, Hand::Done)
}

/// Writes a row, and tells of it if it is a new one, not one that was passed over.
pub(crate) fn write_and_tell(world: &Protocol, state: &mut State, replica: Number, message: Number) -> bool {
    let before = state.table;
    let written = spend(&mut state.left.tellings) && write(world, state, replica, message);
    if state.table != before || world.has(Trap::ToldBeforeCommit) {
        tell(state, replica, message, Telling::Row);
    }
    written
}

pub(crate) fn store_dead_letter_and_tell(
    world: &Protocol,
    state: &mut State,
    replica: Number,
    message: Number,
) -> bool {
    let stored = spend(&mut state.left.tellings) && store_dead_letter(world, state, replica, message);
    tell(state, replica, message, Telling::NoOrder);
    stored
}

/// Whoever doesn't run is not told.
fn tell(state: &mut State, teller: Number, message: Number, what: Telling) {
    for (other, replica) in state.replicas.iter_mut().enumerate() {
        if other != usize::from(teller) && replica.up {
            replica.told[usize::from(message)] = what;
        }
    }
}

/// Of a message that was sent again, once its order is in the table.
pub(crate) fn remove_dead_letter(state: &mut State, replica: Number, message: Number) -> bool {
    if !is_at(state, replica, message, Hand::Written) {
        return false;
    }
    state.dead[usize::from(state.message(message).order)] = 0;
    go(state, replica, message, Hand::Done)
}

/// Whether a copy is ready to be acknowledged; it is let go of then.
pub(crate) fn done(state: &mut State, replica: Number, message: Number) -> bool {
    if !is_at(state, replica, message, Hand::Done) {
        return false;
    }
    state.replicas[usize::from(replica)].deliveries[usize::from(message)] = 0;
    go(state, replica, message, Hand::Empty)
}

/// All that it had is gone. What it was writing is in the table or it isn't.
pub(crate) fn crash(state: &mut State, replica: Number) -> bool {
    if !state.replica(replica).up || !spend(&mut state.left.crashes) {
        return false;
    }
    state.replicas[usize::from(replica)] = Replica { up: false, ..Replica::started() };
    true
}

pub(crate) fn start(state: &mut State, replica: Number) -> bool {
    let stopped = !state.replica(replica).up;
    state.replicas[usize::from(replica)].up = true;
    stopped
}
