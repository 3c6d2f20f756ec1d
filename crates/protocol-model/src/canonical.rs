//! Canonical states: identifiers are renumbered, details that no action reads are cleared, and interchangeable
//! processes are sorted, so that equivalent states are equal.

use crate::database::{Copies, Database, Fence, Phase, Transaction};
use crate::mutation::Mutation;
use crate::process::{Condition, Prepared, Process, Role, Stage, View, Writer};
use crate::state::{Drop, State};
use crate::stream::{ORDERS, StreamCopy};
use crate::world::{Kind, World};
use crate::{view, writer};

/// The representative of all equivalent states.
pub(crate) fn canonical(world: &World, state: &State) -> State {
    let mut one = *state;
    clear(world, &mut one);
    if world.processes < 2 || world.old_model[0] != world.old_model[1] {
        return one;
    }
    let mut other = one;
    swap(&mut other);
    renumber(&mut other);
    one.min(other)
}

fn swap(state: &mut State) {
    state.processes.swap(0, 1);
    state.transactions.swap(0, 1);
    let rows = [&mut state.database, &mut state.durable].map(|database| &mut database.position.writer);
    let fences = state.transactions.iter_mut().map(|transaction| &mut transaction.fence.writer);
    for writer in rows.into_iter().chain(fences).filter(|writer| **writer > 0) {
        *writer = 3 - *writer;
    }
}

fn clear(world: &World, state: &mut State) {
    for process in &mut state.processes {
        if world.without_views && process.condition != Condition::Absent {
            process.view = View { stage: Stage::Filled, ..View::default() };
        }
        let Writer { role, watermark, session, certain, stored_late, .. } = process.writer;
        match role {
            Role::Writer => process.writer.certain = false,
            Role::Follower => process.writer = Writer { stored_late, ..Writer::default() },
            Role::Unsure if certain => {
                process.writer =
                    Writer { role, watermark, session, certain, stored_late, ..Writer::default() };
                process.writer.watermark.time = 0;
            }
            Role::Unsure => process.writer = Writer { role, stored_late, ..Writer::default() },
        }
    }
    clear_forgets(state);
    if world.has_dead_letters() {
        clear_prepared(state);
        renumber_copies(world, state);
    }
    for transaction in state.transactions.iter_mut().filter(|transaction| transaction.is_decided()) {
        if transaction.phase != Phase::Committed {
            let Transaction { phase, rows, messages, .. } = *transaction;
            *transaction = Transaction { phase, rows, messages, ..Transaction::default() };
        }
        transaction.fence = Fence { sequence: transaction.fence.sequence, ..Fence::default() };
    }
    if !state.can_go_back() {
        state.durable = Database::default();
    }
    if world.budget.row_restores == 0 {
        state.database.position.last_row = 0;
        state.durable.position.last_row = 0;
    }
    if state.budget.stream_restores == 0 {
        state.copy = StreamCopy::default();
    }
    renumber(state);
}

/// What a writer has prepared matters until it has passed the message.
fn clear_prepared(state: &mut State) {
    for process in &mut state.processes {
        let Writer { prepared, copies, watermark, .. } = &mut process.writer;
        let mut kept = Copies::default();
        for (prepared, message) in prepared.iter_mut().zip(&state.messages) {
            let n = usize::from(message.order);
            if !message.stored || message.watermark.sequence <= watermark.sequence {
                *prepared = Prepared::No;
            } else if *prepared == Prepared::Ready {
                kept[n] = copies[n];
            }
        }
        *copies = kept;
    }
}

/// A note of a drop is deleted only where there is one, or may be one later.
fn clear_forgets(state: &mut State) {
    for key in (0..).take(ORDERS) {
        let n = usize::from(key);
        let may_be_dropped = state.budget.drops > 0 || state.drops[n] != Drop::No;
        if !state.dead_letters[n].dropped && !may_be_dropped {
            state.processes.iter_mut().for_each(|process| process.forgets.remove(key));
        }
    }
}

