//! The invariants of each state, and of states in which nothing more happens by itself.

use std::fmt;

use crate::mutation::Mutation;
use crate::process::{Condition, Process, Stage};
use crate::state::{Drop, Erasure, State};
use crate::stream::{ORDERS, Sender};
use crate::world::{Kind, World};

/// An invariant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invariant {
    /// Always: an order has one row.
    OneRow,
    /// Always: a row has the document of its own message, or of a message with the key of a refused order.
    NobodyChoosesAKey,
    /// Always: an order that neither a process nor PostgreSQL refuses is not a dead letter.
    OnlyRefusedOrdersAreDeadLetters,
    /// Always: the position passes only committed rows, stored dead letters, empty messages, spent replays, erased
    /// keys, and refused messages whose note names a message that the stream has behind the position.
    PositionPassesOnlySettled,
    /// Always: `/order/{id}` does not answer 404 for an order that is in the table, or that will be.
    NotFoundIsTrue,
    /// In the end: each acknowledged message is a row or a dead letter, or was dropped or erased.
    NothingIsLost,
    /// In the end: an order with a row is not listed as a dead letter. Two kinds of dead letters stay beside a row: those
    /// that were stored when there was a row already, or by a writer that another one had replaced; and those of a replay
    /// that found its key taken. No step can compare both stores at once; none of them is lost by a replay or a drop.
    RowOrDeadLetter,
    /// In the end: a dead letter that was dropped is not listed. One may be that a process stored which was killed, or
    /// stalls, before it looked up whether it was dropped meanwhile.
    DroppedIsGone,
    /// In the end: row, messages and dead letter of an erased order are gone, and no memory has it.
    NothingIsLeftOfErased,
    /// In the end: the memory of each process equals the table, in count and form.
    MemoryIsTheTable,
    /// From each state, the actions that happen by themselves lead to an end.
    ComesToRest,
}

impl fmt::Display for Invariant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::OneRow => "an order has one row",
            Self::NobodyChoosesAKey => "nobody chooses a key",
            Self::OnlyRefusedOrdersAreDeadLetters => "only refused orders are dead letters",
            Self::PositionPassesOnlySettled => "the position passes only what is settled",
            Self::NotFoundIsTrue => "404 is not said of an order that is in the table, or will be",
            Self::NothingIsLost => "what the stream acknowledged is not lost",
            Self::RowOrDeadLetter => "an order with a row is not listed as a dead letter",
            Self::DroppedIsGone => "a dead letter that was dropped is not listed",
            Self::NothingIsLeftOfErased => "nothing is left of an erased order",
            Self::MemoryIsTheTable => "what memory serves in the end is the table",
            Self::ComesToRest => "it comes to rest",
        })
    }
}

/// The invariant that a state breaks.
pub(crate) fn broken(world: &World, state: &State, at_rest: bool) -> Option<Invariant> {
    let always = (0..ORDERS).find_map(|order| always(world, state, order));
    // Work that stalled processes leave undone is done when one runs.
    let somebody_runs = state.processes.iter().any(|process| process.condition == Condition::Running);
    always.or_else(|| (at_rest && somebody_runs).then(|| in_the_end(world, state)).flatten())
}

fn always(world: &World, state: &State, order: usize) -> Option<Invariant> {
    if state.record.doubled.has(number(order)) {
        Some(Invariant::OneRow)
    } else if is_forged(state, order) {
        Some(Invariant::NobodyChoosesAKey)
    } else if state.dead_letters[order].is_stored() && world.orders.get(order) == Some(&Kind::Good) {
        Some(Invariant::OnlyRefusedOrdersAreDeadLetters)
    } else if is_passed_unsettled(world, state, order) {
        Some(Invariant::PositionPassesOnlySettled)
    } else if !world.without_views
        && state.processes.iter().any(|process| denies(world, state, process, order))
    {
        Some(Invariant::NotFoundIsTrue)
    } else {
        None
    }
}

fn number(order: usize) -> u8 {
    u8::try_from(order).unwrap_or(u8::MAX)
}

fn is_forged(state: &State, order: usize) -> bool {
    let row = state.database.rows[order];
    let forged = !row.is_none() && state.messages[row.message()].sender == Sender::Forger;
    forged && !state.record.refused.has(number(order))
}

/// The order is not a row, for a valid reason.
fn is_settled_without_row(world: &World, state: &State, order: usize) -> bool {
    let key = number(order);
    let record = &state.record;
    let dead_letter = state.dead_letters[order];
    // What a drop decides that is under way is checked in the end.
    let is_dropped = record.dropped.has(key) || state.drops[order] != Drop::No;
    let excused = is_dropped || record.lost_with_stream.has(key) || state.is_erased(key);
    let refused = dead_letter.is_stored() || dead_letter.dropped || will_be_decided(state, order);
    excused || refused || world.kind(key) == Kind::Empty
}

