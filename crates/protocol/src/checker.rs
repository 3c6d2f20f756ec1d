//! Looks at every state that a model can reach, breadth first, so that the first wrong one found is reached by
//! as few steps as any.

use std::fmt::{self, Debug};
use std::hash::Hash;

use foldhash::fast::RandomState;
use indexmap::IndexSet;

/// Something that goes from state to state.
pub trait Model {
    /// All that matters of a moment.
    type State: Clone + Eq + Hash;
    /// What can happen.
    type Step: Copy + Debug;

    /// Where it begins.
    fn first(&self) -> Self::State;

    /// All steps that can be taken from a state, and where they lead.
    fn nexts(&self, state: &Self::State) -> Vec<(Self::Step, Self::State)>;

    /// The one that stands for all states like this one: with two equal processes, which is which is no matter.
    fn like(&self, state: &Self::State) -> Self::State {
        state.clone()
    }

    /// Whether a step is taken sooner or later, if nothing else is: a crash, for one, is not.
    fn comes_of_itself(&self, step: Self::Step) -> bool;

    /// Which promise a state breaks. At rest, no step that comes of itself is left.
    fn broken(&self, state: &Self::State, at_rest: bool) -> Option<&'static str>;
}

/// All states were looked at.
#[derive(Debug)]
pub struct Checked {
    /// How many there are.
    pub states: usize,
    /// How many of them are at rest.
    pub at_rest: usize,
    /// How many steps lead to the farthest one.
    pub depth: usize,
}

/// A way to a state that breaks a promise, as short as any.
#[derive(Debug)]
pub struct Counterexample<Step> {
    /// The promise.
    pub broken: &'static str,
    /// What happens, in its order.
    pub steps: Vec<Step>,
}

impl<Step: Debug> fmt::Display for Counterexample<Step> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "broken: {}", self.broken)?;
        (1..).zip(&self.steps).try_for_each(|(number, step)| writeln!(out, "{number:>3}  {step:?}"))
    }
}

/// Looks at all states, or finds the nearest one that breaks a promise.
///
/// # Errors
/// The way to that one.
pub fn check<M: Model>(model: &M) -> Result<Checked, Counterexample<M::Step>> {
    let mut search = Search { model, seen: IndexSet::default(), before: Vec::new() };
    search.add(model.first(), 0);
    let mut checked = Checked { states: 0, at_rest: 0, depth: 0 };
    // States are looked at in the order in which they were found.
    while let Some(state) = search.seen.get_index(checked.states).cloned() {
        let nexts = model.nexts(&state);
        let at_rest = !nexts.iter().any(|&(step, _)| model.comes_of_itself(step));
        if let Some(broken) = model.broken(&state, at_rest) {
            return Err(Counterexample { broken, steps: search.steps_to(checked.states) });
        }
        checked.at_rest += usize::from(at_rest);
        for (_, next) in nexts {
            search.add(next, checked.states);
        }
        checked.states += 1;
    }
    // The last state found is one of the farthest.
    checked.depth = search.way_to(checked.states - 1).len() - 1;
    Ok(checked)
}

struct Search<'m, M: Model> {
    model: &'m M,
    seen: IndexSet<M::State, RandomState>,
    /// For each state the number of the one from which it was found.
    before: Vec<usize>,
}

impl<M: Model> Search<'_, M> {
    fn add(&mut self, state: M::State, before: usize) {
        if self.seen.insert(self.model.like(&state)) {
            self.before.push(before);
        }
    }

    /// The numbers of the states on the way to one, with the first and with that one.
    fn way_to(&self, mut number: usize) -> Vec<usize> {
        let mut way = vec![number];
        while number != 0 {
            number = self.before[number];
            way.push(number);
        }
        way.reverse();
        way
    }

    /// The way is gone once more from the true first state, so that nobody on it changes places.
    fn steps_to(&self, number: usize) -> Vec<M::Step> {
        let mut state = self.model.first();
        let mut taken = Vec::new();
        for &next in &self.way_to(number)[1..] {
            let mut nexts = self.model.nexts(&state).into_iter();
            let like = |state: &M::State| self.seen.get_index_of(&self.model.like(state)) == Some(next);
            let Some((step, after)) = nexts.find(|(_, after)| like(after)) else { break };
            taken.push(step);
            state = after;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up by one or two, and breaks its promise at a number.
    struct Counter {
        breaks_at: u8,
    }

    impl Model for Counter {
        type State = u8;
        type Step = u8;

        fn first(&self) -> u8 {
            0
        }

        fn nexts(&self, state: &u8) -> Vec<(u8, u8)> {
            let nexts = [1, 2].into_iter().map(|step| (step, state + step));
            nexts.filter(|&(_, next)| next <= 10).collect()
        }

        fn comes_of_itself(&self, step: u8) -> bool {
            step == 1
        }

        fn broken(&self, state: &u8, at_rest: bool) -> Option<&'static str> {
            (*state == self.breaks_at && (at_rest || self.breaks_at < 10)).then_some("it never gets there")
        }
    }

    #[test]
    fn all_states_are_looked_at() {
        let checked = check(&Counter { breaks_at: 200 }).unwrap();
        assert_eq!((checked.states, checked.at_rest, checked.depth), (11, 1, 5));
    }

    #[test]
    fn the_shortest_way_is_found() {
        assert_eq!(check(&Counter { breaks_at: 5 }).unwrap_err().steps.len(), 3);
        assert_eq!(check(&Counter { breaks_at: 10 }).unwrap_err().steps, [2, 2, 2, 2, 2]);
    }
}
