//! How a replica comes to serve all orders: what it took itself, what others took, what was there before, and
//! without what was forgotten.

use crate::protocol::{Protocol, Trap};
use crate::state::{Feed, Number, Replica, State, Telling};
use crate::{erasing, replica as taking};

fn running(state: &mut State, replica: Number) -> Option<&mut Replica> {
    Some(&mut state.replicas[usize::from(replica)]).filter(|replica| replica.up)
}

/// What lies below the durable's ack floor is in the table, which is read after this.
pub(crate) fn place(world: &Protocol, state: &mut State, replica: Number) -> bool {
    let mark = state.ack_floor();
    let Some(placed) = running(state, replica) else { return false };
    let wrong_turn = world.has(Trap::FillBeforeFeed) && !placed.feed.filled;
    if placed.feed.placed || wrong_turn {
        return false;
    }
    placed.feed = Feed { placed: true, mark, filled: placed.feed.filled };
    true
}

pub(crate) fn fill(world: &Protocol, state: &mut State, replica: Number) -> bool {
    let table = state.table;
    let Some(reader) = running(state, replica) else { return false };
    if reader.feed.filled || reader.feed.placed == world.has(Trap::FillBeforeFeed) {
        return false;
    }
    reader.coming.add_all(table.without(reader.memory));
    reader.feed.filled = true;
    true
}

/// What another replica has told: an order is on its way into memory before its message counts as known.
pub(crate) fn hear(world: &Protocol, state: &mut State, replica: Number, message: Number) -> bool {
    if state.replica(replica).told[usize::from(message)] == Telling::None {
        return false;
    }
    let key = taking::key(world, state, replica, message);
    let Some(hearer) = running(state, replica) else { return false };
    match std::mem::take(&mut hearer.told[usize::from(message)]) {
        Telling::Row if !world.has(Trap::ToldWithoutRow) => {
            // It was refused here, and the other has committed it after a mend.
            if !world.has(Trap::RefusedForEver) {
                hearer.gone.remove(key);
            }
            hearer.coming.add(key);
        }
        _ => {}
    }
    hearer.taken[usize::from(message)] |= hearer.feed.placed && message >= hearer.feed.mark;
    true
}

/// The next message that is settled: it was given to this replica or told, or the table has what became of it.
pub(crate) fn follow(world: &Protocol, state: &mut State, replica: Number) -> bool {
    let (purged, table, floor) = (state.purged, state.table, state.ack_floor());
    let messages = state.messages;
    let Some(reader) = running(state, replica) else { return false };
    let mark = reader.feed.mark;
    if !reader.feed.placed || mark >= floor {
        return false;
    }
    let message = messages[usize::from(mark)];
    let is_own = std::mem::take(&mut reader.taken[usize::from(mark)]);
    reader.feed.mark += 1;
    if is_own {
        return true;
    }
    if mark < purged {
        // Nobody can say any more which key it had.
        reader.feed.filled = world.has(Trap::GapUnnoticed);
    } else if message.there && table.has(message.order) {
        if !world.has(Trap::RefusedForEver) {
            reader.gone.remove(message.order);
        }
        reader.coming.add(message.order);
    }
    true
}

pub(crate) fn show(state: &mut State, replica: Number, key: Number) -> bool {
    let Some(shower) = running(state, replica) else { return false };
    if !shower.coming.has(key) {
        return false;
    }
    shower.coming.remove(key);
    if !shower.gone.has(key) && !shower.barred.has(key) {
        shower.memory.add(key);
    }
    true
}

/// At its start, and then again and again, so that what was being stored while it was forgotten is found.
pub(crate) fn look_at_forgotten(world: &Protocol, state: &mut State, replica: Number) -> bool {
    let forgotten = state.forgotten;
    let Some(looker) = running(state, replica) else { return false };
    let fresh = forgotten.without(looker.barred);
    looker.barred.add_all(fresh);
    looker.memory = looker.memory.without(fresh);
    let mut found = !fresh.is_empty();
    for order in forgotten.iter() {
        found |= erasing::erase_again(world, state, order);
    }
    found
}
