//! What is promised, whatever happens: in CONTRACT's words, promises 1 and 2, and that forgotten orders stay away.

use crate::protocol::{Protocol, Trap};
use crate::state::{Delivery, Hand, Message, Number, ORDERS, Replica, Sender, State};

/// The first promise that a state breaks.
pub(crate) fn broken(world: &Protocol, state: &State, at_rest: bool) -> Option<&'static str> {
    let of_an_order = (0..state.orders).find_map(|order| {
        twice(state, order)
            .or_else(|| lost(state, order))
            .or_else(|| at_rest.then(|| unsettled(state, order)).flatten())
    });
    of_an_order.or_else(|| {
        let mut running = state.replicas.iter().filter(|replica| replica.up);
        running.find_map(|replica| {
            unseen(world, state, replica).or_else(|| at_rest.then(|| differs(state, replica)).flatten())
        })
    })
}

fn is_forgotten(state: &State, order: Number) -> bool {
    state.forgotten.has(order)
}

fn twice(state: &State, order: Number) -> Option<&'static str> {
    let rows = state.table.of_order(order) > 1;
    let dead_letters = state.dead[usize::from(order)] > 1;
    rows.then_some("an order is in the table once").or(dead_letters.then_some("a dead letter is stored once"))
}

/// As long as a message is not acknowledged, it will be delivered again. Otherwise its order is somewhere else, or
/// will be unless those that have taken it are killed.
fn lost(state: &State, order: Number) -> Option<&'static str> {
    let kept = state.table.of_order(order) > 0
        || state.dead[usize::from(order)] > 0
        || is_forgotten(state, order)
        || (0..state.published).any(|message| will_come(state, order, message));
    (!kept).then_some("an acknowledged order is not lost")
}

fn will_come(state: &State, order: Number, number: Number) -> bool {
    let message = state.message(number);
    let is_held = || state.replicas.iter().any(|replica| replica.hand(number) != Hand::Empty);
    let is_sent = message.order == order && message.sender == Sender::Client;
    is_sent && ((message.there && message.delivery != Delivery::Over) || is_held())
}

/// With nothing in flight an order is a row, a dead letter, or forgotten.
fn unsettled(state: &State, order: Number) -> Option<&'static str> {
    let (rows, dead) = (state.table.of_order(order), state.dead[usize::from(order)]);
    if is_forgotten(state, order) {
        let sent =
            |message: &Message| message.order == order && message.there && message.sender != Sender::Forger;
        let left = rows > 0 || dead > 0 || state.messages.iter().any(sent);
        return left.then_some("nothing is left of a forgotten order");
    }
    if (rows > 0) == (dead > 0) {
        return Some("an order is a row or a dead letter");
    }
    (rows > 0 && !state.table.has(order) && rows_by_others(state, order)).then_some("nobody chooses a key")
}

/// A row under the key of an order, with something else in it.
fn rows_by_others(state: &State, order: Number) -> bool {
    let forged = |message: &Message| message.order == order && message.sender == Sender::Forger;
    state.table.has(order + ORDERS as Number) && state.messages.iter().any(forged)
}

/// What is in the table is never answered by 404: memory has it, or the table is asked.
fn unseen(world: &Protocol, state: &State, replica: &Replica) -> Option<&'static str> {
    let asks = !(world.has(Trap::MissNotAsked) && replica.feed.filled);
    let mut missing = state.table.without(replica.memory).iter();
    let order = |key: Number| key % ORDERS as Number;
    let found = asks || missing.all(|key| is_forgotten(state, order(key)));
    (!found).then_some("an order of the table is served")
}

fn differs(state: &State, replica: &Replica) -> Option<&'static str> {
    (replica.memory != state.table).then_some("memory is the table")
}
