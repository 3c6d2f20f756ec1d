//! Faults: kills, stalls, lost connections, and a table that goes back.

use crate::action::Action;
use crate::database::{Phase, Transaction};
use crate::mutation::Mutation;
use crate::process::{Condition, Process, Role};
use crate::state::{DeadLetter, ORPHAN, State};
use crate::stream::ORDERS;
use crate::successors::Successors;
use crate::world::World;

pub(crate) fn actions(world: &World, state: &State, next: &mut Successors<'_>) {
    for process in 0..world.processes {
        of_process(world, state, process, next);
    }
    for order in 0..state.orders {
        let stored = state.dead_letters[usize::from(order)] != DeadLetter::default();
        if state.budget.lost_dead_letters > 0 && stored {
            next.add(Action::LoseDeadLetter(order), |s| {
                s.budget.lost_dead_letters -= 1;
                s.dead_letters[usize::from(order)] = DeadLetter::default();
                s.dead_letter_losses += 1;
            });
        }
    }
    if state.transactions[ORPHAN].is_open() {
        next.add(Action::LoseInFlight, |s| s.transactions[ORPHAN] = Transaction::default());
    }
    if state.can_go_back() {
        next.add(Action::Flush, |s| s.durable = s.database);
    }
    if state.budget.rollbacks > 0 {
        next.add(Action::RollBack { in_flight_survives: false }, |s| roll_back(world, s, false));
        if world.pooler && state.transactions.iter().any(|transaction| transaction.phase == Phase::Sent) {
            next.add(Action::RollBack { in_flight_survives: true }, |s| roll_back(world, s, true));
        }
    }
}

fn of_process(world: &World, state: &State, process: usize, next: &mut Successors<'_>) {
    let left = &state.budget;
    let condition = state.processes[process].condition;
    if left.crashes > 0 {
        next.add(Action::Kill { process, in_flight_survives: false }, |s| kill(s, process, false));
        if can_survive(state, process) {
            next.add(Action::Kill { process, in_flight_survives: true }, |s| kill(s, process, true));
        }
    }
    if condition == Condition::Stalled {
        next.add(Action::Resume(process), |s| s.processes[process].condition = Condition::Running);
        return;
    }
    if left.stalls > 0 {
        next.add(Action::Stall(process), |s| {
            s.budget.stalls -= 1;
            s.processes[process].condition = Condition::Stalled;
        });
    }
    of_nats(world, state, process, next);
    let writes = state.processes[process].writer.role == Role::Writer;
    if left.lost_connections > 0 && writes && state.transactions[process].phase != Phase::Executed {
        next.add(Action::LoseConnection(process), |s| lose_connection(s, process));
    }
}

fn of_nats(world: &World, state: &State, process: usize, next: &mut Successors<'_>) {
    if state.processes[process].condition == Condition::CutFromNats {
        next.add(Action::ReachNats(process), |s| {
            s.processes[process].condition = Condition::Running;
            s.processes[process].view.unchecked = true;
        });
        return;
    }
    if state.budget.nats_cuts > 0 {
        next.add(Action::LoseNats(process), |s| {
            s.budget.nats_cuts -= 1;
            s.processes[process].condition = Condition::CutFromNats;
        });
    }
    if state.budget.remade_consumers > 0 {
        next.add(Action::RemakeConsumer(process), |s| {
            s.budget.remade_consumers -= 1;
            s.processes[process].view.unchecked = true;
            let skipped = s.message_after(s.processes[process].view.watermark.sequence);
            if let Some(message) = skipped.filter(|_| world.has(Mutation::ConsumerSkipsOne)) {
                s.processes[process].view.watermark = s.messages[message].watermark;
            }
        });
    }
}

/// Whether a process's transaction can outlive its connection: it was sent, and holds no lock.
fn can_survive(state: &State, process: usize) -> bool {
    let sent = matches!(state.transactions[process].phase, Phase::Sent | Phase::HalfCommitted);
    sent && state.transactions[ORPHAN].phase == Phase::None
}

fn orphan(state: &mut State, process: usize) {
    let transaction = std::mem::take(&mut state.transactions[process]);
    state.transactions[ORPHAN] = transaction;
}

fn kill(state: &mut State, process: usize, in_flight_survives: bool) {
    state.budget.crashes -= 1;
    for key in (0..).take(ORDERS).filter(|&key| state.processes[process].is_storing(usize::from(key))) {
        state.record.left_by_kill.add(key);
    }
    state.processes[process] = Process::started();
    if in_flight_survives {
        orphan(state, process);
    }
    state.transactions[process] = Transaction::default();
}

fn lose_connection(state: &mut State, process: usize) {
    state.budget.lost_connections -= 1;
    state.processes[process].writer.role = Role::Unsure;
    if can_survive(state, process) {
        orphan(state, process);
    }
    state.transactions[process] = Transaction::default();
}

/// A process without a transaction does not notice, because there may be a pooler.
fn roll_back(world: &World, state: &mut State, in_flight_survives: bool) {
    state.budget.rollbacks -= 1;
    state.database = state.durable;
    for number in 0..state.transactions.len() {
        let phase = state.transactions[number].phase;
        if phase == Phase::None || (in_flight_survives && phase == Phase::Sent) {
            continue;
        }
        state.transactions[number] = Transaction::default();
        if number != ORPHAN {
            state.processes[number].writer.role = Role::Unsure;
        }
    }
    let stream_lost_messages =
        world.budget.stream_restores + world.budget.trims + world.budget.row_restores > 0;
    if world.loses_flushed || stream_lost_messages {
        state.excuse_lost(world.budget.stream_restores + world.budget.row_restores > 0);
    }
}
