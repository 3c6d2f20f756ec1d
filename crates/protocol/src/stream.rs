//! The stream and its durable consumer, and who sends into it.

use crate::protocol::{Kind, Protocol, Trap};
use crate::replica::done;
use crate::state::{Delivery, Hand, MESSAGES, Message, Number, Sender, State};

/// Deliveries are counted up to this: more of them make no difference.
const COUNTED: u8 = 2;

/// A key from the clock is another one for each delivery; so many are told apart.
const CLOCK: u8 = 3;

pub(crate) fn publish(world: &Protocol, state: &mut State) -> bool {
    let order = state.orders;
    if usize::from(order) == world.orders.len() {
        return false;
    }
    state.orders += 1;
    append(state, order, Sender::Client)
}

pub(crate) fn replay(state: &mut State, order: Number) -> bool {
    if state.dead[usize::from(order)] == 0 || !spend(&mut state.left.replays) {
        return false;
    }
    append(state, order, Sender::Replay)
}

/// Of an order that never is a dead letter: while one is stored, its key may be used, by whomever.
pub(crate) fn forge(world: &Protocol, state: &mut State, order: Number) -> bool {
    if world.kind(order) != Kind::Good || order >= state.orders || !spend(&mut state.left.forgeries) {
        return false;
    }
    append(state, order, Sender::Forger)
}

fn append(state: &mut State, order: Number, sender: Sender) -> bool {
    let place = usize::from(state.published);
    if place == MESSAGES {
        return false;
    }
    state.messages[place] = Message { order, sender, there: true, ..Message::default() };
    state.published += 1;
    true
}

/// New messages come in their order. Whether they or those that come again are first is left open: the server
/// prefers new ones.
pub(crate) fn deliver(world: &Protocol, state: &mut State, replica: Number, message: Number) -> bool {
    let place = usize::from(message);
    let delivery = state.messages[place].delivery;
    let is_next = || (0..message).all(|before| state.message(before).delivery != Delivery::Waiting);
    let due = match delivery {
        Delivery::Waiting => is_next(),
        Delivery::Pending => true,
        Delivery::Over => false,
    };
    let taker = state.replica(replica);
    if !due || !state.messages[place].there || !taker.up || taker.hand(message) != Hand::Empty {
        return false;
    }
    let counted = if world.has(Trap::KeyFromClock) { CLOCK } else { COUNTED };
    let found = &mut state.messages[place];
    found.deliveries = (found.deliveries + 1).min(counted);
    found.delivery = if world.has(Trap::AckBeforeCommit) { Delivery::Over } else { Delivery::Pending };
    let taker = &mut state.replicas[usize::from(replica)];
    taker.deliveries[place] = state.messages[place].deliveries;
    taker.hands[place] = Hand::Taken;
    // Whether one that is sent again will be shown is known only when its dead letter was looked for.
    let is_own = state.messages[place].sender == Sender::Client || world.has(Trap::ReplayCountsAsTaken);
    taker.taken[place] |= is_own && taker.feed.placed && message >= taker.feed.mark;
    true
}

pub(crate) fn acknowledge(world: &Protocol, state: &mut State, replica: Number, message: Number) -> bool {
    if !done(state, replica, message) {
        return false;
    }
    let first = if world.has(Trap::AckAll) { 0 } else { message };
    for message in &mut state.messages[usize::from(first)..=usize::from(message)] {
        if message.delivery == Delivery::Pending {
            message.delivery = Delivery::Over;
        }
    }
    true
}

pub(crate) fn lose_acknowledgement(state: &mut State, replica: Number, message: Number) -> bool {
    done(state, replica, message) && spend(&mut state.left.lost_acks)
}

/// As close to the ack floor as can be; the service keeps its distance.
pub(crate) fn purge(world: &Protocol, state: &mut State) -> bool {
    let floor = if world.has(Trap::PurgeAboveFloor) {
        let over = |&message: &Number| state.message(message).delivery == Delivery::Over;
        (0..state.published).rev().find(over).map_or(0, |last| last + 1)
    } else {
        state.ack_floor()
    };
    if floor <= state.purged || !spend(&mut state.left.purges) {
        return false;
    }
    state.purged = floor;
    (0..floor).for_each(|message| delete(state, message));
    true
}

/// What is gone from the stream is not delivered any more.
pub(crate) fn delete(state: &mut State, message: Number) {
    let message = &mut state.messages[usize::from(message)];
    message.there = false;
    message.delivery = Delivery::Over;
}

/// Takes one from what may still happen, if anything is left of it.
pub(crate) fn spend(left: &mut u8) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}
