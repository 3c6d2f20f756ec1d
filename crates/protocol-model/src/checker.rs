//! Explores all reachable states of a model, breadth first, so that a violation is found by a shortest path.

use std::fmt::{self, Debug, Display};
use std::hash::Hash;

use crate::state_set::StateSet;

/// A state machine.
pub trait Model {
    /// The complete state.
    type State: Copy + Eq + Hash;
    /// A transition.
    type Action: Copy + Display;
    /// An invariant.
    type Invariant: Copy + Debug + PartialEq + Display;

    /// The initial state.
    fn first(&self) -> Self::State;

    /// All actions that are possible in a state, and the resulting states.
    fn successors(&self, state: &Self::State) -> Vec<(Self::Action, Self::State)>;

    /// The representative of all equivalent states.
    fn canonical(&self, state: &Self::State) -> Self::State;

    /// Whether an action happens eventually if nothing else does.
    fn happens_by_itself(&self, action: Self::Action) -> bool;

    /// The invariant that a state breaks. `at_rest`: no action that happens by itself is left.
    fn broken(&self, state: &Self::State, at_rest: bool) -> Option<Self::Invariant>;

    /// The invariant that from each state, the actions that happen by themselves lead to rest.
    fn comes_to_rest(&self) -> Self::Invariant;

    /// A summary of a state, for a trace.
    fn summary(&self, state: &Self::State) -> String;
}

/// No invariant is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checked {
    /// The number of explored states.
    pub states: usize,
    /// The number of them that are at rest.
    pub at_rest: usize,
    /// Whether these are all. Otherwise the search ended at its limit.
    pub complete: bool,
}

/// A shortest path to a state that breaks an invariant.
#[derive(Debug)]
pub struct Counterexample<Invariant> {
    /// The invariant.
    pub broken: Invariant,
    /// The path: each action, and the resulting state.
    pub trace: Vec<(String, String)>,
}

impl<Invariant: Display> fmt::Display for Counterexample<Invariant> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "broken: {}", self.broken)?;
        for (number, (action, state)) in (1..).zip(&self.trace) {
            writeln!(out, "{number:>3}  {action}\n       {state}")?;
        }
        Ok(())
    }
}

/// Explores all states, or `limit` states, or up to the nearest one that breaks an invariant.
///
/// # Errors
/// The path to that state.
pub fn check<M: Model>(model: &M, limit: usize) -> Result<Checked, Counterexample<M::Invariant>> {
    let mut search = Search { model, seen: StateSet::default(), from: Vec::new(), edges: Edges::default() };
    search.add(model.first(), 0);
    let mut rests = Vec::new();
    let mut looked_at = 0;
    while let Some(&state) = search.seen.get(looked_at) {
        if search.seen.len() > limit {
            return Ok(Checked { states: looked_at, at_rest: rests.len(), complete: false });
        }
        let successors = model.successors(&state);
        let at_rest = !successors.iter().any(|&(action, _)| model.happens_by_itself(action));
        if let Some(broken) = model.broken(&state, at_rest) {
            return Err(Counterexample { broken, trace: search.trace_to(looked_at) });
        }
        if at_rest {
            rests.push(looked_at);
        }
        for (action, next) in successors {
            let number = search.add(next, looked_at);
            if model.happens_by_itself(action) {
                search.edges.add(looked_at, number);
            }
        }
        looked_at += 1;
    }
    if let Some(restless) = search.edges.first_that_never_reaches(&rests, looked_at) {
        return Err(Counterexample { broken: model.comes_to_rest(), trace: search.trace_to(restless) });
    }
    Ok(Checked { states: looked_at, at_rest: rests.len(), complete: true })
}

struct Search<'m, M: Model> {
    model: &'m M,
    seen: StateSet<M::State>,
    /// For each state the number of its predecessor.
    from: Vec<u32>,
    edges: Edges,
}

