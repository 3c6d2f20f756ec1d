//! Actions of clients and operators: publish, replay, drop, copy and restore.

use crate::action::Action;
use crate::database::Transaction;
use crate::process::{Condition, Process, Role};
use crate::state::State;
use crate::stream::{Sender, Stream, StreamCopy};
use crate::successors::Successors;
use crate::world::{Kind, World};

pub(crate) fn actions(world: &World, state: &State, next: &mut Successors<'_>) {
    if usize::from(state.orders) < world.orders.len() {
        next.add(Action::Publish(state.orders), publish);
    }
    for order in 0..state.orders {
        about_order(world, state, order, next);
    }
    if state.budget.fixes > 0 && !state.database.fixed {
        next.add(Action::Fix, |s| {
            s.budget.fixes -= 1;
            s.database.fixed = true;
        });
    }
    if state.budget.trims > 0 && state.stream.first <= state.stream.last {
        next.add(Action::Trim, trim);
    }
    if state.budget.stream_restores > 0 {
        replace_stream(state, next);
    }
    if state.budget.row_restores > 0 && state.database.rows != state.durable.rows {
        next.add(Action::RestoreRows, restore_rows);
    }
}

fn publish(state: &mut State) {
    let order = state.orders;
    state.append(usize::from(order), order, Sender::Client);
    state.orders += 1;
}

fn about_order(world: &World, state: &State, order: u8, next: &mut Successors<'_>) {
    let left = &state.budget;
    if left.replays > 0 && state.record.refused.has(order) {
        next.add(Action::Replay(order), |s| {
            s.budget.replays -= u8::from(s.append_extra(order, Sender::Replay))
        });
        if matches!(world.kind(order), Kind::NewModelOnly | Kind::Refusable) {
            next.add(Action::ReplayUnchanged(order), |s| {
                s.budget.replays -= u8::from(s.append_extra(order, Sender::Unchanged))
            });
        }
    }
    if left.forgeries > 0 {
        next.add(Action::Forge(order), |s| {
            s.budget.forgeries -= u8::from(s.append_extra(order, Sender::Forger))
        });
    }
}

fn trim(state: &mut State) {
    state.budget.trims -= 1;
    let first = state.stream.first;
    if let Some(message) = state.message_at(first) {
        state.messages[message].stored = false;
    }
    state.stream.first += 1;
    state.excuse_lost(false);
}

fn replace_stream(state: &State, next: &mut Successors<'_>) {
    if state.copy.taken {
        next.add(Action::RestoreStream, |s| {
            let copy = s.copy;
            let stream = Stream { clock: s.stream.clock, ..copy.stream };
            put_stream(s, stream, copy.stored);
        });
        return;
    }
    next.add(Action::CopyStream, |s| {
        s.copy =
            StreamCopy { taken: true, stream: s.stream, stored: s.messages.map(|message| message.stored) };
    });
    next.add(Action::RecreateStream, |s| {
        let stream = Stream { created: s.stream.created + 1, first: 1, last: 0, clock: s.stream.clock };
        put_stream(s, stream, Default::default());
    });
}

/// The stream's consumers are gone; the next ones must check their position.
fn put_stream(state: &mut State, stream: Stream, stored: [bool; crate::stream::MESSAGES]) {
    state.budget.stream_restores -= 1;
    state.stream = stream;
    for (message, stored) in state.messages.iter_mut().zip(stored) {
        message.stored = stored;
    }
    for process in state.processes.iter_mut().filter(|process| process.condition != Condition::Absent) {
        process.view.unchecked = true;
        process.writer.unchecked |= process.writer.role != Role::Follower;
    }
    state.excuse_lost(false);
}

/// `orders2` is restored from an older copy, without the position row, while the service is stopped.
fn restore_rows(state: &mut State) {
    state.budget.row_restores -= 1;
    state.database.rows = state.durable.rows;
    state.transactions = [Transaction::default(); 3];
    for process in state.processes.iter_mut().filter(|process| process.condition != Condition::Absent) {
        *process = Process::started();
    }
    state.record.rows_restored = true;
    state.excuse_lost(false);
}
