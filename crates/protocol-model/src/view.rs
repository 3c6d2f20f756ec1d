//! The view of a process, which it serves: filled from the table, then kept up to date from the stream.

use crate::action::Action;
use crate::database::{Document, Documents};
use crate::mutation::Mutation;
use crate::process::{Process, Stage, View};
use crate::state::State;
use crate::stream::{Sender, StreamPosition};
use crate::successors::Successors;
use crate::world::{Kind, World};

pub(crate) fn actions(world: &World, state: &State, next: &mut Successors<'_>) {
    if world.without_views {
        return;
    }
    for process in 0..world.processes {
        if state.processes[process].reaches_nats() {
            fill(world, state, process, next);
            read_stream(world, state, process, next);
        }
    }
}

fn fill(world: &World, state: &State, process: usize, next: &mut Successors<'_>) {
    let view = &state.processes[process].view;
    let rows_first = world.has(Mutation::FillBeforePosition);
    match view.stage {
        Stage::Starting if rows_first => next.add(Action::ReadRows(process), |s| {
            s.processes[process].view.snapshot = s.database.rows;
            s.processes[process].view.stage = Stage::RowsReadFirst;
        }),
        // If messages after the position are gone, the writer passes the gap first.
        Stage::Starting if state.database.position.watermark.sequence + 1 >= state.stream.first => {
            next.add(Action::ReadPosition(process), |s| {
                read_position(world, s, process, Stage::PositionRead)
            });
        }
        Stage::RowsReadFirst => {
            next.add(Action::ReadPosition(process), |s| read_position(world, s, process, Stage::RowsRead));
        }
        Stage::PositionRead if world.follows_session(state, process) => {
            next.add(Action::ReadRows(process), |s| {
                let view = &mut s.processes[process].view;
                view.snapshot = s.database.rows;
                view.stage = Stage::RowsRead;
                view.position_seen = view.position_seen.max(s.database.position.watermark.sequence);
            });
        }
        Stage::RowsRead => next.add(Action::FillMemory(process), |s| fill_memory(&mut s.processes[process])),
        _ => {}
    }
}

/// If the position is not of this stream, the view reads the stream from its beginning.
fn read_position(world: &World, state: &mut State, process: usize, stage: Stage) {
    let position = state.database.position;
    let known = view_is_in_stream(world, state, position.watermark, position.created);
    let watermark = if known { position.watermark } else { state.stream.beginning() };
    let view = &mut state.processes[process].view;
    *view = View {
        stage,
        watermark,
        created: state.stream.created,
        unchecked: false,
        session: position.session,
        writer_has_old_model: position.old_model,
        position_seen: position.watermark.sequence,
        ..*view
    };
}

/// Keeps orders from the stream, and excludes erased ones.
fn fill_memory(process: &mut Process) {
    let snapshot: Documents = std::mem::take(&mut process.view.snapshot);
    for (order, row) in (0..).zip(snapshot) {
        let known = &mut process.view.memory[usize::from(order)];
        if known.is_none() && !process.erased.has(order) {
            *known = row;
        }
    }
    process.view.stage = Stage::Filled;
}

fn read_stream(world: &World, state: &State, process: usize, next: &mut Successors<'_>) {
    let view = &state.processes[process].view;
    if !view.has_watermark() {
        return;
    }
    if view.unchecked {
        next.add(Action::CheckWatermark(process), |s| check_watermark(world, s, process));
    } else if state.stream.first > view.watermark.sequence + 1 && !world.has(Mutation::UnreadPurgeIgnored) {
        next.add(Action::FindGap(process), |s| restart(world, s, process));
    } else if let Some(message) = state.message_after(view.watermark.sequence) {
        next.add(Action::ReadMessage { process, message }, |s| read_message(world, s, process, message));
    }
}

fn check_watermark(world: &World, state: &mut State, process: usize) {
    let View { watermark, created, .. } = state.processes[process].view;
    if view_is_in_stream(world, state, watermark, created) {
        state.processes[process].view.unchecked = false;
    } else {
        restart(world, state, process);
    }
}

/// The view's check of the stream, with each new consumer.
fn view_is_in_stream(world: &World, state: &State, watermark: StreamPosition, created: u8) -> bool {
    if world.has(Mutation::ViewTrustsStream) {
        return true;
    }
    if world.has(Mutation::StreamCheckedWithoutTime) {
        return created == state.stream.created && watermark.sequence <= state.stream.last;
    }
    let missing = created == state.stream.created && state.is_missing(watermark.sequence);
    state.is_in_stream(watermark, created) || (missing && world.has(Mutation::ViewAcceptsMissingMessage))
}

/// The view begins again with an empty memory.
pub(crate) fn restart(world: &World, state: &mut State, process: usize) {
    let view = &mut state.processes[process].view;
    let memory = view.memory;
    view.restart();
    if world.has(Mutation::RestartKeepsMemory) {
        view.memory = memory;
    }
}

pub(crate) fn read_message(world: &World, state: &mut State, process: usize, number: usize) {
    let message = state.messages[number];
    let n = usize::from(message.order);
    let takes_replays = world.has(Mutation::ReplayIntoMemory) && state.dead_letters[n].is_stored();
    let refused = world.refuses(process, state.client_message(message.order));
    let this = &mut state.processes[process];
    this.view.watermark = message.watermark;
    if this.erased.has(message.order) || world.orders[n] == Kind::Empty && message.sender == Sender::Client {
        return;
    }
    if message.sender != Sender::Client {
        if takes_replays && this.view.memory[n].is_none() {
            this.view.memory[n] = Document::new(number, false);
            this.view.in_doubt[n] = 0;
        } else if !takes_replays {
            this.view.mark_in_doubt(message.order, message.watermark.sequence);
        }
    } else if this.view.memory[n].is_none() {
        read_order(world, this, process, number, refused);
        if this.view.memory[n].is_none() && !(refused && world.has(Mutation::OwnRefusalTrusted)) {
            this.view.mark_in_doubt(message.order, message.watermark.sequence);
        }
    }
}

/// Puts an order into memory if this process can be sure of the writer's result.
fn read_order(world: &World, this: &mut Process, process: usize, number: usize, refused: bool) {
    let order = u8::try_from(number).unwrap_or(u8::MAX);
    let had_dead_letter =
        this.view.dead_letters_seen.has(order) && !world.has(Mutation::DeadLetterRemovesOrder);
    let other_model = this.view.writer_has_old_model != world.old_model[process];
    let of_other_writer = other_model || this.view.watermark.sequence <= this.view.own_form_after;
    let other_form =
        world.orders[number] == Kind::TwoForms && of_other_writer && !world.has(Mutation::OwnFormTrusted);
    if !refused && !had_dead_letter && !other_form {
        this.view.memory[number] = world.document(process, number);
    }
}