impl<M: Model> Search<'_, M> {
    fn add(&mut self, state: M::State, from: usize) -> usize {
        let (number, new) = self.seen.insert(self.model.canonical(&state));
        if new {
            self.from.push(u32::try_from(from).unwrap_or(u32::MAX));
        }
        number
    }

    /// Replays the path from the real initial state, so that processes keep their names.
    fn trace_to(&self, number: usize) -> Vec<(String, String)> {
        let mut way = vec![number];
        let mut at = number;
        while at != 0 {
            at = self.from[at] as usize;
            way.push(at);
        }
        let mut state = self.model.first();
        let mut trace = Vec::new();
        for &next in way.iter().rev().skip(1) {
            let leads_there = |state: &M::State| self.seen.find(&self.model.canonical(state)) == Some(next);
            let mut successors = self.model.successors(&state).into_iter();
            let Some((action, after)) = successors.find(|(_, after)| leads_there(after)) else { break };
            trace.push((action.to_string(), self.model.summary(&after)));
            state = after;
        }
        trace
    }
}

/// The transitions that happen by themselves.
#[derive(Default)]
struct Edges {
    pairs: Vec<(u32, u32)>,
}

impl Edges {
    fn add(&mut self, from: usize, to: usize) {
        self.pairs.push((u32::try_from(to).unwrap_or(u32::MAX), u32::try_from(from).unwrap_or(u32::MAX)));
    }

    /// The first state from which none of `ends` can be reached.
    fn first_that_never_reaches(&mut self, ends: &[usize], states: usize) -> Option<usize> {
        self.pairs.sort_unstable();
        let mut reaches = vec![false; states];
        let mut open = ends.to_vec();
        ends.iter().for_each(|&end| reaches[end] = true);
        while let Some(state) = open.pop() {
            let begin = self.pairs.partition_point(|&(to, _)| (to as usize) < state);
            for &(_, from) in self.pairs[begin..].iter().take_while(|&&(to, _)| to as usize == state) {
                if !std::mem::replace(&mut reaches[from as usize], true) {
                    open.push(from as usize);
                }
            }
        }
        reaches.iter().position(|reaches| !reaches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up by one or two, and breaks the invariant at a number; a step of two does not happen by itself.
    struct Counter {
        breaks_at: u8,
        /// From this number on, it loops forever.
        trap: Option<u8>,
    }

    impl Model for Counter {
        type State = u8;
        type Action = u8;
        type Invariant = &'static str;

        fn first(&self) -> u8 {
            0
        }

        fn successors(&self, state: &u8) -> Vec<(u8, u8)> {
            if self.trap.is_some_and(|trap| trap == *state || trap + 1 == *state) {
                return vec![(1, if self.trap == Some(*state) { state + 1 } else { state - 1 })];
            }
            [1, 2].into_iter().map(|step| (step, state + step)).filter(|&(_, next)| next <= 10).collect()
        }

        fn canonical(&self, state: &u8) -> u8 {
            *state
        }

        fn happens_by_itself(&self, action: u8) -> bool {
            action == 1
        }

        fn broken(&self, state: &u8, at_rest: bool) -> Option<&'static str> {
            (*state == self.breaks_at && (at_rest || self.breaks_at < 10)).then_some("it stops before")
        }

        fn comes_to_rest(&self) -> &'static str {
            "it stops"
        }

        fn summary(&self, state: &u8) -> String {
            state.to_string()
        }
    }

    #[test]
    fn all_states_are_looked_at() {
        let checked = check(&Counter { breaks_at: 200, trap: None }, 100).unwrap();
        assert_eq!(checked, Checked { states: 11, at_rest: 1, complete: true });
    }

    #[test]
    fn a_search_that_ends_at_its_limit_says_so() {
        assert!(!check(&Counter { breaks_at: 200, trap: None }, 5).unwrap().complete);
    }

    #[test]
    fn the_shortest_trace_is_found() {
        let found = check(&Counter { breaks_at: 10, trap: None }, 100).unwrap_err();
        let states: Vec<&str> = found.trace.iter().map(|(_, state)| state.as_str()).collect();
        assert_eq!(states, ["2", "4", "6", "8", "10"]);
    }

    #[test]
    fn a_circle_without_an_end_is_found() {
        let found = check(&Counter { breaks_at: 200, trap: Some(4) }, 100).unwrap_err();
        // The initial state already leads into the loop.
        assert_eq!((found.broken, found.trace.len()), ("it stops", 0));
    }
}
