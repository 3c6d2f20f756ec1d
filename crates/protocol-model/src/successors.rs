//! Collects the successors of a state.

use crate::action::Action;
use crate::state::State;

/// The actions that are possible in a state, and the resulting states.
pub(crate) struct Successors<'s> {
    from: &'s State,
    found: Vec<(Action, State)>,
}

impl<'s> Successors<'s> {
    pub(crate) fn new(from: &'s State) -> Self {
        Self { from, found: Vec::with_capacity(16) }
    }

    /// Omits an action that changes nothing.
    pub(crate) fn add(&mut self, action: Action, change: impl FnOnce(&mut State)) {
        let mut next = *self.from;
        change(&mut next);
        if next != *self.from {
            self.found.push((action, next));
        }
    }

    pub(crate) fn into_vec(self) -> Vec<(Action, State)> {
        self.found
    }
}