/// The message that the note names is in the stream behind the position. If the table goes back to a state between the
/// order's own message and that message, neither row nor dead letter need be there, and nothing is lost: the next writer
/// honours that message for the note alone. Before the position passes it, it is a row, or the writer that refuses it
/// has stored the dead letter. If a later message is noted meanwhile, the same is true of that one: notes only advance.
/// The stream keeps it, because purges end below the position.
fn will_be_decided(state: &State, order: usize) -> bool {
    let by = state.dead_letters[order].taken_in_by;
    by > state.database.position.watermark.sequence
        && state.message_at(by).is_some_and(|message| state.messages[message].order == number(order))
}

/// The position is at or above an order's message, and the order is neither a row nor settled otherwise. A position of
/// another stream shows nothing; a loss that is not detected yet is checked in the end.
fn is_passed_unsettled(world: &World, state: &State, order: usize) -> bool {
    let message = &state.messages[order];
    let position = &state.database.position;
    let unnoticed = state.has_noticeable_loss() || state.record.rows_restored;
    let passed = message.stored && message.watermark.sequence <= position.watermark.sequence;
    passed
        && !unnoticed
        && state.is_in_stream(position.watermark, position.created)
        && state.database.rows[order].is_none()
        && !is_settled_without_row(world, state, order)
}

/// A process answers 404 for an order that is a row, or that will become one from the stream.
fn denies(world: &World, state: &State, process: &Process, order: usize) -> bool {
    if order >= usize::from(state.orders)
        || !process.reaches_postgres()
        || !process.view.memory[order].is_none()
    {
        return false;
    }
    if process.erased.has(number(order)) || state.is_erased(number(order)) {
        return false;
    }
    let is_row = !state.database.rows[order].is_none();
    if !answers_not_found(world, state, process, order) {
        return false;
    }
    let unnoticed = state.has_noticeable_loss() || state.record.rows_restored;
    is_row || (!unnoticed && !is_settled_without_row(world, state, order))
}

/// 404 requires that one statement finds no row, and a position at or above the key's sequence and time.
fn answers_not_found(world: &World, state: &State, process: &Process, order: usize) -> bool {
    let watermark = state.messages[order].watermark;
    let view = &process.view;
    let decided = view.stage == Stage::Filled && !view.unchecked && view.in_doubt[order] == 0;
    let read = decided && watermark.sequence <= view.watermark.sequence;
    if world.has(Mutation::MissNotAsked) && read {
        return true;
    }
    let position = state.database.position.watermark;
    // A position set without reading a message has no time, and so is above no key.
    let passed = watermark.sequence <= position.sequence && watermark.time <= position.time;
    let no_row = state.database.rows[order].is_none();
    no_row && (passed || (world.has(Mutation::NotFoundWithoutPosition) && read))
}

fn in_the_end(world: &World, state: &State) -> Option<Invariant> {
    let orders = 0..usize::from(state.orders);
    if let Some(broken) = orders.into_iter().find_map(|order| order_in_the_end(world, state, order)) {
        return Some(broken);
    }
    let healthy = state.processes.iter().filter(|process| process.condition == Condition::Running);
    for process in healthy.filter(|_| !world.without_views) {
        for order in 0..ORDERS {
            if process.view.memory[order] != state.database.rows[order] {
                let erased = state.erasures[order] != Erasure::No;
                return Some(if erased {
                    Invariant::NothingIsLeftOfErased
                } else {
                    Invariant::MemoryIsTheTable
                });
            }
        }
        if process.view.stage != Stage::Filled {
            return Some(Invariant::MemoryIsTheTable);
        }
    }
    None
}

fn order_in_the_end(world: &World, state: &State, order: usize) -> Option<Invariant> {
    let has_row = !state.database.rows[order].is_none();
    if state.is_erased(number(order)) {
        let has_messages =
            state.messages.iter().any(|message| message.stored && message.order == number(order));
        let left = has_row || has_messages || state.dead_letters[order].is_stored();
        return left.then_some(Invariant::NothingIsLeftOfErased);
    }
    let record = &state.record;
    let excused = record.dropped.has(number(order)) || record.lost_with_stream.has(number(order));
    let listed = state.dead_letters[order].is_stored();
    if !has_row && !listed && !excused && world.kind(number(order)) != Kind::Empty {
        return Some(Invariant::NothingIsLost);
    }
    let stays = record.left_by_kill.has(number(order))
        || state.processes.iter().any(|process| process.is_storing(order));
    if listed && !has_row && record.dropped.has(number(order)) && state.dead_letters[order].dropped && !stays
    {
        return Some(Invariant::DroppedIsGone);
    }
    (has_row && listed && !record.beside_row.has(number(order))).then_some(Invariant::RowOrDeadLetter)
}