/// The number of a copy matters while that copy is there.
fn renumber_copies(world: &World, state: &mut State) {
    let unbound = [
        Mutation::DeletionWithoutBound,
        Mutation::ListedRowLookedUpFirst,
        Mutation::DropDeletesAllCopies,
        Mutation::AllCopiesTakenBack,
    ];
    let unbound = unbound.into_iter().any(|mutation| world.has(mutation));
    let State { dead_letters, drop_copies, processes, transactions, record, .. } = state;
    for (key, dead_letter) in (0..).zip(dead_letters) {
        let n = usize::from(key);
        let of_writers = processes.iter_mut().flat_map(|process| {
            let Process { writer, listed, deletes, stored, takes_back, .. } = process;
            [&mut writer.copies[n], &mut listed[n], &mut deletes[n], &mut stored[n], &mut takes_back[n]]
        });
        let sent = transactions.iter_mut().map(|transaction| &mut transaction.copies[n]);
        for read in of_writers.chain(sent).chain([&mut drop_copies[n]]) {
            *read = u8::from(*read > 0 && (*read == dead_letter.copy || unbound));
        }
        dead_letter.copy = u8::from(dead_letter.is_stored());
        if !dead_letter.is_stored() {
            record.beside_row.remove(key);
        }
    }
}

fn renumber(state: &mut State) {
    let State { database, durable, transactions, processes, .. } = state;
    let mut nonces = Numbers::default();
    nonces.count(&mut database.position.nonce);
    nonces.count(&mut durable.position.nonce);
    for transaction in transactions.iter_mut() {
        nonces.count(&mut transaction.fence.nonce);
        nonces.count(&mut transaction.nonce);
    }
    processes.iter_mut().for_each(|process| nonces.count(&mut process.writer.nonce));
    let mut sessions = Numbers::default();
    for position in [&mut database.position, &mut durable.position] {
        sessions.count(&mut position.session);
        sessions.count(&mut position.previous_session);
    }
    transactions.iter_mut().for_each(|transaction| sessions.count(&mut transaction.session));
    for process in processes.iter_mut() {
        sessions.count(&mut process.view.session);
        sessions.count(&mut process.writer.session);
    }
}

/// Renumbers in order of first occurrence; 0 stays.
struct Numbers {
    new: [u8; 64],
    last: u8,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { new: [0; 64], last: 0 }
    }
}

impl Numbers {
    fn count(&mut self, number: &mut u8) {
        if *number == 0 {
            return;
        }
        let new = &mut self.new[usize::from(*number)];
        if *new == 0 {
            self.last += 1;
            *new = self.last;
        }
        *number = *new;
    }
}

/// Performs at once the actions that nothing can observe or depend on: fewer states, the same outcomes.
pub(crate) fn settle(world: &World, state: &mut State) {
    for process in 0..world.processes {
        if state.processes[process].condition != Condition::Running {
            continue;
        }
        // Until it is received, an answer can only be lost with the connection or the process. A killed process knows
        // nothing in either case.
        if world.budget.lost_connections == 0 && state.transactions[process].is_decided() {
            writer::receive_answer(world, state, process);
        }
        let reads = state.processes[process].view;
        if reads_at_once(world) && reads.stage == Stage::Filled && !reads.unchecked {
            while let Some(message) = state.message_after(state.processes[process].view.watermark.sequence) {
                view::read_message(world, state, process, message);
            }
        }
    }
}

/// If messages are orders or empty, and none leaves the stream, it does not matter when a filled view reads them: only
/// a query to the table could show the difference, and none is needed.
fn reads_at_once(world: &World) -> bool {
    let plain = world.orders.iter().all(|kind| matches!(kind, Kind::Good | Kind::Empty));
    let budget = &world.budget;
    let stays = budget.stream_restores + budget.purges + budget.trims + budget.erasures == 0;
    plain && stays && budget.forgeries + budget.remade_consumers == 0 && !world.without_views
}
