//! The protocol as a model for the checker: combines the actions of all areas.

use std::fmt::Write;

use crate::action::{Action, message_name};
use crate::checker::Model;
use crate::database::Documents;
use crate::invariants::Invariant;
use crate::keys::letter;
use crate::state::{DeadLetter, State};
use crate::successors::Successors;
use crate::world::World;
use crate::{
    canonical, clients, commit, dead_letters, drops, erasure, faults, follow, invariants, lease, view, writer,
};

impl Model for World {
    type State = State;
    type Action = Action;
    type Invariant = Invariant;

    fn first(&self) -> State {
        State::first(self)
    }

    fn successors(&self, state: &State) -> Vec<(Action, State)> {
        let mut next = Successors::new(state);
        clients::actions(self, state, &mut next);
        faults::actions(self, state, &mut next);
        commit::actions(self, state, &mut next);
        lease::actions(self, state, &mut next);
        writer::actions(self, state, &mut next);
        view::actions(self, state, &mut next);
        follow::actions(self, state, &mut next);
        dead_letters::actions(self, state, &mut next);
        drops::actions(self, state, &mut next);
        erasure::actions(self, state, &mut next);
        let mut next = next.into_vec();
        next.iter_mut().for_each(|(_, state)| canonical::settle(self, state));
        next
    }

    fn canonical(&self, state: &State) -> State {
        canonical::canonical(self, state)
    }

    fn happens_by_itself(&self, action: Action) -> bool {
        action.happens_by_itself()
    }

    fn broken(&self, state: &State, at_rest: bool) -> Option<Invariant> {
        invariants::broken(self, state, at_rest)
    }

    fn comes_to_rest(&self) -> Invariant {
        Invariant::ComesToRest
    }

    fn summary(&self, state: &State) -> String {
        let position = state.database.position.watermark.sequence;
        let mut line = format!(
            "stream {} | position {position}, rows {}",
            messages(state),
            orders(&state.database.rows)
        );
        for order in (0..).take(usize::from(state.orders)) {
            let dead_letter = state.dead_letters[usize::from(order)];
            if dead_letter != DeadLetter::default() {
                let DeadLetter { copy, taken_in_by: by, dropped, erased } = dead_letter;
                let copy = if copy > 0 { " stored" } else { " none" };
                let by = if by > 0 { format!(", taken in by {by}") } else { String::new() };
                let dropped = if dropped { ", dropped" } else { "" };
                let erased = if erased { ", erased" } else { "" };
                let _ = write!(line, " | dead letter {}{copy}{by}{dropped}{erased}", letter(order));
            }
        }
        for (number, process) in (1..).zip(&state.processes[..self.processes]).filter(|_| !self.without_views)
        {
            let _ = write!(line, " | P{number} serves {}", orders(&process.view.memory));
        }
        line
    }
}

/// The messages of the stream, in order: `1:A 2:B`.
fn messages(state: &State) -> String {
    let mut out = String::new();
    let mut sequence = 0;
    while let Some(message) = state.message_after(sequence) {
        sequence = state.messages[message].watermark.sequence;
        let space = if out.is_empty() { "" } else { " " };
        let _ = write!(out, "{space}{sequence}:{}", message_name(message));
    }
    if out.is_empty() { "-".into() } else { out }
}

/// The existing orders: `AB`.
fn orders(documents: &Documents) -> String {
    let there = (0..).zip(documents).filter(|(_, document)| !document.is_none());
    let out: String = there.map(|(order, _)| letter(order)).collect();
    if out.is_empty() { "-".into() } else { out }
}
