//! A view also follows the position, its session, and the dead letters. Orders in doubt are looked up in the table.

use crate::action::Action;
use crate::database::Document;
use crate::mutation::Mutation;
use crate::process::Stage;
use crate::state::{DeadLetter, State};
use crate::stream::ORDERS;
use crate::successors::Successors;
use crate::view::restart;
use crate::world::{Kind, World};

pub(crate) fn actions(world: &World, state: &State, next: &mut Successors<'_>) {
    for process in 0..world.processes {
        if state.processes[process].reaches_nats() {
            see_dead_letters(world, state, process, next);
        }
        if state.processes[process].reaches_postgres() && !world.without_views {
            ask(world, state, process, next);
            look_at_session(world, state, process, next);
        }
    }
}

impl World {
    /// Whether the position row has the session that the view follows, so that rows read now belong to it.
    pub(crate) fn follows_session(&self, state: &State, process: usize) -> bool {
        !self.looks_at_session()
            || self.has(Mutation::AskedInTwoStatements)
            || state.database.position.session == state.processes[process].view.session
    }

    fn looks_at_session(&self) -> bool {
        !self.has(Mutation::SessionIgnored) && !self.has(Mutation::TableGoingBackIgnored)
    }
}

fn see_dead_letters(world: &World, state: &State, process: usize, next: &mut Successors<'_>) {
    for key in 0..state.orders {
        let n = usize::from(key);
        let dead_letter = state.dead_letters[n];
        if dead_letter.erased && !state.processes[process].erased.has(key) {
            next.add(Action::SeeErasedNote(process, key), |s| s.processes[process].learn_erased(key));
        }
        let seen = state.processes[process].view.latest_seen.has(key);
        let there = DeadLetter { erased: false, ..dead_letter } != DeadLetter::default();
        if there && !seen && !world.without_views {
            next.add(Action::SeeDeadLetter(process, key), |s| see_dead_letter(world, s, process, key));
        }
    }
}

/// A dead letter or a note leaves its order in doubt, because the order may be a row.
fn see_dead_letter(world: &World, state: &mut State, process: usize, key: u8) {
    let n = usize::from(key);
    let sequence = state.client_message(key).watermark.sequence;
    let dead_letter = state.dead_letters[n];
    let this = &mut state.processes[process];
    this.view.dead_letters_seen.add(key);
    this.view.latest_seen.add(key);
    if this.erased.has(key) {
    } else if !world.has(Mutation::DeadLetterRemovesOrder) {
        this.view.mark_in_doubt(key, sequence);
    } else if dead_letter.is_stored() {
        this.view.memory[n] = Document::NONE;
        this.view.in_doubt[n] = 0;
    }
}

/// One statement reads position, session and row; the result counts once the position has passed the message.
fn ask(world: &World, state: &State, process: usize, next: &mut Successors<'_>) {
    let view = &state.processes[process].view;
    if view.stage != Stage::Filled || !world.follows_session(state, process) {
        return;
    }
    let two_statements = world.has(Mutation::AskedInTwoStatements);
    let position = state.database.position.watermark.sequence;
    let known = if two_statements { view.position_seen } else { position };
    for key in (0..).take(ORDERS) {
        let until = view.in_doubt[usize::from(key)];
        // A restored stream may be shorter, so that the position never gets there.
        let unreachable = until > state.stream.last && !two_statements;
        if until > 0 && (known >= until || unreachable) {
            next.add(Action::AskTable(process, key), |s| take_answer(s, process, key));
        }
    }
    let in_doubt = view.in_doubt.iter().any(|&until| until > 0);
    if two_statements && in_doubt && position > view.position_seen {
        next.add(Action::SeePosition(process), |s| s.processes[process].view.position_seen = position);
    }
}

fn take_answer(state: &mut State, process: usize, key: u8) {
    let n = usize::from(key);
    let this = &mut state.processes[process];
    this.view.memory[n] = if this.erased.has(key) { Document::NONE } else { state.database.rows[n] };
    this.view.in_doubt[n] = 0;
    this.view.position_seen = this.view.position_seen.max(state.database.position.watermark.sequence);
}

/// The view follows a new session that began at or after what it has read. Otherwise the table went back.
fn look_at_session(world: &World, state: &State, process: usize, next: &mut Successors<'_>) {
    let view = &state.processes[process].view;
    let position = &state.database.position;
    if !view.has_watermark() || world.has(Mutation::TableGoingBackIgnored) {
        return;
    }
    let new_session = world.looks_at_session() && position.session != view.session;
    if new_session && goes_on(world, state, process) {
        next.add(Action::FollowSession(process), |s| {
            let position = s.database.position;
            let view = &mut s.processes[process].view;
            let own = world.old_model[process];
            if view.writer_has_old_model != own && position.old_model == own {
                view.own_form_after = position.session_began;
            }
            view.session = position.session;
            view.writer_has_old_model = position.old_model;
        });
    } else if new_session || position.watermark.sequence < view.position_seen {
        next.add(Action::StartAgain(process), |s| restart(world, s, process));
    }
}

fn goes_on(world: &World, state: &State, process: usize) -> bool {
    let view = &state.processes[process].view;
    let position = &state.database.position;
    let follows = position.previous_session == view.session && position.session_began >= view.position_seen;
    // A writer with another model may give documents another form than memory has. After a writer with a different
    // model, memory has only rows of the table.
    let has_forms = world.orders.contains(&Kind::TwoForms) && !world.has(Mutation::OwnFormTrusted);
    let own = world.old_model[process];
    let other_model = position.old_model != own && view.writer_has_old_model == own;
    follows && !(has_forms && other_model)
}
