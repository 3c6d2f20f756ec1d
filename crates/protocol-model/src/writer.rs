//! The writer: turns each message after the position into a row, a dead letter or nothing.

use crate::action::Action;
use crate::database::{Document, Fence, Phase, Purpose, Transaction};
use crate::drops;
use crate::mutation::Mutation;
use crate::prepare;
use crate::process::{Prepared, Role, Storing, Writer};
use crate::state::State;
use crate::stream::{ORDERS, Sender, StreamPosition};
use crate::successors::Successors;
use crate::world::{Kind, World};

pub(crate) fn actions(world: &World, state: &State, next: &mut Successors<'_>) {
    for process in 0..world.processes {
        let this = &state.processes[process];
        if this.reaches_postgres() && state.transactions[process].is_decided() {
            next.add(Action::ReceiveAnswer(process), |s| receive_answer(world, s, process));
        }
        let idle = state.transactions[process].phase == Phase::None;
        if this.reaches_nats() && this.writer.role == Role::Writer && idle && !this.writer.unlisted {
            write(world, state, process, next);
        }
        for key in this.writer.stored_late.iter().filter(|_| this.reaches_nats()) {
            next.add(Action::StoreDeadLetterLate(process, key), |s| store_late(s, process, key));
        }
    }
}

/// Before it writes, the position must be in this stream, and the table must be complete up to the position.
fn write(world: &World, state: &State, process: usize, next: &mut Successors<'_>) {
    let writer = state.processes[process].writer;
    let beginning = state.stream.beginning();
    if must_set_back(world, state, &writer) {
        next.add(Action::SendSetBack(process), |s| {
            send(s, process, Purpose::SetBack, beginning, s.stream.created);
        });
    } else if state.stream.first > writer.watermark.sequence + 1 && !world.has(Mutation::GapNotPassed) {
        next.add(Action::SendPassGap(process), |s| {
            send(s, process, Purpose::PassGap, beginning, writer.created);
        });
    } else {
        send_batches(world, state, process, next);
    }
}

fn must_set_back(world: &World, state: &State, writer: &Writer) -> bool {
    let lost_dead_letters = state.database.position.dead_letter_losses != state.dead_letter_losses;
    if lost_dead_letters && !world.has(Mutation::DeadLetterLossIgnored) {
        return true;
    }
    if !writer.unchecked {
        return false;
    }
    let position = &state.database.position;
    let gap_is_back = state.stream.first <= position.gap_end && !world.has(Mutation::GapNotRemembered);
    !position_is_in_stream(world, state, writer.watermark, writer.created)
        || lacks_last_row(world, state)
        || gap_is_back
}

/// The writer's check of the stream, with each new consumer.
fn position_is_in_stream(world: &World, state: &State, watermark: StreamPosition, created: u8) -> bool {
    if world.has(Mutation::WriterTrustsStream) {
        return true;
    }
    if world.has(Mutation::StreamCheckedWithoutTime) {
        return created == state.stream.created && watermark.sequence <= state.stream.last;
    }
    let missing = created == state.stream.created && state.is_missing(watermark.sequence);
    state.is_in_stream(watermark, created) || (missing && world.has(Mutation::WriterAcceptsMissingMessage))
}

fn lacks_last_row(world: &World, state: &State) -> bool {
    let last = state.database.position.last_row;
    last > 0
        && state.database.rows[usize::from(last) - 1].is_none()
        && !world.has(Mutation::LastRowNotChecked)
}

fn send(state: &mut State, process: usize, purpose: Purpose, to: StreamPosition, created: u8) {
    let writer = &mut state.processes[process].writer;
    writer.unchecked = false;
    let fence = fence_of(writer, process);
    state.transactions[process] =
        Transaction { phase: Phase::Sent, purpose, fence, to, created, ..Transaction::default() };
}

fn fence_of(writer: &Writer, process: usize) -> Fence {
    let number = u8::try_from(process).unwrap_or(u8::MAX) + 1;
    Fence {
        sequence: writer.watermark.sequence,
        created: writer.created,
        writer: number,
        nonce: writer.nonce,
    }
}

/// The result for a message.
enum Decision {
    Pass,
    Row(Document),
    /// It may become a row, and something must be looked up or stored before.
    Prepare,
    /// It becomes a dead letter, and something must be looked up or stored before.
    Refuse,
}

/// Every prefix of the messages is a possible batch, up to the first message that needs something else before, or whose
/// key is in the batch already.
fn send_batches(world: &World, state: &State, process: usize, next: &mut Successors<'_>) {
    let writer = state.processes[process].writer;
    let most = if writer.halved { 1 } else { world.batch };
    let fence = fence_of(&writer, process);
    let mut batch =
        Transaction { phase: Phase::Sent, fence, created: writer.created, ..Transaction::default() };
    let mut sequence = writer.watermark.sequence;
    for messages in 1..=most {
        let Some(message) = state.message_after(sequence) else { break };
        let n = usize::from(state.messages[message].order);
        match decide(world, state, process, message, messages == 1) {
            Decision::Pass => {}
            Decision::Row(document) if batch.rows[n].is_none() => {
                batch.rows[n] = document;
                batch.copies[n] = writer.copies[n];
            }
            Decision::Row(_) => break,
            Decision::Prepare => {
                if batch.rows[n].is_none() || !writer.prepared[message].is_looked_up() {
                    prepare::for_row(world, state, process, message, next);
                }
                break;
            }
            Decision::Refuse => {
                if messages == 1 {
                    prepare::dead_letter(world, state, process, message, next);
                }
                break;
            }
        }
        batch.to = state.messages[message].watermark;
        batch.messages = messages;
        sequence = batch.to.sequence;
        next.add(Action::SendBatch { process, messages }, |s| {
            s.processes[process].writer.unchecked = false;
            s.transactions[process] = batch;
        });
    }
}

