//! Dead letters whose order became a row, and the purge of the stream below the position.

use crate::action::Action;
use crate::database::Database;
use crate::keys::Order;
use crate::mutation::Mutation;
use crate::state::{DeadLetter, State};
use crate::stream::ORDERS;
use crate::successors::Successors;
use crate::world::World;

pub(crate) fn actions(world: &World, state: &State, next: &mut Successors<'_>) {
    for process in (0..world.processes).filter(|&process| state.processes[process].reaches_nats()) {
        for key in 0..state.orders {
            of_key(world, state, process, key, next);
        }
    }
    if state.budget.purges > 0 {
        purge(world, state, next);
    }
}

fn of_key(world: &World, state: &State, process: usize, key: Order, next: &mut Successors<'_>) {
    let n = usize::from(key);
    let row = state.database.rows[n];
    let dead_letter = state.dead_letters[n];
    if row.is_none() {
        let DeadLetter::TakenIn(by) = dead_letter else { return };
        if !world.has(Mutation::TakenInMarkerStays) && will_not_come(state, usize::from(by)) {
            next.add(Action::StoreAgain(process, key), |s| s.put_dead_letter(key, DeadLetter::Stored));
        }
        return;
    }
    if !dead_letter.has_document() {
        return;
    }
    let flushed = !state.can_go_back() || world.loses_flushed || !state.durable.rows[n].is_none();
    let by = row.message();
    let gone = !state.messages[by].stored;
    let too_early = world.has(Mutation::DeadLetterDeletedWithRow)
        || (world.has(Mutation::DeadLetterDeletedOnceFlushed) && flushed);
    // A message that the stream no longer has can't become an order again, so the dead letter is no longer needed.
    if too_early || (gone && flushed && world.budget.purges > 0 && !state.is_erased(key)) {
        next.add(Action::DeleteDeadLetter(process, key), |s| s.put_dead_letter(key, DeadLetter::None));
    } else if dead_letter == DeadLetter::Stored {
        let mark = DeadLetter::TakenIn(u8::try_from(by).unwrap_or(u8::MAX));
        next.add(Action::MarkTakenIn(process, key), |s| s.put_dead_letter(key, mark));
    }
}

/// The message of an order can't become the order again: the stream does not have it, or the position has passed it.
fn will_not_come(state: &State, message: usize) -> bool {
    let message = &state.messages[message];
    let position = &state.database.position;
    let passed =
        position.created == state.stream.created && position.watermark.sequence >= message.watermark.sequence;
    !message.stored || passed
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

/// Whether lists show an order as a dead letter.
pub(crate) fn is_listed(state: &State, order: usize) -> bool {
    order < ORDERS && state.dead_letters[order] == DeadLetter::Stored
}