fn decide(world: &World, state: &State, process: usize, number: usize, is_next: bool) -> Decision {
    let this = &state.processes[process];
    let message = &state.messages[number];
    let kind = world.kind(message.order);
    let is_client = message.sender == Sender::Client;
    let prepared = this.writer.prepared[number];
    if this.erased.has(message.order) || (is_client && kind == Kind::Empty) {
        return Decision::Pass;
    }
    if !is_client && !prepared.is_looked_up() {
        return Decision::Prepare;
    }
    let refuses = world.refuses(process, message) || this.writer.refused.has(to_key(number));
    if prepared == Prepared::Skipped && !(is_client && refuses) {
        return Decision::Pass;
    }
    if refuses {
        let n = usize::from(message.order);
        let stored = is_next && this.writer.storing == Storing::Done && !this.is_storing(n);
        let passes = stored || world.has(Mutation::DeadLetterAfterPosition);
        return if passes { Decision::Pass } else { Decision::Refuse };
    }
    if prepared == Prepared::Ready || (is_client && !prepare::may_have_dead_letter(kind)) {
        return Decision::Row(world.document(process, number));
    }
    Decision::Prepare
}

fn to_key(message: usize) -> u8 {
    u8::try_from(message).unwrap_or(u8::MAX)
}

impl World {
    /// The document that a process decodes from a client's message.
    pub(crate) fn document(&self, process: usize, message: usize) -> Document {
        let two_forms = self.orders.get(message) == Some(&Kind::TwoForms);
        Document::new(message, two_forms && self.old_model[process])
    }
}

fn store_late(state: &mut State, process: usize, key: u8) {
    state.processes[process].writer.stored_late.remove(key);
    if !state.dead_letters[usize::from(key)].is_stored() {
        state.put_dead_letter(process, key);
    }
}

/// The writer receives the outcome of its transaction.
pub(crate) fn receive_answer(world: &World, state: &mut State, process: usize) {
    let answer = std::mem::take(&mut state.transactions[process]);
    match answer.phase {
        Phase::Committed => committed(world, state, process, &answer),
        Phase::Fenced => {
            state.processes[process].writer.role = Role::Unsure;
            state.processes[process].writer.certain = true;
        }
        Phase::Refused if answer.messages > 1 => state.processes[process].writer.halved = true,
        Phase::Refused => refused(state, process, &answer),
        _ => {}
    }
}

fn committed(world: &World, state: &mut State, process: usize, answer: &Transaction) {
    let late = passed_late(world, state, process, answer);
    if world.has(Mutation::NotedAfterCommit) {
        answer.rows.iter().filter(|row| !row.is_none()).for_each(|row| {
            prepare::note_taken_in(world, state, row.message());
        });
    }
    let dead_letters = state.dead_letters;
    answer.rows.iter().filter(|row| !row.is_none()).for_each(|row| {
        drops::forget_after_commit(world, state, process, row.message());
    });
    let this = &mut state.processes[process];
    let mut copies = this.writer.copies;
    for n in (0..ORDERS).filter(|&n| !answer.rows[n].is_none()) {
        copies[n] = 0;
        let late = world.has(Mutation::CopyReadAfterCommit);
        this.deletes[n] = if late { dead_letters[n].copy } else { answer.copies[n] };
    }
    let writer = &mut this.writer;
    *writer = Writer {
        role: Role::Writer,
        prepared: if answer.purpose == Purpose::Batch { writer.prepared } else { Default::default() },
        copies,
        watermark: answer.to,
        created: answer.created,
        nonce: answer.nonce,
        session: answer.session,
        unchecked: writer.unchecked,
        stored_late: late,
        ..Writer::default()
    };
}

/// With a mutation: stores the dead letters of messages passed before.
fn passed_late(world: &World, state: &State, process: usize, answer: &Transaction) -> crate::keys::Keys {
    let mut late = state.processes[process].writer.stored_late;
    if world.has(Mutation::DeadLetterAfterPosition) {
        let passed = (0..state.orders).filter(|&order| {
            let sequence = state.client_message(order).watermark.sequence;
            sequence > answer.fence.sequence && sequence <= answer.to.sequence
        });
        passed
            .filter(|&order| world.refuses(process, state.client_message(order)))
            .for_each(|order| late.add(order));
    }
    late
}

/// PostgreSQL has refused a single row: it becomes a dead letter, and is removed from memory.
fn refused(state: &mut State, process: usize, answer: &Transaction) {
    for order in (0..).take(ORDERS).filter(|&order| !answer.rows[usize::from(order)].is_none()) {
        let sequence = state.client_message(order).watermark.sequence;
        let this = &mut state.processes[process];
        let message = answer.rows[usize::from(order)].message();
        this.writer.refused.add(to_key(message));
        this.view.memory[usize::from(order)] = Document::NONE;
        this.view.mark_in_doubt(order, sequence);
    }
}
